"""A device's event stream (Server-Sent Events, WHATWG HTML 9.2): what a websocket would say, for those whose network
lets no websocket through.

`EventStreams` is the ASGI endpoint, `EventStream` one device's way out: an outbox that is bounded in bytes, which the
task of the request writes. Full, the session lags (session rule 6); once all of it is written, it reads on.
"""

from __future__ import annotations

import asyncio
import random
import socket
from typing import Any, Final

from starlette.types import Receive, Send
from starlette.types import Scope as AsgiScope

from server import wire
from server.auth.principal import Principal
from server.errors import BadRequest, ClearsyncError, Forbidden
from server.events import AgentId, Cursor
from server.gateway.connection import HIGH_WATER_BYTES
from server.gateway.door import Door
from server.gateway.entrance import Visitor, read_visitor
from server.gateway.handshake import request_of
from server.gateway.stay import STUCK_S, Stay
from server.session import Session, State
from server.wire import CloseCode, Frame

GOODBYE_S: Final = 3.0
"""In which a device has to take its end; less than what requests have to finish when the server ends."""
RETRY_MS: Final = (1000, 5000)
"""When to come back, by itself: each stream is told another time in between, or after a restart all came at once."""
_HEADERS: Final = [
    (b"content-type", b"text/event-stream"),
    (b"cache-control", b"no-store, no-transform"),  # a proxy that compresses would wait for more to compress
    (b"x-accel-buffering", b"no"),
    (b"vary", b"Authorization, Cookie, Accept"),
]
_HEARTBEAT: Final = b":\n\n"


class EventStreams:
    """``GET …/api/v1/sync`` with ``Accept: text/event-stream``, an ASGI application. What is refused is raised."""

    def __init__(self, door: Door) -> None:
        self._door = door

    async def __call__(self, scope: AsgiScope, receive: Receive, send: Send) -> None:
        loop = asyncio.get_running_loop()
        stay, address = Stay(self._door, loop), scope["client"][0] if scope["client"] else ""
        try:
            visitor = _visitor(self._door, scope, address)
            address = visitor.address
            principal = await stay.enter(visitor)
        except ClearsyncError as error:
            self._door.tell_refusal(address, error, loop.time(), "sse")
            raise
        try:
            transport: asyncio.Transport = scope["extensions"]["clearsync.transport"]
            scope["extensions"]["clearsync.streams"] = {}  # a caller that says no more is gone, see `BoundedHttp`
            await EventStream(self._door, stay, transport).run(visitor, principal, receive, send)
        finally:
            stay.end()


def _visitor(door: Door, scope: AsgiScope, peer: str) -> Visitor:
    """Who asks, on a connection from `peer`. Raises as `read_visitor` does, and `BadRequest` for a malformed
    ``Last-Event-ID``."""
    headers = scope["headers"]
    if any(name == b"transfer-encoding" or (name == b"content-length" and value != b"0") for name, value in headers):
        raise BadRequest("an event stream is asked for without a body")
    if (b"sec-fetch-site", b"cross-site") in headers and not any(name == b"origin" for name, _ in headers):
        # it could read none of it, and by what its browser adds, such as Basic, take the agent's places
        raise Forbidden("a page of another site may open a stream only where its Origin may")
    query = scope["query_string"]
    target = scope["raw_path"] + (b"?" + query if query else b"")
    visitor = read_visitor(door, request_of("GET", target, headers), peer)
    last = next((value for name, value in headers if name == b"last-event-id" and value), None)
    if last is None:
        return visitor
    return visitor._replace(asked=visitor.asked.resumed(Cursor.parse(last.decode("latin-1"))))


