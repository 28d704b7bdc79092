"""Who is calling: the answer (`Principal`), and the port that gives it (`Authenticator`)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from server.events import AgentId


class Scope(StrEnum):
    """What a caller may do."""

    HANDLED_WRITE = "handled:write"
    """Tell that the agent handled something."""
    SYNC_READ = "sync:read"
    """Be one of the agent's devices."""
    ADMIN = "admin"
    """See and end everybody's sessions."""
    AGENTS_WRITE = "agents:write"
    """Tell that any agent of the tenant handled something."""


@dataclass(frozen=True, slots=True)
class Principal:
    """An agent whose credentials were verified. `expires_at` is Unix time in seconds, None is never."""

    agent: AgentId
    scopes: frozenset[Scope]
    expires_at: float | None = None

    @property
    def tenant(self) -> str:
        """The agent's tenant, folded as `AgentId` folds it."""
        return self.agent.tenant


class Authenticator(Protocol):
    """Turns the value of an `Authorization` header, None where there is none, into a `Principal`."""

    def cached(self, authorization: bytes | None) -> Principal | None:
        """Who was verified by the same header not long ago; None says nothing. The hot path: no I/O and no wait."""
        ...

    async def authenticate(self, authorization: bytes | None) -> Principal:
        """Verifies, or answers from the cache.

        Raises `Unauthenticated` without telling whether the user exists, `BadRequest` where the user's name can't be an
        agent's, `Unavailable` where too many are waiting to be verified.
        """
        ...
