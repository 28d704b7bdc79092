"""uvicorn's HTTP protocol with bounds on what a caller can make us hold: bytes of a head, time of a request.

uvicorn with httptools limits neither (60 MB of headers are taken, half a request is waited for without end).
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sized
from dataclasses import dataclass, field
from typing import Any, Final

import httptools
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from server import logs
from server.errors import BadRequest, HeadersTooLarge, Refused, RequestTimeout, Unavailable
from server.metrics import Metrics
from server.problems import problem_response

_log = logs.get("clearsync.http")
CROWDED_RETRY_S: Final = 5
_LINGER_S: Final = 2.0
_LOOK_EVERY_S: Final = 0.5
_TURNED_AWAY: Final = 16
"""Connections that are over the bound and yet get a while to read so; one more is closed in their face."""


@dataclass(slots=True)
class RequestBounds:
    """The bounds and the connections that are in the middle of a request; handed over in the lifespan state.

    `connections`: as many at a time, 0 is no bound.
    """

    header_bytes: int
    header_timeout_s: float
    body_timeout_s: float
    connections: int = 0
    metrics: Metrics = field(default_factory=Metrics)
    unfinished: set[BoundedHttp] = field(default_factory=set)
    turned_away: set[BoundedHttp] = field(default_factory=set)

    async def run(self) -> None:
        """End requests that do not finish in time; until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(_LOOK_EVERY_S)
            now = loop.time()
            for connection in [c for c in self.unfinished if now >= c.deadline]:
                try:
                    connection.late()
                except Exception:  # of one connection; the others are not to wait for ever
                    _log.exception("request could not be ended")


class _InTurn(FlowControl):
    """Reads no further while requests wait for their turn: they are answered before more are taken in."""

    def __init__(self, transport: asyncio.Transport, waiting: Sized) -> None:
        super().__init__(transport)
        self._waiting = waiting

    def resume_reading(self) -> None:
        if not self._waiting:
            super().resume_reading()


