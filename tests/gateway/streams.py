"""A device on an event stream, read as the standard says (WHATWG HTML, 9.2.6)."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import cast

from websockets.asyncio.client import ClientConnection

from server.wire import SYNC_PATH
from tests.gateway.devices import WITHIN_S, Device, Ledger, basic, sync_target


@dataclass
class Stream:
    """One stream. `recv` gives the data of its events, as a websocket gives its messages."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    retry_ms: int = 0
    last_id: str = ""
    ids: list[str | None] = field(default_factory=list)
    """Of each event; None where it had none."""
    comments: int = 0
    body: bytes = b""
    """Of an answer that is no stream."""
    _chunk: bytearray = field(default_factory=bytearray)

    async def head(self, *, bodiless: bool = False) -> None:
        """Read the head of the answer, and all of one that is no stream."""
        async with asyncio.timeout(WITHIN_S):
            status, *fields = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            self.status = int(status.split()[1])
            self.headers = {n.lower(): v.strip() for n, _, v in (line.partition(":") for line in fields if line)}
            if "content-length" in self.headers and not bodiless:
                self.body = await self.reader.readexactly(int(self.headers["content-length"]))

    async def _line(self) -> str:
        """The next line of the body; EOFError at its end, ConnectionError where it breaks off."""
        while b"\n" not in self._chunk:
            try:
                size = int(await self.reader.readuntil(b"\r\n"), 16)
                self._chunk += (await self.reader.readexactly(size + 2))[:size]
            except asyncio.IncompleteReadError:
                raise ConnectionError("the stream broke off") from None
            if not size:
                raise EOFError
        line, _, self._chunk = self._chunk.partition(b"\n")
        return line.decode()

    async def recv(self) -> str:
        """The data of the next event."""
        data: list[str] = []
        id_: str | None = None
        while (line := await self._line()) or not data:
            name, _, value = line.partition(":")
            value = value.removeprefix(" ")
            if not line:
                continue  # an event without data is none
            if not name:
                self.comments += 1
            elif name == "data":
                data.append(value)
            elif name == "id":
                id_ = value
            elif name == "retry":
                self.retry_ms = int(value)
            else:
                raise AssertionError(f"the stream says {line!r}")
        self.ids.append(id_)
        self.last_id = id_ or self.last_id
        return "\n".join(data)

    async def commented(self) -> None:
        """Read up to the next comment, while no event comes."""
        async with asyncio.timeout(WITHIN_S):
            while not (line := await self._line()).startswith(":"):
                assert not line or line.startswith("retry"), line
        self.comments += 1

    def cut(self) -> None:
        """Gone without a word."""
        connection: socket.socket = self.writer.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        self.writer.transport.abort()


@asynccontextmanager
async def asking(
    port: int,
    *headers: str,
    target: str = f"{SYNC_PATH}?device=phone",
    accept: str = "text/event-stream",
    method: str = "GET",
    receive_buffer: int = 0,
) -> AsyncIterator[Stream]:
    """The answer to whoever asks for a stream with these headers."""
    connection = socket.socket()
    connection.setblocking(False)
    if receive_buffer:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    await asyncio.get_running_loop().sock_connect(connection, ("127.0.0.1", port))
    reader, writer = await asyncio.open_connection(sock=connection, limit=2048 if receive_buffer else 65536)
    try:
        lines = [f"{method} {target} HTTP/1.1", f"Host: 127.0.0.1:{port}", f"Accept: {accept}", *headers]
        writer.write("\r\n".join(lines).encode() + b"\r\n\r\n")
        stream = Stream(reader, writer)
        await stream.head(bodiless=method == "HEAD")
        yield stream
    finally:
        writer.transport.abort()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


@asynccontextmanager
async def streaming(
    port: int,
    user: str,
    device: str = "phone",
    cursor: str | None = None,
    *headers: str,
    password: str = "x",
    ledger: Ledger | None = None,
    receive_buffer: int = 0,
    base: str = "",
) -> AsyncIterator[tuple[Device, Stream]]:
    """A device that was welcomed on a stream."""
    target = f"{base}{sync_target(device, cursor)}"
    authorization = f"Authorization: {basic(user, password)}"
    async with asking(port, authorization, *headers, target=target, receive_buffer=receive_buffer) as stream:
        assert stream.status == 200, stream.body
        here = Device(cast(ClientConnection, stream), ledger)
        assert (await here.receive())["type"] == "welcome"
        yield here, stream


async def ended(device: Device, stream: Stream) -> int:
    """Read to the end, and the code of the frame that says why."""
    try:
        while True:
            await device.receive()
    except EOFError:
        last = device.frames[-1]
        assert last["type"] == "close", last
        assert stream.ids[-1] is None, "the end moves no position"
        code: int = last["code"]
        return code
