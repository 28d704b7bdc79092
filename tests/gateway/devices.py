"""Devices and callers for tests of a running server: polite ones on `websockets`, and one that does as it likes."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import resource
import socket
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed
from websockets.frames import Opcode
from websockets.utils import apply_mask

from server.gateway.websocket import Gateway
from server.wire import HANDLED_PATH, SYNC_PATH
from tests.running import Running

Pair = tuple[str, int]
"""An event as tests write it: its type and its id."""

WITHIN_S: Final = 10.0
KEY: Final = "dGhlIHNhbXBsZSBub25jZQ=="


def basic(user: str, password: str = "x") -> str:
    """The value of `Authorization`."""
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def tickets(ids: Iterable[int]) -> list[Pair]:
    """One event an id."""
    return [("NewTicket", i) for i in ids]


def events_of(pairs: Iterable[Pair]) -> list[dict[str, Any]]:
    """As JSON writes them."""
    return [{"Type": type_, "Id": id_} for type_, id_ in pairs]


def seq_of(cursor: str) -> int:
    """The position in a cursor. Opaque to devices, but tests order them."""
    return int(cursor.rpartition("-")[2])


class Ledger:
    """What a device knows after the frames it was sent: each pair with the latest time it was handled, in ms."""

    def __init__(self) -> None:
        self.cleared: dict[Pair, int] = {}
        self.cursor = ""
        self.resets = 0

    def apply(self, frame: dict[str, Any]) -> None:
        """Take a frame as a device does: the cursor is kept once the frame is applied."""
        for event in frame.get("events", ()) if frame["type"] == "clear" else ():
            pair = (event["Type"], event["Id"])
            self.cleared[pair] = max(self.cleared.get(pair, 0), event.get("At", frame["at"]))
        self.resets += frame["type"] == "reset"
        if frame["type"] in ("welcome", "clear", "reset"):
            self.cursor = frame["cursor"]


class Device:
    """One session of a polite device. What it is sent goes into `frames`, and into `ledger`, which may outlive it."""

    def __init__(self, connection: ClientConnection, ledger: Ledger | None = None) -> None:
        self.connection = connection
        self.ledger = ledger or Ledger()
        self.frames: list[dict[str, Any]] = []

    @property
    def cursor(self) -> str:
        """Of the last frame that carried one."""
        return self.ledger.cursor

    async def receive(self) -> dict[str, Any]:
        """The next frame."""
        async with asyncio.timeout(WITHIN_S):
            text = await self.connection.recv()
        assert isinstance(text, str), "frames are text"
        frame: dict[str, Any] = json.loads(text)
        self.ledger.apply(frame)
        self.frames.append(frame)
        return frame

    async def until(self, enough: Callable[[], object]) -> list[dict[str, Any]]:
        """The frames that came until `enough` is true."""
        before = len(self.frames)
        while not enough():
            await self.receive()
        return self.frames[before:]

    async def until_cleared(self, pair: Pair) -> list[dict[str, Any]]:
        """The frames up to the clear of `pair`, a sentinel: what should have come before it has, or never will."""
        return await self.until(lambda: pair in self.ledger.cleared)

    async def ask(self, **frame: Any) -> None:
        """Send a frame."""
        await self.connection.send(json.dumps(frame))

    async def close_code(self) -> int:
        """Read to the end, and the code it ended with."""
        try:
            while True:
                await self.receive()
        except ConnectionClosed:
            return self.connection.close_code or 0


def sync_target(device: str, cursor: str | None = None) -> str:
    """What a device asks for."""
    return f"{SYNC_PATH}?device={device}" + (f"&cursor={cursor}" if cursor is not None else "")


def sync_url(running: Running, device: str, cursor: str | None = None) -> str:
    """Where a device connects."""
    return f"{running.ws_url}{sync_target(device, cursor)}"


@asynccontextmanager
async def session(
    running: Running,
    user: str,
    device: str = "phone",
    cursor: str | None = None,
    *,
    password: str = "x",
    ledger: Ledger | None = None,
    welcome: bool = True,
) -> AsyncIterator[Device]:
    """A device that is connected and (`welcome`) has been welcomed. Its pings are answered, it sends none itself."""
    async with connect(
        sync_url(running, device, cursor),
        additional_headers={"Authorization": basic(user, password)},
        compression=None,
        ping_interval=None,
        proxy=None,
        max_size=None,
        max_queue=None,
    ) as connection:
        here = Device(connection, ledger)
        if welcome:
            assert (await here.receive())["type"] == "welcome"
        yield here


class Caller:
    """One HTTP connection on which an agent's batches are posted, many under way at once."""

    def __init__(
        self, running: Running, user: str, password: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._base = running.url.partition("://")[2].partition("/")
        self._authorization = basic(user, password)
        self._reader = reader
        self._writer = writer

    @property
    def local_port(self) -> int:
        """Its end of the connection."""
        port: int = self._writer.get_extra_info("sockname")[1]
        return port

    async def handled(self, *pairs: Pair, device: str | None = None) -> None:
        """Post one batch, which has to be answered 204."""
        await self.all_handled([pairs], device=device)

    async def all_handled(self, batches: Iterable[Sequence[Pair]], *, device: str | None = None) -> None:
        """Post batches in order, each to be answered 204."""
        waiting = [self._request(batch, device) for batch in batches]
        while waiting:
            now, waiting = waiting[:50], waiting[50:]
            self._writer.write(b"".join(now))
            for _ in now:
                status, text = await self._answer()
                assert status == 204, text

    def _request(self, pairs: Sequence[Pair], device: str | None) -> bytes:
        body = json.dumps({"NotificationEvents": events_of(pairs)}).encode()
        host, _, base = self._base
        head = [
            f"POST {'/' + base if base else ''}{HANDLED_PATH} HTTP/1.1",
            f"Host: {host}",
            f"Authorization: {self._authorization}",
            "Content-Type: application/json",
            f"Content-Length: {len(body)}",
            *([f"X-Device-Id: {device}"] if device else []),
        ]
        return "\r\n".join(head).encode() + b"\r\n\r\n" + body

    async def _answer(self) -> tuple[int, bytes]:
        async with asyncio.timeout(WITHIN_S):
            head = (await self._reader.readuntil(b"\r\n\r\n")).lower()
            _, found, rest = head.partition(b"content-length:")
            body = await self._reader.readexactly(int(rest.partition(b"\r")[0])) if found else b""
        return int(head.split(b" ", 2)[1]), body


@asynccontextmanager
async def caller(running: Running, user: str, password: str = "x") -> AsyncIterator[Caller]:
    """Somebody who posts for the agent."""
    reader, writer = await asyncio.open_connection("127.0.0.1", running.port)
    try:
        yield Caller(running, user, password, reader, writer)
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):  # the server may have been killed
            await writer.wait_closed()


