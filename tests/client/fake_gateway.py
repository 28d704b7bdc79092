"""A server that plays the protocol from a script: one scene for each connection, in order.

For what a real server can't be made to do on command: fall silent, drop a connection in mid-sentence, talk nonsense.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from urllib.parse import parse_qs, urlsplit

import msgspec
from websockets.asyncio.server import ServerConnection, serve
from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response
from websockets.typing import Subprotocol

from server.wire import SUBPROTOCOL


@dataclass(frozen=True)
class Refuse:
    """Instead of a scene: the handshake gets this status."""

    status: int
    message: str = ""
    headers: dict[str, str] = field(default_factory=dict)

    def response(self) -> Response:
        """In the vendor's error shape."""
        body = msgspec.json.encode({"Error": True, "ErrorType": "X", "ErrorMessage": self.message, "ErrorSource": "x"})
        return Response(self.status, "No", Headers({**self.headers, "Content-Length": str(len(body))}), body)


Scene = Callable[[ServerConnection], Awaitable[None]]


class FakeGateway:
    """What came: the requests in order, and how many of the scenes have ended."""

    def __init__(self, scenes: tuple[Scene | Refuse, ...]) -> None:
        self.url = ""
        self.requests: list[Request] = []
        self._scenes = deque(scenes)

    def query(self, index: int) -> dict[str, str]:
        """The query of the index-th connection."""
        return {k: v[0] for k, v in parse_qs(urlsplit(self.requests[index].path).query).items()}

    def admit(self, connection: ServerConnection, request: Request) -> Response | None:
        """Called by websockets before the handshake is answered."""
        self.requests.append(request)
        if self._scenes and isinstance(self._scenes[0], Refuse):
            refuse = self._scenes.popleft()
            assert isinstance(refuse, Refuse)
            return refuse.response()
        return None

    async def play(self, connection: ServerConnection) -> None:
        """The next scene; after the last one a connection just stays."""
        scene = self._scenes.popleft() if self._scenes else stay
        assert not isinstance(scene, Refuse)
        with suppress(ConnectionClosed):
            await scene(connection)


@asynccontextmanager
async def gateway(*scenes: Scene | Refuse) -> AsyncIterator[FakeGateway]:
    """A running one, on a free port of this machine."""
    fake = FakeGateway(scenes)
    protocols = [Subprotocol(SUBPROTOCOL)]
    async with serve(
        fake.play, "127.0.0.1", 0, process_request=fake.admit, subprotocols=protocols, close_timeout=0.2
    ) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        fake.url = f"http://127.0.0.1:{port}"
        yield fake


def welcome(cursor: str, ping: float = 25) -> str:
    """The frame, as the server writes it."""
    return f'{{"type":"welcome","cursor":"{cursor}","now":1795456363957,"ping":{ping}}}'


def clear(cursor: str, *ids: int) -> str:
    """A live clear of tickets."""
    events = ",".join(f'{{"Type":"NewTicket","Id":{i}}}' for i in ids)
    return f'{{"type":"clear","cursor":"{cursor}","at":1795456363957,"events":[{events}]}}'


def reset(cursor: str) -> str:
    """The frame, as the server writes it."""
    return f'{{"type":"reset","cursor":"{cursor}"}}'


async def stay(connection: ServerConnection) -> None:
    """Until the client leaves."""
    await connection.wait_closed()


def says(*frames: str) -> Scene:
    """Send these, then stay."""

    async def scene(connection: ServerConnection) -> None:
        for frame in frames:
            await connection.send(frame)
        await stay(connection)

    return scene


def says_and_closes(code: int, *frames: str, reason: str = "") -> Scene:
    """Send these, then close with `code`; 1006 = cut the wire."""

    async def scene(connection: ServerConnection) -> None:
        for frame in frames:
            await connection.send(frame)
        if code == 1006:
            # What was written goes out first: a scene is about what the client does after it.
            connection.transport.write_eof()
            await stay(connection)
        else:
            await connection.close(code, reason)

    return scene


@dataclass
class Answer:
    """What a `FakeEndpoint` answers once."""

    status: int
    message: str = ""
    retry_after: str | None = None

    def encoded(self) -> bytes:
        """As HTTP, the connection closed after it."""
        body = b"" if self.status == 204 else msgspec.json.encode({"Error": True, "ErrorMessage": self.message})
        lines = [f"HTTP/1.1 {self.status} X", "Connection: close"]
        if self.status != 204:
            lines.append(f"Content-Length: {len(body)}")
        if self.retry_after is not None:
            lines.append(f"Retry-After: {self.retry_after}")
        return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


@dataclass
class Posted:
    """One request that came."""

    line: str
    headers: dict[str, str]
    body: bytes


class FakeEndpoint:
    """Answers each POST with the next of `answers`; None = hang up."""

    def __init__(self, answers: tuple[Answer | None, ...]) -> None:
        self.url = ""
        self.posted: list[Posted] = []
        self._answers = deque(answers)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One request, one answer."""
        line, *rest = (await reader.readuntil(b"\r\n\r\n")).decode().strip().split("\r\n")
        headers = {k.lower(): v for k, v in (h.split(": ", 1) for h in rest)}
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        self.posted.append(Posted(line, headers, body))
        answer = self._answers.popleft()
        if answer is not None:
            writer.write(answer.encoded())
        writer.close()
        await writer.wait_closed()


@asynccontextmanager
async def endpoint(*answers: Answer | None) -> AsyncIterator[FakeEndpoint]:
    """A running one, on a free port of this machine."""
    fake = FakeEndpoint(answers)
    server = await asyncio.start_server(fake.serve, "127.0.0.1", 0)
    async with server:
        fake.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        yield fake
