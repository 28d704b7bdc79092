"""One websocket of a device, as an `asyncio.Protocol`: from the handshake to its end. No task, no queue."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Final, cast

import httptools
import msgspec
from websockets.exceptions import ConnectionClosedError
from websockets.frames import Close, Frame, Opcode
from websockets.utils import accept_key, generate_key

from server.client import ClientError, UntrustedServer
from server.client.frames import Unreadable
from server.client.retry import Retry, judge, judge_status, reason_of
from server.loadtest.answers import Handshake
from server.loadtest.frames import Frames

NONSENSE: Final = (Unreadable, msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What reading a frame may raise."""
_NORMAL: Final = 1000


class Lost(Exception):
    """The connection did not come about, or ended; another may do better."""

    def __init__(self, retry: Retry) -> None:
        super().__init__(retry.reason)
        self.retry = retry


class Wire(asyncio.Protocol):
    """`frame` is given each text message with the time of its arrival, and says whether it was the welcome."""

    def __init__(self, frame: Callable[[bytes, float], bool]) -> None:
        loop = asyncio.get_running_loop()
        self.key = generate_key()
        """What the request of the handshake has to carry."""
        self.welcomed: asyncio.Future[ClientError | Lost | None] = loop.create_future()
        """What refused the device, None: nothing did."""
        self.ended: asyncio.Future[ClientError | Lost] = loop.create_future()
        """Why the connection ended."""
        self._frame = frame
        self._transport: asyncio.Transport | None = None
        self._handshake: Handshake | None = Handshake()
        self._frames = Frames()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's do not inherit it

    def data_received(self, data: bytes) -> None:
        now = time.monotonic()
        try:
            if self._handshake is not None:
                data = self._shaken(self._handshake, data)
            for kind, payload in self._frames.feed(data):
                if kind == Opcode.TEXT:
                    if self._frame(payload, now) and not self.welcomed.done():
                        self.welcomed.set_result(None)
                elif kind == Opcode.PING:
                    self._write(Frame(Opcode.PONG, payload))
                elif kind == Opcode.CLOSE:
                    self._closed(payload)
                    return
        except (*NONSENSE, httptools.HttpParserError) as error:
            self._end(UntrustedServer(f"what came is not of a clearsync server ({error})"))

    def connection_lost(self, exc: Exception | None) -> None:
        self._end(Lost(Retry(reason_of(exc) if exc else "the connection was lost")))

    def close(self) -> bool:
        """The end, properly: the server answers and ends the connection, as RFC 6455, 7.1.1, wants it. Whether there is
        a connection."""
        return self._write(Frame(Opcode.CLOSE, Close(_NORMAL, "").serialize()))

    def abort(self) -> None:
        """The end, at once. Idempotent."""
        if self._transport is not None:
            self._transport.abort()

    def _shaken(self, handshake: Handshake, data: bytes) -> bytes:
        """What came behind the handshake."""
        status = handshake.feed(data)
        if not status:
            return b""
        self._handshake = None
        if status != 101:
            try:
                self._end(Lost(judge_status(status, handshake.body, handshake.retry_after)))
            except ClientError as error:
                self._end(error)
            return b""
        if handshake.headers.get(b"sec-websocket-accept") != accept_key(self.key).encode():
            raise Unreadable("the handshake was answered for another key")
        return handshake.rest

    def _closed(self, payload: bytes) -> None:
        self._write(Frame(Opcode.CLOSE, payload[:2]))
        code = int.from_bytes(payload[:2], "big") if len(payload) >= 2 else 1005
        reason = payload[2:].decode(errors="replace")
        try:
            self._end(Lost(judge(ConnectionClosedError(Close(code, reason), None))))
        except ClientError as error:
            self._end(error)

    def _end(self, why: ClientError | Lost) -> None:
        for future in (self.welcomed, self.ended):
            if not future.done():
                future.set_result(why)
        if self._transport is not None:
            self._transport.close()

    def _write(self, frame: Frame) -> bool:
        if self._transport is None or self._transport.is_closing():
            return False
        self._transport.write(frame.serialize(mask=True))
        return True
