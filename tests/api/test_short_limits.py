"""Limits and settings, the short way and the long: what is refused, what it says, and what is counted."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from server.wire import HANDLED_PATH
from tests.api.house import House
from tests.api.houses import Pair, pair
from tests.api.raw import basic
from tests.api.requests_table import CRM, ONE, OTHER, PASSWORD, PLAIN, padded, post
from tests.api.sides import Wire
from tests.api.talks import Talks
from tests.running import RealStore, paused


@pytest.fixture(scope="module")
def houses(tmp_path_factory: pytest.TempPathFactory, valkey: str) -> Iterator[Pair]:
    """The limits of the settings."""
    with pair(tmp_path_factory.mktemp("houses"), valkey, "limits") as houses:
        yield houses


def test_as_many_requests_as_may_be_in_flight(houses: Pair) -> None:
    def fill(house: House) -> None:
        house.in_flight.requests = house.in_flight._most_requests

    def give_back(house: House) -> None:
        house.in_flight.requests = 0

    limited(houses, fill, give_back, b"requests are under way")


def test_as_many_bytes_as_may_be_in_flight(houses: Pair) -> None:
    def fill(house: House) -> None:
        house.in_flight.body_bytes = house.in_flight._most_bytes - len(ONE) + 1

    def give_back(house: House) -> None:
        house.in_flight.body_bytes = 0

    limited(houses, fill, give_back, b"are under way, try again")


def limited(houses: Pair, fill: Callable[[House], None], give_back: Callable[[House], None], says: bytes) -> None:
    """A request is refused alike while all is taken, and then goes the short way again."""
    for house in houses.houses:
        house.ask(lambda house=house: fill(house))  # type: ignore[misc]
    before = houses.short.taken
    try:
        outcome = houses.outcome(PLAIN + OTHER, devices=False)
        held = houses.each(lambda house: house.ask(house.held))
    finally:
        for house in houses.houses:
            house.ask(lambda house=house: give_back(house))  # type: ignore[misc]
    assert outcome.said.answers.count(b"HTTP/1.1 503 Service Unavailable\r\ndate: *\r\n") == 2
    assert outcome.said.answers.count(says) == 2
    assert max(held) > 1
    assert houses.short.taken == before
    assert houses.taken(PLAIN) == 1


@pytest.fixture(scope="module")
def slow_houses(tmp_path_factory: pytest.TempPathFactory, valkey: str) -> Iterator[Pair]:
    """An agent may send one request a second, an address two; three, and five, at once."""
    env = {
        "SERVER__TRUSTED_PROXIES": "127.0.0.1",
        "SERVER__BASE_PATH": "/clear",
        "LIMITS__REQUESTS_PER_AGENT_S": "1",
        "LIMITS__REQUESTS_PER_AGENT_BURST": "3",
        "LIMITS__REQUESTS_PER_ADDRESS_S": "2",
        "LIMITS__REQUESTS_PER_ADDRESS_BURST": "5",
    }
    with pair(tmp_path_factory.mktemp("slow"), valkey, "slow", **env) as houses:
        yield houses


CLEAR: Final = f"/clear{HANDLED_PATH}"


def of(user: str, address: str) -> bytes:
    """A proper request of this user from this address."""
    return post(("X-Forwarded-For", address), who=basic(user, PASSWORD), target=CLEAR)


@pytest.mark.parametrize(
    ("requests", "statuses", "short"),
    [
        ([of("ada", "192.0.2.1")] * 4, [204, 204, 204, 429], 3),
        ([of("ada", f"192.0.2.{n}") for n in range(4)], [204, 204, 204, 429], 3),
        ([of(user, "192.0.2.1") for user in ("ada", "bob", "ada", "bob", "zoe", "bob")], [204] * 5 + [429], 5),
        (
            [of("ada", "192.0.2.1"), post(target=CLEAR, body=b"{}"), of("ada", "192.0.2.2")] * 2,
            [204, 400, 204, 429] + [429] * 2,
            2,
        ),
        ([of("ada", "192.0.2.1").replace(b"Basic", b"Nasic")] * 6, [401] * 5 + [429], 0),
        (
            [of("ada", "2001:db8::1"), *[of("bob", f"2001:db8::{n}") for n in (2, 3, 4)], of("zoe", "2001:db8::5")],
            [204] * 5,
            5,
        ),
    ],
    ids=[
        "an agent",
        "an agent from everywhere",
        "an address",
        "among refused",
        "an address without an agent",
        "a network",
    ],
)
def test_who_sends_more_than_he_may(slow_houses: Pair, requests: list[bytes], statuses: list[int], short: int) -> None:
    def sent(house: House) -> list[Any]:
        house.ask(house.forget_charges)
        before, answers = house.ask(house.counted), []
        with Wire(house) as wire:
            for request in requests:
                wire.send(request)
                wire.settle()
                answers.append(wire.told())
        return [answers, house.ask(house.charged), {n: v - before[n] for n, v in house.ask(house.counted).items()}]

    before = slow_houses.short.taken
    answers = slow_houses.each(sent)[0]
    assert [int(answer.split(b" ")[1]) for answer in answers] == statuses
    assert all((b"retry-after: 1\r\n" in a) == (s == 429) for a, s in zip(answers, statuses, strict=True))
    assert slow_houses.short.taken - before == short


def test_he_may_again_at_the_same_moment(slow_houses: Pair) -> None:
    """By a clock that the test moves."""

    def sent(house: House) -> list[bytes]:
        house.ask(house.forget_charges)
        answers = []
        with Wire(house) as wire:
            for step_s in (0, 0, 0, 0, 0.9, 0.2, 0, 1.5, 0):
                house.now += step_s
                wire.send(of("ada", "192.0.2.1"))
                wire.settle()
                answers.append(wire.told())
        return answers

    answers = slow_houses.each(sent)
    assert [answer[9:12] for answer in answers] == [b"204"] * 3 + [b"429"] * 2 + [b"204", b"429", b"204", b"429"]


# settings


@pytest.mark.parametrize(
    ("target", "short"),
    [
        (CLEAR, 1),
        (f"/clear/acme{HANDLED_PATH}", 1),
        (f"/acme/clear{HANDLED_PATH}", 0),
        (f"/clear/other{HANDLED_PATH}", 0),
        (f"/clear/{HANDLED_PATH}", 0),
        (f"/clearacme{HANDLED_PATH}", 0),
        (f"/clear/acme/acme{HANDLED_PATH}", 0),
        (f"/x/clear{HANDLED_PATH}", 0),
        (f"//clear{HANDLED_PATH}", 0),
        (HANDLED_PATH, 0),
        (f"/acme{HANDLED_PATH}", 0),
    ],
)
def test_a_base_path_stands_before_all(slow_houses: Pair, target: str, short: int) -> None:
    assert slow_houses.taken(post(target=target)) == short


def test_a_body_over_a_low_limit(tmp_path: Path, valkey: str) -> None:
    with pair(tmp_path, valkey, "low", LIMITS__BODY_BYTES="1024") as houses:
        assert houses.taken(post(body=padded(ONE, 1024))) == 1
        assert houses.taken(post(body=padded(ONE, 1025))) == 0


def test_answers_where_other_origins_are_let_in(tmp_path: Path, store: RealStore) -> None:
    """They say that they depend on `Origin`, also to those who send none: once, however many there were before."""
    with pair(tmp_path, store.url, "cors", GATEWAY__ALLOWED_ORIGINS=CRM, STORE__TIMEOUT_S="1") as houses:
        assert [houses.taken(PLAIN) for _ in range(3)] == [1, 1, 1]
        for refused in (post(("Origin", CRM)), post(body=b"{}"), post(("Connection", "close"))):
            assert houses.taken(refused) == 0
        with Talks(houses) as talks, paused(store.pid):
            talks.say(PLAIN)
            assert b"\r\nvary: Accept, Origin\r\n" in talks.told()
