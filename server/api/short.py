"""The short way of a POST to NotificationsHandled: inside the HTTP protocol class, without scope, task or await.

`handled.NotificationsHandled` is the endpoint, and the measure: whatever goes the short way could as well go the long
one (uvicorn, Starlette, the endpoint) with the same result and the same answer, byte for byte
(tests/api/test_short.py).

1. It records, or it does nothing at all, and then the request goes the long way as if nobody had looked at it. So
   every refusal is made in one place. Short is what is common: credentials that are in the cache, a small body that
   came with its head, nothing that has to be waited for.
2. A record that fails is answered as the endpoint does it, by a `Problem`.
3. Judgements are the endpoint's own: `read_head`, `Callers`, the decoders, `InFlight`.
4. A caller's next head is mostly his last one again, byte for byte, and says the same again: what it said is known by
   a hash of it (`Heads`). That saves the parser, 11 of 29 µs. Who stands behind its credentials is looked up each time.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Final

from starlette.middleware import Middleware
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from server.api.bodies import decoder_for
from server.api.bounds import InFlight
from server.api.callers import Callers
from server.api.handled import light_bytes
from server.api.head import read_head
from server.api.heads import Heads, Reading
from server.api.problems import Problem
from server.broker.base import Broker
from server.errors import Unavailable
from server.metrics import Metrics
from server.wire import HANDLED_PATH

SHORT_BYTES: Final = 8192
"""Of a body: about 140 events. One that turns out to be for the long way is decoded there once more."""

Headers = list[tuple[bytes, bytes]]
Answer = Callable[["ShortRequest", Unavailable | None], None]
"""Told when the record is over; None: it is in the store."""


class _NobodyWaits:
    """Stands where a cycle has the event that its endpoint waits for."""

    def set(self) -> None:
        """Nobody is woken."""


_NOBODY: Final[Any] = _NobodyWaits()


class ShortRequest(RequestResponseCycle):
    """One request on the short way. To uvicorn it is a cycle like any other: by these attributes it knows that a
    request is under way, tells it that its caller has gone, and that its answer is to be the last."""

    message_event = _NOBODY
    keep_alive = more_body = True
    disconnected = response_started = response_complete = False

    def __init__(self, way: ShortWay, reading: Reading, headers: Headers, content: bytes = b"") -> None:
        self.way = way
        self.reading = reading
        self.headers = headers
        self.content = content


class ShortWay:
    """The short way of a worker; handed over to its connections in the lifespan state."""

    def __init__(
        self,
        base_path: str,
        callers: Callers,
        broker: Broker,
        metrics: Metrics,
        in_flight: InFlight,
        *,
        max_body_bytes: int,
        guard: Middleware | None = None,
    ) -> None:
        """`guard`: what answers pass on the long way, which tells caches that they depend on `Origin`."""
        self.headers: Final = b"vary: Origin\r\n" if guard is not None else b""
        """Of a 204, besides those of every answer."""
        self._max_body = max_body_bytes
        self._guard = guard
        self._base = base_path.encode()
        self._path = HANDLED_PATH.encode()
        self._callers = callers
        self._broker = broker
        self._metrics = metrics
        self._in_flight = in_flight
        self._heads = Heads()

    def request(self, url: bytes, headers: Headers) -> ShortRequest | None:
        """The request that such a head begins; None where it is for the long way. `url`: as it was sent."""
        if not url.endswith(self._path):
            return None
        tenant, before = None, url[: -len(self._path)]
        if before != self._base:
            base, slash, name = before.rpartition(b"/")
            if base != self._base or not slash or not name.isalnum():  # what else can be a tenant, others read
                return None
            tenant = name.decode("ascii")
        try:
            head = read_head(headers, self._callers.cookie)
            if head.length is None or head.encoding or head.origins:
                return None
            if head.length > min(SHORT_BYTES, light_bytes(head.content_type), self._max_body):
                return None
            caller = self._callers.known_by(head, headers)
            if caller is None:
                return None
            decode = decoder_for(head.content_type)
        except Exception:  # the long way meets it again, and answers it
            return None
        accept = tuple(header for header in headers if header[0] == b"accept")
        reading = Reading(*caller, tenant, head.agent, head.device, accept, decode, head.length)
        return ShortRequest(self, reading, headers)

    def again(self, data: bytes) -> ShortRequest | None:
        """The request that `data` is, all of it, where its head has come before."""
        found = self._heads.find(data)
        return None if found is None else ShortRequest(self, found[0], [], data[found[1] :])

    def learn(self, data: bytes, request: ShortRequest) -> None:
        """`request` was recorded, and `data` is all of it, from its first byte to the last."""
        self._heads.put(data, request.reading)

    def record(self, request: ShortRequest, peer: str, answer: Answer) -> bool:
        """Have it recorded, and `answer` told. False: it is for the long way, and nothing has happened."""
        reading, body = request.reading, request.content
        try:
            admitted = self._callers.at_once(reading, peer)
            if admitted is None or not self._in_flight.admits(len(body)):
                return False
            batch = reading.decode(body)
            if not batch:
                return False
            recorded = partial(self._recorded, request, len(body), answer)
            self._broker.submit(admitted.agent, batch, reading.device, recorded)
        except Exception:  # the long way meets it again, and answers it
            return False
        request.content, request.headers = b"", []  # the connection keeps its last request
        self._in_flight.enter(len(body))
        self._callers.count(admitted)
        return True

    def refusal(self, problem: Unavailable) -> ASGIApp:
        """The answer where the record failed."""
        app, guard = Problem(problem), self._guard
        return app if guard is None else guard.cls(app, *guard.args, **guard.kwargs)

    def _recorded(self, request: ShortRequest, held: int, answer: Answer, reply: int | Unavailable) -> None:
        self._in_flight.leave(held)
        if isinstance(reply, Unavailable):
            self._metrics.posts_total["unavailable",] += 1
            answer(request, reply)
        else:
            self._metrics.posts_total["recorded",] += 1
            answer(request, None)
