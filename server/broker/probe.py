"""Whether what is announced arrives here: the failure that shows nowhere else.

A subscriber can be deaf: its connection is up, PING is answered, and nothing that is published comes (a proxy that lost
its way, a store that was demoted and still answers, a subscription that the store forgot). So each worker listens to a
channel of its own and publishes to it, on the connection of commands: the way that a clear takes.

1. No reply to the publication: the store is slow, or gone. That is the links' business, and says nothing about hearing.
2. Published to nobody: deaf, if it does not arrive a moment later all the same.
3. Published to somebody and not here `DEAF_S` later: deaf, unless something else was read meanwhile. A subscriber with
   much to read comes to it later, but not later than `LATEST_S`.
"""

from __future__ import annotations

import asyncio
import random
import secrets
import time
from collections.abc import Callable
from typing import Final

import hiredis

from server import logs
from server.broker.link import Link
from server.errors import Unavailable
from server.metrics import Metrics

DEAF_S: Final = 3.0
LATEST_S: Final = 15.0
LOOK_S: Final = 0.1

_log = logs.get("clearsync.store")


class Probe:
    """One worker's. `heard` is told what came on `channel`; `read` counts all that the listener has read."""

    def __init__(self, prefix: str, commands: Callable[[], Link], interval_s: float, metrics: Metrics) -> None:
        self.channel: Final = f"{prefix}:probe:{secrets.token_hex(8)}".encode()
        self._commands = commands
        self._interval_s = interval_s
        self._metrics = metrics
        self._nonce = b""
        self._published = 0.0
        self._arrived = asyncio.Event()

    def heard(self, nonce: bytes) -> None:
        """A publication came in."""
        if nonce == self._nonce:
            self._metrics.probe_seconds = time.monotonic() - self._published
            self._arrived.set()

    async def run(self, read: Callable[[], int]) -> None:
        """Probe once an interval, spread; return where the listener is deaf. Without an interval, never."""
        if not self._interval_s:
            await asyncio.get_running_loop().create_future()
        while True:
            await asyncio.sleep(self._interval_s * random.uniform(0.5, 1.0))
            try:
                if await self._is_deaf(read):
                    break
            except Unavailable:
                continue
            except hiredis.ReplyError as problem:
                _log.error("store refuses to publish", error=str(problem).partition(" ")[0])
        self._metrics.probes_deaf_total += 1
        _log.error("listener deaf, connecting anew")

    async def _is_deaf(self, read: Callable[[], int]) -> bool:
        loop = asyncio.get_running_loop()
        self._nonce = secrets.token_hex(8).encode()
        self._arrived.clear()
        self._metrics.probes_total += 1
        self._published = time.monotonic()  # the loop's time may count milliseconds
        receivers = await self._commands().command("SPUBLISH", self.channel, self._nonce)
        replied, before = loop.time(), read()
        while not await self._arrives_in(DEAF_S if receivers else LOOK_S):
            since = read()
            if since == before or loop.time() - replied >= LATEST_S:
                return True
            before = since
        return False

    async def _arrives_in(self, seconds: float) -> bool:
        """One more look at the end: after a stall of our own, timers run before what has come is read."""
        try:
            async with asyncio.timeout(seconds):
                return await self._arrived.wait()
        except TimeoutError:
            await asyncio.sleep(LOOK_S)
            return self._arrived.is_set()
