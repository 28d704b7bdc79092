"""What is remembered of credentials: for a time, within a bound, and found by what it stands on."""

from __future__ import annotations

import itertools
import random

import pytest

from server.auth.cache import Principals, Remembered
from server.auth.principal import DEFAULT_SCOPES, Principal
from server.events import AgentId

SEEDS = 60
GRANTS = [f"ticket:{number}" for number in range(6)]


def standing_on(*grants: str) -> Principal:
    return Principal(AgentId.of("acme", "ada"), DEFAULT_SCOPES, None, grants)


def test_a_value_is_remembered_for_its_time() -> None:
    cache: Remembered[str] = Remembered(3)
    cache.put(b"1", "one", 1000.0, 10.0)
    assert cache.get(b"1", 1009.9) == "one"
    assert cache.get(b"1", 1010.0) is None
    assert cache.get(b"2", 1000.0) is None
    cache.put(b"1", "two", 1005.0, 10.0)
    assert cache.get(b"1", 1014.9) == "two"
    for _ in range(2):  # idempotent
        cache.drop(b"1")
    assert cache.get(b"1", 1005.0) is None


def test_the_oldest_goes_first_and_who_is_put_again_is_the_youngest() -> None:
    cache: Remembered[str] = Remembered(3)
    for digest in (b"1", b"2", b"3", b"1", b"4"):
        cache.put(digest, "", 1000.0, 10.0)
    assert list(cache.entries) == [b"3", b"1", b"4"]


def test_what_is_over_goes_when_others_come() -> None:
    cache: Remembered[str] = Remembered(100)
    for number in range(10):
        cache.put(b"%d" % number, "", 1000.0 + number, 5.0)
    assert list(cache.entries) == [b"%d" % number for number in range(5, 10)]


def test_what_came_at_once_is_not_forgotten_at_once() -> None:
    """To forget a hundred thousand holds the loop."""
    cache: Remembered[str] = Remembered(1000)
    for number in range(100):
        cache.put(b"%d" % number, "", 1000.0, 5.0)
    left = []
    for number in range(100, 120):
        cache.put(b"%d" % number, "", 1006.0, 5.0)
        left.append(len(cache.entries))
    assert max(before - after for before, after in itertools.pairwise([100, *left])) < 10
    assert list(cache.entries) == [b"%d" % number for number in range(100, 120)]


def test_what_stands_on_a_grant_goes_with_it() -> None:
    cache = Principals(10)
    for digest, grants in ((b"1", ("a", "b")), (b"2", ("b",)), (b"3", ("c",)), (b"4", ())):
        cache.put(digest, standing_on(*grants), 1000.0, 10.0)
    assert cache.grants() == {"a", "b", "c"}
    cache.revoke(frozenset(("b", "nobody's")))
    assert list(cache.entries) == [b"3", b"4"]
    assert cache.grants() == {"c"}


def test_who_is_put_again_stands_on_the_new_grants_alone() -> None:
    cache = Principals(10)
    cache.put(b"1", standing_on("a"), 1000.0, 10.0)
    cache.put(b"1", standing_on("b"), 1000.0, 10.0)
    cache.revoke(frozenset("a"))
    assert cache.get(b"1", 1000.0) == standing_on("b")
    assert cache.grants() == {"b"}


@pytest.mark.parametrize(("bound", "ttl_s"), [(0, 10.0), (10, 0.0), (10, -1.0)])
def test_what_may_not_be_kept_is_not(bound: int, ttl_s: float) -> None:
    cache = Principals(bound)
    cache.put(b"1", standing_on("a"), 1000.0, ttl_s)
    assert (len(cache.entries), cache.grants()) == (0, set())


def test_the_index_is_what_the_entries_stand_on_whatever_happens() -> None:
    for seed in range(SEEDS):
        dice, cache, now = random.Random(seed), Principals(8), 1000.0
        for step in range(100):
            digest, chosen = b"%d" % dice.randrange(12), dice.random()
            if chosen < 0.5:
                grants = dice.sample(GRANTS, dice.randrange(4))
                cache.put(digest, standing_on(*grants), now, dice.choice((0.5, 5.0, 50.0)))
                assert cache.get(digest, now) == standing_on(*grants), f"seed {seed}, step {step}"
            elif chosen < 0.65:
                cache.drop(digest)
            elif chosen < 0.8:
                ended = frozenset(dice.sample(GRANTS, 2))
                cache.revoke(ended)
                left = [entry[0].grants for entry in cache.entries.values()]
                assert all(ended.isdisjoint(grants) for grants in left), f"seed {seed}, step {step}"
            else:
                now += dice.random() * 10
            assert len(cache.entries) <= 8, f"seed {seed}, step {step}"
            index: dict[str, set[bytes]] = {}
            for digest, (principal, _) in cache.entries.items():
                for grant in principal.grants:
                    index.setdefault(grant, set()).add(digest)
            assert cache._by_grant == index, f"seed {seed}, step {step}"
            assert cache.grants() == index.keys()
