"""A browser that signed in: a cookie that scripts can't read, and beside it a token that only our pages can.

1. The cookie's value is a secret; the store holds a grant under its hash (see `vault`), so that all workers know it and
   its end is the end everywhere.
2. Cookies come along with requests that other sites cause. So a request by cookie has to carry the XSRF token as a
   header, which no other site can read or set. The token is made from the secret: one of another session does not fit.
3. A websocket can't carry that header. It is the `Origin` that tells there, see `origins`.
4. What a session stands on (a ticket, a user's entry) is asked after each time it is verified.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Final

from server.auth.principal import Principal
from server.auth.vault import Grant, Vault, encode, name_of, new_secret, read
from server.errors import Forbidden, Unauthenticated

XSRF_COOKIE: Final = "XSRF-TOKEN"
"""The vendor's name, and that of many browser frameworks, which send it back by themselves."""
ONCE_S: Final = 30
"""Seconds for which a ticket waits to open its websocket."""

_SECRET: Final = re.compile(rb"[A-Za-z0-9_-]{43}")

Standing = Callable[[tuple[str, ...]], Awaitable[bool]]
"""Whether all of these grants stand."""


def cookie_name(*, secure: bool) -> str:
    """``__Host-``: a browser takes it over TLS only, and from no other host of the domain (RFC 6265bis, 4.1.3.2)."""
    return "__Host-clearsync" if secure else "clearsync"


def cookie_of(header: bytes, name: str) -> bytes | None:
    """A cookie's value out of a ``Cookie`` header; None where it has none."""
    wanted = name.encode() + b"="
    for pair in header.split(b";"):
        if pair.strip().startswith(wanted):
            return pair.strip()[len(wanted) :]
    return None


def xsrf_token(secret: bytes) -> str:
    """The token that belongs to a session's secret."""
    return hmac.new(secret, b"clearsync xsrf", hashlib.sha256).hexdigest()


def check_xsrf(secret: bytes, header: bytes | None) -> None:
    """`Forbidden` where a request by cookie does not carry its session's token."""
    if header is None:
        raise Forbidden("X-XSRF-TOKEN is missing, a request by cookie needs it")
    if not hmac.compare_digest(xsrf_token(secret).encode(), header):
        raise Forbidden("X-XSRF-TOKEN is not this session's")


class WebSessions:
    """The sessions of browsers, and the one-use tickets for websockets. `wall`: Unix time in seconds."""

    def __init__(
        self,
        vault: Vault,
        standing: Standing,
        on_revoked: Callable[[frozenset[str]], None],
        *,
        longest_s: float,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._vault = vault
        self._on_revoked = on_revoked
        self._standing = standing
        self._longest_s = longest_s
        self._wall = wall

    async def begin(self, principal: Principal) -> tuple[str, int]:
        """A new session: the cookie's value, and for how many seconds. Raises `Unavailable`."""
        return await self._give("web", principal, self._longest_s)

    async def verify(self, secret: bytes) -> Principal:
        """Who a cookie's value is. Raises `Unauthenticated`, `Unavailable`."""
        return (await self._found("web", secret, self._vault.get))[1]

    async def end(self, secret: bytes) -> None:
        """The session is over, and its websockets are closed, at every worker. Raises `Unavailable`."""
        name = name_of("web", secret.decode("latin-1"))
        await self._vault.revoke(name)
        self._on_revoked(frozenset((name,)))  # whether we hear the announcement or not

    async def once(self, principal: Principal, device: str) -> tuple[str, int]:
        """A ticket that opens one websocket of `device`: it, and for how many seconds. Raises `Unavailable`."""
        return await self._give("once", principal, ONCE_S, device)

    async def redeem(self, ticket: bytes, device: str) -> Principal:
        """Who a ticket is, which is used up by that, also by the wrong device.

        Raises `Unauthenticated`, `Forbidden` for another device, `Unavailable`.
        """
        grant, principal = await self._found("once", ticket, self._vault.take)
        if grant.device != device:
            raise Forbidden("the ticket is another device's")
        return replace(principal, expires_at=grant.until or None, grants=grant.on)

    async def _give(self, kind: str, principal: Principal, ttl_s: float, device: str = "") -> tuple[str, int]:
        now = self._wall()
        grant = Grant.of(principal, now, now + ttl_s, device)
        left_s = grant.expires_at - now
        if left_s < 1:
            raise Unauthenticated("these credentials expire in less than a second")
        secret = new_secret()
        await self._vault.put(name_of(kind, secret), encode(grant), left_s)
        return secret, int(left_s)

    async def _found(
        self, kind: str, secret: bytes, fetch: Callable[[str], Awaitable[bytes | None]]
    ) -> tuple[Grant, Principal]:
        what = "ticket" if kind == "once" else "session"
        if not _SECRET.fullmatch(secret):
            raise Unauthenticated(f"{what} is not one that this service gave")
        name = name_of(kind, secret.decode())
        value = await fetch(name)
        found = read(name, value) if value is not None else None
        if found is None:
            raise Unauthenticated(f"{what} is not known, or not any more")
        grant = found[0]
        if grant.expires_at <= self._wall() or not await self._standing(grant.on):
            raise Unauthenticated(f"{what} has expired, or what it stood on has ended")
        return found