@dataclass
class Answer:
    """What a raw request was answered: status, headers by their names in lower case, and the body."""

    status: int
    headers: dict[str, str]
    body: bytes

    def problem(self) -> tuple[int, str]:
        """Status and `ErrorType` of an answer in the vendor's error shape, which nothing may follow."""
        assert self.headers["content-type"] == "application/json; charset=utf-8"
        assert self.headers["connection"] == "close"
        assert int(self.headers["content-length"]) == len(self.body)
        shape = json.loads(self.body)
        assert list(shape) == ["Error", "ErrorType", "ErrorMessage", "ErrorSource"]
        assert shape["Error"] is True
        assert shape["ErrorSource"] == "clearsync"
        assert shape["ErrorMessage"]
        assert "Traceback" not in shape["ErrorMessage"]
        return self.status, shape["ErrorType"]


def upgrade(
    running: Running,
    target: str = f"{SYNC_PATH}?device=raw",
    *extra: str,
    user: str | None = "ada",
    method: str = "GET",
    key: str | None = KEY,
    version: str | None = "13",
) -> bytes:
    """A websocket handshake, with whatever is wrong with it."""
    lines = [
        f"{method} {target} HTTP/1.1",
        f"Host: 127.0.0.1:{running.port}",
        "Upgrade: websocket",
        "Connection: Upgrade",
        *([f"Sec-WebSocket-Key: {key}"] if key is not None else []),
        *([f"Sec-WebSocket-Version: {version}"] if version is not None else []),
        *([f"Authorization: {basic(user)}"] if user else []),
        *extra,
    ]
    return "\r\n".join(lines).encode() + b"\r\n\r\n"


def masked(data: bytes, opcode: Opcode = Opcode.TEXT, *, fin: bool = True, mask: bool = True) -> bytes:
    """A frame of a device, also where it breaks a rule (`websockets` would refuse to write it)."""
    length = len(data)
    if length < 126:
        size = bytes([mask << 7 | length])
    elif length < 65536:
        size = bytes([mask << 7 | 126]) + length.to_bytes(2, "big")
    else:
        size = bytes([mask << 7 | 127]) + length.to_bytes(8, "big")
    key = b"\x5a\xa5\x3c\xc3" if mask else b""
    return bytes([fin << 7 | opcode]) + size + key + (apply_mask(data, key) if mask else data)


def knock(gateway: Gateway, head: bytes) -> None:
    """Hand a handshake over, as the HTTP protocol class does."""
    line, *fields = head.removesuffix(b"\r\n\r\n").split(b"\r\n")
    method, target, _ = line.split(b" ")
    headers = [(name.lower(), value) for name, value in (field.split(b": ", 1) for field in fields)]
    gateway.upgrade(method.decode(), target, headers, "192.0.2.1")


