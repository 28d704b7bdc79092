"""Bearer tokens that are JSON web tokens (RFC 7519), signed by an issuer whose keys we have.

1. A token says by which algorithm it is signed and by which key. The algorithm must be one of `jwt.algorithms`, and the
   key one that is bound to it (see `keys`). What else its header offers (`jwk`, `jku`, `x5c`, `x5u`) is not looked at,
   and a header that must be understood (`crit`) is refused, as there is none that we understand.
2. With a `kid`, the keys of that id are tried, then those without an id (a PEM has none); without, all that fit. Of a
   file, and of a JWKS, at most `TRIES`.
3. Where none fits, and the JWKS knows no key of that id for that algorithm, it is asked for again (see `jwks`, rule 3).
4. The payload is read once the signature is known to be good. It is parsed here, not by a library that reads the token
   again, so what was verified is what is believed.
5. `exp` must be there. A token counts until `jwt.leeway_s` after it, as clocks differ. That is no longer life: a
   principal expires at `exp`, and only one who comes later expires at the end of the leeway.
6. A refusal names the rule, and nothing out of the token.
"""

from __future__ import annotations

import binascii
import re
import time
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

import msgspec

from server.auth.jwks import Jwks
from server.auth.keys import Key, read_keys
from server.auth.principal import DEFAULT_SCOPES, Principal, Scope
from server.errors import Unauthenticated
from server.events import AgentId
from server.settings.schema import Jwt

TOKEN_BYTES: Final = 8 * 1024
TRIES: Final = 5
LAST_TIME: Final = 253_402_300_799
"""The end of the year 9999. What is later, or before 1970, is a mistake and no time."""

_PART: Final = re.compile(rb"[A-Za-z0-9_-]+")
_SCOPES: Final = {scope.value: scope for scope in Scope}


class Bearer:
    """Verifies tokens with the keys of a file, of a JWKS, or both. `wall` is Unix time in seconds.

    Signatures are verified on the loop. Measured: RS256 16 µs (4096 bits 50), ES256 45 µs, Ed25519 60 µs, ES384 and
    ES512 0.35 ms; all else of a token of 600 bytes 12 µs. The cache before it makes that once in its TTL.
    """

    challenge: Final = 'Bearer realm="clearsync"'
    charged: Final = False

    def __init__(
        self, settings: Jwt, keys: Sequence[Key], jwks: Jwks | None, *, wall: Callable[[], float] = time.time
    ) -> None:
        self._settings = settings
        self._keys = keys
        self._jwks = jwks
        self._wall = wall

    @classmethod
    def of(cls, settings: Jwt) -> Self:
        """What settings ask for; reads the file of keys, fetches nothing yet. Raises `SettingsError`."""
        keys = read_keys(Path(settings.keys_file), settings.algorithms) if settings.keys_file else ()
        return cls(settings, keys, Jwks(settings.jwks_url, settings.algorithms) if settings.jwks_url else None)

    def claims(self, credentials: bytes) -> bool:
        """Whether they are three parts of which the first is a JSON object with an `alg`. What is too long counts too,
        as far as that can be seen without reading it. An opaque token is none of it, and goes to whom it is for."""
        header, *others = credentials.split(b".", 3)
        if len(others) != 2:
            return False
        if len(header) > TOKEN_BYTES:
            return (_decoded(header[:4]) or b"").startswith(b"{")
        return "alg" in (_json_object(header) or ())

    async def verify(self, credentials: bytes, app_token: bytes | None) -> Principal:
        """See `Verifier.verify`; the app token is not asked for."""
        token = _Token.of(credentials)
        if token.alg not in self._settings.algorithms:
            raise Unauthenticated("token is signed by an algorithm that is not taken here")
        if not token.signed_by(self._keys) and not await self._signed_by_jwks(token):
            raise Unauthenticated("token is not signed by a key that is known")
        claims = _json_object(token.payload)
        if claims is None:
            raise Unauthenticated("token's payload must be a JSON object")
        return self._principal(claims)

    async def run(self) -> None:
        """Fetches the JWKS and keeps it fresh; without one there is nothing to do."""
        if self._jwks is not None:
            await self._jwks.run()

    async def close(self) -> None:
        """See `Verifier.close`."""
        if self._jwks is not None:
            await self._jwks.close()

    async def _signed_by_jwks(self, token: _Token) -> bool:
        if self._jwks is None:
            return False
        keys = await self._jwks.keys()
        if token.signed_by(keys):
            return True
        if token.names_one_of(keys):
            return False
        newer = await self._jwks.newer()
        return newer is not keys and token.signed_by(newer)

    def _principal(self, claims: dict[str, Any]) -> Principal:
        settings, now = self._settings, self._wall()
        expires_at = _check_times(claims, now, settings.leeway_s)
        if settings.issuer and claims.get("iss") != settings.issuer:
            raise Unauthenticated("token's issuer is not the one that is taken here")
        audience = claims.get("aud")
        if settings.audience not in (audience if isinstance(audience, list) else [audience]):
            raise Unauthenticated("token's audience is not this service")
        tenant = settings.tenant or _name(claims, settings.tenant_claim)
        agent = AgentId.of(tenant, _name(claims, settings.agent_claim))
        return Principal(agent, _scopes(claims, settings.scope_claim), expires_at)


