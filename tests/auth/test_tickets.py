"""SoTickets that we issue: their form, and who comes with one."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator

import pytest

from server.auth.principal import DEFAULT_SCOPES, Principal, Scope
from server.auth.tickets import Tickets, issue
from server.auth.vault import Vault, encode, name_of
from server.auth.verifier import Verifier
from server.broker.redis import RedisBroker
from server.errors import Unauthenticated, Unavailable
from server.events import AgentId
from tests.broker.conftest import broker_on
from tests.running import client

ADA = AgentId.of("Acme", "Ådå")
NOW = 1_700_000_000.0


@pytest.fixture
async def broker(store_url: str) -> AsyncIterator[RedisBroker]:
    async with broker_on(store_url) as made:
        yield made


@pytest.fixture
def vault(broker: RedisBroker) -> Vault:
    return broker.vault


class Wall:
    """A clock that stands where it is put."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def wall() -> Wall:
    return Wall()


@pytest.fixture
def tickets(vault: Vault, wall: Wall) -> Verifier:
    return Tickets(vault, wall)


async def kept(vault: Vault, ttl_s: float = 3600.0, *scopes: Scope) -> str:
    """A new ticket of Ada's."""
    ticket, name, grant = issue(ADA, scopes or DEFAULT_SCOPES, ttl_s, NOW)
    await vault.put(name, encode(grant), 3600.0)
    return ticket


def test_a_ticket_has_256_random_bits_after_its_prefix() -> None:
    issued = [issue(ADA, DEFAULT_SCOPES, 60.0, NOW) for _ in range(100)]
    assert all(re.fullmatch(r"cs1\.[A-Za-z0-9_-]{43}", ticket) for ticket, _, _ in issued)
    assert len({ticket for ticket, _, _ in issued}) == len({name for _, name, _ in issued}) == 100
    ticket, name, grant = issued[0]
    assert name == name_of("ticket", ticket)
    assert ticket not in encode(grant).decode()
    assert (grant.issued_at, grant.expires_at, grant.on) == (NOW, NOW + 60, ())


async def test_whoever_has_a_ticket_is_its_agent_until_it_expires(tickets: Verifier, vault: Vault, wall: Wall) -> None:
    ticket = await kept(vault, 60.0, Scope.SYNC_READ)
    name = name_of("ticket", ticket)
    principal = Principal(ADA, frozenset({Scope.SYNC_READ}), NOW + 60, (name,))
    assert await tickets.verify(ticket.encode(), None) == principal
    wall.now = NOW + 59.9
    assert await tickets.verify(ticket.encode(), b"any") == principal
    wall.now = NOW + 60
    with pytest.raises(Unauthenticated, match="not any more"):  # the store, whose clock is behind, has it still
        await tickets.verify(ticket.encode(), None)


async def test_one_that_was_revoked_is_refused_as_an_unknown_one_is(tickets: Verifier, vault: Vault) -> None:
    ticket = await kept(vault)
    await vault.revoke(name_of("ticket", ticket))
    said = set()
    other = issue(ADA, DEFAULT_SCOPES, 60.0, NOW)[0]
    for asked in (ticket.encode(), other.encode(), b"cs1.short", ticket.encode() + b"A", b"cs1." + b"\xff" * 43):
        with pytest.raises(Unauthenticated) as refused:
            await tickets.verify(asked, None)
        said.add(str(refused.value))
        assert refused.value.headers == (("WWW-Authenticate", 'SoTicket realm="clearsync"'),)
    assert len(said) == 1


@pytest.mark.parametrize(
    "value",
    [b"", b"nonsense", b"\xff\xfe", b'{"tenant":"\xff"}', b"{}", b'{"tenant":"","agent":"","scopes":[],"issued_at":0,'
     b'"expires_at":9e9}'],
)  # fmt: skip
async def test_what_is_no_grant_lets_nobody_in(
    tickets: Verifier, vault: Vault, value: bytes, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    ticket, name, _ = issue(ADA, DEFAULT_SCOPES, 60.0, NOW)
    await vault.put(name, value, 60.0)
    with pytest.raises(Unauthenticated):
        await tickets.verify(ticket.encode(), None)
    logged = caplog.text + capsys.readouterr().out
    assert "no grant in the store" in logged
    assert ticket not in logged


async def test_only_what_looks_like_ours_is_claimed(tickets: Verifier, vault: Vault) -> None:
    ticket = await kept(vault)
    assert tickets.claims(ticket.encode())
    assert tickets.claims(ticket[:-1].encode()), "mangled, it is still nothing for the CRM"
    for foreign in (b"7T:abc==", b"", b"cs1", b"CS1." + b"A" * 43, ticket[4:].encode()):
        assert not tickets.claims(foreign)


async def test_a_store_that_does_not_answer_says_nothing_about_the_ticket(
    tickets: Verifier, broker: RedisBroker
) -> None:
    ticket = await kept(broker.vault)
    assert broker._commands is not None
    broker._commands.abort()
    with pytest.raises(Unavailable):
        await tickets.verify(ticket.encode(), None)


async def test_the_store_holds_no_ticket(vault: Vault, store_url: str) -> None:
    ticket = await kept(vault)
    with client(store_url) as raw:
        held = b"".join(key + (raw.get(key) or b"") for key in raw.scan_iter("*"))
    assert b"cs:ticket:" in held
    assert ticket[4:].encode() not in held


async def test_it_has_nothing_to_run_or_to_close(tickets: Verifier) -> None:
    await tickets.run()
    await tickets.close()
