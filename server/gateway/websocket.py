"""A device's websocket: a uvicorn websocket protocol class, one object a connection, no task, queue or ASGI scope.

uvicorn hands it every upgrade on every path, replaying the request head. `websockets`' sans-I/O `ServerProtocol` reads
the handshake and what devices send; what they are sent is written to the transport as it is, since server frames are
not masked. The session's rules are in `server.session`.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Coroutine
from typing import Any, Final, cast

import uvicorn
from uvicorn.protocols.utils import get_remote_addr
from uvicorn.server import ServerState
from websockets.exceptions import InvalidState, SecurityError
from websockets.frames import Frame as WebSocketFrame
from websockets.frames import Opcode
from websockets.http11 import Request
from websockets.protocol import OPEN
from websockets.server import ServerProtocol
from websockets.typing import Subprotocol

from server import logs, wire
from server.auth.address import is_local_host
from server.auth.admission import authorize
from server.auth.principal import Principal, Scope
from server.errors import (
    BadRequest,
    ClearsyncError,
    Forbidden,
    HeadersTooLarge,
    Refused,
    Unavailable,
)
from server.gateway.door import CLOSE_CODES, Door, TooManySessions, not_a_handshake
from server.gateway.handshake import SyncRequest
from server.gateway.inquiries import answer
from server.gateway.origins import origin_allowed
from server.problems import problem_response
from server.session import Session, State
from server.wire import CloseCode, DeviceFrame, ErrorCode, Frame

HIGH_WATER_BYTES: Final = 65536
"""What waits for a slow device in this process; past it the session lags, and what it misses is read again."""
UNSENT_BYTES: Final = 16384
"""What the kernel takes on top of it before it is sent."""
STUCK_S: Final = 60.0
"""A lagging session whose buffer has not shrunk for so long is dead."""
CLOSE_TIMEOUT_S: Final = 5.0
MAX_UNANSWERED: Final = 16
"""Frames of one device under way; further ones are answered `busy`."""

_PING: Final = b"\x89\x00"
_log = logs.get("clearsync.gateway")
_quiet = logging.getLogger("clearsync.websockets")
_quiet.setLevel(logging.WARNING)  # else it says "connection closed" for each, and a session's end is logged here


def _subprotocol(_: ServerProtocol, offered: Any) -> Subprotocol | None:
    return Subprotocol(wire.SUBPROTOCOL) if wire.SUBPROTOCOL in offered else None


class Gateway(asyncio.Protocol):
    """One connection, from the handshake to its end; the `Sink` of its session."""

    __slots__ = (
        "_address",
        "_connections",
        "_door",
        "_fragments",
        "_heard",
        "_held",
        "_loop",
        "_opened",
        "_principal",
        "_session",
        "_slot",
        "_stuck_at",
        "_stuck_size",
        "_transport",
        "_unanswered",
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
        self._connections: set[Any] = server_state.connections
        self._ws = ServerProtocol(
            max_size=self._door.max_frame_bytes,
            subprotocols=[Subprotocol(wire.SUBPROTOCOL)],
            select_subprotocol=_subprotocol,
            logger=_quiet,
        )
        self._transport: asyncio.Transport | None = None
        self._session: Session | None = None
        self._principal: Principal | None = None
        self._fragments: bytearray | None = None
        self._held = False
        self._address = ""
        self._opened = 0.0
        self._slot = -1
        self._heard = True
        self._stuck_size = self._stuck_at = -1.0
        self._unanswered = 0

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport = cast(asyncio.Transport, transport)  # uvloop's do not inherit it
        transport.set_write_buffer_limits(high=HIGH_WATER_BYTES)
        _bound_kernel_buffer(transport)
        self._connections.add(self)

    def data_received(self, data: bytes) -> None:
        self._heard = True
        self._ws.receive_data(data)
        for event in self._ws.events_received():
            if isinstance(event, Request):
                self._requested(event)
            elif isinstance(event, WebSocketFrame):
                self._received(event)
        if self._ws.handshake_exc is not None:
            self._unreadable(self._ws.handshake_exc)
        self._flush()

    def eof_received(self) -> None:
        """The device is gone; the transport closes itself."""

    def connection_lost(self, exc: Exception | None) -> None:
        self._connections.discard(self)
        self._transport = None
        session, principal = self._session, self._principal
        if session is not None and principal is not None:
            self._door.wheel.discard(self, self._slot)
            self._door.hub.leave(principal.agent, session)
            ended = self._ws.close_rcvd or self._ws.close_sent
            _log.info(
                "session ended",
                agent=str(principal.agent),
                device=session.device,
                address=self._address,
                code=ended.code if ended else 1006,
                seconds=round(self._loop.time() - self._opened, 1),
                sent=session.sent,
            )

    def pause_writing(self) -> None:
        """A device that does not read is not heard either: answers to what it asks would pile up here."""
        if self._session is not None and self._transport is not None:
            self._session.pause()
            self._transport.pause_reading()

    def resume_writing(self) -> None:
        if self._session is not None and self._principal is not None and self._transport is not None:
            self._stuck_size = -1.0
            self._heard = True  # it read, so it lives; its pong may be among what was not heard
            self._transport.resume_reading()
            self._door.hub.resumed(self._principal.agent, self._session)

    def shutdown(self) -> None:
        """uvicorn's word for the end of the server; the sessions were drained before."""
        if self._session is not None:
            self._session.close(CloseCode.RESTART, "restart")
        elif self._transport is not None:
            self._transport.close()

    # the handshake

    def _requested(self, request: Request) -> None:
        """Refuse, accept at once where the credentials are known already, or have them verified by a task."""
        headers = [(name.lower(), value) for name, value in request.headers.raw_items()]
        assert self._transport is not None
        peer = get_remote_addr(self._transport)
        self._address = self._door.address_of(peer[0] if peer else "", headers)
        try:
            asked = SyncRequest.parse(request.path, self._door.base_path)
            origins = request.headers.get_all("Origin")
            host = next(iter(request.headers.get_all("Host")), "")
            if self._door.local_only and not is_local_host(host):
                raise Forbidden("in development the Host must be localhost or a loopback address")
            if origins and not all(origin_allowed(o, host, self._door.allowed_origins) for o in origins):
                raise Forbidden("this origin may not open a session")
            credentials = request.headers.get_all("Authorization")
            if len(credentials) > 1:
                raise BadRequest("Authorization is given twice")
        except ClearsyncError as error:
            self._refuse(error)
            return
        authorization = credentials[0].encode("utf-8", "surrogateescape") if credentials else None
        principal = self._door.authenticator.cached(authorization)
        if principal is not None:
            self._admit(request, asked, principal)
        else:
            self._transport.pause_reading()
            self._spawn(self._verify(request, asked, authorization))

    async def _verify(self, request: Request, asked: SyncRequest, authorization: bytes | None) -> None:
        try:
            principal = await self._door.authenticator.authenticate(authorization)
        except ClearsyncError as error:
            self._refuse(error, request)
        else:
            self._admit(request, asked, principal)
        if self._transport is not None and not self._held:
            self._transport.resume_reading()

    def _admit(self, request: Request, asked: SyncRequest, principal: Principal) -> None:
        if self._transport is None or self._transport.is_closing():
            return
        door = self._door
        try:
            authorize(principal, Scope.SYNC_READ, asked.tenant)
            if door.max_sessions and door.hub.session_count >= door.max_sessions:
                raise TooManySessions("this worker holds as many sessions as it may, try again later")
            if not door.broker.ready:
                raise Unavailable()
        except ClearsyncError as error:
            self._refuse(error, request)
            return
        if not self._open(request):
            return
        self._principal = principal
        self._opened = self._loop.time()
        self._session = Session(asked.device, asked.cursor, self)
        self._slot = door.wheel.add(self)
        self._held = True
        self._transport.pause_reading()  # until it is welcomed: an answer must not come before (session rule 7)
        door.hub.join(principal.agent, self._session)
        _log.debug("session begun", agent=str(principal.agent), device=asked.device, address=self._address)

    def _open(self, request: Request) -> bool:
        """Answer the handshake. False where it was no proper one."""
        response = self._ws.accept(request)
        if response.status_code != 101:
            self._refuse(not_a_handshake(response.status_code, self._ws.handshake_exc))
            return False
        self._ws.send_response(response)
        self._flush()
        return True

    def _unreadable(self, problem: Exception) -> None:
        """uvicorn took the head for a request, `ServerProtocol` did not; what it would answer is plain text."""
        self._ws.data_to_send()
        if isinstance(problem, SecurityError):
            self._refuse(HeadersTooLarge(f"request head: {problem}"))
        else:
            self._refuse(not_a_handshake(400, problem.__cause__ or problem))

    def _refuse(self, error: ClearsyncError, request: Request | None = None) -> None:
        """With an HTTP status; or, where a browser is asking, which would see only 1006, by a close code."""
        if self._transport is None or self._transport.is_closing():
            return
        _log.info("session refused", address=self._address, error=type(error).__name__)
        code = CLOSE_CODES.get(type(error))
        if code is not None and request is not None and request.headers.get_all("Origin"):
            if self._open(request):
                self.close(code, str(error))
            return
        if not isinstance(error, Refused | Unavailable):
            error = Unavailable()
        self._transport.write(problem_response(error))
        self._transport.close()

    # Sink

    def write(self, frame: Frame) -> None:
        if self._transport is not None:
            self._transport.write(frame.websocket)
            if self._held:  # the welcome
                self._held = False
                self._transport.resume_reading()

    def close(self, code: CloseCode, reason: str) -> None:
        try:
            self._ws.send_close(code, reason[:120])
        except InvalidState:
            return  # the device was first
        self._flush()
        if self._transport is not None:
            self._transport.resume_reading()  # for the answer
            self._loop.call_later(CLOSE_TIMEOUT_S, self._transport.abort)

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
        if self._session is not None:
            self._session.closed()
        if self._ws.close_rcvd is None and transport.can_write_eof():
            transport.write_eof()
        else:
            transport.close()
        self._loop.call_later(CLOSE_TIMEOUT_S, transport.abort)

    # what the device sends

    def _received(self, frame: WebSocketFrame) -> None:
        session = self._session
        if session is None or session.state is State.CLOSED:
            return
        if frame.opcode is Opcode.CLOSE:
            session.closed()
        elif frame.opcode is Opcode.BINARY:
            session.close(CloseCode.PROTOCOL_ERROR, "frames are text")
        elif frame.opcode is Opcode.TEXT or frame.opcode is Opcode.CONT:
            if self._fragments is not None:
                self._fragments += frame.data
            elif not frame.fin:
                self._fragments = bytearray(frame.data)
            if frame.fin:
                text, self._fragments = self._fragments or frame.data, None
                self._message(session, bytes(text))

    def _message(self, session: Session, text: bytes) -> None:
        try:
            frame = wire.decode(text)
        except wire.NotAFrame as problem:
            session.close(CloseCode.PROTOCOL_ERROR, str(problem))
            return
        if frame.type == "ping":
            session.answer(wire.pong())
        elif frame.type not in ("handled", "check"):
            session.answer(wire.error(frame.ref, ErrorCode.UNKNOWN_TYPE, "type must be handled, check or ping"))
        elif self._unanswered >= MAX_UNANSWERED:
            session.answer(wire.error(frame.ref, ErrorCode.BUSY, f"{MAX_UNANSWERED} frames are under way, wait"))
        else:
            self._unanswered += 1
            self._spawn(self._serve(session, frame))

    async def _serve(self, session: Session, frame: DeviceFrame) -> None:
        assert self._principal is not None
        try:
            session.answer(await answer(self._door, self._principal, session.device, frame))
        finally:
            self._unanswered -= 1

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        self._door.tasks.create_task(self._guarded(work))

    async def _guarded(self, work: Coroutine[Any, Any, None]) -> None:
        """What nobody foresaw ends this connection, and not the worker with all the others."""
        try:
            await work
        except Exception:
            _log.exception("connection failed", address=self._address)
            if self._session is not None:
                self._session.close(CloseCode.INTERNAL_ERROR, "internal error")
            elif self._transport is not None:
                self._transport.abort()

    # keepalive

    def ping(self, now: float) -> None:
        """A live device is pinged; a lagging one is not, its buffer has to shrink instead."""
        session, transport = self._session, self._transport
        if session is None or transport is None:
            return
        if session.state is State.LAGGING:
            size = transport.get_write_buffer_size()
            if self._stuck_size < 0 or size < self._stuck_size:
                self._stuck_at = now
            elif now - self._stuck_at >= STUCK_S:
                transport.abort()
            self._stuck_size = size  # of the last look: answers under way may have made it grow in between
        elif self._ws.state is OPEN:
            self._heard = self._held  # one that we do not hear yet is not asked to answer
            transport.write(_PING)

    def overdue(self, now: float) -> None:
        """Half-open: pinged, and not a byte since."""
        session, transport = self._session, self._transport
        silent = session is not None and not self._heard and session.state is not State.LAGGING
        if silent and transport is not None:
            transport.abort()


def _bound_kernel_buffer(transport: asyncio.Transport) -> None:
    """Else up to 4 MB wait in the kernel for a device that reads slowly: its buffer here is empty, so it is pinged, and
    the ping stands behind all of that for longer than it may take to answer."""
    connection, option = transport.get_extra_info("socket"), getattr(socket, "TCP_NOTSENT_LOWAT", None)
    if option is not None and connection is not None and connection.family in (socket.AF_INET, socket.AF_INET6):
        connection.setsockopt(socket.IPPROTO_TCP, option, UNSENT_BYTES)
