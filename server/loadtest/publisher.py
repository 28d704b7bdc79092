"""One connection over which posts go, one at a time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Final, Protocol, cast

import httptools

from server.client import ClientError
from server.client.retry import Backoff, judge
from server.loadtest.answers import Answers
from server.loadtest.target import CONNECT_S, Target

_BASE_S: Final = 0.05
_CAP_S: Final = 2.0


class Desk(Protocol):
    """Where publishers get their work."""

    def idle(self, publisher: Publisher) -> None:
        """It can post."""

    def gone(self, publisher: Publisher) -> None:
        """It can't, for now."""

    def answered(self, slot: int, status: int, body: bytes, now: float) -> None:
        """The post of `slot` was; 0 = the connection ended before."""

    def failed(self, error: ClientError) -> None:
        """No connection, and so for all others."""


class Publisher(asyncio.Protocol):
    """Connected until its task is cancelled, again and again where need be."""

    def __init__(self, target: Target, desk: Desk, random: Callable[[], float]) -> None:
        self._target = target
        self._desk = desk
        self._backoff = Backoff(_BASE_S, _CAP_S, random)
        self._transport: asyncio.Transport | None = None
        self._lost = asyncio.Event()
        self._answers = Answers()
        self._slot: int | None = None
        self._served = False
        """Whether this connection had an answer."""

    async def run(self) -> None:
        """Keep a connection."""
        try:
            while True:
                self._lost.clear()
                try:
                    async with asyncio.timeout(CONNECT_S):
                        await self._target.connect(lambda: self)
                except OSError as error:
                    judge(error)
                    await asyncio.sleep(self._backoff.next_s())
                    continue
                await self._lost.wait()
                if not self._served:  # a server that only ends connections is not asked in a tight loop
                    await asyncio.sleep(self._backoff.next_s())
        except ClientError as error:
            self._desk.failed(error)
        finally:
            if self._transport is not None:
                self._transport.abort()

    def post(self, slot: int, request: bytes) -> None:
        """Send it; for one that is idle."""
        assert self._transport is not None
        assert self._slot is None
        self._slot = slot
        self._transport.write(request)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's do not inherit it
        self._answers = Answers()
        self._served = False
        self._desk.idle(self)

    def data_received(self, data: bytes) -> None:
        now = time.monotonic()
        try:
            status = self._answers.feed(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            status = 0
            self._abort()
        if status and self._slot is not None:
            slot, self._slot = self._slot, None
            self._served = True
            self._backoff.reset()
            self._desk.answered(slot, status, self._answers.body, now)
            if self._answers.keeps:
                self._desk.idle(self)
            else:
                self._abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self._desk.gone(self)
        if self._slot is not None:
            slot, self._slot = self._slot, None
            self._desk.answered(slot, 0, b"", time.monotonic())
        self._lost.set()

    def _abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()
