"""One device of a load: connected, told clears, and connected again where that is lost."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final, Protocol

import msgspec

from server.client import ClientError
from server.client.retry import Backoff, Retry, judge
from server.loadtest.ledger import TYPE, Ledger
from server.loadtest.requests import Requests
from server.loadtest.target import Target
from server.loadtest.wire import Lost, Wire

OPEN_S: Final = 10.0
"""For the connection, the handshake and the welcome together."""
_BASE_S: Final = 0.1
_CAP_S: Final = 2.0


class _Event(msgspec.Struct, gc=False):
    Type: str
    Id: int


class _Frame(msgspec.Struct, gc=False):
    type: str
    cursor: str = ""
    events: list[_Event] = []


_decode: Final = msgspec.json.Decoder(_Frame).decode


class Owner(Protocol):
    """Who wants to know how devices fare."""

    def opened(self) -> None: ...

    def refused(self, said: str) -> None:
        """It stays away."""

    def failed(self, error: ClientError) -> None:
        """And so would all others."""

    def lost(self) -> None:
        """It comes back."""

    def told(self) -> None:
        """A clear came."""


class Device:
    """The `number`-th of its `agent`, known to the server by `name`."""

    def __init__(
        self,
        target: Target,
        requests: Requests,
        ledger: Ledger,
        owner: Owner,
        *,
        agent: int,
        number: int,
        name: str,
        random: Callable[[], float],
    ) -> None:
        self._target = target
        self._requests = requests
        self._ledger = ledger
        self._owner = owner
        self._agent = agent
        self._number = number
        self._name = name
        self._cursor = ""
        self._wire: Wire | None = None
        self._leaving = False
        self._backoff = Backoff(_BASE_S, _CAP_S, random)

    async def run(self, window: asyncio.Semaphore) -> None:
        """Connected until `leave`. What refuses the first connection is final; after that only what always will be."""
        try:
            wire = await self._connected(window)
            self._ledger.opened(self._agent, self._number)
            self._owner.opened()
            while not self._leaving:
                lost = await wire.ended
                if self._leaving:
                    return
                self._owner.lost()
                wire = await self._again(window, lost)
        except ClientError as error:
            self._owner.failed(error)
        except Lost as lost:
            self._owner.refused(lost.retry.reason)
        finally:
            if self._wire is not None:
                self._wire.abort()

    def leave(self) -> bool:
        """Say goodbye; the server ends the connection, and `run` with it. Whether there is one that can end."""
        self._leaving = True
        return self._wire is not None and self._wire.close()

    def frame(self, payload: bytes, now: float) -> bool:
        """One frame; whether it was the welcome. Raises what is `NONSENSE`."""
        frame = _decode(payload)
        if frame.cursor:
            self._cursor = frame.cursor
        if frame.type == "clear" and frame.events:
            ids = [event.Id for event in frame.events if event.Type == TYPE]
            self._ledger.foreign += len(frame.events) - len(ids)
            if ids:
                self._ledger.arrived(self._agent, self._number, ids, now)
                self._owner.told()
        return frame.type == "welcome"

    async def _again(self, window: asyncio.Semaphore, lost: ClientError | Lost) -> Wire:
        """Connected once more, however often that has to be tried."""
        while isinstance(lost, Lost):
            await asyncio.sleep(lost.retry.at_least_s + self._backoff.next_s())
            try:
                return await self._connected(window)
            except Lost as again:
                lost = again
        raise lost

    async def _connected(self, window: asyncio.Semaphore) -> Wire:
        wire = self._wire = Wire(self.frame)
        request = self._requests.upgrade(self._name, self._cursor, wire.key)
        try:
            async with window, asyncio.timeout(OPEN_S):
                transport = await self._target.connect(lambda: wire)
                transport.write(request)
                failure = await wire.welcomed
        except TimeoutError:
            wire.abort()
            raise Lost(Retry(f"no welcome within {OPEN_S:g} s")) from None
        except OSError as error:
            raise Lost(judge(error)) from None
        if failure is not None:
            raise failure
        self._backoff.reset()
        return wire
