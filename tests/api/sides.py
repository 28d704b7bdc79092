"""A connection from both its ends: what a caller sends and hears, and what has come of it in a worker of this process.

So a test can wait until all that was sent has been dealt with, instead of for time to pass.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import select
import socket
import struct
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Self

from server.api.http import BoundedHttp
from tests.api.raw import PATIENCE_S, head
from tests.running import wait_until

if TYPE_CHECKING:
    from tests.api.house import House

_DATE: Final = re.compile(rb"(?i)(?<=\r\n)date: [^\r]*")
_PROBE: Final = head("GET", "/live")


class Said(NamedTuple):
    """What a caller heard: at first, after a question more, and after it had said that it would say no more.
    `ended`: the server ended the connection, before which of these. Dates are left out."""

    answers: bytes
    probed: bytes
    rest: bytes
    ended: str


class Connection(BoundedHttp):
    """One whose inside can be looked at. Everything is to be asked on its loop."""

    house: House

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn declares it
        self.heard, self.lost = 0, False
        super().connection_made(transport)
        assert self.client is not None
        self.house.met[self.client[1]] = self

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self.heard += len(data)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self.lost = True

    @property
    def over(self) -> bool:
        """The server has ended it, or will without our doing."""
        return self.lost or self._refused or self.transport.is_closing()

    def settled(self, sent: int) -> bool:
        """Of so many bytes nothing is left to be done before more come."""
        cycle: Any = self.cycle
        if self.lost or self.transport.is_closing():
            return True
        if self._refused:
            return self.heard >= sent and (cycle is None or cycle.response_complete or cycle.disconnected)
        if self.heard < sent or self.pipeline:
            return False
        return cycle is None or cycle.response_complete or (not self._whole and _waits(cycle.message_event))


def _waits(event: Any) -> bool:
    """Whether an endpoint waits for the rest of its body."""
    return any(not waiter.done() for waiter in getattr(event, "_waiters", ()))


class Wire:
    """A caller's connection to a house."""

    def __init__(self, house: House) -> None:
        self.house = house
        self._socket = socket.create_connection(("127.0.0.1", house.port), PATIENCE_S)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._sent = 0
        port = self._socket.getsockname()[1]
        wait_until(lambda: port in house.met, what="the connection is accepted")
        self.inside = house.met.pop(port)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def fileno(self) -> int:
        """For `select`."""
        return self._socket.fileno()

    def send(self, data: bytes) -> None:
        """All of it, as far as the other side takes it."""
        self._sent += len(data)
        with contextlib.suppress(ConnectionError):
            self._socket.sendall(data)

    def heard(self) -> None:
        """Wait until all of it has been read, or will not be."""
        inside = self.inside
        self.house.until(lambda: inside.over or inside.heard >= self._sent, "it is read")

    def settle(self) -> None:
        """Wait until nothing is left to be done before more is sent."""
        inside = self.inside
        self.house.until(lambda: inside.settled(self._sent), "it is done with")

    def told(self) -> bytes:
        """What has come, up to the end where there is one."""
        return self.rest() if self.house.ask(lambda: self.inside.over) else self._there()

    def finish(self) -> None:
        """Say no more."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_WR)

    def reset(self) -> None:
        """Be gone, as a program is that was killed."""
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._socket.close()

    def rest(self) -> bytes:
        """All that comes until the other side ends."""
        parts = []
        with contextlib.suppress(ConnectionError):
            while data := self._socket.recv(65_536):
                parts.append(data)
        return _dateless(b"".join(parts))

    def _there(self) -> bytes:
        parts = []
        with contextlib.suppress(ConnectionError):
            while soon(0, self) and (data := self._socket.recv(65_536)):
                parts.append(data)
        return _dateless(b"".join(parts))


def _dateless(data: bytes) -> bytes:
    return _DATE.sub(b"date: *", data)


def speak(house: House, parts: Sequence[bytes]) -> Said:
    """These bytes on a connection of their own, each part read before the next is sent."""
    with Wire(house) as wire:
        for part in parts[:-1]:
            wire.send(part)
            wire.heard()
        wire.send(parts[-1])
        wire.settle()
        answers, ended = wire.told(), ""
        if house.ask(lambda: wire.inside.over):
            return Said(answers, b"", b"", "at once")
        wire.send(_PROBE)
        wire.settle()
        probed = wire.told()
        if house.ask(lambda: wire.inside.over):
            ended = "after the question"
        wire.finish()
        return Said(answers, probed, b"" if ended else wire.rest(), ended)


def soon(within_s: float, *wires: Wire) -> bool:
    """Whether something comes on one of them in that time, be it the end."""
    return bool(select.select(wires, [], [], within_s)[0])
