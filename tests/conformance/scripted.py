"""A server that plays from a script, over websockets and event streams: one scene for each connection, in order.

For what a real server can't be made to do on command: fall silent, say what no server of today says, refuse, redirect.
It lives in a thread with a loop of its own.
"""

from __future__ import annotations

import asyncio
import json
import queue
from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final, Protocol
from urllib.parse import parse_qsl, urlsplit

from websockets.frames import Frame, Opcode
from websockets.http11 import Request
from websockets.server import ServerProtocol
from websockets.typing import Subprotocol

from server.wire import HANDLED_PATH, SUBPROTOCOL, SYNC_PATH, TICKET_PATH
from tests.client.fake_gateway import welcome
from tests.conformance.listening import listening
from tests.gateway.devices import WITHIN_S

NOW: Final = 1795456363957
"""The time of a scripted server."""


class Connection(Protocol):
    """One client that is connected, in a scene."""

    async def send(self, text: str) -> None:
        """A frame, or what is none."""

    async def close(self, code: int, reason: str = "") -> None:
        """The end, with a reason."""

    async def cut(self) -> None:
        """The end, without."""

    async def receive(self) -> dict[str, Any]:
        """The next frame from a device with a websocket."""

    async def gone(self) -> None:
        """Wait until the client leaves."""


Scene = Callable[[Connection], Awaitable[None]]


@dataclass(frozen=True)
class Refuse:
    """In place of a scene, or of the answer to a report."""

    status: int
    message: str = "no"
    headers: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Asked:
    """A request that came. Names of headers are in lower case."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]

    @property
    def cursor(self) -> str | None:
        """Where a connection goes on from."""
        return self.headers.get("last-event-id") or self.query.get("cursor")


class _WebSocket:
    """Over a websocket, which the request in `head` asks for."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, head: bytes) -> None:
        self._reader = reader
        self._writer = writer
        self._protocol = ServerProtocol(subprotocols=[Subprotocol(SUBPROTOCOL)])
        self._protocol.receive_data(head)
        [request] = self._protocol.events_received()
        assert isinstance(request, Request)
        self._protocol.send_response(self._protocol.accept(request))
        self._flush()
        self._texts: deque[str] = deque()
        self._ended = False

    def _flush(self) -> None:
        for data in self._protocol.data_to_send():
            if data:
                self._writer.write(data)
            else:
                self._writer.write_eof()

    async def send(self, text: str) -> None:
        self._protocol.send_text(text.encode())
        self._flush()

    async def close(self, code: int, reason: str = "") -> None:
        self._protocol.send_close(code, reason)
        self._flush()
        await self.gone()

    async def cut(self) -> None:
        self._writer.write_eof()
        await self.gone()

    async def receive(self) -> dict[str, Any]:
        while not self._texts:
            if self._ended:
                raise EOFError
            await self._read()
        frame: dict[str, Any] = json.loads(self._texts.popleft())
        return frame

    async def gone(self) -> None:
        while not self._ended:
            await self._read()

    async def _read(self) -> None:
        data = await self._reader.read(65536)
        if data:
            self._protocol.receive_data(data)
        else:
            self._protocol.receive_eof()
        for frame in self._protocol.events_received():
            if isinstance(frame, Frame) and frame.opcode is Opcode.TEXT:
                self._texts.append(bytes(frame.data).decode())
        self._ended = not data
        self._flush()


