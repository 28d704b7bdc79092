"""A tiny server that does exactly what it is told, and counts: what a generator says of it can be checked."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import json
import time
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final

from bench.candidate import Target

BODY: Final = '{"events":[{"Type":"x","Id":%t}],"share":"100%%"}'
_GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


@dataclass
class KnownServer:
    """Answers a POST to `/agents/<agent>` 204, and pushes its body to the websockets of `/ws/<agent>/<device>`.

    The faults are for every so many-th push or post, the first being number 1.
    """

    push_after_s: float = 0.0
    answer_after_s: float = 0.0
    stall_at: int = 0
    stall_s: float = 0.0
    drop_every: int = 0
    twice_every: int = 0
    refuse_every: int = 0
    close_every: int = 0
    cut_every: int = 0
    refuse_devices: bool = False
    catchup: int = 0
    posts: int = 0
    pushed: int = 0
    unpushed: int = 0
    most_unpushed: int = 0
    bodies: list[dict[str, Any]] = field(default_factory=list)
    posted_heads: list[dict[str, str]] = field(default_factory=list)
    ws_heads: list[dict[str, str]] = field(default_factory=list)
    heard: list[tuple[int, bytes]] = field(default_factory=list)
    port: int = 0
    _devices: dict[str, list[asyncio.StreamWriter]] = field(default_factory=dict)
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    @property
    def target(self) -> Target:
        """Where a generator finds it."""
        auth = "Authorization: Basic %B"
        return Target(self.port, self.port, "/ws/%a/%d?as=%a", "/agents/%a", BODY, auth, auth)

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[Target]:
        """Up within the context."""
        server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self.target
        finally:
            server.close()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._later(self._serve(reader, writer)).add_done_callback(lambda _: writer.close())

    def _later(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
                fields = dict(line.split(": ", 1) for line in head[1:] if line)
                path = head[0].split()[1]
                if "Upgrade" in fields:
                    await self._device(path, fields, reader, writer)
                    return
                body = await reader.readexactly(int(fields["Content-Length"]))
                if not await self._posted(path.removeprefix("/agents/"), fields, body, writer):
                    return

    async def _posted(self, agent: str, fields: dict[str, str], body: bytes, writer: asyncio.StreamWriter) -> bool:
        self.posts += 1
        self.posted_heads.append(fields)
        self.bodies.append(json.loads(body))
        if self.posts == self.stall_at:
            time.sleep(self.stall_s)  # noqa: ASYNC251  the whole server stands still
        if self._is(self.posts, self.cut_every):
            return False
        if self._is(self.posts, self.refuse_every):
            writer.write(b"HTTP/1.1 503 No\r\nContent-Length: 2\r\n\r\nno")
            return True
        self.unpushed += 1
        self.most_unpushed = max(self.most_unpushed, self.unpushed)
        self._later(self._push(agent, body))
        if self.answer_after_s:
            await asyncio.sleep(self.answer_after_s)
        closing = self._is(self.posts, self.close_every)
        writer.write(b"HTTP/1.1 204 OK\r\n%s\r\n" % (b"Connection: close\r\n" if closing else b""))
        return not closing

    async def _push(self, agent: str, body: bytes) -> None:
        if self.push_after_s:
            await asyncio.sleep(self.push_after_s)
        self.unpushed -= 1
        for device in self._devices.get(agent, []):
            self.pushed += 1
            if not self._is(self.pushed, self.drop_every):
                device.write(_frame(1, body) * (2 if self._is(self.pushed, self.twice_every) else 1))

    async def _device(
        self, path: str, fields: dict[str, str], reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.ws_heads.append(fields | {"path": path})
        if self.refuse_devices:
            writer.write(b"HTTP/1.1 401 No\r\nContent-Length: 0\r\n\r\n")
            return
        accept = base64.b64encode(hashlib.sha1(fields["Sec-WebSocket-Key"].encode() + _GUID).digest())
        writer.write(
            b"HTTP/1.1 101 On\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: %s\r\n\r\n" % accept
        )
        writer.write(_frame(1, b'{"type":"welcome"}') + _frame(9, b"still there?"))
        for number in range(self.catchup):
            writer.write(_frame(1, b'{"Id":%d}' % number))
        self._devices.setdefault(path.split("/")[2], []).append(writer)
        while True:
            first, length = await reader.readexactly(2)
            size = length & 127
            if size == 126:
                size = int.from_bytes(await reader.readexactly(2))
            mask = await reader.readexactly(4)
            masked = await reader.readexactly(size)
            self.heard.append((first & 15, bytes(b ^ mask[at % 4] for at, b in enumerate(masked))))

    @staticmethod
    def _is(number: int, every: int) -> bool:
        return every > 0 and number % every == 0


def _frame(opcode: int, payload: bytes) -> bytes:
    size = len(payload)
    if size < 126:
        return bytes((0x80 | opcode, size)) + payload
    if size < 2**16:
        return bytes((0x80 | opcode, 126)) + size.to_bytes(2) + payload
    return bytes((0x80 | opcode, 127)) + size.to_bytes(8) + payload
