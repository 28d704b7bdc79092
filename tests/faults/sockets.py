"""A websocket client that is light enough for ten thousand of them in one process. Server frames are unmasked text."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Callable
from contextlib import suppress
from typing import Final, NamedTuple, cast

LOST: Final = 1006
"""The code of a connection that ended without one (RFC 6455, 7.1.5)."""
NORMAL: Final = 1000
RECEIVE_BYTES: Final = 16384
"""What the kernel keeps for one that does not read; left alone it grows to megabytes."""
_KEY: Final = "dGhlIHNhbXBsZSBub25jZQ=="
_CONTINUATION, _TEXT, _CLOSE, _PING, _PONG = 0, 1, 8, 9, 10


class Ending(NamedTuple):
    """How a connection ended: the code it was closed with, or the status (0: none came) that refused the handshake."""

    code: int = LOST
    status: int = 0
    retry_after_s: float = 0.0


def upgrade(host: str, target: str, authorization: str) -> bytes:
    """A handshake."""
    return (
        f"GET {target} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Key: {_KEY}\r\nSec-WebSocket-Version: 13\r\nAuthorization: {authorization}\r\n\r\n"
    ).encode()


class WebSocket(asyncio.Protocol):
    """One connection from the handshake to its end. Pings are answered; a text goes to `received`, in its order."""

    def __init__(self, request: bytes, received: Callable[[bytes], None]) -> None:
        loop = asyncio.get_running_loop()
        self.answered: asyncio.Future[None] = loop.create_future()
        """Done when the handshake is answered, or the connection ended before."""
        self.ended: asyncio.Future[Ending] = loop.create_future()
        self._request = request
        self._received = received
        self._buffer = b""
        self._open = False
        self._ending = Ending()
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's do not inherit it
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BYTES)
        self._transport.write(self._request)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        if not self.answered.done():
            self.answered.set_result(None)
        if not self.ended.done():
            self.ended.set_result(self._ending)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if self._open or self._read_head():
            self._read_frames()

    def close(self) -> None:
        """Say that we leave; the server then ends the connection."""
        self._send(_CLOSE, NORMAL.to_bytes(2, "big"))

    def abort(self) -> None:
        """End it at once, with a reset, as a device does that loses its network."""
        if self._transport is None:
            return
        if (connection := self._transport.get_extra_info("socket")) is not None:
            with suppress(OSError):  # closed already
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._transport.abort()

    def pause(self) -> None:
        """Stop reading."""
        if self._transport is not None and not self._transport.is_closing() and self._transport.is_reading():
            self._transport.pause_reading()

    def resume(self) -> None:
        """Read on."""
        if self._transport is not None and not self._transport.is_closing() and not self._transport.is_reading():
            self._transport.resume_reading()

    def _read_head(self) -> bool:
        head, found, rest = self._buffer.partition(b"\r\n\r\n")
        if not found:
            return False
        status = int(head.split(b" ", 2)[1])
        self._open = status == 101
        if not self._open:
            _, named, value = head.lower().partition(b"\r\nretry-after:")
            self._ending = Ending(status=status, retry_after_s=float(value.partition(b"\r")[0]) if named else 0.0)
            self.abort()
        self._buffer = rest
        if not self.answered.done():
            self.answered.set_result(None)
        return self._open

    def _read_frames(self) -> None:
        data, at, size = self._buffer, 0, len(self._buffer)
        while size - at >= 2:
            start, length = at + 2, data[at + 1]
            if length >= 126:
                wide = 2 if length == 126 else 8
                start += wide
                length = int.from_bytes(data[at + 2 : start], "big")
            if size < start + length:
                break
            self._frame(data[at] & 0x0F, data[start : start + length])
            at = start + length
        self._buffer = data[at:]

    def _frame(self, opcode: int, payload: bytes) -> None:
        if opcode == _TEXT:
            self._received(payload)
        elif opcode == _PING:
            self._send(_PONG, payload)
        elif opcode == _CLOSE:
            self._ending = Ending(code=int.from_bytes(payload[:2], "big") if payload else LOST)
            self._send(_CLOSE, payload[:2])
            if self._transport is not None:
                self._transport.close()

    def _send(self, opcode: int, payload: bytes) -> None:
        """A small frame, masked with zeros: whoever reads it can't tell, and it costs nothing."""
        if self._transport is not None:
            self._transport.write(bytes((0x80 | opcode, 0x80 | len(payload))) + b"\0\0\0\0" + payload)
