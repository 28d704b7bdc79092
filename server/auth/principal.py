"""Who is calling: what a request says of it (`Credentials`), the answer (`Principal`), and the port that gives it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple, Protocol

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


DEFAULT_SCOPES = frozenset({Scope.HANDLED_WRITE, Scope.SYNC_READ})
"""What everybody may who is not given other scopes."""


class Credentials(NamedTuple):
    """What a request says of who sends it, as it came; None where it says nothing.

    `web_session` is the value of our cookie. It counts only without an `Authorization`, and only once the edge has seen
    that the request is not another site's (see `websession`).
    """

    authorization: bytes | None = None
    app_token: bytes | None = None
    web_session: bytes | None = None


@dataclass(frozen=True, slots=True)
class Principal:
    """An agent whose credentials were verified. `expires_at` is Unix time in seconds, None is never.

    `grants` name what the credentials stand on, where that can be taken back before it expires: ``ticket:<digest>``,
    ``web:<digest>``, ``user:<digest>``. They stand as long as all of these do.
    """

    agent: AgentId
    scopes: frozenset[Scope]
    expires_at: float | None = None
    grants: tuple[str, ...] = ()

    @property
    def tenant(self) -> str:
        """The agent's tenant, folded as `AgentId` folds it."""
        return self.agent.tenant


class Authenticator(Protocol):
    """Turns credentials into a `Principal`."""

    @property
    def challenge(self) -> str:
        """What `WWW-Authenticate` says: the schemes that are served."""
        ...

    def key(self, credentials: Credentials) -> bytes:
        """A keyed hash of the credentials, by which `known` knows them."""
        ...

    def known(self, key: bytes) -> Principal | None:
        """Who was verified by these credentials not long ago; None says nothing. The hot path: no I/O and no wait."""
        ...

    async def authenticate(self, credentials: Credentials, address: str) -> Principal:
        """Verifies, or answers from the cache. `address` is the client's, for whom failures are counted.

        Raises `Unauthenticated` without telling whether the user exists, `BadRequest` where the user's name can't be an
        agent's, `TooManyRequests` after too many failures from the address, `Unavailable` where it can't be said now.
        """
        ...

    async def redeem(self, ticket: str, device: str, address: str) -> Principal:
        """Who a one-use ticket is, which is used up by that. Raises as `authenticate` does, and `Forbidden` for another
        device's."""
        ...

    def revoke(self, grants: frozenset[str]) -> None:
        """These stand no more: what was verified on them does not count any longer."""
        ...
