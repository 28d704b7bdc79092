"""Event streams of a running server: what a websocket would say, by other means."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Iterator
from typing import Final

import pytest

from server.gateway.eventstream import RETRY_MS
from server.wire import SYNC_PATH, CloseCode
from tests.conftest import Serve
from tests.faults.figures import figure
from tests.gateway.conftest import BASE, CRM
from tests.gateway.devices import (
    Ledger,
    Pair,
    basic,
    caller,
    resident_bytes,
    seq_of,
    session,
    snapshot,
    tickets,
)
from tests.gateway.streams import asking, ended, streaming
from tests.running import Running, serving, wait_until

SENTINEL: Final[Pair] = ("Unknown", -1)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A server that says every second that it is there, and keeps nothing of what was recorded."""
    env = {
        "CLEARSYNC_GATEWAY__PING_INTERVAL_S": "1",
        "CLEARSYNC_GATEWAY__PING_TIMEOUT_S": "0.5",
        "CLEARSYNC_STORE__RECORD_AGAIN_S": "0",
    }
    with serving("--dev", folder=tmp_path_factory.mktemp("streams"), env=env) as running:
        yield running


def holds(running: Running, sessions: int) -> bool:
    """Whether so many devices are connected."""
    return figure(running, "clearsync_sessions") == sessions


async def all_gone(running: Running) -> None:
    """Nobody is connected any more."""
    await asyncio.to_thread(wait_until, lambda: holds(running, 0), what="all have gone")


async def test_what_a_stream_begins_with(running: Running, user: str) -> None:
    async with streaming(running.port, user) as (device, stream):
        assert stream.headers["content-type"] == "text/event-stream"
        assert stream.headers["x-accel-buffering"] == "no"
        assert "no-transform" in stream.headers["cache-control"]
        assert RETRY_MS[0] <= stream.retry_ms <= RETRY_MS[1]
        assert device.frames[0]["ping"] == 1
        assert stream.ids == [device.frames[0]["cursor"]]


async def test_streams_are_told_different_times_to_come_back(running: Running, user: str) -> None:
    told = []
    for _ in range(5):
        async with streaming(running.port, user) as (_, stream):
            told.append(stream.retry_ms)
    assert len(set(told)) > 1


async def test_clears_come_to_all_but_their_origin(running: Running, user: str) -> None:
    async with (
        streaming(running.port, user, "phone") as (phone, stream),
        session(running, user, "desk") as desk,
        caller(running, user) as post,
    ):
        await post.handled(("NewTicket", 12), ("AppointmentMoved", -3), device="desk")
        clear = await phone.receive()
        assert clear["events"] == [{"Type": "NewTicket", "Id": 12}, {"Type": "AppointmentMoved", "Id": -3}]
        assert (await desk.receive())["events"] == []
        await post.handled(("NewTicket", 13), device="phone")
        empty = await phone.receive()
        assert empty["events"] == []
        assert stream.ids[1:] == [clear["cursor"], empty["cursor"]]
        assert (await desk.receive())["events"] == [{"Type": "NewTicket", "Id": 13}]


async def test_the_last_event_id_is_gone_on_from_and_beats_the_cursor(running: Running, user: str) -> None:
    async with caller(running, user) as post:
        async with streaming(running.port, user) as (device, stream):
            await post.handled(("NewTicket", 1))
            await device.receive()
        await post.handled(("NewTicket", 2))
        resumed = f"Last-Event-ID: {stream.last_id}"
        async with streaming(running.port, user, "phone", "0", resumed) as (device, stream):
            assert stream.ids == [device.frames[0]["cursor"]]
            clear = await device.receive()
            assert [(e["Type"], e["Id"], e["At"]) for e in clear["events"]] == [("NewTicket", 2, clear["at"])]
        async with streaming(running.port, user, "phone", stream.last_id, "Last-Event-ID: ") as (device, stream):
            await post.handled(SENTINEL)
            assert [f["type"] for f in await device.until_cleared(SENTINEL)] == ["clear"]


async def test_from_zero_is_a_reset_and_all_that_is_retained(running: Running, user: str) -> None:
    async with caller(running, user) as post:
        await post.handled(*tickets(range(20)))
        async with streaming(running.port, user, "phone", "0") as (device, _):
            await device.until(lambda: len(device.ledger.cleared) == 20)
            assert [frame["type"] for frame in device.frames] == ["welcome", "reset", "clear"]


