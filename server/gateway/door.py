"""What every connection needs to be let in, and how one that is not is told."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Final

from server import logs
from server.auth.address import Way, network_of
from server.auth.principal import Authenticator
from server.auth.quota import Quota
from server.broker.base import Broker
from server.broker.leases import Leases
from server.errors import (
    BadRequest,
    ClearsyncError,
    Forbidden,
    MethodNotAllowed,
    Refused,
    TooManyRequests,
    Unauthenticated,
    Unavailable,
)
from server.gateway.holders import Holders
from server.gateway.hub import Hub
from server.gateway.keepalive import Wheel
from server.limits import Pace, Rate
from server.wire import CloseCode

_log = logs.get("clearsync.gateway")


class TooManySessions(Refused):
    """This worker holds as many sessions as it is allowed."""

    status = 503
    headers = (("Retry-After", "60"),)


@dataclass(frozen=True, slots=True)
class Door:
    """What every connection needs, made once a worker and handed over in the lifespan state as ``door``."""

    hub: Hub
    broker: Broker
    authenticator: Authenticator
    holders: Holders
    quota: Quota
    leases: Leases
    wheel: Wheel
    tasks: asyncio.TaskGroup
    way: Way
    base_path: str
    allowed_origins: tuple[str, ...]
    cookie: str
    max_frame_bytes: int
    max_sessions: int
    frames: Pace | None = None
    """Of one session; None is no limit."""
    local_only: bool = False
    lines: Rate = field(default_factory=lambda: Rate(1.0, 60))
    """Lines in the log about an address that is refused."""

    def tell_refusal(self, address: str, error: ClearsyncError, now: float, transport: str = "websocket") -> None:
        """Somebody at `address` was not let in; it counts, and the log says so, unless it said so often enough."""
        status = error.status if isinstance(error, Refused | Unavailable) else Unavailable.status
        self.hub.metrics.refused_handshake(transport, status)
        if not self.lines.take(network_of(address), now):
            _log.info("session refused", address=address, error=type(error).__name__)


CLOSE_CODES: Final[dict[type[ClearsyncError], CloseCode]] = {
    Unauthenticated: CloseCode.CREDENTIALS_EXPIRED,
    Forbidden: CloseCode.FORBIDDEN,
    TooManySessions: CloseCode.TOO_MANY_SESSIONS,
    TooManyRequests: CloseCode.TOO_MANY_SESSIONS,
}
"""How a browser, which does not see an HTTP status, is told."""


def not_a_handshake(status: int, problem: BaseException | None) -> Refused:
    """What `websockets` found wrong with a handshake, and the status it would answer."""
    message = f"not a websocket handshake: {problem}"[:200]
    if status == 405:
        return MethodNotAllowed(message, "GET")
    error = BadRequest(message)
    error.headers = (("Sec-WebSocket-Version", "13"),)  # RFC 6455, 4.4
    return error
