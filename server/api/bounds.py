"""What all requests of a worker may hold together: connections, requests in flight, the bytes of their bodies."""

from __future__ import annotations

import resource
from typing import Final

from starlette.types import ASGIApp, Receive, Scope, Send

from server.errors import Unavailable
from server.metrics import Metrics

OWN_FILES: Final = 64
"""Open files that are none of our callers': links to the store, the upstream, logs, and who is being turned away."""
UNREAD_BYTES: Final = 65_536
"""As much of a body as uvicorn takes in before anybody asks for it; about, since it counts after each read."""


def connections_allowed(most: int) -> int:
    """How many connections a worker may have: `most` (0 is any number), as far as its open files allow. 0: no bound."""
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if files == resource.RLIM_INFINITY:
        return most
    allowed = max(1, files - OWN_FILES)
    return min(most, allowed) if most else allowed


class InFlight:
    """Requests that are being answered, and the bytes that their bodies may come to. Counted from the head on to the
    end of the endpoint, whatever ends it: what the caller still holds is his."""

    __slots__ = ("_metrics", "_most_bytes", "_most_requests", "body_bytes", "requests")

    def __init__(self, metrics: Metrics, *, requests: int, body_bytes: int) -> None:
        self._metrics = metrics
        self._most_requests = requests
        self._most_bytes = body_bytes
        self.requests = 0
        self.body_bytes = 0

    def admits(self, body_bytes: int) -> bool:
        """Whether `enter` would let it in."""
        return self.requests < self._most_requests and self.body_bytes + body_bytes <= self._most_bytes

    def enter(self, body_bytes: int) -> None:
        """One request more, and so many bytes of its body; `leave` with the same. `Unavailable` over a bound, and then
        nothing is taken."""
        if self.requests >= self._most_requests:
            self._metrics.limited_total["requests_in_flight",] += 1
            raise Unavailable(f"{self._most_requests} requests are under way, try again")
        if self.body_bytes + body_bytes > self._most_bytes:
            raise self._too_many_bytes()
        self.requests += 1
        self.body_bytes += body_bytes

    def hold(self, body_bytes: int) -> None:
        """So many bytes more of a request that entered. `Unavailable` over the bound."""
        if self.body_bytes + body_bytes > self._most_bytes:
            raise self._too_many_bytes()
        self.body_bytes += body_bytes

    def _too_many_bytes(self) -> Unavailable:
        self._metrics.limited_total["bodies",] += 1
        return Unavailable(f"bodies of {self._most_bytes} bytes are under way, try again")

    def leave(self, body_bytes: int) -> None:
        """It is answered, or given up."""
        self.requests -= 1
        self.body_bytes -= body_bytes


class Bodiless:
    """An endpoint that reads no body, as one of the requests in flight. What is sent all the same waits in memory until
    the answer, so it counts. An ASGI application."""

    def __init__(self, endpoint: ASGIApp, in_flight: InFlight) -> None:
        self._endpoint = endpoint
        self._in_flight = in_flight

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        held = _unread(scope)
        self._in_flight.enter(held)
        try:
            await self._endpoint(scope, receive, send)
        finally:
            self._in_flight.leave(held)


def _unread(scope: Scope) -> int:
    for name, value in scope["headers"]:
        if name == b"content-length":
            return min(int(value), UNREAD_BYTES)
        if name == b"transfer-encoding":
            return UNREAD_BYTES
    return 0
