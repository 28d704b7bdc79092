"""uvicorn's HTTP protocol with bounds on what a caller can make us hold: bytes of a head, time of a request.

uvicorn with httptools limits neither (60 MB of headers are taken, half a request is waited for without end).
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any, Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from server.errors import BadRequest, HeadersTooLarge, Refused, RequestTimeout
from server.problems import problem_response

_LINGER_S: Final = 2.0
_LOOK_EVERY_S: Final = 0.5


@dataclass(slots=True)
class RequestBounds:
    """The bounds and the connections that are in the middle of a request; handed over in the lifespan state."""

    header_bytes: int
    header_timeout_s: float
    body_timeout_s: float
    unfinished: set[BoundedHttp] = field(default_factory=set)

    async def run(self) -> None:
        """End requests that do not finish in time; until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(_LOOK_EVERY_S)
            now = loop.time()
            for connection in [c for c in self.unfinished if now >= c.deadline]:
                connection.late()


class BoundedHttp(HttpToolsProtocol):
    """One HTTP connection. A request is in its head, in its body, or whole; the first two have a deadline."""

    def __init__(self, config: Any, server_state: Any, app_state: dict[str, Any], _loop: Any = None) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._bounds: RequestBounds = app_state["bounds"]
        self._head = self._heads = 1  # the number of the head that is read or awaited, 0 in a body
        self._head_bytes = 0
        self._whole = True
        self._refused = False
        self.deadline = 0.0

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn declares it
        super().connection_made(transport)
        self._give(self._bounds.header_timeout_s)

    def data_received(self, data: bytes) -> None:
        """Feed the parser; a head no further than its limit at a time. What one read holds beyond a head is not
        counted: it is bounded by the size of a read."""
        while data and not self._refused:
            head, room = self._head, self._bounds.header_bytes - self._head_bytes
            part, data = (data[:room], data[room:]) if head else (data, b"")
            super().data_received(part)
            if head and head == self._head:
                self._head_bytes += len(part)
                if self._head_bytes >= self._bounds.header_bytes:
                    self._refuse(HeadersTooLarge(f"headers have more than {self._bounds.header_bytes} bytes"))
        if self._whole:
            self._bounds.unfinished.discard(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._bounds.unfinished.discard(self)
        super().connection_lost(exc)

    def handle_websocket_upgrade(self) -> None:
        self._bounds.unfinished.discard(self)
        self._refused = True  # what follows is the gateway's
        super().handle_websocket_upgrade()

    # httptools' callbacks

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._whole = False
        self._give(self._bounds.header_timeout_s)

    def on_headers_complete(self) -> None:
        self._head = 0
        self._give(self._bounds.body_timeout_s)
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._whole = True
        self._heads += 1
        self._head, self._head_bytes = self._heads, 0
        super().on_message_complete()

    def _give(self, seconds: float) -> None:
        self.deadline = self.loop.time() + seconds
        self._bounds.unfinished.add(self)

    # refusing

    def late(self) -> None:
        """The deadline has passed."""
        self._bounds.unfinished.discard(self)
        if self._whole:
            self.transport.close()  # never began a request
            return
        limit = self._bounds.header_timeout_s if self._head else self._bounds.body_timeout_s
        self._refuse(RequestTimeout(f"{'headers' if self._head else 'body'} did not finish in {limit:g} s"))

    def send_400_response(self, msg: str) -> None:
        """uvicorn's word for bytes that are no HTTP."""
        self._refuse(BadRequest("not a valid HTTP request"))

    def _refuse(self, error: Refused) -> None:
        """Answer, end our side, and read on for a moment, so that the caller gets to see the answer."""
        self._refused = True
        self._bounds.unfinished.discard(self)
        cycle: RequestResponseCycle | None = self.cycle  # None before the first request, whatever its declared type
        if self.transport.is_closing():
            return
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
        self.transport.write(problem_response(error, self.server_state.default_headers))
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self.loop.call_later(_LINGER_S, self.transport.close)
