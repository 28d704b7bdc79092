"""One websocket of a client that has had its welcome, and how long to wait for what on it."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass
from itertools import count
from typing import Final, TypeVar

import msgspec
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from server.client.frames import Checked, HandledEvent, Pong, Problem, Received, Refreshed, Unreadable, Welcome, read
from server.client.retry import (
    LOST,
    NotConnected,
    RequestRefused,
    ServerUnavailable,
    Silent,
    UntrustedServer,
    printable,
)
from server.events import Batch
from server.wire import ErrorCode

MAX_READ_AHEAD: Final = 1000
"""Frames that a question may read past while its answer is on the way; over it, it fails and nothing is lost."""

_A = TypeVar("_A", Checked, Refreshed)


@dataclass(frozen=True, slots=True)
class Timing:
    """How long the client waits, in seconds."""

    backoff_base_s: float = 0.5
    backoff_cap_s: float = 30.0
    open_s: float = 10.0
    """For a connection and its handshake, and for the welcome after it."""
    ping_margin_s: float = 5.0
    """Over `welcome.ping`, before asking: the server's own ping comes first and needs no answer from us here."""
    answer_s: float = 10.0
    """For a `pong`, a `checked`, a `refreshed` or the answer to a POST."""
    close_s: float = 1.0
    renew_before_s: float = 30.0
    """Credentials that can be asked for are, so long before they end; halfway where they are good for less than twice
    that."""
    handled_tries: int = 4
    handled_longest_wait_s: float = 10.0
    """`handled` gives up rather than wait longer than this for its next try."""


class Connection:
    """One websocket. It has no task of its own: whoever wants a frame reads, and keeps for the other what is his.

    So `check` and `refresh` work from inside the loop over `frames`, where nobody else would be reading, and beside it.
    """

    def __init__(self, socket: ClientConnection, timing: Timing) -> None:
        self._socket = socket
        self._timing = timing
        self._silence_s = timing.open_s
        self.renew_at: float | None = None
        """When, by the loop's clock, other credentials should be shown; None = these don't end."""
        self._reading = asyncio.Lock()
        self._ahead: deque[Received] = deque()
        self._answers: dict[str, Checked | Refreshed | Problem | None] = {}
        self._refs = count(1)
        self._failure: Exception | None = None

    async def welcomed(self) -> Welcome:
        """The welcome, once it is there; it stays the first that `receive` gives."""
        try:
            async with asyncio.timeout(self._timing.open_s):
                received = read(await self._socket.recv())
        except TimeoutError:
            raise Silent("no welcome came") from None
        if not isinstance(received.frame, Welcome):
            raise Unreadable(f"the first frame is no welcome: {received.text[:100]!r}")
        self._silence_s = received.frame.ping + self._timing.ping_margin_s
        self._ends_in(received.frame.expires)
        self._ahead.append(received)
        return received.frame

    async def receive(self) -> Received:
        """The next frame for the device. Raises one of the failures that `judge` knows."""
        while not self._ahead:
            async with self._reading:
                if not self._ahead:
                    await self._read()
        return self._ahead.popleft()

    async def check(self, batch: Batch) -> tuple[HandledEvent, ...]:
        """Ask, and read until the answer is there."""
        return (await self._ask("check", "events", batch.json, Checked)).events

    async def refresh(self, authorization: str) -> float | None:
        """Show other credentials, and read until the answer is there: for how many seconds they are good."""
        expires_s = (await self._ask("refresh", "authorization", msgspec.json.encode(authorization), Refreshed)).expires
        self._ends_in(expires_s)
        return expires_s

    def _ends_in(self, expires_s: float | None) -> None:
        if expires_s is None:
            self.renew_at = None
        else:
            early_s = min(self._timing.renew_before_s, expires_s / 2)
            self.renew_at = asyncio.get_running_loop().time() + expires_s - early_s

    async def _ask(self, question: str, name: str, value: bytes, expected: type[_A]) -> _A:
        ref = f"c{next(self._refs)}"
        self._answers[ref] = None
        try:
            async with asyncio.timeout(self._timing.answer_s):
                await self._socket.send(f'{{"type":"{question}","ref":"{ref}","{name}":{value.decode()}}}')
                answer = await self._answer(ref)
        except TimeoutError:
            raise ServerUnavailable(f"no answer within {self._timing.answer_s:g} s") from None
        except (ConnectionClosed, Silent, Unreadable) as failure:
            raise NotConnected(f"the connection broke before the answer: {failure}") from failure
        finally:
            del self._answers[ref]
        if isinstance(answer, Problem):
            refused = ServerUnavailable if answer.code in (ErrorCode.BUSY, ErrorCode.UNAVAILABLE) else RequestRefused
            raise refused(printable(answer.message))
        if not isinstance(answer, expected):
            raise UntrustedServer(f"the answer to {question} is another question's")
        return answer

    async def _answer(self, ref: str) -> Checked | Refreshed | Problem:
        # Both sides look again before they queue for the lock: the other may be reading, for as long as nothing comes.
        while (answer := self._answers[ref]) is None:
            async with self._reading:
                if self._answers[ref] is None:
                    if len(self._ahead) >= MAX_READ_AHEAD:
                        raise ServerUnavailable(f"{MAX_READ_AHEAD} frames came before the answer")
                    await self._read()
        return answer

    async def close(self) -> None:
        """Say goodbye, and wait for the other side's a moment only."""
        await self._socket.close()

    async def _read(self) -> None:
        """Read one frame and put it where it belongs. A failure stays: whoever reads next gets it too (rule 3)."""
        if self._failure is not None:
            raise self._failure
        try:
            received = read(await self._heard())
        except LOST as failure:
            self._failure = failure
            raise
        frame = received.frame
        if isinstance(frame, (Checked, Refreshed, Problem)) and frame.ref in self._answers:
            self._answers[frame.ref] = frame
        elif not isinstance(frame, (Pong, Checked, Refreshed)):
            self._ahead.append(received)

    async def _heard(self) -> str | bytes:
        try:
            async with asyncio.timeout(self._silence_s):
                return await self._socket.recv()
        except TimeoutError:
            pass
        try:
            async with asyncio.timeout(self._timing.answer_s):
                await self._socket.send('{"type":"ping"}')
                return await self._socket.recv()
        except TimeoutError:
            raise Silent(f"nothing came for {self._silence_s + self._timing.answer_s:g} s") from None
