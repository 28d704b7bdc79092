"""The values that labels may have: closed sets, so that all series exist from the start and none comes from outside."""

from __future__ import annotations

from typing import Final

TRANSPORTS: Final = ("websocket", "sse")
SCHEMES: Final = ("basic", "soticket", "bearer", "web", "once", "other")
RESULTS: Final = ("ok", "refused", "limited", "unavailable")
"""Of a sign-in."""
POSTS: Final = ("recorded", "empty", "refused", "limited", "unavailable", "failed", "gone")
"""Of a POST: recorded and empty are 204, refused is 4xx but for limited, which is 429; unavailable is 503, failed 500;
gone: the caller hung up before its request was whole."""
LIMITS: Final = (
    "agent_requests",
    "address_requests",
    "agent_sessions",
    "web_sessions",
    "worker_sessions",
    "failed_logins",
    "frames",
    "connections",
    "requests_in_flight",
    "bodies",
)
OTHER: Final = "other"
CODES: Final = (
    *("1000", "1001", "1002", "1005", "1006", "1007", "1008", "1009", "1011", "1012"),
    *("4001", "4003", "4008", "4009"),
    OTHER,
)
"""How a session ended: the codes of RFC 6455 that are seen, and those of `wire.CloseCode`. 1006 is no goodbye."""
REFUSALS: Final = ("400", "401", "403", "404", "405", "429", "500", "503", OTHER)
"""Statuses with which a handshake is refused."""
