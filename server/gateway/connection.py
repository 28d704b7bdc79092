"""One websocket connection, below its session: the handshake's answer, frames in and out, and its end.

The HTTP protocol class hands over every upgrade on every path, with the head that its parser has read. `websockets`'
sans-I/O protocols judge the handshake and read what devices send; what they are sent is written to the transport as it
is, since server frames are not masked. One object a connection, no task, queue or ASGI scope.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Sequence
from typing import Any, Final, cast

import uvicorn
from uvicorn.server import ServerState
from websockets.exceptions import InvalidState
from websockets.frames import Frame as WebSocketFrame
from websockets.http11 import Request
from websockets.protocol import Protocol, Side

from server import logs
from server.errors import ClearsyncError, Refused, Unavailable
from server.gateway.door import CLOSE_CODES, Door
from server.gateway.handshake import accepted, request_of
from server.problems import problem_response
from server.wire import CloseCode, Frame

HIGH_WATER_BYTES: Final = 65536
"""What waits for a slow device in this process; past it the session lags, and what it misses is read again."""
PIECE_BYTES: Final = 4096
"""What is parsed at one time: a read may hold 40,000 pings, and is not to be answered whole before anybody counts."""
CLOSE_TIMEOUT_S: Final = 5.0
_PONG: Final = b"\x8a\x80"

_log = logs.get("clearsync.gateway")
_quiet = logging.getLogger("clearsync.websockets")
_quiet.setLevel(logging.WARNING)  # else it says "connection closed" for each, and a session's end is logged here


def _is_whole(data: bytes) -> bool:
    """Whether it is one or several frames of a device, masked, up to the last byte."""
    at, end = 0, len(data)
    while at + 4 <= end:
        length = data[at + 1] & 0x7F
        if length == 127:
            return False  # 64 KiB, which do not come in one read
        at += 6 + length if length < 126 else 8 + int.from_bytes(data[at + 2 : at + 4], "big")
    return at == end


class Connection(asyncio.Protocol):
    """From the first byte to the last; whoever inherits it decides who gets in (`requested`) and hears (`received`)."""

    __slots__ = (
        "_accepted",
        "_address",
        "_between",
        "_deaf",
        "_door",
        "_heard",
        "_held",
        "_loop",
        "_server",
        "_transport",
        "_ws",
    )

    def __init__(
        self,
        config: uvicorn.Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        self._door: Door = app_state["door"]
        self._loop = _loop or asyncio.get_running_loop()
        self._server = server_state
        self._ws = Protocol(Side.SERVER, max_size=self._door.max_frame_bytes, logger=_quiet)
        self._transport: asyncio.Transport | None = None
        self._address = ""
        self._heard = True
        self._accepted = self._held = self._deaf = False
        self._between = True  # all that came was whole: the parser is between two frames

    # for whoever inherits

    def requested(self, request: Request) -> None:
        """The head of a handshake has come."""
        raise NotImplementedError

    def received(self, frame: WebSocketFrame) -> None:
        """A frame has come."""
        raise NotImplementedError

    def ponged(self) -> bool:
        """A pong without payload has come. False: it is to be read as any other frame."""
        raise NotImplementedError

    def finishing(self) -> None:
        """Nothing more will be written."""
        raise NotImplementedError

    def failed(self) -> None:
        """Work of this connection failed in a way that nobody foresaw."""
        raise NotImplementedError

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport = cast(asyncio.Transport, transport)  # uvloop's do not inherit it
        transport.set_write_buffer_limits(high=HIGH_WATER_BYTES)
        self._server.connections.add(cast(Any, self))

    def data_received(self, data: bytes) -> None:
        self._heard = True
        if self._between:
            if len(data) == 6 and data.startswith(_PONG) and self.ponged():
                return  # to parse it takes 3 µs; of idle devices nothing else comes
            self._between = _is_whole(data)
        if not self._accepted:
            return  # before the handshake is answered nothing is to come, and nothing is answered
        for start in range(0, len(data), PIECE_BYTES):
            if self._deaf:
                return
            self._ws.receive_data(data[start : start + PIECE_BYTES])
            self._hear()
        self._flush()

    def _hear(self) -> None:
        for event in self._ws.events_received():
            if isinstance(event, WebSocketFrame):
                self.received(event)

    def eof_received(self) -> None:
        """The device is gone; the transport closes itself."""

    def connection_lost(self, exc: Exception | None) -> None:
        self._server.connections.discard(cast(Any, self))
        self._transport = None
        self._ws.parser.close()  # it refers to its protocol, as that does to it: what is left goes at once

    # the handshake

    def upgrade(self, method: str, target: bytes, headers: Sequence[tuple[bytes, bytes]], peer: str) -> None:
        """The head of a handshake has come, from the address `peer`; names are in lower case."""
        self._address = peer
        try:
            request = request_of(method, target, headers)
        except ClearsyncError as problem:
            self.refuse(problem)
        else:
            self.requested(request)

    def open(self, request: Request) -> bool:
        """Accept. False where it was no proper handshake."""
        try:
            answer = accepted(request, self._server.default_headers)
        except ClearsyncError as problem:
            self.refuse(problem)
            return False
        self._accepted = True
        if self._transport is not None:
            self._transport.write(answer)
        return True

    def refuse(self, error: ClearsyncError, request: Request | None = None) -> None:
        """With an HTTP status; or, where a browser is asking, which would see only 1006, by a close code."""
        if self._transport is None or self._transport.is_closing():
            return
        self._door.tell_refusal(self._address, error, self._loop.time())
        code = CLOSE_CODES.get(type(error))
        if code is not None and request is not None and request.headers.get_all("Origin"):
            if self.open(request):
                self.close(code, str(error))
            return
        if not isinstance(error, Refused | Unavailable):
            error = Unavailable()
        self._transport.write(problem_response(error))
        self._transport.close()

    # frames out, and the end

    def write(self, frame: Frame) -> None:
        """At once; the transport says pause where it has too much."""
        if self._transport is not None:
            self._transport.write(frame.websocket)
            if self._held:  # the welcome
                self._held = False
                self._transport.resume_reading()

    def close(self, code: CloseCode, reason: str) -> None:
        """Say goodbye, and wait a moment for the answer."""
        try:
            self._ws.send_close(code, reason[:120])
        except InvalidState:
            return  # the device was first
        self._flush()
        if self._transport is not None:
            self._transport.resume_reading()  # for the answer
            self._loop.call_later(CLOSE_TIMEOUT_S, self._transport.abort)

    def ignore(self) -> None:
        """After `close`: not a byte more is read, or waited for. The close frame stands before our end."""
        self._deaf = True
        if self._transport is not None:
            self._transport.pause_reading()
            self._finish(self._transport)

    def _flush(self) -> None:
        for data in self._ws.data_to_send():
            if self._transport is None:
                return
            if data:
                self._transport.write(data)
            else:
                self._finish(self._transport)

    def _finish(self, transport: asyncio.Transport) -> None:
        """All is said. Where we ended it, what the device still sends is read and forgotten: closed at once, its system
        would throw our close frame away with the connection."""
        self.finishing()
        if self._ws.close_rcvd is None and transport.can_write_eof():
            transport.write_eof()
        else:
            transport.close()
        self._loop.call_later(CLOSE_TIMEOUT_S, transport.abort)

    # what takes longer

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Do it in a task of the worker's."""
        self._door.tasks.create_task(self._guarded(work))

    async def _guarded(self, work: Coroutine[Any, Any, None]) -> None:
        """What nobody foresaw ends this connection, and not the worker with all the others."""
        try:
            await work
        except Exception:
            _log.exception("connection failed", address=self._address)
            self.failed()
