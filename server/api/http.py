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
from server.api.short import ShortRequest, ShortWay
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
    _default_headers: list[tuple[bytes, bytes]] | None = field(default=None, init=False)
    _no_content: bytes = field(default=b"", init=False)

    def no_content(self, default_headers: list[tuple[bytes, bytes]], more: bytes, keep_alive: bool) -> bytes:
        """The whole 204 as uvicorn writes it; `default_headers` is another list each second, with another date."""
        if default_headers is not self._default_headers:
            lines = [b"HTTP/1.1 204 No Content", *[b"%b: %b" % header for header in default_headers]]
            self._default_headers, self._no_content = default_headers, b"\r\n".join([*lines, more])
        return self._no_content + (b"\r\n" if keep_alive else b"connection: close\r\n\r\n")

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
        self._short_way: ShortWay | None = app_state["short"]
        self._short: ShortRequest | None = None  # of the request that is being read, while it may be short
        self._idle_since = 0.0
        self._head = self._heads = 1  # the number of the head that is read or awaited, 0 in a body
        self._head_bytes = 0
        self._framing = 0  # bytes since there was some of the body: chunk extensions, trailers
        self._whole = True
        self._refused = False
        self._given = (0, 0)  # the request and the part of it, head or body, whose deadline runs
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
        """A request, or a part of one, or several. One that is whole, and whose head came before, is not parsed."""
        way = self._short_way
        before: RequestResponseCycle | None = self.cycle  # None before the first request
        if (
            way is None
            or not self._whole
            or self._head_bytes
            or self._refused
            or (before is not None and not before.response_complete)
            or self.flow.write_paused
        ):
            self._parse(data)
            return
        short = way.again(data)
        if short is not None:
            if self._record_short(short):
                self._bounds.unfinished.discard(self)
            else:
                self._short_way = None  # it has been tried
                self._parse(data)
                self._short_way = way
            return
        self._parse(data)
        cycle: RequestResponseCycle | None = self.cycle
        if cycle is not before and isinstance(cycle, ShortRequest):
            way.learn(data, cycle)

    def _parse(self, data: bytes) -> None:
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
        if self._refused:
            return
        if self._short is not None:  # the rest of its body is still on its way
            self._begin_long(self._short)
        if not self._whole:
            if self._given != (stage := (self._heads, self._head)):
                self._given = stage
                self._give(self._bounds.header_timeout_s if self._head else self._bounds.body_timeout_s)
            return
        if not self._head_bytes:
            self._bounds.unfinished.discard(self)
        elif self not in self._bounds.unfinished:  # blank lines: a head has begun
            self._give(self._bounds.header_timeout_s)

    def eof_received(self) -> bool | None:  # type: ignore[override]  # uvicorn always lets it close
        """The caller has said all it will. A whole request gets its answer all the same, as the last; of a stream,
        which has no end of its own, this is the end."""
        cycle: RequestResponseCycle | None = self.cycle  # None before the first request
        if cycle is None or cycle.response_complete or cycle.more_body or not self.transport.can_write_eof():
            return None
        if self._serves_stream():
            return None
        cycle.keep_alive = False
        return True

    def _serves_stream(self) -> bool:
        """Whether what is being answered goes on until its caller has gone."""
        served = self._served
        if served is None or served.response_complete or isinstance(served, ShortRequest):
            return False
        return "clearsync.streams" in served.scope.get("extensions", ())

    def connection_lost(self, exc: Exception | None) -> None:
        self._bounds.unfinished.discard(self)
        self._bounds.turned_away.discard(self)
        if (served := self._served) is not None and not served.response_complete:
            served.disconnected = True  # uvicorn tells the last request only, which may wait behind this one
            served.message_event.set()
        super().connection_lost(exc)
        super()._unset_keepalive_if_required()

    def handle_websocket_upgrade(self) -> None:
        self._bounds.unfinished.discard(self)
        cycle: RequestResponseCycle | None = self.cycle  # of the request before it, if there was one
        if cycle is not None and not cycle.response_complete:
            self._refuse(BadRequest("a websocket can't begin before the request ahead of it is answered"))
            return
        self._refused = True  # what follows is the gateway's
        super()._unset_keepalive_if_required()
        self.connections.discard(self)
        gateway: Any = self.ws_protocol_class(  # type: ignore[call-arg, misc]  # declared as any protocol class
            config=self.config, server_state=self.server_state, app_state=self.app_state
        )
        gateway.connection_made(self.transport)
        self.transport.set_protocol(gateway)
        peer = self.client[0] if self.client else ""
        gateway.upgrade(self.scope["method"], self.url, self.scope["headers"], peer)
        # nobody tells us of the connection's end any more, and the parser and we refer to each other
        self.parser = self.cycle = self.scope = self._served = None  # type: ignore[assignment]

    # httptools' callbacks

    def on_message_begin(self) -> None:
        self.url, self.headers, self.expect_100_continue = b"", [], False  # the scope is made where it is needed
        self._whole = False

    def on_headers_complete(self) -> None:
        if self._offers_upgrade():
            return
        self._head = self._framing = 0
        self._short = self._short_request()
        if self._short is None:
            self._begin_cycle(self.headers)
        if not self.parser.should_upgrade():
            self.headers = []  # those of the scope are whole: what follows the body (RFC 9110, 6.5.1) is not for us

    def on_body(self, body: bytes) -> None:
        self._framing = 0
        if self._short is not None:
            self._short.content += body
        else:
            super().on_body(body)

    def on_message_complete(self) -> None:
        if self._offers_upgrade():
            return
        self._whole = True
        self._heads += 1
        self._head, self._head_bytes = self._heads, 0
        short = self._short
        if short is None:
            super().on_message_complete()
        elif self._record_short(short):
            self._short = None
        else:
            self._begin_long(short)
            super().on_message_complete()

    def _give(self, seconds: float) -> None:
        self.deadline = self.loop.time() + seconds
        self._bounds.unfinished.add(self)

    def _begin_cycle(self, headers: list[tuple[bytes, bytes]]) -> None:
        """uvicorn's, late: what it does when a head begins is done when it is whole."""
        url, expects = self.url, self.expect_100_continue
        super().on_message_begin()
        self.url, self.expect_100_continue = url, expects
        self.headers.extend(headers)
        self.scope["extensions"] = {"clearsync.transport": self.transport}  # type: ignore[dict-item]  # an object
        super().on_headers_complete()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._served = cycle
        super()._start_asgi_task(cycle, app)

    # the short way

    def _short_request(self) -> ShortRequest | None:
        """The request whose head has just been read, where nothing speaks against the short way."""
        parser = self.parser
        cycle: RequestResponseCycle | None = self.cycle  # None before the first request
        if (
            self._short_way is None
            or parser.get_method() != b"POST"
            or (cycle is not None and not cycle.response_complete)
            or self.expect_100_continue
            or parser.should_upgrade()
            or parser.get_http_version() != "1.1"
            or not parser.should_keep_alive()
            or self.flow.write_paused
        ):
            return None
        return self._short_way.request(self.url, self.headers)

    def _record_short(self, short: ShortRequest) -> bool:
        """False: it is for the long way."""
        if not short.way.record(short, self.client[0] if self.client else "", self._answer_short):
            return False
        short.more_body = False
        self.cycle = self._served = short
        return True

    def _begin_long(self, short: ShortRequest) -> None:
        """On from here the long way, with what has come so far."""
        self._short = None
        self._begin_cycle(short.headers)
        self.headers = []
        if short.content:
            super().on_body(short.content)

    def _answer_short(self, short: ShortRequest, problem: Unavailable | None) -> None:
        try:
            if problem is not None:
                self._refuse_short(short, problem)
            elif not short.disconnected and not self.transport.is_closing():
                self.transport.write(self._no_content(short))
                short.response_complete = True
                if not short.keep_alive:
                    self.transport.close()
                self.on_response_complete()
        except Exception:  # of one connection; beyond us it would end the link to the store, and so all the others'
            _log.exception("request could not be answered")
            self.transport.abort()

    def _no_content(self, short: ShortRequest) -> bytes:
        return self._bounds.no_content(self.server_state.default_headers, short.way.headers, short.keep_alive)

    def _refuse_short(self, short: ShortRequest, problem: Unavailable) -> None:
        """As the endpoint would, by a cycle of its own."""
        cycle = RequestResponseCycle(
            scope={"type": "http", "method": "POST", "headers": short.reading.accept},  # type: ignore[typeddict-item]  # no more is read
            transport=self.transport,
            flow=self.flow,
            logger=self.logger,
            access_logger=self.access_logger,
            access_log=False,
            default_headers=self.server_state.default_headers,
            message_event=asyncio.Event(),
            expect_100_continue=False,
            keep_alive=short.keep_alive,
            on_response=self.on_response_complete,
        )
        cycle.more_body = False
        cycle.disconnected = short.disconnected
        if self.cycle is short:
            self.cycle = cycle
        self._start_asgi_task(cycle, short.way.refusal(problem))

    # idle connections

    def _unset_keepalive_if_required(self) -> None:
        """The timer stays: what it would cost to make and cancel one a request is a tenth of a short request."""

    def on_response_complete(self) -> None:
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
            return
        self._idle_since = self.loop.time()
        if self.timeout_keep_alive_task is None:
            self._await_idle(self.timeout_keep_alive)

    def _await_idle(self, seconds: float) -> None:
        self.timeout_keep_alive_task = self.loop.call_later(seconds, self.timeout_keep_alive_handler)

    def timeout_keep_alive_handler(self) -> None:
        self.timeout_keep_alive_task = None
        if not self.cycle.response_complete:
            return  # begun anew with the answer
        left = self._idle_since + self.timeout_keep_alive - self.loop.time()
        if self in self._bounds.unfinished:  # the rest of a body may come that was answered before
            self._await_idle(self.timeout_keep_alive)
        elif left > 0:
            self._await_idle(left)
        else:
            super().timeout_keep_alive_handler()

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
        # before its body was read
        answered = not self._head and self._short is None and cycle is not None and cycle.response_complete
        self._short = None
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
        super()._unset_keepalive_if_required()  # what follows lasts as long as it may
        if not answered:
            self.transport.write(problem_response(error, self.server_state.default_headers))
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self.loop.call_later(_LINGER_S, self.transport.close)
