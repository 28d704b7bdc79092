"""The short way against the long one where the store is hurt, or the caller does not wait for its answer."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from typing import Any, Final

import pytest

from server.api.http import RequestBounds
from tests.api.house import House
from tests.api.houses import Pair, outcome, pair
from tests.api.raw import events, head
from tests.api.requests_table import JAVA, LONG, ONE, OTHER, PLAIN, WEBSOCKET, post
from tests.api.sides import Said, Wire, soon
from tests.api.talks import NO_CONTENT, THE_LAST, TIMEOUT_S, Talks, given_back, well
from tests.running import RealStore, client, paused, wait_until

pytestmark = pytest.mark.faults

LIVE: Final = head("GET", "/live")


@pytest.fixture(scope="module")
def houses(tmp_path_factory: pytest.TempPathFactory, store: RealStore) -> Iterator[Pair]:
    """Two workers on that store."""
    with pair(tmp_path_factory.mktemp("houses"), store.url, "life", STORE__TIMEOUT_S=str(TIMEOUT_S)) as houses:
        yield houses


@pytest.fixture(autouse=True)
def well_again(request: pytest.FixtureRequest) -> Iterator[None]:
    """Each test leaves workers that serve."""
    yield
    if "houses" in request.fixturenames:
        well(request.getfixturevalue("houses"))


# the store


SAID: Final = {
    "one": (PLAIN,),
    "two": (PLAIN + OTHER,),
    "three": (PLAIN + LIVE + LONG,),
    "long first": (LONG + PLAIN,),
    "one by one": (PLAIN, OTHER),
    "garbage": (PLAIN, b"garbage\r\n\r\n"),
    "h2c": (PLAIN + JAVA,),
    "XML": (post(("Accept", "text/xml"), ("X-Device-Id", "desk")),),
    "a websocket": (PLAIN, WEBSOCKET),
    "in pieces": (PLAIN, OTHER[:-3], OTHER[-3:]),
}


def test_a_silent_store(houses: Pair, store: RealStore) -> None:
    """All are answered 503 within its timeout, one after the other on a connection, and nothing is recorded late."""
    marks, taken = [house.marks() for house in houses.houses], houses.short.taken
    recorded = [house.worker.metrics.batches_recorded_total for house in houses.houses]
    with contextlib.ExitStack() as stack:
        talks = {name: stack.enter_context(Talks(houses)) for name in SAID}
        with paused(store.pid):
            began = time.monotonic()
            for name, talk in talks.items():
                talk.say(SAID[name][0])
                for part in SAID[name][1:]:  # the rest is read when there is a turn for it
                    talk.each(lambda wire, part=part: wire.send(part))  # type: ignore[misc]
            answers = [talk.told() for talk in talks.values()]
            answered = time.monotonic()
            wait_until(lambda: time.monotonic() > answered + TIMEOUT_S / 2, what="deadlines pass")
        assert answered - began < 6 * TIMEOUT_S
        assert all(answer.startswith(b"HTTP/1.1 503 Service Unavailable\r\ndate: *\r\n") for answer in answers)
        well(houses)
    assert [house.stored(mark) for house, mark in zip(houses.houses, marks, strict=True)] == [{}, {}]
    assert [house.worker.metrics.batches_recorded_total for house in houses.houses] == recorded
    assert houses.short.taken - taken == len(SAID) - 1
    given_back(houses)


def test_a_store_that_is_silent_for_a_moment(houses: Pair, store: RealStore) -> None:
    with Talks(houses) as talks:
        with paused(store.pid):
            talks.say(PLAIN)
        assert talks.told() == NO_CONTENT
    given_back(houses)


def test_a_store_that_is_gone(houses: Pair, store: RealStore) -> None:
    taken = houses.short.taken
    with Talks(houses) as talks:
        store.pause()
        talks.say(PLAIN)  # is under way
        store.kill()
        unavailable = talks.told()
        talks.say(PLAIN + OTHER, LIVE)
        assert talks.told().startswith(2 * unavailable + b"HTTP/1.1 200 OK\r\n")
        store.start()
        well(houses)
        talks.say(PLAIN)
        assert talks.told() == NO_CONTENT
    assert unavailable.startswith(b"HTTP/1.1 503 ")
    assert houses.short.taken - taken == 2
    given_back(houses)


def test_a_store_that_takes_no_writes(houses: Pair, store: RealStore) -> None:
    taken = houses.short.taken
    with client(store.url) as hand, Talks(houses) as talks:
        hand.config_set("maxmemory", 1)
        try:
            talks.say(PLAIN + LONG)
            answers = talks.told()
        finally:
            hand.config_set("maxmemory", 0)
        assert answers.count(b"HTTP/1.1 503 ") == 2
        assert houses.short.taken - taken == 1
        talks.say(PLAIN)
        assert talks.told() == NO_CONTENT
    given_back(houses)


def test_a_store_that_has_forgotten_the_script(houses: Pair, store: RealStore) -> None:
    for _ in range(2):
        with client(store.url) as hand, Talks(houses) as talks:
            hand.script_flush()
            talks.say(PLAIN)
            assert talks.told() == NO_CONTENT
    given_back(houses)


# the caller


@pytest.mark.parametrize(
    "behind", [b"", OTHER, LIVE, OTHER[:40], OTHER[:-3]], ids=["nothing", "another", "live", "a head", "a body"]
)
def test_a_caller_that_says_no_more(houses: Pair, store: RealStore, behind: bytes) -> None:
    """A whole request gets its answer, before or after its caller's last word."""
    for after in (False, True):
        with Talks(houses) as talks:
            with paused(store.pid):
                talks.say(PLAIN + behind)
                talks.each(Wire.finish)
                if after:
                    for wire in talks.wires:
                        wire.house.ask(lambda: None)
            answers = talks.rest()
        assert answers.startswith((NO_CONTENT, THE_LAST)) or answers == b""
        if behind == b"":
            assert answers == THE_LAST
    given_back(houses)


