"""More than a worker can take: what is over a bound is told so at once, the rest is served, and then all is again."""

from __future__ import annotations

import contextlib
import resource
import select
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, Final

import pytest

from server.api.bounds import OWN_FILES
from server.wire import HANDLED_PATH, SESSION_PATH, SYNC_PATH, TICKET_PATH
from tests.api.raw import Answer, Wire, ask, basic, events, head, post
from tests.conftest import Serve
from tests.faults.figures import figure, limited, open_files, processor_s
from tests.running import Running, get, kill, paused, wait_until

pytestmark = pytest.mark.faults
ADA: Final = basic("ada")
UPGRADE: Final = (("Upgrade", "websocket"), ("Connection", "Upgrade"))


def too_much(answer: Answer, said: str) -> None:
    """A 503 in the vendor's shape that says when to come back, and not for the store."""
    assert answer.status == 503
    assert answer.headers["retry-after"].isdigit()
    shape: dict[str, Any] = answer.json()
    assert (shape["Error"], shape["ErrorType"], shape["ErrorSource"]) == (True, "Unavailable", "clearsync")
    assert said in shape["ErrorMessage"]


def unanswered(wires: list[Wire]) -> bool:
    """Whether all of them still wait."""
    return not select.select(wires, [], [], 0)[0]


@contextmanager
def connected(running: Running, number: int) -> Iterator[list[Wire]]:
    """So many connections on which nothing was said yet."""
    with ExitStack() as stack:
        yield [stack.enter_context(Wire(running.port)) for _ in range(number)]


def test_requests_over_the_bound_are_refused_while_the_others_wait_for_the_store(serve: Serve) -> None:
    env = {"CLEARSYNC_LIMITS__REQUESTS_IN_FLIGHT": "10", "CLEARSYNC_STORE__TIMEOUT_S": "5"}
    with serve("--dev", env=env) as running, connected(running, 10) as wires:
        assert ask(running, post("ada", events(0))).status == 204  # signed in
        with paused(running.store_pid()):
            for number, wire in enumerate(wires):
                if number % 2:
                    wire.send(post("ada", events(number)))
                else:
                    wire.send(head("GET", f"{SYNC_PATH}?device=phone", [ADA]))
            wait_until(lambda: ask(running, post("ada", events(99))).status == 503, what="all ten are under way")
            before = limited(running, "requests_in_flight")
            for request in (
                post("ada", events(99)),
                head("GET", f"{SYNC_PATH}?device=phone", [ADA]),
                head("POST", f"{TICKET_PATH}?device=phone", [ADA]),
                head("POST", SESSION_PATH, [ADA]),
                head("DELETE", SESSION_PATH, [ADA]),
            ):
                too_much(ask(running, request), "10 requests are under way")
            assert limited(running, "requests_in_flight") - before == 5
            assert get(f"{running.url}/live")[0] == 200
            assert get(f"{running.url}/ready")[1] == {"ready": True}
            assert unanswered(wires)
        assert {wire.answer().status for wire in wires} == {200, 204}
        assert ask(running, post("ada", events(1))).status == 204


def test_bodies_over_the_bound_are_refused_until_those_under_way_end(serve: Serve) -> None:
    env = {"CLEARSYNC_LIMITS__BODIES_IN_FLIGHT_BYTES": f"{4 * 262_144}", "CLEARSYNC_LIMITS__BODY_TIMEOUT_S": "3"}
    large = (ADA, ("Content-Type", "application/json"), ("Content-Length", "262144"))
    with serve("--dev", env=env) as running, ExitStack() as stack:
        assert ask(running, post("ada", events(0))).status == 204
        for ending in ("hangs up", "times out"):
            with connected(running, 4) as wires:
                for wire in wires:
                    wire.send(head("POST", HANDLED_PATH, large) + b"{")
                wait_until(lambda: ask(running, post("ada", events(1))).status == 503, what="there is no more room")
                before = limited(running, "bodies")
                too_much(ask(running, post("ada", events(1))), "bodies of 1048576 bytes are under way")
                assert limited(running, "bodies") == before + 1
                assert ask(running, head("GET", f"{SYNC_PATH}?device=phone", [ADA])).status == 200
                assert unanswered(wires)
                if ending == "times out":
                    assert {wire.answer().status for wire in wires} == {408}
            wait_until(lambda: ask(running, post("ada", events(2))).status == 204, what=f"room, as one {ending}")
        # all of it was given back: four more such bodies are taken
        wires = stack.enter_context(connected(running, 4))
        for wire in wires:
            wire.send(head("POST", HANDLED_PATH, large) + b'{"NotificationEvents":[]}'.ljust(262_144))
        assert [wire.answer().status for wire in wires] == [204] * 4


