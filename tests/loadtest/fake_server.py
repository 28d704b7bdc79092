"""A server that does with posts and devices what a test says, for what the real one never does."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Final

import msgspec
from websockets.frames import Frame, Opcode
from websockets.utils import accept_key

from server.loadtest import Login

RECORDED: Final = b"HTTP/1.1 204 No Content\r\n\r\n"
SILENT: Final = b""
GONE: Final = b"gone"
"""Instead of an answer: the connection ends."""


def refused(status: int, message: str = "no", *headers: str) -> bytes:
    """An answer in the vendor's error shape."""
    body = msgspec.json.encode({"ErrorMessage": message})
    head = [f"HTTP/1.1 {status} No", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join(head).encode() + b"\r\n\r\n" + body


def login(name: str) -> Login:
    """One whom this server knows by his name."""
    return Login(name, {"Authorization": name})


class FakeServer:
    """`post` is given the agent and the ids of each post, and makes its answer; by default it tells all devices.

    `handshakes` are refusals for the first connections of devices, one each.
    """

    def __init__(self, handshakes: tuple[bytes, ...] = ()) -> None:
        self.url = ""
        self.listening: asyncio.Server | None = None
        self.post: Callable[[str, list[int]], bytes] = self.recorded
        self.paths: list[str] = []
        """Of all requests, with the query."""
        self.kept: list[list[int]] = []
        """What devices are told that come with a cursor."""
        self.said: asyncio.Queue[bytes] = asyncio.Queue()
        """By devices: the heads of frames. After its first a device is not listened to."""
        self.posts = self.connections = 0
        self.handshakes = list(handshakes)
        self._devices: list[tuple[str, asyncio.StreamWriter]] = []
        self._writers: set[asyncio.StreamWriter] = set()

    def recorded(self, agent: str, ids: list[int]) -> bytes:
        """What a server should do."""
        self.tell(agent, ids)
        return RECORDED

    def tell(self, agent: str, ids: list[int]) -> None:
        """A clear for all devices of an agent."""
        self.say(agent, _clear(ids))

    def say(self, agent: str, text: bytes) -> None:
        """Any frame."""
        self.send(agent, _frame(text))

    def send(self, agent: str, data: bytes) -> None:
        """Any bytes."""
        for owner, writer in self._devices:
            if owner == agent:
                writer.write(data)

    def leave(self) -> None:
        """The end of all connections, and no more of them. Idempotent."""
        if self.listening is not None:
            self.listening.close()
        for writer in self._writers:
            writer.transport.abort()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection to its end."""
        self._writers.add(writer)
        self.connections += 1
        try:
            with suppress(asyncio.IncompleteReadError, ConnectionError):
                while await self._answered(reader, writer):
                    pass
        finally:
            self._writers.discard(writer)
            self._devices = [(agent, each) for agent, each in self._devices if each is not writer]
            writer.close()

    async def _answered(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        request, *lines = head.strip().split("\r\n")
        fields = dict(line.split(": ", 1) for line in lines)
        self.paths.append(request.split()[1])
        if request.startswith("GET"):
            await self._device(fields, reader, writer)
            return False
        body = msgspec.json.decode(await reader.readexactly(int(fields["Content-Length"])))
        self.posts += 1
        answer = self.post(fields["Authorization"], [event["Id"] for event in body["NotificationEvents"]])
        writer.write(b"" if answer == GONE else answer)
        return answer != GONE

    async def _device(self, fields: dict[str, str], reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.handshakes:
            writer.write(self.handshakes.pop(0))
            await reader.read()  # until the device has had enough
            return
        agent, key = fields["Authorization"], fields["Sec-WebSocket-Key"]
        writer.write(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: " + accept_key(key).encode() + b"\r\n\r\n"
        )
        self._devices.append((agent, writer))
        writer.write(_frame(b'{"type":"welcome","cursor":"a-1","now":1,"ping":25}'))
        if "cursor=" in self.paths[-1]:
            writer.writelines(_frame(_clear(ids)) for ids in self.kept)
        self.said.put_nowait(await reader.readexactly(2))


def _frame(text: bytes) -> bytes:
    return Frame(Opcode.TEXT, text).serialize(mask=False)


def _clear(ids: list[int]) -> bytes:
    events = [{"Type": "Unknown", "Id": id_} for id_ in ids]
    return msgspec.json.encode({"type": "clear", "cursor": f"a-{ids[-1]}", "at": 1, "events": events})


@asynccontextmanager
async def fake_server(*handshakes: bytes, tls: ssl.SSLContext | None = None) -> AsyncIterator[FakeServer]:
    """A running one, on a free port of this machine."""
    fake = FakeServer(handshakes)
    fake.listening = server = await asyncio.start_server(fake.serve, "127.0.0.1", 0, ssl=tls)
    fake.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield fake
    finally:
        fake.leave()
        await server.wait_closed()
