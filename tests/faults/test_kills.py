"""`kill -9` in the middle of posting: what was answered 204 is there after the next start."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path

import pytest
from websockets.exceptions import ConnectionClosed

from tests.gateway.devices import Caller, Device, Ledger, Pair, caller, session
from tests.running import Running, serving

pytestmark = pytest.mark.faults
ENOUGH = 300


async def post_until_killed(post: Caller, start: int, acknowledged: set[Pair], enough: asyncio.Event) -> None:
    """Batch after batch, each of pairs of its own, until the connection breaks."""
    with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
        for number in range(start, start + 1_000_000, 2):
            batch = (("NewTicket", number), ("AppointmentMoved", number))
            await post.handled(*batch)
            acknowledged.update(batch)
            if len(acknowledged) >= ENOUGH:
                enough.set()


async def listen_until_killed(phone: Device) -> None:
    """Take what comes, until the connection breaks."""
    with contextlib.suppress(ConnectionClosed):
        while True:
            await phone.receive()


async def kill_while_posting(running: Running, ledger: Ledger, numbers: range) -> set[Pair]:
    """Post on a connection for each number while a device listens, kill every process; what was answered 204."""
    acknowledged: set[Pair] = set()
    enough = asyncio.Event()
    async with contextlib.AsyncExitStack() as stack:
        callers = [await stack.enter_async_context(caller(running, "ada")) for _ in numbers]
        phone = await stack.enter_async_context(session(running, "ada", "phone", ledger.cursor or None, ledger=ledger))
        work = [listen_until_killed(phone)]
        for number, post in zip(numbers, callers, strict=True):
            work.append(post_until_killed(post, number * 10_000_000, acknowledged, enough))
        tasks = [asyncio.create_task(each) for each in work]
        async with asyncio.timeout(30):
            await enough.wait()
        await asyncio.to_thread(running.kill_all)
        await asyncio.gather(*tasks)
    return acknowledged


async def test_after_a_kill_of_every_process_a_device_gets_all_that_was_answered_204(tmp_path: Path) -> None:
    ledger, data_dir = Ledger(), tmp_path / "data"
    acknowledged: set[Pair] = set()
    for numbers in (range(4), range(4, 8)):  # the second kill meets what the first left behind
        with serving("--dev", folder=tmp_path, data_dir=data_dir, expect_exit=None) as running:
            acknowledged |= await kill_while_posting(running, ledger, numbers)
    with serving("--dev", folder=tmp_path, data_dir=data_dir) as running:
        async with (
            session(running, "ada", "phone", ledger.cursor, ledger=ledger) as phone,
            caller(running, "ada") as post,
        ):
            await post.handled(("Unknown", 1))
            await phone.until_cleared(("Unknown", 1))
    assert len(acknowledged) >= 2 * ENOUGH
    assert acknowledged <= set(ledger.cleared), "answered 204, and lost"
    assert ledger.resets == 0, "nothing was lost, so nobody had to start anew"
