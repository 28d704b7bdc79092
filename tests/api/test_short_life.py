"""The short way against the long one at the end of a worker, and where a connection is idle or a request never ends."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.api.houses import Pair, pair
from tests.api.raw import head
from tests.api.requests_table import LONG, ONE, OTHER, PLAIN, post
from tests.api.sides import Wire, soon
from tests.api.talks import NO_CONTENT, THE_LAST, TIMEOUT_S, Talks
from tests.running import RealStore, paused

pytestmark = pytest.mark.faults

LIVE: Final = head("GET", "/live")


# the end of a worker


@pytest.fixture
def leaving(tmp_path: Path, store: RealStore) -> Iterator[Pair]:
    """Two workers that end in the test."""
    with pair(tmp_path, store.url, "leaving", STORE__TIMEOUT_S=str(TIMEOUT_S)) as houses:
        yield houses


def stopping(houses: Pair) -> None:
    """Both have begun to end, and have told it their connections."""
    for house in houses.houses:
        house.stop()


def test_an_end_waits_for_what_is_under_way(leaving: Pair, store: RealStore) -> None:
    taken = leaving.short.taken
    with Talks(leaving) as talks:
        with paused(store.pid):
            talks.say(PLAIN)
            stopping(leaving)
            for wire in talks.wires:
                wire.house.until(lambda wire=wire: not wire.inside.cycle.keep_alive, "it is told")  # type: ignore[misc]
        assert talks.rest() == THE_LAST
    assert leaving.short.taken - taken == 1
    for house in leaving.houses:
        house.ended()


@pytest.mark.parametrize("gone", [False, True], ids=["caller waits", "caller is gone"])
def test_an_end_does_not_wait_for_a_silent_store(leaving: Pair, store: RealStore, gone: bool) -> None:
    with Talks(leaving) as talks, paused(store.pid):
        talks.say(PLAIN)
        if gone:
            talks.each(Wire.reset)
        stopping(leaving)
        if not gone:
            answers = talks.rest()
            assert answers.startswith(b"HTTP/1.1 503 ")
            assert b"\r\nconnection: close\r\n" in answers
        for house in leaving.houses:
            house.ended()


def test_an_end_takes_idle_connections_with_it(leaving: Pair) -> None:
    with Talks(leaving) as talks:
        talks.say(PLAIN)
        assert talks.told() == NO_CONTENT
        stopping(leaving)
        assert talks.rest() == b""


# idle connections, and requests that do not end

IDLE_S: Final = 0.6
HASTE_S: Final = 0.5
SOON_S: Final = 3.0


@pytest.fixture(scope="module")
def hasty(tmp_path_factory: pytest.TempPathFactory, store: RealStore) -> Iterator[Pair]:
    """Idle connections last 0.6 s, heads and bodies 0.5 s."""
    env = {"LIMITS__HEADER_TIMEOUT_S": str(HASTE_S), "LIMITS__BODY_TIMEOUT_S": str(HASTE_S)}
    with pair(tmp_path_factory.mktemp("hasty"), store.url, "hasty", IDLE_S, **env) as houses:
        yield houses


def test_an_idle_connection_is_ended_and_one_that_is_used_is_not(hasty: Pair) -> None:
    taken, lasted, answered = hasty.short.taken, [], 0.0
    with Talks(hasty) as talks:
        for _ in range(3):
            talks.say(PLAIN)
            assert talks.told() == NO_CONTENT
            answered = time.monotonic()
            assert not soon(0.6 * IDLE_S, *talks.wires), "not before"
        for wire in talks.wires:
            assert soon(SOON_S, wire), "ended"
            lasted.append(time.monotonic() - answered)
            assert wire.rest() == b""
    assert hasty.short.taken - taken == 3
    assert min(lasted) >= 0.95 * IDLE_S
    assert max(lasted) < IDLE_S + SOON_S / 2


def test_a_connection_has_one_timer_however_often_it_is_used(hasty: Pair) -> None:
    with Wire(hasty.short) as wire:
        timers = set()
        for _ in range(5):
            wire.send(PLAIN)
            wire.settle()
            timers.add(id(wire.inside.timeout_keep_alive_task))
        assert len(timers) == 1
        assert wire.inside.timeout_keep_alive_task is not None
        wire.finish()
        assert wire.rest() == NO_CONTENT * 5
        hasty.short.until(lambda: wire.inside.lost, "it is gone")
        assert wire.inside.timeout_keep_alive_task is None, "which would keep it in memory"


def test_a_refusal_is_not_cut_short_by_the_end_of_an_idle_connection(hasty: Pair) -> None:
    """Its caller may still be sending, and is read from for a while."""
    with Wire(hasty.short) as wire:
        wire.send(PLAIN)
        wire.settle()
        assert wire.inside.timeout_keep_alive_task is not None
        wire.send(b"nonsense\r\n\r\n")
        wire.settle()
        assert wire.told().endswith(b"}"), "it is refused"
        assert wire.inside.timeout_keep_alive_task is None


def test_a_connection_is_idle_once_the_rest_of_a_body_has_come_that_was_answered_before(hasty: Pair) -> None:
    """The timer of the answer before it ends in the middle of the body."""
    refused = post(body=ONE, who=("X-None", ""))
    with Talks(hasty) as talks:
        talks.say(PLAIN)
        assert talks.told() == NO_CONTENT
        assert not soon(0.7 * IDLE_S, *talks.wires)
        talks.say(refused[:-5])
        assert talks.told().startswith(b"HTTP/1.1 401 ")
        assert not soon(0.5 * IDLE_S, *talks.wires)
        talks.say(refused[-5:])
        assert talks.rest() == b""


UNFINISHED: Final = {
    "half a line": b"POST",
    "half a head": PLAIN[:60],
    "half a body": PLAIN[:-5],
    "a body that never begins": PLAIN[: -len(ONE)],
    "half of one that is long": LONG[:-5],
    "blank lines": b"\r\n\r\n",
}


@pytest.mark.parametrize("together", [True, False], ids=["at once", "later"])
def test_a_request_that_does_not_finish_is_ended_after_short_ones(hasty: Pair, together: bool) -> None:
    with contextlib.ExitStack() as stack:
        talks = {name: stack.enter_context(Talks(hasty)) for name in UNFINISHED}
        for name, talk in talks.items():
            talk.say(PLAIN)
            assert talk.told() == NO_CONTENT
            if together:
                talk.say(OTHER + UNFINISHED[name])
            else:
                talk.say(OTHER)
                talk.each(Wire.settle)
                talk.say(UNFINISHED[name])
        for name, talk in talks.items():
            rest = talk.rest()
            assert rest.startswith(NO_CONTENT)
            late = rest.removeprefix(NO_CONTENT)
            if name == "blank lines":
                assert late == b""
            else:
                assert late.startswith(b"HTTP/1.1 408 Request Timeout\r\ndate: *\r\n")


def test_a_record_that_takes_longer_than_an_idle_connection_lasts(hasty: Pair, store: RealStore) -> None:
    """The store has its own timeout: neither the timer nor a deadline ends a request that is whole."""
    with Talks(hasty) as talks:
        talks.say(PLAIN)
        assert talks.told() == NO_CONTENT
        with paused(store.pid):
            talks.say(PLAIN)
            assert not soon(1.3 * IDLE_S, *talks.wires)
        assert talks.told() == NO_CONTENT
        talks.say(LIVE)
        assert talks.told().startswith(b"HTTP/1.1 200 ")