class EventStream:
    """One device's stream; the `Sink` of its session. `run` once."""

    __slots__ = ("_aborting", "_code", "_door", "_gone", "_outbox", "_session", "_size", "_stay", "_transport", "_wake")

    def __init__(self, door: Door, stay: Stay, transport: asyncio.Transport) -> None:
        self._door = door
        self._stay = stay
        self._transport = transport
        self._session: Session | None = None
        self._outbox: list[bytes] = []
        self._size = 0  # of the outbox, and of what is being handed to the connection
        self._wake = asyncio.Event()
        self._gone = False
        self._code: CloseCode | None = None
        self._aborting: asyncio.TimerHandle | None = None

    async def run(self, visitor: Visitor, principal: Principal, receive: Receive, send: Send) -> None:
        """From the head of the answer to the end, whoever ends it. The session begins before anything is waited for,
        and so hears of all that ends it."""
        asked, door, agent = visitor.asked, self._door, principal.agent
        self._session = session = Session(asked.device, asked.cursor, self, "sse")
        self._stay.begin(session, principal)
        _unheard_for(self._transport, STUCK_S)
        slot = door.wheel.add(self)
        try:
            self._put(b"retry: %d\n\n" % random.randint(*RETRY_MS))
            door.hub.join(agent, session)
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._until_gone(receive))
                await self._write_out(agent, send)
        finally:
            if self._aborting is not None:
                self._aborting.cancel()
            door.wheel.discard(self, slot)
            self._stay.leave(visitor.address, int(self._code or 1006))
            self._session = None

    # the sink

    def write(self, frame: Frame) -> None:
        """Into the outbox, which says pause where it is full."""
        self._put(wire.event(frame))

    def close(self, code: CloseCode, reason: str) -> None:
        """Say why, and end once that is written; a device that does not read it is cut off."""
        if self._code is None:
            self._code = code
            self._put(wire.event(wire.close(code, reason)))
            loop = asyncio.get_running_loop()
            self._aborting = loop.call_later(GOODBYE_S, self._transport.abort)

    def _put(self, data: bytes) -> None:
        self._outbox.append(data)
        self._size += len(data)
        self._wake.set()
        if self._size > HIGH_WATER_BYTES and self._session is not None:
            self._door.hub.paused(self._session)

    # the way out

    async def _write_out(self, agent: AgentId, send: Send) -> None:
        """All that is put into the outbox, until the device is gone, or all of it is written and there is an end."""
        await send({"type": "http.response.start", "status": 200, "headers": _HEADERS})
        while not self._gone:
            await self._wake.wait()
            self._wake.clear()
            taken, self._outbox = b"".join(self._outbox), []
            await send({"type": "http.response.body", "body": taken, "more_body": True})
            self._size -= len(taken)
            if self._outbox:
                continue
            if self._code is not None:
                break
            if self._session is not None and self._session.state is State.LAGGING:
                self._stay.shrunk()
                self._door.hub.resumed(agent, self._session)
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _until_gone(self, receive: Receive) -> None:
        """What else comes in this request is not for us."""
        while (await receive())["type"] != "http.disconnect":
            pass
        self._gone = True
        self._wake.set()

    # keepalive

    def ping(self, now: float) -> None:
        """A comment, which tells the device that somebody is here; one that lags has to read instead."""
        if self._session is None:
            return
        if self._session.state is State.LAGGING:
            if self._stay.stuck(self._size + self._transport.get_write_buffer_size(), now):
                self._transport.abort()
        elif self._code is None and not self._outbox:
            self._put(_HEARTBEAT)

    def overdue(self, now: float) -> None:
        """Nothing comes back on an event stream: the kernel tells where nobody takes what is sent."""


def _unheard_for(transport: asyncio.Transport, seconds: float) -> None:
    """End the connection where what was sent is not acknowledged for so long (RFC 5482), where the system can: of a
    host that vanished nothing else would be heard."""
    option = getattr(socket, "TCP_USER_TIMEOUT", None)
    connection: Any = transport.get_extra_info("socket")
    if option is not None and connection is not None:
        connection.setsockopt(socket.IPPROTO_TCP, option, int(seconds * 1000))
