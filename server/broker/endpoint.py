"""Where the store is and how a link gets there. redis-py reads the URL; the connection is our own."""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Self

import hiredis
from redis.asyncio.connection import parse_url

from server.broker.link import Link
from server.errors import StoreError

OLDEST_MAJOR = 7
"""Sharded pub/sub came with Redis 7; every Valkey has it."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A parsed ``redis://``, ``rediss://`` or ``unix://`` URL. Its `repr` shows no password."""

    host: str
    port: int
    path: str
    username: str
    password: str = field(repr=False)
    db: int
    tls: ssl.SSLContext | None = field(repr=False)

    @classmethod
    def parse(cls, url: str) -> Self:
        """The forms and query options of redis-py (``?db=1``, ``?ssl_ca_certs=…``); else `StoreError`."""
        try:
            options: dict[str, Any] = dict(parse_url(url))
            tls = _tls(options) if url.startswith("rediss://") else None
            db = int(options.get("db") or 0)
            str(options.get("host") or "").encode("idna")  # else found out by the resolver, at the first connection
        except (ValueError, OSError) as problem:
            raise StoreError(f"store.url can't be used: {problem}") from None
        return cls(
            host=str(options.get("host") or "localhost"),
            port=int(options.get("port") or 6379),
            path=str(options.get("path") or ""),
            username=str(options.get("username") or ""),
            password=str(options.get("password") or ""),
            db=db,
            tls=tls,
        )

    async def connect(self, make: Callable[[], Link], name: str) -> Link:
        """A link that has said HELLO. Raises OSError, `LinkLost`, `ReplyError`, `StoreError`; bound it in time."""
        loop = asyncio.get_running_loop()
        if self.path:
            _, link = await loop.create_unix_connection(make, self.path)
        else:
            host = self.host if self.tls else None
            _, link = await loop.create_connection(make, self.host, self.port, ssl=self.tls, server_hostname=host)
        try:
            await self._hello(link, name)
        except BaseException:
            link.abort()
            raise
        return link

    async def _hello(self, link: Link, name: str) -> None:
        auth = ("AUTH", self.username or "default", self.password) if self.password else ()
        try:
            greeting = await link.command("HELLO", 3, *auth, "SETNAME", name)
        except hiredis.ReplyError as problem:
            raise _refusal(problem) from None
        check_version(greeting)
        if self.db:
            await link.command("SELECT", self.db)


def _tls(options: dict[str, Any]) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=options.get("ssl_ca_certs"), capath=options.get("ssl_ca_path"))
    if str(options.get("ssl_check_hostname", True)).lower() in ("false", "0", "no"):
        context.check_hostname = False
    if str(options.get("ssl_cert_reqs", "required")).lower() in ("none", "false"):
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if options.get("ssl_certfile"):
        context.load_cert_chain(options["ssl_certfile"], options.get("ssl_keyfile"))
    return context


def check_version(greeting: Any) -> None:
    """The answer to HELLO; `StoreError` for a server without sharded pub/sub."""
    pairs = greeting.items() if isinstance(greeting, dict) else zip(greeting[::2], greeting[1::2], strict=False)
    said = {bytes(k): v for k, v in pairs}
    version = said.get(b"version", b"").decode(errors="replace")
    major = re.match(r"\d+", version)
    if said.get(b"server") in (b"redis", b"valkey") and (major is None or int(major[0]) < OLDEST_MAJOR):
        raise StoreError(f"the store is version {version}, it must be Redis 7 or Valkey, or later")


def _refusal(problem: hiredis.ReplyError) -> Exception:
    """What a refused HELLO means: settings that are wrong, a server that is too old, or one that is not ready yet."""
    kind = str(problem).partition(" ")[0]
    if kind in ("WRONGPASS", "NOAUTH", "NOPERM"):
        return StoreError(f"the store refuses our credentials ({kind}), check store.url")
    if kind == "NOPROTO" or "unknown command" in str(problem):
        return StoreError("the store does not speak RESP3, it must be Redis 7 or Valkey, or later")
    return problem
