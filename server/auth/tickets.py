"""SoTickets that we issue: ``cs1.`` and 256 random bits. The store keeps what one is good for under its hash.

The prefix tells them from the CRM's own tickets (``7T:…``), which go upstream; it has no colon, theirs have.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable
from typing import Final

from server.auth.principal import Principal, Scope
from server.auth.vault import Grant, Vault, name_of, new_secret, read
from server.errors import Unauthenticated
from server.events import AgentId

KIND: Final = "ticket"
"""What names of tickets begin with in the vault."""
PREFIX: Final = "cs1."

_FORM: Final = re.compile(rb"cs1\.[A-Za-z0-9_-]{43}")


def issue(agent: AgentId, scopes: Iterable[Scope], ttl_s: float, now: float) -> tuple[str, str, Grant]:
    """A new ticket, the name under which its grant is to be kept, and the grant. `now` is Unix time in seconds."""
    ticket = PREFIX + new_secret()
    principal = Principal(agent, frozenset(scopes))
    return ticket, name_of(KIND, ticket), Grant.of(principal, now, now + ttl_s)


class Tickets:
    """Implements `Verifier` for SoTicket. `wall` is Unix time in seconds."""

    challenge: Final = 'SoTicket realm="clearsync"'
    charged: Final = False

    def __init__(self, vault: Vault, wall: Callable[[], float] = time.time) -> None:
        self._vault = vault
        self._wall = wall

    def claims(self, credentials: bytes) -> bool:
        """Whether they begin as ours do: one of ours that was mangled on its way is not shown to the CRM either."""
        return credentials.startswith(PREFIX.encode())

    async def verify(self, credentials: bytes, app_token: bytes | None) -> Principal:
        """Who comes with this ticket. Raises `Unauthenticated`, or `Unavailable` where the store does not answer."""
        if not _FORM.fullmatch(credentials):
            raise _unknown()
        name = name_of(KIND, credentials.decode())
        value = await self._vault.get(name)
        found = read(name, value) if value is not None else None
        principal = found[1] if found else None
        # the store's clock takes it out, and may be behind ours
        if principal is None or principal.expires_at is None or principal.expires_at <= self._wall():
            raise _unknown()
        return principal

    async def run(self) -> None:
        """Nothing to do meanwhile."""

    async def close(self) -> None:
        """Nothing to give back."""


def _unknown() -> Unauthenticated:
    return Unauthenticated("ticket is not known, or not any more", Tickets.challenge)