@pytest.mark.parametrize("behind", [b"", OTHER[:40], OTHER[:-3]], ids=["nothing", "a head", "a body"])
def test_a_caller_that_is_gone_while_it_is_recorded(houses: Pair, store: RealStore, behind: bytes) -> None:
    """It is recorded and counted all the same, and nothing is left of it."""

    def gone(house: House) -> Said:
        with Wire(house) as wire:
            with paused(store.pid):
                wire.send(PLAIN + behind)
                wire.heard()
                assert house.ask(house.held)[0] == 1
                wire.reset()
                if behind != OTHER[:-3]:  # whose turn has to come before more is read
                    house.until(lambda: wire.inside.lost, "it is gone")
            house.until(lambda: wire.inside.lost and house.held() == (0, 0), "it is recorded")
        return Said(b"", b"", b"", "")

    result = houses.each(lambda house: outcome(house, lambda: gone(house)))
    assert result.stored == {"{acme/ada}": [["1:1"]]}
    given_back(houses)


def test_a_caller_that_is_gone_before_a_503(houses: Pair, store: RealStore) -> None:
    with Talks(houses) as talks, paused(store.pid):
        talks.say(PLAIN)
        talks.each(Wire.reset)
        given_back(houses)


@pytest.mark.parametrize("said", [PLAIN + OTHER, PLAIN], ids=["two", "one whose head came before"])
def test_a_caller_that_does_not_read(houses: Pair, said: bytes) -> None:
    """Its next request waits with its answer, the long way."""
    with Talks(houses) as talks:
        talks.say(PLAIN)
        assert talks.told() == NO_CONTENT
        taken = houses.short.taken
        for wire in talks.wires:
            wire.house.ask(wire.inside.pause_writing)
        talks.say(said)
        for wire in talks.wires:
            assert not soon(0.05, wire)
            wire.house.ask(wire.inside.resume_writing)
        assert talks.told() == said.count(b"POST") * NO_CONTENT
    assert houses.short.taken == taken
    given_back(houses)


def test_answers_come_in_the_order_of_requests(houses: Pair) -> None:
    """Each says which request it answers."""
    said = [
        post(body=events(n)) if n % 3 else post(body=b'{"NotificationEvents":[{"Type":"%d","Id":1}]}' % (100 + n))
        for n in range(300)
    ]
    with Talks(houses) as talks:
        talks.each(lambda wire: wire.send(b"".join(said)))
        answers = talks.told()
    parts = answers.split(b"HTTP/1.1 ")[1:]
    assert [part[:3] for part in parts] == [b"204" if n % 3 else b"400" for n in range(300)]
    assert all(b"Type is %d, " % (100 + n) in part for n, part in enumerate(parts) if n % 3 == 0)
    given_back(houses)


def test_what_a_request_held_is_not_kept_by_its_connection(houses: Pair) -> None:
    """Connections stay for a minute and more, and a body may have 8 kB."""
    taken = houses.short.taken
    with Wire(houses.short) as wire:
        wire.send(post(body=ONE + b" " * 7000))
        wire.settle()
        inside: Any = wire.inside
        assert houses.short.taken == taken + 1
        assert not inside.cycle.content
        assert not inside.cycle.headers
        assert not inside.headers


def test_the_date_is_that_of_the_answer() -> None:
    bounds, first, second = RequestBounds(1, 1, 1), [(b"date", b"now")], [(b"date", b"then"), (b"a", b"b")]
    for _ in range(2):
        assert bounds.no_content(first, b"", True) == b"HTTP/1.1 204 No Content\r\ndate: now\r\n\r\n"
        assert bounds.no_content(second, b"", True) == b"HTTP/1.1 204 No Content\r\ndate: then\r\na: b\r\n\r\n"
        assert (
            bounds.no_content(first, b"", False) == b"HTTP/1.1 204 No Content\r\ndate: now\r\nconnection: close\r\n\r\n"
        )


def test_one_answer_that_fails_is_no_others_failure(
    houses: Pair, store: RealStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They come by one link: what escapes into it would end it for all."""
    house = houses.short
    written = RequestBounds.no_content
    failed: list[Any] = []

    def fails_once(*args: Any) -> bytes:
        if not failed:
            failed.append(args)
            raise ZeroDivisionError
        return written(*args)

    monkeypatch.setattr(RequestBounds, "no_content", fails_once)
    with Wire(house) as first, Wire(house) as second:
        with paused(store.pid):
            for wire in (first, second):
                wire.send(PLAIN)
                wire.heard()
        second.settle()
        assert second.told() == NO_CONTENT
        assert first.rest() == b""
    assert failed
    assert house.troubled() == ["request could not be answered"]
    assert house.ask(house.held) == (0, 0)
