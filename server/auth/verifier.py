"""The port behind which each way to sign in stands: `chain` asks those of a request's scheme in turn."""

from __future__ import annotations

from typing import Protocol

from server.auth.principal import Principal


class Verifier(Protocol):
    """One kind of credentials of one scheme."""

    @property
    def challenge(self) -> str:
        """Its part of `WWW-Authenticate`."""
        ...

    @property
    def charged(self) -> bool:
        """Whether credentials that it refuses are a failed sign-in, which is limited: they may be a guess, or they cost
        others something. A token of 256 random bits, or with a signature, is neither."""
        ...

    def claims(self, credentials: bytes) -> bool:
        """Whether credentials (the part after the scheme) have the form that it verifies; cheap, and proves nothing."""
        ...

    async def verify(self, credentials: bytes, app_token: bytes | None) -> Principal:
        """The principal of credentials. Raises `Unauthenticated`, `BadRequest` where the name can't be an agent's,
        `Unavailable` where it can't be said now."""
        ...

    async def run(self) -> None:
        """What it has to do meanwhile, until cancelled; returns where that is nothing."""
        ...

    async def close(self) -> None:
        """Give back what it holds; idempotent."""
        ...