async def test_a_catch_up_that_is_cut_goes_on_from_its_last_frame(running: Running, user: str) -> None:
    """Ten frames or so, each with its own id; after each cut the next stream goes on behind it."""
    pairs = tickets(range(5000))
    ledger, cuts = Ledger(), 0
    async with caller(running, user) as post:
        await post.all_handled([pairs[start : start + 100] for start in range(0, 5000, 100)])
    last, seen = "0", 0
    while len(ledger.cleared) < 5000:
        assert cuts < 30
        async with streaming(running.port, user, "phone", None, f"Last-Event-ID: {last}", ledger=ledger) as (d, stream):
            await d.until(lambda: len(ledger.cleared) > seen)  # noqa: B023  # read in this turn
            last, seen = stream.last_id, len(ledger.cleared)
            stream.cut()
        cuts += 1
    assert cuts > 3, "the catch-up came in few frames"
    assert ledger.resets == 1
    assert ledger.cleared == await snapshot(running, user)


async def test_silence_is_broken_by_comments(running: Running, user: str) -> None:
    async with streaming(running.port, user) as (_, stream):
        await stream.commented()
        await stream.commented()


async def test_a_stream_that_is_not_read_catches_up_when_it_is(running: Running, user: str) -> None:
    """20 MB are sent past it: some wait in the kernel, 128 KiB in the worker, the rest is read from the store."""
    chance, pairs = random.Random(6), tickets(range(3000))
    batches = [chance.sample(pairs, 400) for _ in range(1400)]
    async with (
        caller(running, user) as post,
        session(running, user, "quick") as quick,
        streaming(running.port, user, "slow", receive_buffer=4096) as (slow, stream),
    ):
        stream.writer.transport.pause_reading()  # type: ignore[attr-defined]  # a transport of a socket
        before = 0
        for start in range(0, 1400, 100):
            await post.all_handled(batches[start : start + 100])
            for _ in range(100):
                await quick.receive()
            before = before or resident_bytes(running)
        grown = resident_bytes(running) - before
        assert grown < 5_000_000, f"{grown:,} bytes in the worker"
        await post.handled(SENTINEL)
        stream.writer.transport.resume_reading()  # type: ignore[attr-defined]
        await slow.until_cleared(SENTINEL)
        assert slow.ledger.cleared == await snapshot(running, user)
        assert len(slow.frames) < 700, "most of it was sent to it all the same"
        assert slow.ledger.resets == 0


async def test_who_is_gone_holds_no_place(running: Running, user: str) -> None:
    await all_gone(running)
    async with streaming(running.port, user) as (_, one), streaming(running.port, user, "desk") as (_, other):
        await asyncio.to_thread(wait_until, lambda: holds(running, 2))
        one.cut()
        other.writer.close()
        await all_gone(running)
    ends = [line for line in map(json.loads, running.logged.splitlines()) if line.get("agent") == f"dev/{user}"]
    assert {(line["device"], line["transport"], line["code"]) for line in ends if line["event"] == "session ended"} == {
        ("phone", "sse", 1006),
        ("desk", "sse", 1006),
    }


async def test_a_request_behind_a_stream_does_not_keep_it_there(guarded: Running) -> None:
    """It is what uvicorn tells of the end of the connection, and nobody else."""
    async with streaming(guarded.port, "ada", base=BASE) as (_, stream):
        for _ in range(2):
            stream.writer.write(b"GET /live HTTP/1.1\r\nHost: localhost\r\n\r\n")
        await stream.writer.drain()
        async with asking(guarded.port, target="/live", accept="*/*") as other:
            assert other.status == 200  # what was sent before has been read
        stream.cut()
        await all_gone(guarded)


async def test_a_restart_is_told(serve: Serve) -> None:
    with serve("--dev", env={"CLEARSYNC_SERVER__DRAIN_S": "0.5"}) as running:
        async with (
            streaming(running.port, "ada", "a") as (one, first),
            streaming(running.port, "ada", "b") as (other, second),
        ):
            ending = asyncio.create_task(asyncio.to_thread(running.terminate))
            assert await ended(one, first) == CloseCode.RESTART
            assert await ended(other, second) == CloseCode.RESTART
            assert await ending == 0
            assert '"level": "error"' not in running.logged


