"""Who sends a request, and whether it may: the rules of `callers`, each alone."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import pytest

from server.api.callers import Callers
from server.api.head import read_head
from server.api.session import BrowserSession
from server.auth.address import Way
from server.auth.build import NO_LIMITS
from server.auth.chain import Chain
from server.auth.development import Development
from server.auth.principal import DEFAULT_SCOPES, Credentials, Principal, Scope
from server.auth.quota import Quota
from server.auth.tickets import Tickets
from server.auth.websession import WebSessions, xsrf_token
from server.errors import BadRequest, Forbidden, TooManyRequests, Unauthenticated
from server.events import AgentId
from server.metrics import Metrics
from tests.auth.test_websession import Memory

CRM, EVIL, PROXY = "https://crm.example.com", "https://evil.example", "10.0.0.1"
COOKIE = "clearsync"
OPENED = b"s" * 43
"""The value of the cookie of a session."""
ADA = AgentId.of("acme", "ada")
ACTING = DEFAULT_SCOPES | {Scope.AGENTS_WRITE}

Header = tuple[str, str]


class Guard:
    """An authenticator that takes anything for ada, and notes what it is asked."""

    challenge = "Basic, SoTicket"

    def __init__(self, scopes: frozenset[Scope]) -> None:
        self.asked: list[tuple[Credentials, str]] = []
        self._scopes = scopes

    def key(self, credentials: Credentials) -> bytes:
        return b""

    def known(self, key: bytes) -> Principal | None:
        return None

    async def authenticate(self, credentials: Credentials, address: str) -> Principal:
        self.asked.append((credentials, address))
        return Principal(ADA, self._scopes)

    async def redeem(self, ticket: str, device: str, address: str) -> Principal:
        raise NotImplementedError

    def revoke(self, grants: frozenset[str]) -> None:
        raise NotImplementedError


class Edge:
    """`Callers`, and what they are shown."""

    def __init__(
        self,
        scopes: frozenset[Scope] = DEFAULT_SCOPES,
        way: Way | None = None,
        quota: Quota | None = None,
    ) -> None:
        self.guard = Guard(scopes)
        quota = quota or Quota(NO_LIMITS, Metrics())
        self.callers = Callers(self.guard, quota, way or Way(), (CRM,), COOKIE)

    def _scope(self, method: str, headers: tuple[Header, ...], tenant: str | None, peer: str) -> dict[str, Any]:
        named = [("host", "here.example:8000"), *headers]
        return {
            "method": method,
            "headers": [(name.lower().encode(), value.encode()) for name, value in named],
            "path": "/api/v1/sync",
            "path_params": {"tenant": tenant} if tenant is not None else {},
            "client": (peer, 5) if peer else None,
        }

    async def caller(
        self,
        *headers: Header,
        method: str = "POST",
        needs: Scope | None = None,
        tenant: str | None = None,
        peer: str = "192.0.2.1",
    ) -> Principal:
        scope = self._scope(method, headers, tenant, peer)
        return await self.callers.caller(scope, read_head(scope["headers"], COOKIE), needs)

    async def agent(self, *headers: Header) -> AgentId:
        scope = self._scope("POST", headers, None, "192.0.2.1")
        return (await self.callers.reporter(scope, read_head(scope["headers"], COOKIE)))[1]


BASIC: Header = ("Authorization", "Basic YTpi")
SESSION: Header = ("Cookie", f"{COOKIE}={OPENED.decode()}")


# X-Agent-Id


@pytest.mark.parametrize("name", ["bob", "ada", "", "%FF"])
@pytest.mark.parametrize("scopes", [DEFAULT_SCOPES, ACTING, frozenset(Scope)])
async def test_to_act_for_another_is_refused_where_it_is_not_meant(name: str, scopes: frozenset[Scope]) -> None:
    edge = Edge(scopes)
    with pytest.raises(Forbidden, match=r"^X-Agent-Id counts where handled notifications are reported"):
        await edge.caller(BASIC, ("X-Agent-Id", name))
    assert not edge.guard.asked, "nor does it cost a verification"


@pytest.mark.parametrize("name", ["bob", "ada"])
async def test_to_act_for_another_needs_its_scope(name: str) -> None:
    with pytest.raises(Forbidden, match=r"^X-Agent-Id needs the scope agents:write, which these credentials lack$"):
        await Edge(frozenset(Scope) - {Scope.AGENTS_WRITE}).agent(BASIC, ("X-Agent-Id", name))


@pytest.mark.parametrize(
    ("name", "agent"),
    [
        ("bob", AgentId.of("acme", "bob")),
        ("BOB", AgentId.of("acme", "bob")),
        ("%C3%85sa", AgentId.of("acme", "Åsa")),
        ("other/bob", AgentId.of("acme", "other/bob")),  # one part of the key, of one's own tenant
        ("other%2Fbob", AgentId.of("acme", "other/bob")),
    ],
)
async def test_whoever_may_acts_for_agents_of_the_own_tenant(name: str, agent: AgentId) -> None:
    assert await Edge(ACTING).agent(BASIC, ("X-Agent-Id", name)) == agent


@pytest.mark.parametrize("name", ["", "%FF", "a" * 65])
async def test_a_name_that_can_not_be_an_agents_is_refused(name: str) -> None:
    with pytest.raises(BadRequest):
        await Edge(ACTING).agent(BASIC, ("X-Agent-Id", name))


async def test_without_the_header_it_is_the_own_agent() -> None:
    for scopes in (DEFAULT_SCOPES, ACTING):
        assert await Edge(scopes).agent(BASIC) == ADA


async def test_to_report_needs_its_scope_also_for_another() -> None:
    edge = Edge(frozenset({Scope.SYNC_READ, Scope.AGENTS_WRITE}))
    for headers in ((BASIC,), (BASIC, ("X-Agent-Id", "bob"))):
        with pytest.raises(Forbidden, match="lack the scope handled:write"):
            await edge.agent(*headers)


# scopes, tenants, limits


async def test_scope_and_tenant_are_checked() -> None:
    edge = Edge()
    assert (await edge.caller(BASIC, needs=Scope.SYNC_READ, tenant="ACME")).agent == ADA
    with pytest.raises(Forbidden, match="lack the scope admin"):
        await edge.caller(BASIC, needs=Scope.ADMIN)
    with pytest.raises(Forbidden, match="tenant in the path"):
        await edge.caller(BASIC, tenant="other")


async def test_an_address_over_its_rate_costs_no_verification() -> None:
    limits = msgspec.structs.replace(NO_LIMITS, requests_per_address_s=1, requests_per_address_burst=1)
    edge = Edge(way=Way((PROXY,)), quota=Quota(limits, Metrics(), lambda: 1000.0))
    here, there = ("X-Forwarded-For", "203.0.113.1"), ("X-Forwarded-For", "203.0.113.2")
    await edge.caller(BASIC, here, peer=PROXY)
    with pytest.raises(TooManyRequests):
        await edge.caller(BASIC, here, peer=PROXY)
    await edge.caller(BASIC, there, peer=PROXY)
    assert [address for _, address in edge.guard.asked] == ["203.0.113.1", "203.0.113.2"]


async def test_an_agent_over_its_rate_is_refused() -> None:
    limits = msgspec.structs.replace(NO_LIMITS, requests_per_agent_s=1, requests_per_agent_burst=1)
    edge = Edge(quota=Quota(limits, Metrics(), lambda: 1000.0))
    await edge.caller(BASIC)
    with pytest.raises(TooManyRequests, match="this agent"):
        await edge.caller(BASIC)


# origins


@pytest.mark.parametrize("method", ["POST", "DELETE", "PUT", "PATCH"])
@pytest.mark.parametrize(
    "origins",
    [(EVIL,), ("null",), ("",), ("http://here.example",), (CRM, EVIL), (EVIL, CRM), ("http://evil.here.example:8000",)],
)
async def test_a_page_of_another_origin_changes_nothing(method: str, origins: tuple[str, ...]) -> None:
    edge = Edge()
    with pytest.raises(Forbidden, match=r"^this origin may not send requests here"):
        await edge.caller(BASIC, *(("Origin", origin) for origin in origins), method=method)
    assert not edge.guard.asked


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_what_changes_nothing_may_come_from_anywhere(method: str) -> None:
    assert (await Edge().caller(BASIC, ("Origin", EVIL), method=method)).agent == ADA


@pytest.mark.parametrize("origins", [(), (CRM,), (f"{CRM.upper()}/",), ("http://here.example:8000",), (CRM, CRM)])
async def test_programs_own_pages_and_those_of_the_list_may(origins: tuple[str, ...]) -> None:
    assert (await Edge().caller(BASIC, *(("Origin", origin) for origin in origins))).agent == ADA


@pytest.mark.parametrize(
    ("way", "peer", "proto", "plain_may"),
    [
        (Way(), "192.0.2.1", None, True),
        (Way(), "192.0.2.1", "https", True),  # anybody can say so
        (Way(tls=True), "192.0.2.1", None, False),
        (Way((PROXY,)), PROXY, "https", False),
        (Way((PROXY,)), PROXY, "http", True),
        (Way((PROXY,)), "192.0.2.1", "https", True),
        (Way((PROXY,)), "", "https", True),
    ],
)
async def test_a_page_that_came_unencrypted_is_another_site_s(
    way: Way, peer: str, proto: str | None, plain_may: bool
) -> None:
    said: tuple[Header, ...] = (("X-Forwarded-Proto", proto),) if proto else ()
    edge = Edge(way=way)
    await edge.caller(BASIC, ("Origin", "https://here.example:8000"), *said, peer=peer)
    plain = edge.caller(BASIC, ("Origin", "http://here.example:8000"), *said, peer=peer)
    if plain_may:
        await plain
    else:
        with pytest.raises(Forbidden, match="this origin"):
            await plain


# XSRF


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "DELETE"])
async def test_a_request_by_cookie_carries_its_session_s_token(method: str) -> None:
    edge = Edge()
    with pytest.raises(Forbidden, match=r"^X-XSRF-TOKEN is missing"):
        await edge.caller(SESSION, method=method)
    for wrong in ("", "x", xsrf_token(b"t" * 43), xsrf_token(OPENED)[:-1], xsrf_token(OPENED).upper()):
        with pytest.raises(Forbidden, match=r"^X-XSRF-TOKEN is not this session's$"):
            await edge.caller(SESSION, ("X-XSRF-TOKEN", wrong), method=method)
    assert not edge.guard.asked
    assert (await edge.caller(SESSION, ("X-XSRF-TOKEN", xsrf_token(OPENED)), method=method)).agent == ADA
    assert edge.guard.asked == [(Credentials(web_session=OPENED), "192.0.2.1")]


async def test_who_says_who_he_is_needs_no_token() -> None:
    assert (await Edge().caller(BASIC, SESSION)).agent == ADA


async def test_the_token_does_not_vouch_for_the_page() -> None:
    with pytest.raises(Forbidden, match="this origin"):
        await Edge().caller(SESSION, ("X-XSRF-TOKEN", xsrf_token(OPENED)), ("Origin", EVIL))


# the challenge


async def answered_by(endpoint: Callable[..., Awaitable[None]], method: str, *headers: Header) -> Any:
    async def nothing(*_: Any) -> Any:
        raise AssertionError("neither read nor answered")

    scope = Edge()._scope(method, headers, None, "192.0.2.1")
    return await endpoint(scope, nothing, nothing)


@pytest.mark.parametrize(
    ("method", "headers"),
    [
        ("DELETE", ()),
        ("DELETE", (BASIC,)),  # it is the session's own that end it
        ("DELETE", (("Cookie", "other=x"),)),
        ("DELETE", (SESSION, ("X-XSRF-TOKEN", xsrf_token(OPENED)))),
        ("POST", ()),
        ("POST", (SESSION, ("X-XSRF-TOKEN", xsrf_token(OPENED)))),  # a session does not prolong itself
    ],
)
async def test_a_401_names_every_scheme_that_is_served(method: str, headers: tuple[Header, ...]) -> None:
    async def standing(grants: tuple[str, ...]) -> bool:
        return True

    vault = Memory()
    web = WebSessions(vault, standing, lambda gone: None, longest_s=3600)
    chain = Chain({"basic": [Development()], "soticket": [Tickets(vault)]}, web=web)
    quota = Quota(NO_LIMITS, Metrics())
    endpoint = BrowserSession(Callers(chain, quota, Way(), (), COOKIE), web, quota, "")
    with pytest.raises(Unauthenticated) as caught:
        await answered_by(endpoint, method, *headers)
    assert caught.value.headers == (("WWW-Authenticate", f"{Development.challenge}, {Tickets.challenge}"),)
