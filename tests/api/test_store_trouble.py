"""What the HTTP edge says while the store is silent: alive to the kernel, and answering nothing (SIGSTOP)."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import pytest

from server.wire import SYNC_PATH
from tests.api.devices import listening, recorded, tickets
from tests.api.raw import Answer, Wire, ask, basic, events, head, post
from tests.running import Running, get, wait_until

pytestmark = pytest.mark.faults

PROMISED_S: Final = 2.0
"""`store.timeout_s`. Tested with a factor of three to spare."""


@contextmanager
def silent_store(running: Running) -> Iterator[None]:
    """The embedded store, paused; afterwards the worker is ready again."""
    pid = running.store_pid()
    assert pid
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)
        wait_until(lambda: get(f"{running.url}/ready")[0] == 200, what="ready again")


def until_too_late(answered: float) -> None:
    """Until nothing that was answered by then (monotonic) may be recorded any more: it is answered a moment before."""
    wait_until(lambda: time.monotonic() > answered + PROMISED_S / 2, what="deadlines pass")


def unavailable(answer: Answer) -> None:
    """A 503 in the vendor's shape, which says when to come back and nothing of our insides."""
    assert answer.status == 503
    assert answer.headers["retry-after"].isdigit()
    assert answer.headers["content-type"] == "application/json; charset=utf-8"
    shape: dict[str, Any] = answer.json()
    assert shape == {
        "Error": True,
        "ErrorType": "Unavailable",
        "ErrorMessage": "the store did not answer, try again",
        "ErrorSource": "clearsync",
    }


def test_a_post_is_answered_503_in_time_and_not_recorded_late(running: Running, user: str) -> None:
    with listening(running, user) as device:
        with silent_store(running):
            with Wire(running.port) as wire:
                began = time.monotonic()
                wire.send(post(user, events(666)))
                unavailable(wire.answer())
                assert time.monotonic() - began < 3 * PROMISED_S
                wire.send(head("GET", "/live"))
                assert wire.answer().status == 200
            wait_until(lambda: get(f"{running.url}/ready") == (503, {"ready": False}), 3 * PROMISED_S, "not ready")
            wait_until(lambda: running.ready()[0] == 503, what="the admin listener says so too")
            assert get(f"{running.url}/live") == (200, {"live": True})
            assert get(f"{running.url}/version")[0] == 200
            began = time.monotonic()
            unavailable(ask(running, post(user, events(667))))
            unavailable(ask(running, head("GET", f"{SYNC_PATH}?device=x&cursor=0", [basic(user)])))
            assert time.monotonic() - began < 3 * PROMISED_S
            # what needs no store is answered as ever
            assert ask(running, post(user, b'{"NotificationEvents":[]}')).status == 204
            assert ask(running, post(user, b"{}")).status == 400
            until_too_late(began)
        assert ask(running, post(user, events(1))).status == 204
        assert device.cleared() == tickets(1)
    assert recorded(running, user) == tickets(1)


def test_many_that_wait_are_all_answered(running: Running, user: str) -> None:
    with silent_store(running):
        wires = [Wire(running.port) for _ in range(50)]
        try:
            began = time.monotonic()
            for n, wire in enumerate(wires):
                wire.send(post(user, events(n)) + head("GET", f"{SYNC_PATH}?device=x", [basic(user)]))
            for wire in wires:
                unavailable(wire.answer())
                unavailable(wire.answer())
            assert time.monotonic() - began < 6 * PROMISED_S  # two requests, one after the other
            until_too_late(time.monotonic())
        finally:
            for wire in wires:
                wire.__exit__()
    assert recorded(running, user) == []


def test_a_short_silence_is_waited_out(running: Running, user: str) -> None:
    with listening(running, user) as device, Wire(running.port) as wire:
        with silent_store(running):
            wire.send(post(user, events(1)))
            assert ask(running, head("GET", "/live")).status == 200
        answer = wire.answer()
        assert answer.status == 204
        assert device.cleared() == tickets(1)


@pytest.mark.parametrize(
    "broken",
    [
        b"garbage\r\n\r\n",
        b"POST /x HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"GET / HTTP/1.1\r\nX: " + b"x" * 70_000,
    ],
    ids=["garbage", "a bad chunk", "a long header"],
)
@pytest.mark.parametrize("together", [True, False])
def test_a_batch_under_way_is_not_called_refused(running: Running, user: str, broken: bytes, together: bool) -> None:
    """What follows it is broken. A 4xx in the place of its answer would say that it was not recorded, and it is."""
    with Wire(running.port) as wire:
        with silent_store(running):
            wire.send(post(user, events(1)) + (broken if together else b""))
            if not together:
                wire.send(broken)
            assert ask(running, head("GET", "/live")).status == 200
        assert wire.answer().status == 204
    assert recorded(running, user) == tickets(1)


def test_a_caller_that_hangs_up_leaves_the_batch_whole(running: Running, user: str) -> None:
    with listening(running, user) as device:
        with silent_store(running):
            with Wire(running.port) as wire:
                wire.send(post(user, events(1, 2, 3)))
                assert ask(running, head("GET", "/live")).status == 200
            assert ask(running, head("GET", "/live")).status == 200
        assert ask(running, post(user, events(4))).status == 204
        heard = device.cleared()
        if heard != tickets(4):
            assert heard == tickets(1, 2, 3)
            assert device.cleared() == tickets(4)
    assert recorded(running, user) in (tickets(4), tickets(1, 2, 3, 4))