@pytest.mark.parametrize(
    ("accept", "streams"),
    [
        ("text/event-stream", True),
        ("Text/Event-Stream", True),
        ("text/event-stream, */*;q=0.1", True),
        ("application/json;q=0.9, text/event-stream", True),
        ("application/json, text/event-stream", True),
        ("application/json, text/event-stream;q=0.5", False),
        ("text/event-stream;q=0", False),
        ("*/*", False),
        ("text/*", False),
        ("text/event-stream;q=2", False),
    ],
)
async def test_what_accept_asks_for(running: Running, user: str, accept: str, streams: bool) -> None:
    async with asking(running.port, f"Authorization: {basic(user)}", accept=accept) as stream:
        assert stream.status == 200
        assert stream.headers["content-type"] == ("text/event-stream" if streams else "application/json; charset=utf-8")
        if not streams:
            assert json.loads(stream.body)["events"] == []


async def test_head_is_of_the_one_answer(running: Running, user: str) -> None:
    async with asking(running.port, f"Authorization: {basic(user)}", method="HEAD") as stream:
        assert stream.status == 200
        assert stream.headers["content-type"].startswith("application/json")


# who is refused


@pytest.mark.parametrize(
    ("target", "headers", "status", "kind"),
    [
        (SYNC_PATH, (), 400, "BadRequest"),
        (f"{SYNC_PATH}?device=-", (), 400, "BadRequest"),
        (f"{SYNC_PATH}?device=a&cursor=1", (), 400, "BadRequest"),
        (f"{SYNC_PATH}?device=a", ("Last-Event-ID: 1",), 400, "BadRequest"),
        (f"{SYNC_PATH}?device=a", ("Content-Length: 1", "", "x"), 400, "BadRequest"),
        (f"{SYNC_PATH}?device=a", ("X-Agent-Id: bob",), 403, "Forbidden"),
        (f"/other{SYNC_PATH}?device=a", (), 403, "Forbidden"),
        (f"{SYNC_PATH}?device=a", ("Origin: https://evil.example.com",), 403, "Forbidden"),
        (f"{SYNC_PATH}?device=a", (f"Authorization: {basic('bob')}",), 400, "BadRequest"),
        (f"{SYNC_PATH}?device=a", ("Sec-Fetch-Site: cross-site",), 403, "Forbidden"),
    ],
)
async def test_what_is_refused(
    running: Running, user: str, target: str, headers: tuple[str, ...], status: int, kind: str
) -> None:
    async with asking(running.port, f"Authorization: {basic(user)}", *headers, target=target) as stream:
        assert (stream.status, json.loads(stream.body)["ErrorType"]) == (status, kind)
        assert stream.headers["content-type"] == "application/json; charset=utf-8"


async def test_who_is_not_let_in(guarded: Running) -> None:
    target = f"{BASE}{SYNC_PATH}?device=phone"
    async with asking(guarded.port, target=target) as nobody:
        assert nobody.status == 401
        assert nobody.headers["www-authenticate"].startswith("Basic")
    async with asking(guarded.port, f"Authorization: {basic('writer')}", target=target) as writer:
        assert (writer.status, json.loads(writer.body)["ErrorType"]) == (403, "Forbidden")


async def test_limits_are_those_of_websockets(guarded: Running) -> None:
    """Two sessions a worker, whatever they come by."""
    async with (
        streaming(guarded.port, "ada", base=BASE),
        session(guarded, "ada", "desk"),
        asking(guarded.port, f"Authorization: {basic('ada')}", target=f"{BASE}{SYNC_PATH}?device=x") as third,
    ):
        assert (third.status, third.headers["retry-after"]) == (503, "60")
    await all_gone(guarded)


async def test_a_stream_ends_with_what_its_caller_says(guarded: Running) -> None:
    """Long before a heartbeat would find that out."""
    async with streaming(guarded.port, "ada", base=BASE) as (_, stream):
        stream.writer.write_eof()
        await all_gone(guarded)


async def test_a_page_of_an_allowed_origin_reads_it(guarded: Running) -> None:
    async with streaming(guarded.port, "ada", "phone", None, f"Origin: {CRM}", base=BASE) as (_, stream):
        assert stream.headers["access-control-allow-origin"] == CRM
        assert "Origin" in stream.headers["vary"]
    await all_gone(guarded)


async def test_ids_are_in_order(running: Running, user: str) -> None:
    async with streaming(running.port, user) as (device, stream), caller(running, user) as post:
        await post.all_handled([[pair] for pair in tickets(range(100))])
        await post.handled(SENTINEL)
        await device.until_cleared(SENTINEL)
        seqs = [seq_of(id_) for id_ in stream.ids if id_]
        assert seqs == sorted(set(seqs))
        assert len(seqs) == 102
