"""Web sessions and one-use tickets, on a vault in memory. The store's side is tested in tests/broker/test_vault.py."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from server.auth.principal import Principal, Scope
from server.auth.vault import Grant, decode, encode, name_of
from server.auth.websession import ONCE_S, WebSessions, check_xsrf, cookie_name, cookie_of, xsrf_token
from server.errors import Forbidden, Unauthenticated
from server.events import AgentId

NOW = 1_800_000_000.0
ADA = Principal(AgentId.of("acme", "ada"), frozenset({Scope.SYNC_READ}), NOW + 600, ("ticket:ab",))
NOBODY = encode(Grant(tenant="", agent="ada", scopes=(), issued_at=NOW, expires_at=NOW + 60))
NOT_TEXT = encode(Grant(tenant="acme", agent="ada", scopes=(), issued_at=NOW, expires_at=NOW + 60)).replace(
    b"ada", b"\xff"
)

FOR_EVER = b'{"tenant":"acme","agent":"ada","scopes":[],"issued_at":1.0,"expires_at":1e300}'


@dataclass
class Memory:
    """A vault that forgets nothing by itself."""

    kept: dict[str, bytes] = field(default_factory=dict)
    ttls: dict[str, float] = field(default_factory=dict)

    async def get(self, name: str) -> bytes | None:
        return self.kept.get(name)

    async def put(self, name: str, value: bytes, ttl_s: float) -> None:
        self.kept[name], self.ttls[name] = value, ttl_s

    async def take(self, name: str) -> bytes | None:
        return self.kept.pop(name, None)

    async def revoke(self, name: str) -> None:
        self.kept.pop(name, None)

    async def gone(self, names: list[str]) -> set[str]:
        return set(names) - self.kept.keys()


@dataclass
class House:
    vault: Memory = field(default_factory=Memory)
    now: float = NOW
    fallen: set[str] = field(default_factory=set)
    ended: list[frozenset[str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.web = WebSessions(self.vault, self._stand, self.ended.append, longest_s=3600, wall=lambda: self.now)

    async def _stand(self, grants: tuple[str, ...]) -> bool:
        return self.fallen.isdisjoint(grants)


@pytest.fixture
def house() -> House:
    return House()


async def test_a_session_is_its_principal_until_it_ends(house: House) -> None:
    secret, left_s = await house.web.begin(ADA)
    assert left_s == 600  # no longer than what it was made from
    name = name_of("web", secret)
    assert house.vault.ttls == {name: 600}
    found = await house.web.verify(secret.encode())
    assert found == Principal(ADA.agent, ADA.scopes, NOW + 600, (name, "ticket:ab"))
    await house.web.end(secret.encode())
    assert house.ended == [frozenset({name})]
    with pytest.raises(Unauthenticated, match="session is not known"):
        await house.web.verify(secret.encode())


async def test_a_session_without_an_end_has_the_longest(house: House) -> None:
    _, left_s = await house.web.begin(Principal(ADA.agent, ADA.scopes))
    assert left_s == 3600


async def test_a_session_expires_by_our_clock_too(house: House) -> None:
    secret, _ = await house.web.begin(ADA)
    house.now += 600
    with pytest.raises(Unauthenticated, match="session has expired"):
        await house.web.verify(secret.encode())


async def test_a_session_falls_with_what_it_stands_on(house: House) -> None:
    secret, _ = await house.web.begin(ADA)
    ticket, _ = await house.web.once(ADA, "phone")
    house.fallen.add("ticket:ab")
    with pytest.raises(Unauthenticated, match="stood on"):
        await house.web.verify(secret.encode())
    with pytest.raises(Unauthenticated, match="stood on"):
        await house.web.redeem(ticket.encode(), "phone")


async def test_credentials_about_to_expire_begin_nothing(house: House) -> None:
    house.now = NOW + 599.5
    with pytest.raises(Unauthenticated, match="less than a second"):
        await house.web.begin(ADA)


async def test_a_ticket_opens_one_websocket_of_its_device(house: House) -> None:
    ticket, left_s = await house.web.once(ADA, "phone")
    assert left_s == ONCE_S
    assert await house.web.redeem(ticket.encode(), "phone") == ADA  # which lasts as long as what it was made from
    with pytest.raises(Unauthenticated, match="ticket is not known"):
        await house.web.redeem(ticket.encode(), "phone")


async def test_a_ticket_in_the_wrong_hands_is_used_up(house: House) -> None:
    ticket, _ = await house.web.once(ADA, "phone")
    with pytest.raises(Forbidden, match="another device's"):
        await house.web.redeem(ticket.encode(), "desk")
    with pytest.raises(Unauthenticated):
        await house.web.redeem(ticket.encode(), "phone")


async def test_a_ticket_is_no_session_and_a_session_no_ticket(house: House) -> None:
    ticket, _ = await house.web.once(ADA, "phone")
    with pytest.raises(Unauthenticated):
        await house.web.verify(ticket.encode())
    secret, _ = await house.web.begin(ADA)
    with pytest.raises(Unauthenticated):
        await house.web.redeem(secret.encode(), "phone")


async def test_a_principal_without_grants_or_end_comes_back_as_it_was(house: House) -> None:
    principal = Principal(ADA.agent, frozenset(Scope))
    ticket, _ = await house.web.once(principal, "phone")
    assert await house.web.redeem(ticket.encode(), "phone") == principal


@pytest.mark.parametrize("secret", [b"", b"x", b"x" * 44, b"x" * 42 + b"=", b"x" * 42 + b"\n", b"\xff" * 43])
async def test_what_has_not_our_form_is_not_asked_for(house: House, secret: bytes) -> None:
    for judge in (house.web.verify(secret), house.web.redeem(secret, "phone")):
        with pytest.raises(Unauthenticated, match="not one that this service gave"):
            await judge


@pytest.mark.parametrize("value", [b"", b"{}", b"\xff", b'{"tenant":1}', NOBODY, NOT_TEXT, FOR_EVER])
async def test_a_value_that_is_no_grant_lets_nobody_in(house: House, value: bytes) -> None:
    secret, _ = await house.web.begin(ADA)
    house.vault.kept[name_of("web", secret)] = value
    with pytest.raises(Unauthenticated, match="session is not known"):
        await house.web.verify(secret.encode())


async def test_the_store_holds_no_secret(house: House) -> None:
    secret, _ = await house.web.begin(ADA)
    ticket, _ = await house.web.once(ADA, "phone")
    everything = repr(house.vault.kept)
    assert secret not in everything
    assert ticket not in everything
    assert xsrf_token(secret.encode()) not in everything


def test_a_grant_round_trips() -> None:
    grant = Grant.of(ADA, NOW, NOW + 60, "phone")
    assert decode(encode(grant)) == grant
    assert grant.expires_at == NOW + 60
    assert grant.principal("web:x").grants == ("web:x", "ticket:ab")


# the token against other sites


def test_the_token_belongs_to_its_session() -> None:
    mine, theirs = xsrf_token(b"mine"), xsrf_token(b"theirs")
    check_xsrf(b"mine", mine.encode())
    with pytest.raises(Forbidden, match="is missing"):
        check_xsrf(b"mine", None)
    for wrong in (theirs.encode(), b"", mine.upper().encode(), mine.encode() + b" ", b"\xff"):
        with pytest.raises(Forbidden, match="is not this session's"):
            check_xsrf(b"mine", wrong)


@pytest.mark.parametrize(
    ("header", "value"),
    [
        (b"__Host-clearsync=abc", b"abc"),
        (b"a=b; __Host-clearsync=abc; c=d", b"abc"),
        (b"a=b;__Host-clearsync=abc", b"abc"),
        (b"__Host-clearsync=", b""),
        (b"clearsync=abc", None),
        (b"x__Host-clearsync=abc", None),
        (b"__Host-clearsync2=abc", None),
        (b"a=__Host-clearsync=abc", None),
        (b"", None),
        (b";;=;", None),
    ],
)
def test_the_cookie_is_found(header: bytes, value: bytes | None) -> None:
    assert cookie_of(header, cookie_name(secure=True)) == value
