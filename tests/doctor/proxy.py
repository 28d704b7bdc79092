"""A reverse proxy that is set up wrongly, each fault as it is met in practice. One request a connection."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urlsplit

BODY: Final = 2**20


@dataclass
class Faults:
    """What is wrong with it; header names are in lower case."""

    drop: frozenset[str] = frozenset()
    """Headers that are not passed on."""
    put: dict[str, str] = field(default_factory=dict)
    """Headers that are passed on with another value."""
    hide: frozenset[str] = frozenset()
    """Headers of answers that are not passed back."""
    put_back: dict[str, str] = field(default_factory=dict)
    """Headers of answers that come back with another value."""
    answers: dict[str, bytes] = field(default_factory=dict)
    """Paths that it answers itself, with these bytes."""
    answers_upgrades: bytes | None = None
    """What it says to every handshake."""
    largest_body: int = BODY
    """Over it, 413."""
    buffers: bool = False
    """Answers are passed back when they are whole."""
    buffers_after: bytes = b""
    """Of a stream what comes up to the piece with these bytes is passed back at once, the rest when it is whole."""
    cuts_idle_s: float | None = None
    """After so long without a byte from the server the connection is ended."""
    says_goodbye: bool = False
    """It cuts websockets only, and says 1001 before."""
    forgets_idle_s: float | None = None
    """The same, but nobody is told."""
    holds_upgraded: str = ""
    """After a handshake nothing is passed on any more: "back" from the server, "forth" to it."""
    posts_to: str = ""
    """Where POSTs go, if not to the same server."""


class Head:
    """The first line and the headers of a request or an answer."""

    def __init__(self, data: bytes) -> None:
        self.line, *fields = data.decode("latin-1").removesuffix("\r\n\r\n").split("\r\n")
        self.fields = [(name.lower(), value.strip()) for name, _, value in (line.partition(":") for line in fields)]

    def get(self, name: str) -> str:
        """Its value, empty where it is absent."""
        return next((value for known, value in self.fields if known == name), "")

    def put(self, name: str, value: str) -> None:
        """Instead of what is there."""
        self.drop({name})
        self.fields.append((name, value))

    def drop(self, names: set[str] | frozenset[str]) -> None:
        """Without these."""
        self.fields = [(name, value) for name, value in self.fields if name not in names]

    def encode(self) -> bytes:
        """As it is sent."""
        return "\r\n".join([self.line, *(f"{n}: {v}" for n, v in self.fields), "", ""]).encode("latin-1")


class Proxy:
    """Stands before `target` (``http://…``) with its `faults`, which a test may change."""

    def __init__(self, target: str, faults: Faults) -> None:
        self.target = target
        self.faults = faults
        self._open: set[asyncio.StreamWriter] = set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        self._open.add(writer)
        try:
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, ssl.SSLError):
                await self._request(reader, writer)
        finally:
            self._open.discard(writer)
            writer.close()

    def end(self) -> None:
        """Cut what is still open."""
        for writer in self._open:
            writer.transport.abort()

    async def _request(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        faults, head = self.faults, Head(await reader.readuntil(b"\r\n\r\n"))
        method, target, _ = head.line.split(" ")
        own = faults.answers.get(target.partition("?")[0])
        if head.get("upgrade") and faults.answers_upgrades is not None:
            own = faults.answers_upgrades
        length = int(head.get("content-length") or 0)
        if length > faults.largest_body:
            own = answer("413 Request Entity Too Large")
        body = await reader.readexactly(length)
        if own is not None:
            writer.write(own)
            await writer.drain()
            return
        upgraded = bool(head.get("upgrade")) and not faults.drop & {"upgrade", "connection"}
        if not upgraded:
            head.put("connection", "close")
        head.drop(faults.drop - ({"connection"} if not upgraded else set()))
        for name, value in faults.put.items():
            head.put(name, value)
        there = urlsplit(faults.posts_to if method == "POST" and faults.posts_to else self.target)
        back, forth = await asyncio.open_connection(there.hostname, there.port)
        try:
            forth.write(head.encode() + body)
            await self._answer(reader, writer, back, forth)
        finally:
            forth.close()

    async def _answer(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        back: asyncio.StreamReader,
        forth: asyncio.StreamWriter,
    ) -> None:
        faults, head = self.faults, Head(await back.readuntil(b"\r\n\r\n"))
        head.drop(faults.hide)
        for name, value in faults.put_back.items():
            head.put(name, value)
        if faults.buffers and " 101 " not in head.line:
            writer.write(head.encode() + await back.read())
            return
        writer.write(head.encode())
        if faults.buffers_after and head.get("content-type") == "text/event-stream":
            writer.write(await back.readuntil(faults.buffers_after) + await back.readuntil(b"\r\n"))
            writer.write(await back.read())
            return
        upgraded = " 101 " in head.line
        held = faults.holds_upgraded if upgraded else ""
        idle_s = None if faults.says_goodbye and not upgraded else faults.cuts_idle_s
        sending = asyncio.ensure_future(_pass(reader, forth) if held != "forth" else asyncio.Event().wait())
        try:
            await (self._pass_back(back, writer, idle_s or faults.forgets_idle_s) if held != "back" else sending)
        finally:
            sending.cancel()
            await asyncio.wait([sending])

    async def _pass_back(self, back: asyncio.StreamReader, writer: asyncio.StreamWriter, idle_s: float | None) -> None:
        faults = self.faults
        try:
            await _pass(back, writer, idle_s)
        except TimeoutError:
            if faults.says_goodbye:
                writer.write(b"\x88\x02\x03\xe9")
            if faults.forgets_idle_s:
                await asyncio.Event().wait()  # until the test ends it


async def _pass(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, idle_s: float | None = None) -> None:
    """What comes, until its end; TimeoutError where nothing comes for `idle_s`."""
    with contextlib.suppress(ConnectionError):
        while True:
            async with asyncio.timeout(idle_s):
                data = await reader.read(65536)
            if not data:
                return
            writer.write(data)
            await writer.drain()


def answer(status: str, body: bytes = b"<html>", *headers: str) -> bytes:
    """What some other server says."""
    lines = [f"HTTP/1.1 {status}", "Server: nginx", f"Content-Length: {len(body)}", "Connection: close", *headers]
    return "\r\n".join([*lines, "", ""]).encode() + body


@asynccontextmanager
async def proxy(target: str, tls: ssl.SSLContext | None = None, **faults: object) -> AsyncIterator[str]:
    """Its URL. `faults` as in `Faults`."""
    stands = Proxy(target, Faults(**faults))  # type: ignore[arg-type]
    tasks: set[asyncio.Task[None]] = set()

    def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(stands.serve(reader, writer))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    server = await asyncio.start_server(connected, "127.0.0.1", 0, ssl=tls, limit=BODY)
    port = server.sockets[0].getsockname()[1]
    try:
        yield f"{'https' if tls else 'http'}://127.0.0.1:{port}"
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        await server.wait_closed()
