"""A store that goes back by a few moments, and the devices that see it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from tests.gateway.devices import Device, Ledger, Pair, caller, session
from tests.running import RealStore, Running

BEFORE: Final[Pair] = ("NewTicket", 1)
TWICE: Final[Pair] = ("NewTicket", 2)
"""Handled before, and again within what is lost."""
LOST: Final[Pair] = ("NewTicket", 3)
LOST_TOO: Final[Pair] = ("NewTicket", 4)
SINCE: Final[Pair] = ("NewTicket", 5)
AFTER: Final[Pair] = ("Unknown", 1)
"""A sentinel."""
AGAIN: Final = "recorded again"
"""What the log says where something was."""


async def lose_tail(store: RealStore, files: Path, down_s: float = 0.0) -> None:
    """Kill the store, and start it with files of an earlier moment, after so many seconds at least."""
    store.kill()
    await asyncio.sleep(down_s)  # time is the condition, where there is one
    store.restore(files)
    await asyncio.to_thread(store.start)


async def post(running: Running, user: str, *pairs: Pair) -> None:
    """One batch, to be answered 204, on a connection of its own."""
    async with caller(running, user) as posting:
        await posting.handled(*pairs)


async def away(running: Running, user: str, *pairs: Pair) -> Ledger:
    """A device that was there until it had these pairs, and has left."""
    async with session(running, user, "tablet") as tablet:
        await post(running, user, *pairs)
        for pair in pairs:
            await tablet.until_cleared(pair)
    return tablet.ledger


@asynccontextmanager
async def back(running: Running, user: str, ledger: Ledger) -> AsyncIterator[Device]:
    """The device that was away, with its cursor."""
    async with session(running, user, "tablet", ledger.cursor, ledger=ledger) as tablet:
        yield tablet


async def all_there(device: Device, *pairs: Pair) -> None:
    """The device has, or gets, all of these."""
    for pair in pairs:
        await device.until_cleared(pair)