def test_a_connection_over_the_bound_is_told_so_and_closed(serve: Serve) -> None:
    with serve("--dev", env={"CLEARSYNC_LIMITS__CONNECTIONS_PER_WORKER": "20"}) as running:
        with connected(running, 20) as wires:
            assert ask_on(wires[0], post("ada", events(1))).status == 204  # taken, and so are those before
            wait_until(lambda: figure(running, "clearsync_connections") == 20, what="all are taken")
            before = limited(running, "connections")
            for request in (b"", post("ada", events(2)), head("GET", f"{SYNC_PATH}?device=x", [ADA, *UPGRADE])):
                with Wire(running.port) as wire:
                    wire.send(request)
                    answer = wire.answer()
                    too_much(answer, "as many connections as it may")
                    assert answer.headers["connection"] == "close"
                    assert wire.rest() == b"", "nothing follows"
                    for _ in range(3):
                        wire.send(b"x")  # heard out for a moment: a reset would take the answer along on some systems
            with connected(running, 100) as more:  # some get an answer and a moment to read it, others less
                assert [one for one in more if b" 503 " in one.rest()]
                assert figure(running, "clearsync_connections") == 20
                wait_until(lambda: limited(running, "connections") == before + 103, what="all are counted")
            assert [ask_on(wire, post("ada", events(3))).status for wire in wires] == [204] * 20
            assert running.ready()[0] == 200, "the operators' listener has connections of its own"
        wait_until(lambda: get(f"{running.url}/live")[0] == 200, what="there is room again")
        assert ask(running, post("ada", events(4))).status == 204


def ask_on(wire: Wire, request: bytes) -> Answer:
    """The answer on a connection that stays."""
    wire.send(request)
    return wire.answer()


def test_by_default_a_worker_takes_no_more_than_its_open_files_allow(serve: Serve) -> None:
    """A worker that starts with few: the bound leaves it its own, so nothing of it fails."""
    files = 128
    with serve("--dev") as running:
        (first,) = running.worker_pids()
        resource.prlimit(running.pid, resource.RLIMIT_NOFILE, (files, files))
        kill(first)
        wait_until(lambda: running.worker_pids() not in ([], [first]), what="another worker")
        wait_until(lambda: get(f"{running.url}/ready")[0] == 200, 20, "it is ready")
        (pid,) = running.worker_pids()
        wait_until(
            lambda: figure(running, "clearsync_connections") == 0, what="the question's own connection has ended"
        )
        with connected(running, files - OWN_FILES) as wires:
            assert ask_on(wires[-1], post("ada", events(1))).status == 204
            with connected(running, 2 * files) as more:
                answered = [one.rest() for one in more]
                assert sum(b" 503 " in said for said in answered) >= 10
                assert limited(running, "connections") == 2 * files
                assert open_files(pid) < files
                assert [ask_on(wire, post("ada", events(2))).status for wire in wires] == [204] * len(wires)
        wait_until(lambda: ask_if_open(running) == 204, what="it serves new connections")
        assert running.worker_pids() == [pid]


def ask_if_open(running: Running) -> int:
    """The status of a POST on a new connection; 0 where it is not taken."""
    with contextlib.suppress(OSError, AssertionError):
        return ask(running, post("ada", events(3))).status
    return 0


def test_a_worker_whose_open_files_others_use_up_turns_away_and_serves_on(serve: Serve) -> None:
    """Its limit falls to what it has open: no new connection gets a descriptor. It neither spins nor ends, nor forgets
    to listen."""
    with serve("--dev") as running, connected(running, 5) as wires, ExitStack() as stack:
        (pid,) = running.worker_pids()
        assert [ask_on(wire, post("ada", events(n))).status for n, wire in enumerate(wires)] == [204] * 5
        _, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (open_files(pid), hard))
        refused = [stack.enter_context(Wire(running.port)) for _ in range(50)]
        assert {one.rest() for one in refused} == {b""}, "closed without a word"
        assert ask_on(wires[0], post("ada", events(6))).status == 204, "it serves those it has"
        used, until = processor_s(pid), time.monotonic() + 1.5
        wait_until(lambda: time.monotonic() > until, what="time to spin in")
        assert processor_s(pid) - used < 0.75, "it spins"
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (hard, hard))
        wait_until(lambda: ask_if_open(running) == 204, what="it serves new connections")
        assert running.worker_pids() == [pid]
        assert running.ready()[0] == 200