class BoundedHttp(HttpToolsProtocol):
    """One HTTP connection. A request is in its head, in its body, or whole; the first two have a deadline."""

    def __init__(self, config: Any, server_state: Any, app_state: dict[str, Any], _loop: Any = None) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._bounds: RequestBounds = app_state["bounds"]
        self._head = self._heads = 1  # the number of the head that is read or awaited, 0 in a body
        self._head_bytes = 0
        self._framing = 0  # bytes since there was some of the body: chunk extensions, trailers
        self._whole = True
        self._refused = False
        self._part = self._again = b""
        self._served: RequestResponseCycle | None = None
        self.deadline = 0.0

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn declares it
        crowded = 0 < self._bounds.connections <= len(self.connections)
        super().connection_made(transport)
        self.flow = _InTurn(transport, self.pipeline)
        if crowded:
            self._turn_away()
        else:
            self._give(self._bounds.header_timeout_s)

    def data_received(self, data: bytes) -> None:
        """Feed the parser; a head no further than its limit at a time. What one read holds beyond a head is not
        counted: it is bounded by the size of a read."""
        while data and not self._refused:
            head, room = self._head, self._bounds.header_bytes - self._head_bytes
            self._part, data = (data[:room], data[room:]) if head else (data, b"")
            self._framing += len(self._part)
            super().data_received(self._part)
            if self._again:
                data, self._again, self._head_bytes = self._again + data, b"", 0
            elif head and head == self._head:
                self._head_bytes += len(self._part)
            bounded = self._head_bytes if self._head else self._framing
            if bounded >= self._bounds.header_bytes and not self._refused:
                self._refuse(HeadersTooLarge(f"headers have more than {self._bounds.header_bytes} bytes"))
        if not self._whole:
            return
        if not self._head_bytes:
            self._bounds.unfinished.discard(self)
        elif self not in self._bounds.unfinished:  # blank lines: no request, and yet uvicorn's keep-alive has ended
            self._give(self._bounds.header_timeout_s)

    def eof_received(self) -> bool | None:  # type: ignore[override]  # uvicorn always lets it close
        """The caller has said all it will. A whole request gets its answer all the same, as the last."""
        cycle: RequestResponseCycle | None = self.cycle  # None before the first request
        if cycle is None or cycle.response_complete or cycle.more_body or not self.transport.can_write_eof():
            return None
        cycle.keep_alive = False
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        self._bounds.unfinished.discard(self)
        self._bounds.turned_away.discard(self)
        super().connection_lost(exc)

    def handle_websocket_upgrade(self) -> None:
        self._bounds.unfinished.discard(self)
        cycle: RequestResponseCycle | None = self.cycle  # of the request before it, if there was one
        if cycle is not None and not cycle.response_complete:
            self._refuse(BadRequest("a websocket can't begin before the request ahead of it is answered"))
            return
        self._refused = True  # what follows is the gateway's
        super().handle_websocket_upgrade()

    # httptools' callbacks

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._whole = False
        self._give(self._bounds.header_timeout_s)

    def on_headers_complete(self) -> None:
        if self._offers_upgrade():
            return
        self._head = self._framing = 0
        self._give(self._bounds.body_timeout_s)
        super().on_headers_complete()
        if not self.parser.should_upgrade():
            self.headers = []  # those of the scope are whole: what follows the body (RFC 9110, 6.5.1) is not for us

    def on_body(self, body: bytes) -> None:
        self._framing = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        if self._offers_upgrade():
            return
        self._whole = True
        self._heads += 1
        self._head, self._head_bytes = self._heads, 0
        super().on_message_complete()

    def _give(self, seconds: float) -> None:
        self.deadline = self.loop.time() + seconds
        self._bounds.unfinished.add(self)

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._served = cycle
        super()._start_asgi_task(cycle, app)

    # an upgrade to something else than a websocket

    def _offers_upgrade(self) -> bool:
        return (
            self.parser.should_upgrade()
            and not self._should_upgrade()
            and any(n == b"upgrade" for n, _ in self.headers)
        )

    def _unsupported_upgrade_warning(self) -> None:
        """Go on as if it had not been offered (RFC 9110, 7.8): Java's client offers h2c with its requests. The parser
        can't, it has stopped before the body (httptools#124), so another one reads the head again."""
        stopped = sys.exception()
        if not isinstance(stopped, httptools.HttpParserUpgrade) or not self._offers_upgrade():
            return  # CONNECT
        lines = [b"%b %b HTTP/%b" % (self.parser.get_method(), self.url, self.parser.get_http_version().encode())]
        lines += [b"%b:%b" % header for header in self.headers if header[0] != b"upgrade"]
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn has it
        self._again = b"\r\n".join(lines) + b"\r\n\r\n" + self._part[stopped.args[0] :]

    # refusing

    def late(self) -> None:
        """The deadline has passed."""
        self._bounds.unfinished.discard(self)
        if self._whole:
            cycle: RequestResponseCycle | None = self.cycle  # None before the first request, as in `_refuse`
            if cycle is None or cycle.response_complete:
                self.transport.close()  # never began a request
            return
        limit = self._bounds.header_timeout_s if self._head else self._bounds.body_timeout_s
        self._refuse(RequestTimeout(f"{'headers' if self._head else 'body'} did not finish in {limit:g} s"))

    def send_400_response(self, msg: str) -> None:
        """uvicorn's word for bytes that are no HTTP."""
        self._refuse(BadRequest("not a valid HTTP request"))

    def _turn_away(self) -> None:
        """One connection too many, whatever it would ask for."""
        bounds = self._bounds
        bounds.metrics.limited_total["connections",] += 1
        self.connections.discard(self)
        self._refuse(Unavailable("this worker has as many connections as it may, try again", CROWDED_RETRY_S))
        if len(bounds.turned_away) < _TURNED_AWAY:
            bounds.turned_away.add(self)
        else:
            self.transport.close()

    def _refuse(self, error: Refused | Unavailable) -> None:
        """Answer, end our side, and read on for a moment, so that the caller gets to see the answer."""
        self._refused = True
        self._bounds.unfinished.discard(self)
        cycle: RequestResponseCycle | None = self.cycle  # None before the first request, whatever its declared type
        if self.transport.is_closing():
            return
        if self.pipeline and self.pipeline[0][0] is cycle and cycle.more_body:  # broken before it had its turn
            self.pipeline.popleft()
            cycle = self.pipeline[0][0] if self.pipeline else self._served
        answered = not self._head and cycle is not None and cycle.response_complete  # before its body was read
        if cycle is not None and not cycle.response_complete:
            if not cycle.more_body:
                cycle.keep_alive = False  # an earlier request, whole: its answer is still due, and the last
                return
            if cycle.response_started:
                self.transport.close()  # in the middle of an answer there is no place for another
                return
            cycle.disconnected = True
            cycle.message_event.set()
        self.flow.resume_reading()
        if not answered:
            self.transport.write(problem_response(error, self.server_state.default_headers))
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self.loop.call_later(_LINGER_S, self.transport.close)
