"""What the store keeps for authentication: grants under names that are hashes, each with the time at which it ends.

A name is ``<kind>:<digest>``. The kinds: `ticket` (an SoTicket that we issued), `web` (a browser's session), `once` (a
ticket that opens one websocket). Whoever reads the store finds no credentials in it.
"""

from __future__ import annotations

import hashlib
import secrets
from typing import Annotated, Final, Protocol, Self

import msgspec

from server import logs
from server.auth.principal import Principal, Scope
from server.errors import BadRequest
from server.events import AgentId

SECRET_BYTES: Final = 32

_log = logs.get("clearsync.auth")


def new_secret() -> str:
    """256 random bits, as 43 characters of the URL-safe base64 alphabet."""
    return secrets.token_urlsafe(SECRET_BYTES)


def name_of(kind: str, secret: str) -> str:
    """The name of a secret's grant. Plain SHA-256: a secret has 256 random bits, there is nothing to try out."""
    return f"{kind}:{hashlib.sha256(secret.encode()).hexdigest()}"


Time = Annotated[float, msgspec.Meta(ge=0, le=253_402_300_799)]
"""Unix time in seconds, up to the end of the year 9999."""


class Grant(msgspec.Struct, frozen=True, kw_only=True):
    """What one secret is good for, as it is kept. Times are Unix time in seconds.

    `device`: the only one it opens a session for. `on`: the grants that this one stands on and falls with. `until`:
    when the credentials expire that it was made from, 0 is never.
    """

    tenant: str
    agent: str
    scopes: tuple[Scope, ...]
    issued_at: Time
    expires_at: Time
    device: str = ""
    on: tuple[str, ...] = ()
    until: Time = 0.0

    @classmethod
    def of(cls, principal: Principal, issued_at: float, expires_at: float, device: str = "") -> Self:
        """Another form of a principal's credentials; it ends no later than they do."""
        ends = expires_at if principal.expires_at is None else min(expires_at, principal.expires_at)
        agent = principal.agent
        return cls(
            tenant=agent.tenant,
            agent=agent.associate,
            scopes=tuple(sorted(principal.scopes)),
            issued_at=issued_at,
            expires_at=ends,
            device=device,
            on=principal.grants,
            until=principal.expires_at or 0.0,
        )

    def principal(self, name: str) -> Principal:
        """Who comes with this grant, which is kept under `name`."""
        agent = AgentId.of(self.tenant, self.agent)
        return Principal(agent, frozenset(self.scopes), self.expires_at, (name, *self.on))


def read(name: str, value: bytes) -> tuple[Grant, Principal] | None:
    """What is kept under `name`, and who comes with it; None, and a line in the log, where it is no grant."""
    try:
        grant = decode(value)
        return grant, grant.principal(name)
    except (msgspec.DecodeError, UnicodeDecodeError, BadRequest):
        kind, _, digest = name.partition(":")
        _log.error("no grant in the store", kind=kind, id=digest[:12], length=len(value))
        return None


encode: Final = msgspec.json.Encoder().encode
decode: Final = msgspec.json.Decoder(Grant).decode


class Vault(Protocol):
    """The store's side; `server.broker.vault` implements it. Everything raises `Unavailable`."""

    async def get(self, name: str) -> bytes | None:
        """The value under a name, None where there is none, or not any more."""
        ...

    async def put(self, name: str, value: bytes, ttl_s: float) -> None:
        """Keep a value for `ttl_s` seconds."""
        ...

    async def take(self, name: str) -> bytes | None:
        """The value, which is gone from then on: of two who ask, one gets it."""
        ...

    async def revoke(self, name: str) -> None:
        """The value is gone, and every worker is told at once."""
        ...

    async def gone(self, names: list[str]) -> set[str]:
        """Those of `names` that are not there any more."""
        ...
