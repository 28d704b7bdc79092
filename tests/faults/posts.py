"""Callers for a load of POSTs: keep-alive connections, and every answer into a `Book`."""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import Sequence
from functools import partial
from itertools import cycle
from typing import Final, cast
from urllib.parse import urlsplit

from server.wire import HANDLED_PATH
from tests.faults.book import Book
from tests.gateway.devices import Pair, basic, events_of

ANSWER_S: Final = 10.0
"""How long a POST may take before nobody waits for it any more."""
AT_LEAST: Final = 8
"""Connections to each server, so that all of its workers get some."""


class Address:
    """Where a server or a proxy answers, of its URL."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        assert parts.scheme == "http", f"{url!r} is not http"
        self.host = parts.hostname or "127.0.0.1"
        self.port = parts.port or 80
        self.name = f"{self.host}:{self.port}"
        self.base = parts.path.rstrip("/")


class Exchange(asyncio.Protocol):
    """One connection, one request at a time. While it is open it is one of `all_`."""

    def __init__(self, address: Address, all_: set[Exchange]) -> None:
        self.address = address
        self.open = False
        self._all = all_
        self._transport: asyncio.Transport | None = None
        self._answer: asyncio.Future[int] | None = None
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's do not inherit it
        self.open = True
        self._all.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self.open = False
        self._all.discard(self)
        self._settle(0)

    def eof_received(self) -> None:
        """The transport closes itself; nothing more is to be sent on it."""
        self.open = False

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, found, body = self._buffer.partition(b"\r\n\r\n")
        if not found:
            return
        head = head.lower()
        status = int(head.split(b" ", 2)[1])
        _, sized, length = head.partition(b"\r\ncontent-length:")
        if status != 204 and (not sized or len(body) < int(length.partition(b"\r")[0])):
            return  # the rest of the answer, or its end, is to come
        if b"\r\nconnection: close" in head:
            self.close()
        self._buffer = b""
        self._settle(status)

    async def ask(self, request: bytes) -> int:
        """The status of the answer; 0 where the connection ends without one."""
        assert self._transport is not None
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return await self._answer

    def close(self) -> None:
        """Idempotent."""
        self.open = False
        if self._transport is not None:
            self._transport.close()

    def _settle(self, status: int) -> None:
        answer, self._answer = self._answer, None
        if answer is not None and not answer.done():
            answer.set_result(status)


class Poster:
    """Posts batches, each once: one that was not answered 204 is not repeated."""

    def __init__(self, addresses: Sequence[Address], book: Book) -> None:
        self._addresses = addresses
        self._turn = cycle(addresses)
        self._book = book
        self._idle: deque[Exchange] = deque()
        self._all: set[Exchange] = set()

    async def post(self, agent: str, pairs: Sequence[Pair], origin: str = "") -> int:
        """The status of the answer, 0 where none came within `ANSWER_S`."""
        loop = asyncio.get_running_loop()
        began, status = loop.time(), 0
        self._book.sent(agent, pairs, origin)
        try:
            async with asyncio.timeout(ANSWER_S):
                status = await self._exchange(agent, pairs, origin)
        except (OSError, TimeoutError):
            pass
        finally:
            now = loop.time()
            self._book.answered(agent, pairs, status, now - began, now)
        return status

    def close(self) -> None:
        """End all connections."""
        for each in list(self._all):
            each.close()

    async def _exchange(self, agent: str, pairs: Sequence[Pair], origin: str) -> int:
        exchange = await self._connection()
        try:
            status = await exchange.ask(request(exchange.address, agent, pairs, origin))
        except BaseException:
            exchange.close()  # its answer would be taken for another's
            raise
        if exchange.open:
            self._idle.append(exchange)
        return status

    async def _connection(self) -> Exchange:
        """One that is idle, in turn, or a new one; where a server refuses it, to the next: nothing was sent yet."""
        while self._idle and len(self._all) >= AT_LEAST * len(self._addresses):
            if (idle := self._idle.popleft()).open:
                return idle
        refused: OSError | None = None
        for _ in self._addresses:
            address = next(self._turn)
            make = partial(Exchange, address, self._all)
            try:
                _, made = await asyncio.get_running_loop().create_connection(make, address.host, address.port)
            except OSError as problem:
                refused = problem
            else:
                return made
        raise refused or OSError("nowhere to go")


def request(address: Address, agent: str, pairs: Sequence[Pair], origin: str) -> bytes:
    """A POST as bytes."""
    body = json.dumps({"NotificationEvents": events_of(pairs)}).encode()
    device = f"X-Device-Id: {origin}\r\n" if origin else ""
    return (
        f"POST {address.base}{HANDLED_PATH} HTTP/1.1\r\nHost: {address.name}\r\nAuthorization: {basic(agent)}\r\n"
        f"{device}Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    ).encode() + body
