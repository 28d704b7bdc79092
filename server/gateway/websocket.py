"""A device's websocket: the uvicorn protocol class from the handshake to the end of its session.

The session's rules are in `server.session`, those of the handshake in `entrance`, what it stands on in `stay`, what
carries all of them in `connection`.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any, Final

import uvicorn
from uvicorn.server import ServerState
from websockets.frames import Frame as WebSocketFrame
from websockets.frames import Opcode
from websockets.http11 import Request
from websockets.protocol import OPEN

from server import logs, wire
from server.auth.principal import Principal
from server.errors import ClearsyncError
from server.gateway.connection import Connection
from server.gateway.entrance import Visitor, read_visitor
from server.gateway.inquiries import answer, refusal, renewal
from server.gateway.stay import Stay
from server.session import Session, State
from server.wire import CloseCode, DeviceFrame, ErrorCode, Frame

MAX_UNANSWERED: Final = 16
"""Frames of one device under way; further ones are answered `busy`."""

_PING: Final = b"\x89\x00"
_ASKS: Final = ("handled", "check", "refresh")  # no set: a device may send a list for a type
_log = logs.get("clearsync.gateway")


class Gateway(Connection):
    """One device's connection; the `Sink` of its session."""

    __slots__ = (
        "_app_token",
        "_fragments",
        "_paid",
        "_pinged",
        "_refreshing",
        "_session",
        "_slot",
        "_stay",
        "_unanswered",
    )

    def __init__(
        self,
        config: uvicorn.Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._session: Session | None = None
        self._stay = Stay(self._door, self._loop)
        self._refreshing = False
        self._app_token: bytes | None = None
        self._fragments: bytearray | None = None
        self._paid = 0.0
        self._pinged = False
        self._slot = -1
        self._unanswered = 0

    # the handshake

    def requested(self, request: Request) -> None:
        try:
            visitor = read_visitor(self._door, request, self._address)
        except ClearsyncError as error:
            self.refuse(error)
            return
        assert self._transport is not None
        self._address = visitor.address
        self._transport.pause_reading()
        self.spawn(self._enter(request, visitor))

    async def _enter(self, request: Request, visitor: Visitor) -> None:
        try:
            principal = await self._stay.enter(visitor)
        except ClearsyncError as error:
            self.refuse(error, request)
        else:
            self._admit(request, visitor, principal)
        if self._transport is None:
            self._stay.end()  # it went while we asked
        elif not self._held:
            self._transport.resume_reading()

    def _admit(self, request: Request, visitor: Visitor, principal: Principal) -> None:
        if self._transport is None or self._transport.is_closing() or not self.open(request):
            return
        asked = visitor.asked
        self._app_token = visitor.credentials.app_token
        self._session = Session(asked.device, asked.cursor, self)
        self._stay.begin(self._session, principal)
        self._slot = self._door.wheel.add(self)
        self._held = True
        self._transport.pause_reading()  # until it is welcomed: an answer must not come before (session rule 7)
        self._door.hub.join(principal.agent, self._session)
        _log.debug("session begun", agent=str(principal.agent), device=asked.device, address=self._address)

    # asyncio.Protocol

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        if self._session is not None:
            self._door.wheel.discard(self, self._slot)
        ended = self._ws.close_rcvd or self._ws.close_sent
        self._stay.leave(self._address, int(ended.code) if ended else 1006)

    def pause_writing(self) -> None:
        """A device that does not read is not heard either: answers to what it asks would pile up here."""
        if self._session is not None and self._transport is not None:
            self._door.hub.paused(self._session)
            self._transport.pause_reading()

    def resume_writing(self) -> None:
        principal = self._stay.principal
        if self._session is not None and principal is not None and self._transport is not None:
            self._stay.shrunk()
            self._heard = True  # it read, so it lives; its pong may be among what was not heard
            if not self._deaf:
                self._transport.resume_reading()
            self._door.hub.resumed(principal.agent, self._session)

    def shutdown(self) -> None:
        """uvicorn's word for the end of the server; the sessions were drained before."""
        if self._deaf and self._transport is not None:
            self._transport.abort()
        elif self._session is not None:
            self._session.close(CloseCode.RESTART, "restart")
        elif self._transport is not None:
            self._transport.close()

    def finishing(self) -> None:
        if self._session is not None:
            self._session.closed()

    def failed(self) -> None:
        if self._session is not None:
            self._session.close(CloseCode.INTERNAL_ERROR, "internal error")
            return
        self._stay.end()
        if self._transport is not None:
            self._transport.abort()

    # what the device sends

    def ponged(self) -> bool:
        if not self._pinged or self._deaf:
            return False  # nobody asked: it is counted
        self._pinged = False
        return True

    def received(self, frame: WebSocketFrame) -> None:
        session = self._session
        if session is None or session.state is State.CLOSED:
            return
        if frame.opcode is Opcode.CLOSE:
            session.closed()
        elif (bursts := self._bursts(frame)) > 1:
            session.close(CloseCode.POLICY_VIOLATION, "more frames than a device may send")
            self.ignore()
        elif frame.opcode is Opcode.BINARY:
            session.close(CloseCode.PROTOCOL_ERROR, "frames are text")
        elif frame.opcode is Opcode.TEXT or frame.opcode is Opcode.CONT:
            if self._fragments is not None:
                self._fragments += frame.data
            elif not frame.fin:
                self._fragments = bytearray(frame.data)
            if frame.fin:
                text, self._fragments = self._fragments or frame.data, None
                self._message(session, bytes(text), flood=bursts > 0)

    def _bursts(self, frame: WebSocketFrame) -> int:
        """Count a frame: how many bursts the device is beyond what it may send."""
        pace = self._door.frames
        if pace is None:
            return 0
        if frame.opcode is Opcode.PONG and self._pinged:
            self._pinged = False
            return 0
        now = self._loop.time()
        self._paid = pace.charged(self._paid, now)
        bursts = pace.bursts(self._paid, now)
        if bursts:
            self._door.hub.metrics.limited_total["frames",] += 1
        return bursts

    def _message(self, session: Session, text: bytes, *, flood: bool) -> None:
        try:
            frame = wire.decode(text)
        except wire.NotAFrame as problem:
            session.close(CloseCode.PROTOCOL_ERROR, str(problem))
            return
        if flood:
            said = "more frames came than a device may send, wait"
            session.answer(wire.error(frame.ref, ErrorCode.BUSY, said))
        elif frame.type == "ping":
            session.answer(wire.pong())
        elif frame.type not in _ASKS:
            said = "type must be handled, check, refresh or ping"
            session.answer(wire.error(frame.ref, ErrorCode.UNKNOWN_TYPE, said))
        elif self._unanswered >= MAX_UNANSWERED:
            session.answer(wire.error(frame.ref, ErrorCode.BUSY, f"{MAX_UNANSWERED} frames are under way, wait"))
        else:
            self._unanswered += 1
            self.spawn(self._serve(session, frame))

    async def _serve(self, session: Session, frame: DeviceFrame) -> None:
        try:
            principal = self._stay.principal
            if principal is None:
                return
            if frame.type == "refresh":
                session.answer(await self._refresh(session, principal, frame))
            else:
                session.answer(await answer(self._door, principal, session.device, frame))
        finally:
            self._unanswered -= 1

    async def _refresh(self, session: Session, principal: Principal, frame: DeviceFrame) -> Frame:
        """New credentials of the same agent, before the old ones end. One at a time: the last that was sent counts."""
        if self._refreshing:
            return wire.error(frame.ref, ErrorCode.BUSY, "another refresh is under way, wait for its answer")
        self._refreshing = True
        try:
            renewed = await renewal(self._door, principal, frame, self._app_token, self._address)
        except ClearsyncError as problem:
            return refusal(frame, problem)
        finally:
            self._refreshing = False
        if session.state is not State.CLOSED:
            self._stay.renew(renewed)
        return wire.refreshed(frame.ref, None if renewed.expires_at is None else renewed.expires_at - time.time())

    # keepalive

    def ping(self, now: float) -> None:
        """A live device is pinged; a lagging one is not, its buffer has to shrink instead."""
        session, transport = self._session, self._transport
        if session is None or transport is None:
            return
        if session.state is State.LAGGING:
            if self._stay.stuck(transport.get_write_buffer_size(), now):
                transport.abort()
        elif self._ws.state is OPEN:
            self._heard = self._held  # one that we do not hear yet is not asked to answer
            self._pinged = True
            transport.write(_PING)

    def overdue(self, now: float) -> None:
        """Half-open: pinged, and not a byte since."""
        session, transport = self._session, self._transport
        silent = session is not None and not self._heard and session.state is not State.LAGGING
        if silent and transport is not None:
            transport.abort()
