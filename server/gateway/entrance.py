"""From the head of a request to a principal that may open a session, or a refusal.

A browser can't set headers on a websocket. It comes by the cookie of its web session, where the `Origin` has to vouch
for the page, or with a one-use ticket in the query, which is bound to its device. For an event stream it can, by
`fetch` and not by `EventSource`: there the session's XSRF token vouches as well.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from websockets.http11 import Request

from server.auth.address import is_local_host
from server.auth.admission import authorize, identify
from server.auth.origins import origin_allowed
from server.auth.principal import Credentials, Principal, Scope
from server.auth.websession import check_xsrf, cookie_of
from server.broker.leases import Lease
from server.errors import BadRequest, Forbidden, TooManyRequests, Unavailable
from server.gateway.door import Door, TooManySessions
from server.gateway.handshake import SyncRequest

AGENT_SESSIONS_RETRY_S: Final = 60
"""As long as the lease of a session that was lost without a goodbye."""


class Visitor(NamedTuple):
    """Who is at the door: what is asked for, and what is said of who asks."""

    asked: SyncRequest
    credentials: Credentials
    address: str


def read_visitor(door: Door, request: Request, peer: str) -> Visitor:
    """The head of a handshake on a connection from `peer`.

    Raises `NotFound`, `BadRequest`, `Forbidden` for what is wrong with it by itself.
    """
    headers = request.headers
    asked = SyncRequest.parse(request.path, door.base_path)
    origins, hosts = headers.get_all("Origin"), headers.get_all("Host")
    if len(hosts) > 1:
        raise BadRequest("Host is given twice")
    host = hosts[0] if hosts else ""
    if door.local_only and not is_local_host(host):
        raise Forbidden("in development the Host must be localhost or a loopback address")
    encrypted = bool(origins) and door.way.encrypted(peer, headers.raw_items())
    if not all(origin_allowed(origin, host, door.allowed_origins, encrypted=encrypted) for origin in origins):
        raise Forbidden("this origin may not open a session, see gateway.allowed_origins")
    if "X-Agent-Id" in headers:
        raise Forbidden("X-Agent-Id counts where handled notifications are reported, and nowhere else")
    authorization, app_token = (_only(headers.get_all(name), name) for name in ("Authorization", "SO-AppToken"))
    cookie = None
    if authorization is None and asked.ticket is None:
        found = [cookie_of(_bytes(value), door.cookie) for value in headers.get_all("Cookie")]
        cookie = next(filter(None, found), None)
        if cookie is not None:
            _check_page(cookie, origins, headers.get_all("X-XSRF-TOKEN"))
    return Visitor(asked, Credentials(authorization, app_token, cookie), door.way.address(peer, headers.raw_items()))


async def principal_of(door: Door, visitor: Visitor) -> Principal:
    """Who that is. Raises as `Authenticator.authenticate` and `authorize` do, and `TooManyRequests`."""
    asked, credentials, address = visitor
    door.quota.of_address(lambda: address)
    if asked.ticket is not None and credentials.authorization is None:
        principal = await door.authenticator.redeem(asked.ticket, asked.device, address)
    else:
        principal = await identify(door.authenticator, credentials, lambda: address)
    door.quota.of_agent(principal.agent)
    authorize(principal, Scope.SYNC_READ, asked.tenant)
    return principal


def check_room(door: Door) -> None:
    """Whether this worker can take one more. Raises `TooManySessions`, `Unavailable`."""
    if door.max_sessions and door.hub.session_count >= door.max_sessions:
        door.hub.metrics.limited_total["worker_sessions",] += 1
        raise TooManySessions("this worker holds as many sessions as it may, try again later")
    if door.hub.draining:
        raise Unavailable("this worker is about to end, try again")
    if not door.broker.usable:
        raise Unavailable()


async def lease_of(door: Door, principal: Principal) -> Lease:
    """The place of one more session of an agent, among those of all workers.

    Raises `TooManyRequests` where the agent has as many as it may, `Unavailable`.
    """
    lease = await door.leases.take(principal.agent)
    if lease is None:
        door.hub.metrics.limited_total["agent_sessions",] += 1
        raise TooManyRequests(
            f"this agent has {door.leases.limit} sessions, which is the limit", AGENT_SESSIONS_RETRY_S
        )
    return lease


def _check_page(cookie: bytes, origins: list[str], tokens: list[str]) -> None:
    """Whether something vouches for the page behind a cookie. Of an `Origin` it is known that it may be here."""
    if tokens:
        check_xsrf(cookie, _bytes(tokens[0]))
    elif not origins:
        raise Forbidden("a session by cookie needs an Origin, or its X-XSRF-TOKEN")


def _only(values: list[str], name: str) -> bytes | None:
    if len(values) > 1:
        raise BadRequest(f"{name} is given twice")
    return _bytes(values[0]) if values else None


def _bytes(value: str) -> bytes:
    """As it came (`handshake.request_of`)."""
    return value.encode("latin-1")
