"""What authentication keeps in the store, by the link of commands. Implements `Vault` of `server.auth.vault`.

Every command has one key, so that the store may be a cluster. Everything raises `Unavailable`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final

import hiredis

from server.broker.keys import control_channel, revoked, vault_key
from server.broker.link import Link
from server.broker.script import unavailable

GONE_SLICE: Final = 500
"""Names asked for in one write, so that batches get their turns between two."""


class RedisVault:
    """Values under names, each with the time for which it is kept. `link` gives the link that commands go to now."""

    def __init__(self, link: Callable[[], Link], prefix: str) -> None:
        self._link = link
        self._prefix = prefix

    async def get(self, name: str) -> bytes | None:
        """The value under a name, None where there is none, or not any more."""
        value: bytes | None = (await self._replies(("GET", self._key(name))))[0]
        return value

    async def put(self, name: str, value: bytes, ttl_s: float) -> None:
        """Keep a value for `ttl_s` seconds, to the millisecond; one at least, as the store takes no less."""
        await self._replies(("SET", self._key(name), value, "PX", max(1, round(ttl_s * 1000))))

    async def take(self, name: str) -> bytes | None:
        """The value, which is gone from then on: of two who ask, one gets it."""
        value: bytes | None = (await self._replies(("GETDEL", self._key(name))))[0]
        return value

    async def revoke(self, name: str) -> None:
        """The value is gone, and every worker is told at once; also where it was gone before, as whoever repeats this
        does not know whether the first announcement went out."""
        await self._replies(
            ("DEL", self._key(name)),
            ("SPUBLISH", control_channel(self._prefix), revoked(name)),
        )

    async def gone(self, names: list[str]) -> set[str]:
        """Those of `names` that are not there any more."""
        gone: set[str] = set()
        for start in range(0, len(names), GONE_SLICE):
            asked = names[start : start + GONE_SLICE]
            found = await self._replies(*(("EXISTS", self._key(name)) for name in asked))
            gone.update(name for name, exists in zip(asked, found, strict=True) if not exists)
        return gone

    def _key(self, name: str) -> bytes:
        return vault_key(self._prefix, name)

    async def _replies(self, *commands: tuple[bytes | str | int, ...]) -> list[Any]:
        """All are sent, in one write, whatever the first is answered."""
        link = self._link()
        replies = await asyncio.gather(*(link.command(*command) for command in commands), return_exceptions=True)
        for reply in replies:
            if isinstance(reply, hiredis.ReplyError):
                if str(reply).startswith("READONLY"):
                    link.abort()  # the next one may lead to the master; this one never will
                raise unavailable(reply)
            if isinstance(reply, BaseException):
                raise reply
        return replies