class _Stream:
    """Over an event stream."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def send(self, text: str) -> None:
        try:
            cursor = json.loads(text).get("cursor")
        except (ValueError, AttributeError):
            cursor = None
        self._writer.write((f"id: {cursor}\n" if cursor else "").encode() + f"data: {text}\n\n".encode())

    async def close(self, code: int, reason: str = "") -> None:
        await self.send(json.dumps({"type": "close", "code": code, "reason": reason}))
        await self.cut()

    async def cut(self) -> None:
        self._writer.write_eof()
        await self.gone()

    async def receive(self) -> dict[str, Any]:
        raise AssertionError("a device with an event stream sends no frames")

    async def gone(self) -> None:
        while await self._reader.read(65536):
            pass


class Scripted:
    """What came, and what to answer. `scenes` and `reports` may be added to at any time."""

    def __init__(self, scenes: tuple[Scene | Refuse, ...]) -> None:
        self.url = ""
        self.scenes = deque(scenes)
        self.reports: deque[Refuse | None] = deque()
        """Answers to reports: None hangs up; after the last of them all are recorded."""
        self.asked: list[Asked] = []
        self.came: queue.SimpleQueue[Asked] = queue.SimpleQueue()

    def next(self) -> Asked:
        """The next connection that was made, or refused."""
        return self.came.get(timeout=WITHIN_S)

    def posted(self) -> list[Asked]:
        """The reports."""
        return [asked for asked in self.asked if asked.path == HANDLED_PATH and asked.method == "POST"]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection of HTTP, with one request."""
        head = await reader.readuntil(b"\r\n\r\n")
        line, *rest = head.decode("latin-1").strip().split("\r\n")
        method, target, _ = line.split(" ")
        headers = {name.lower(): value.strip() for name, _, value in (field.partition(":") for field in rest)}
        await reader.readexactly(int(headers.get("content-length", "0")))
        parts = urlsplit(target)
        asked = Asked(method, parts.path, dict(parse_qsl(parts.query)), headers)
        self.asked.append(asked)
        if method == "OPTIONS":
            _respond(writer, asked, 204)
        elif parts.path == HANDLED_PATH:
            answer = self.reports.popleft() if self.reports else Refuse(204)
            if answer is not None:
                _respond(writer, asked, answer.status, answer.headers, answer.message)
        elif self.scenes and isinstance(refuse := self.scenes[0], Refuse):
            self.scenes.popleft()
            self.came.put(asked)
            _respond(writer, asked, refuse.status, refuse.headers, refuse.message)
        elif parts.path == TICKET_PATH:
            _respond(writer, asked, 200, body={"ticket": "t1", "expires": 30})
        else:
            assert parts.path == SYNC_PATH, parts.path
            self.came.put(asked)
            scene = self.scenes.popleft() if self.scenes else says(welcome("a-1"))
            assert not isinstance(scene, Refuse)
            await scene(_opened(reader, writer, head, asked))


def _opened(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, head: bytes, asked: Asked
) -> _WebSocket | _Stream:
    if "upgrade" in asked.headers:
        return _WebSocket(reader, writer, head)
    writer.write(_head(asked, 200, {"Content-Type": "text/event-stream"}))
    return _Stream(reader, writer)


def _head(asked: Asked, status: int, headers: dict[str, str]) -> bytes:
    lines = [f"HTTP/1.1 {status} X", "Connection: close", *(f"{name}: {value}" for name, value in headers.items())]
    if "origin" in asked.headers:
        lines += [
            f"Access-Control-Allow-Origin: {asked.headers['origin']}",
            "Access-Control-Allow-Credentials: true",
            f"Access-Control-Allow-Headers: {asked.headers.get('access-control-request-headers', '')}",
            "Access-Control-Expose-Headers: Retry-After",
        ]
    return "\r\n".join(lines).encode() + b"\r\n\r\n"


def _respond(
    writer: asyncio.StreamWriter,
    asked: Asked,
    status: int,
    headers: dict[str, str] | None = None,
    message: str = "",
    body: dict[str, Any] | None = None,
) -> None:
    error = {"Error": True, "ErrorType": "X", "ErrorMessage": message, "ErrorSource": "scripted"}
    content = b"" if status == 204 else json.dumps(body or error).encode()
    own = {} if status == 204 else {"Content-Type": "application/json", "Content-Length": str(len(content))}
    writer.write(_head(asked, status, own | (headers or {})) + content)


@contextmanager
def scripted(*scenes: Scene | Refuse) -> Iterator[Scripted]:
    """A running one, on a free port of this machine. After the last scene it says welcome, and no more."""
    fake = Scripted(scenes)
    with listening(fake.serve) as fake.url:
        yield fake


async def stay(connection: Connection) -> None:
    """Until the client leaves."""
    await connection.gone()


def says(*frames: str) -> Scene:
    """Send these, then stay."""

    async def scene(connection: Connection) -> None:
        for frame in frames:
            await connection.send(frame)
        await stay(connection)

    return scene


def says_and_closes(code: int, *frames: str, reason: str = "") -> Scene:
    """Send these, then close with `code`; 1006 = cut the wire."""

    async def scene(connection: Connection) -> None:
        for frame in frames:
            await connection.send(frame)
        await (connection.cut() if code == 1006 else connection.close(code, reason))

    return scene