class Raw:
    """A connection that reads only what it is told to, and says whatever it is given."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self._loop = asyncio.get_running_loop()
        self._buffer = bytearray()
        self.ledger = Ledger()

    async def send(self, data: bytes) -> None:
        """All of it."""
        async with asyncio.timeout(WITHIN_S):
            await self._loop.sock_sendall(self._socket, data)

    async def send_until_blocked(self, data: bytes, limit: int) -> int:
        """`data` again and again until nobody takes it any more, or `limit` bytes are sent; how many were."""
        sent = 0
        try:
            while sent < limit:
                async with asyncio.timeout(1.0):
                    await self._loop.sock_sendall(self._socket, data)
                sent += len(data)
        except TimeoutError:
            pass
        return sent

    async def _exactly(self, count: int) -> bytes:
        while len(self._buffer) < count:
            if not await self._more():
                raise EOFError
        data = bytes(self._buffer[:count])
        del self._buffer[:count]
        return data

    async def _more(self) -> bool:
        async with asyncio.timeout(WITHIN_S):
            data = await self._loop.sock_recv(self._socket, 65536)
        self._buffer += data
        return bool(data)

    async def answer(self) -> Answer:
        """The answer to a request; its body is all up to the end of the connection, except where it was upgraded."""
        while b"\r\n\r\n" not in self._buffer:
            assert await self._more(), "closed without an answer"
        head, _, rest = bytes(self._buffer).partition(b"\r\n\r\n")
        status, *fields = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (field.partition(":") for field in fields)}
        answer = Answer(int(status.split()[1]), headers, b"")
        self._buffer = bytearray(rest)
        if answer.status != 101:
            while await self._more():
                pass
            answer.body = bytes(self._buffer)
        return answer

    async def until(self, text: bytes) -> None:
        """Read up to the end of `text`."""
        while text not in self._buffer:
            assert await self._more(), bytes(self._buffer)
        del self._buffer[: self._buffer.index(text) + len(text)]

    async def message(self) -> tuple[Opcode, bytes]:
        """The next frame as it comes, pings and all; EOFError or an OSError at the end."""
        head = await self._exactly(2)
        assert head[0] & 0x80, "the server does not fragment"
        length = head[1]
        if length >= 126:
            length = int.from_bytes(await self._exactly(2 if length == 126 else 8))
        return Opcode(head[0] & 0x0F), await self._exactly(length)

    async def frame(self) -> dict[str, Any]:
        """The next frame of ours; pings are passed over, and not answered."""
        while True:
            opcode, data = await self.message()
            if opcode is Opcode.TEXT:
                frame: dict[str, Any] = json.loads(data)
                self.ledger.apply(frame)
                return frame
            assert opcode is Opcode.PING, f"{opcode}: {data!r}"

    async def close_code(self) -> int:
        """Read up to the server's close frame, and its code."""
        while True:
            opcode, data = await self.message()
            if opcode is Opcode.CLOSE:
                return int.from_bytes(data[:2])

    async def ended(self) -> bool:
        """Read and forget up to the end of the connection; whether it was an end, and not a reset.

        By a reset a system may throw away what came before it and was not read yet.
        """
        try:
            while await self._more():
                self._buffer.clear()
        except ConnectionError:
            return False
        return True

    def vanish(self) -> None:
        """Gone without a word: the kernel resets the connection."""
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        self._socket.close()


@asynccontextmanager
async def raw(running: Running, *, receive_buffer: int = 0) -> AsyncIterator[Raw]:
    """A connection on which nothing was said yet."""
    with socket.socket() as connection:
        connection.setblocking(False)
        if receive_buffer:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        await asyncio.get_running_loop().sock_connect(connection, ("127.0.0.1", running.port))
        yield Raw(connection)


@asynccontextmanager
async def raw_session(
    running: Running,
    user: str,
    device: str = "raw",
    cursor: str | None = None,
    *,
    receive_buffer: int = 0,
    ledger: Ledger | None = None,
) -> AsyncIterator[Raw]:
    """A raw device that has been welcomed."""
    async with raw(running, receive_buffer=receive_buffer) as device_:
        device_.ledger = ledger or device_.ledger
        await device_.send(upgrade(running, sync_target(device, cursor), user=user))
        assert (await device_.answer()).status == 101
        assert (await device_.frame())["type"] == "welcome"
        yield device_


async def asked(running: Running, request: bytes) -> Answer:
    """The answer to one request on a connection of its own."""
    async with raw(running) as connection:
        await connection.send(request)
        return await connection.answer()


def resident_bytes(running: Running) -> int:
    """The memory of the worker."""
    (pid,) = running.worker_pids()
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * resource.getpagesize()


async def snapshot(running: Running, user: str) -> dict[Pair, int]:
    """The truth: all that is handled for the agent, with when, by the one-shot form."""
    path = f"{urlsplit(running.url).path}{SYNC_PATH}"
    request = f"GET {path}?device=oracle&cursor=0 HTTP/1.1\r\nHost: localhost\r\nAuthorization: {basic(user)}\r\n"
    answer = await asked(running, request.encode() + b"Connection: close\r\n\r\n")
    assert answer.status == 200, answer.body
    return {(event["Type"], event["Id"]): event["At"] for event in json.loads(answer.body)["events"]}