_TYPES: Final = ("jwt", "at+jwt")
"""RFC 8725, 3.11: an issuer signs other things with the same key, such as `logout+jwt`."""


@dataclass(frozen=True, slots=True)
class _Token:
    """A token whose form is good, and nothing more."""

    alg: str
    kid: str | None
    message: bytes
    payload: bytes
    signature: bytes

    @classmethod
    def of(cls, credentials: bytes) -> Self:
        """Raises `Unauthenticated`."""
        if len(credentials) > TOKEN_BYTES:
            raise Unauthenticated(f"token has {len(credentials)} bytes, limit is {TOKEN_BYTES}")
        message, _, signed = credentials.rpartition(b".")
        head, _, payload = message.partition(b".")
        header, signature = _json_object(head), _decoded(signed)
        if header is None or signature is None or not _PART.fullmatch(payload):
            raise Unauthenticated("token must be three parts in base64url, the first of them a JSON object")
        alg, kid = header.get("alg"), header.get("kid")
        if not isinstance(alg, str) or not isinstance(kid, str | None):
            raise Unauthenticated("token's alg must be text, and so its kid, if it has one")
        if str(header.get("typ", "JWT")).lower().removeprefix("application/") not in _TYPES:
            raise Unauthenticated("token is of a type for something else, typ must be JWT or at+jwt")
        if "crit" in header:
            raise Unauthenticated("token has crit, a header that must be understood, and none is")
        return cls(alg, kid, message, payload, signature)

    def signed_by(self, keys: Iterable[Key]) -> bool:
        """Whether one of the keys made the signature, by the rule of which are tried."""
        fit = [key for key in keys if self.alg in key.algorithms and self._may_be(key)]
        fit.sort(key=lambda key: key.kid != self.kid)  # those that it names, or that like itself have none, come first
        return any(key.signed(self.alg, self.message, self.signature) for key in fit[:TRIES])

    def names_one_of(self, keys: Iterable[Key]) -> bool:
        """Whether it has the id of a key that fits."""
        return self.kid is not None and any(key.kid == self.kid and self.alg in key.algorithms for key in keys)

    def _may_be(self, key: Key) -> bool:
        return self.kid is None or key.kid is None or key.kid == self.kid


def _decoded(part: bytes) -> bytes | None:
    """Base64url as RFC 7515 has it: not empty, unpadded, and one text only for each content."""
    if not _PART.fullmatch(part):
        return None
    try:
        decoded = urlsafe_b64decode(part + b"=" * (-len(part) % 4))
    except binascii.Error:
        return None
    return decoded if urlsafe_b64encode(decoded).rstrip(b"=") == part else None


def _json_object(part: bytes) -> dict[str, Any] | None:
    try:
        decoded = msgspec.json.decode(_decoded(part) or b"")
    except (ValueError, RecursionError):
        return None
    return decoded if isinstance(decoded, dict) else None


def _check_times(claims: dict[str, Any], now: float, leeway_s: float) -> float:
    """When the principal expires. Raises `Unauthenticated`."""
    expires_at = _time(claims, "exp")
    if expires_at is None:
        raise Unauthenticated("token has no exp, it must say when it expires")
    if now >= expires_at + leeway_s:
        raise Unauthenticated("token has expired")
    for name in ("nbf", "iat"):
        begins_at = _time(claims, name)
        if begins_at is not None and now < begins_at - leeway_s:
            raise Unauthenticated(f"token is not valid yet, by its {name}")
    return expires_at if now < expires_at else expires_at + leeway_s


def _time(claims: dict[str, Any], name: str) -> float | None:
    """A claim that is Unix time; None where it is absent."""
    value = claims.get(name)
    if name in claims and (not isinstance(value, int | float) or isinstance(value, bool)):
        raise Unauthenticated(f"token's {name} must be a number, of seconds since 1970")
    if value is not None and not 0 <= value <= LAST_TIME:
        raise Unauthenticated(f"token's {name} must be seconds since 1970, until the year 9999")
    return value


def _name(claims: dict[str, Any], claim: str) -> str:
    value = claims.get(claim)
    if isinstance(value, str | int) and not isinstance(value, bool):
        return str(value)
    raise Unauthenticated(f"token has no {claim} that is text or a whole number")


def _scopes(claims: dict[str, Any], claim: str) -> frozenset[Scope]:
    """Ours among those that the claim has: a list, or words. A claim without any allows nothing."""
    if claim not in claims:
        return DEFAULT_SCOPES
    value = claims[claim]
    words = value.split() if isinstance(value, str) else value if isinstance(value, list) else []
    return frozenset(_SCOPES[word] for word in words if isinstance(word, str) and word in _SCOPES)
