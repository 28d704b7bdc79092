"""Who sends a request, and whether it may: the same rules for every endpoint that knows its callers.

1. A page of another origin does not get to change anything, whatever credentials its browser adds by itself: cookies,
   and Basic once somebody has signed in by the browser's own prompt. Programs other than browsers send no `Origin`.
2. A request by cookie carries its session's XSRF token (see `websession`).
3. `X-Agent-Id` speaks for another agent of the same tenant. Wherever that is not meant, or not allowed, it is refused
   rather than ignored: the caller would take one agent's state for another's.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from starlette.types import Scope as AsgiScope

from server.api.head import Head, agent_name
from server.api.heads import Reading
from server.auth.address import Forwarded, Way, network_of
from server.auth.admission import authorize, identify
from server.auth.origins import origin_allowed
from server.auth.principal import Authenticator, Principal, Scope
from server.auth.quota import Quota
from server.auth.websession import check_xsrf
from server.errors import BadRequest, Forbidden, NotFound
from server.events import AgentId

RawHeaders = Iterable[tuple[bytes, bytes]]


class Admitted(NamedTuple):
    """Who reports, and for which agent; from where, and when (the clock of quotas)."""

    caller: AgentId
    agent: AgentId
    network: str
    at: float


class Callers:
    """Raises what `identify` does, `Forbidden` by the rules above, `TooManyRequests` over a limit."""

    def __init__(
        self,
        authenticator: Authenticator,
        quota: Quota,
        way: Way,
        allowed_origins: Sequence[str],
        cookie: str,
    ) -> None:
        self.cookie = cookie
        self._authenticator = authenticator
        self._quota = quota
        self._way = way
        self._allowed_origins = allowed_origins

    @property
    def challenge(self) -> str:
        """What `WWW-Authenticate` says."""
        return self._authenticator.challenge

    async def caller(self, scope: AsgiScope, head: Head, needs: Scope | None) -> Principal:
        """Who sends this request. `needs`: the scope it takes, None where any credentials do."""
        if head.agent is not None:
            raise Forbidden("X-Agent-Id counts where handled notifications are reported, and nowhere else")
        return await self._identified(scope, head, needs)

    def charge(self, agent: AgentId, requests: int) -> None:
        """A request of `agent` that cost as much as so many others."""
        self._quota.charge(agent, requests)

    async def reporter(self, scope: AsgiScope, head: Head) -> tuple[AgentId, AgentId]:
        """Who reports what was handled, and for which agent."""
        principal = await self._identified(scope, head, Scope.HANDLED_WRITE)
        if head.agent is None:
            return principal.agent, principal.agent
        if Scope.AGENTS_WRITE not in principal.scopes:
            raise Forbidden(f"X-Agent-Id needs the scope {Scope.AGENTS_WRITE}, which these credentials lack")
        return principal.agent, AgentId.of(principal.tenant, agent_name(head.agent))

    def known_by(self, head: Head, headers: RawHeaders) -> tuple[bytes, Forwarded] | None:
        """For `at_once`: by what the authenticator knows the credentials, and what says where they come from. None
        without `Authorization`."""
        if not head.credentials.authorization:
            return None
        return self._authenticator.key(head.credentials), self._way.forwarded(headers)

    def at_once(self, reading: Reading, peer: str) -> Admitted | None:
        """What `reporter` says, where it can be said without a wait and without a refusal, of a request without
        `Origin`; else None. It is not counted before `count`. Raises `BadRequest`."""
        principal = self._authenticator.known(reading.credentials)
        if principal is None or Scope.HANDLED_WRITE not in principal.scopes:
            return None
        agent = caller = principal.agent
        if reading.tenant is not None and reading.tenant != caller.tenant:
            return None
        if reading.agent is not None:
            if Scope.AGENTS_WRITE not in principal.scopes:
                return None
            agent = AgentId.of(caller.tenant, agent_name(reading.agent))
        network, now = network_of(self._way.address(peer, reading.forwarded)), self._quota.now()
        if not self._quota.admits(caller, network, now):
            return None
        return Admitted(caller, agent, network, now)

    def count(self, admitted: Admitted) -> None:
        """One request more, which `at_once` let in."""
        self._quota.count(admitted.caller, admitted.network, admitted.at)

    async def _identified(self, scope: AsgiScope, head: Head, needs: Scope | None) -> Principal:
        def address() -> str:
            return self._way.address(*_peer(scope))

        if scope["path"].endswith("\n"):  # which the end of a route's pattern lets pass
            raise NotFound("no such path")
        self._quota.of_address(address)
        if head.origins and scope["method"] not in ("GET", "HEAD"):
            self._check_origins(scope, head)
        if head.credentials.authorization is None and head.credentials.web_session is not None:
            check_xsrf(head.credentials.web_session, head.xsrf)
        tenant = scope["path_params"].get("tenant")
        principal = await identify(self._authenticator, head.credentials, address)
        self._quota.of_agent(principal.agent)
        authorize(principal, needs, tenant)
        return principal

    def _check_origins(self, scope: AsgiScope, head: Head) -> None:
        hosts = [value.decode("latin-1") for name, value in scope["headers"] if name == b"host"]
        if len(hosts) != 1:
            raise BadRequest("Host must be given once, beside an Origin")
        (host,) = hosts
        encrypted = self._way.encrypted(*_peer(scope))
        for origin in head.origins:
            if not origin_allowed(origin.decode("latin-1"), host, self._allowed_origins, encrypted=encrypted):
                raise Forbidden("this origin may not send requests here, see gateway.allowed_origins")


def _peer(scope: AsgiScope) -> tuple[str, list[tuple[str, str]]]:
    """Who is at the other end of the connection, and the headers as text."""
    client = scope.get("client")
    headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"]]
    return (client[0] if client else ""), headers
