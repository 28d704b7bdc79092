"""A look into the store: what came of an attack, and tickets as the command makes and revokes them."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterable
from typing import Any, Final

from redis import Redis

from server.auth import tickets
from server.auth.principal import DEFAULT_SCOPES, Scope
from server.auth.vault import encode, name_of
from server.broker.keys import control_channel, revoked, vault_key
from server.events import AgentId
from tests.running import client

NOTHING: Final[frozenset[str]] = frozenset()

_ids = itertools.count(1)


def new_id() -> int:
    """The id of an event that no other test sends."""
    return next(_ids)


def where(store_url: str, id_: int) -> frozenset[str]:
    """The tags of the agents for whom the event is recorded."""
    with client(store_url) as store:
        return frozenset(
            key.decode().partition("{")[2].partition("}")[0]
            for key in store.scan_iter(b"cs:{*}", count=1000)
            if store.zscore(key, f"1:{id_}") is not None
        )


def everything(store: Redis) -> bytes:
    """All that a store holds, in one text."""
    parts: list[bytes] = []
    for key in store.scan_iter(count=1000):
        kind = store.type(key)
        value: Any = store.get(key) if kind == b"string" else store.zrange(key, 0, -1) if kind == b"zset" else None
        assert value is not None or not store.exists(key), f"{key!r} is a {kind!r}"
        parts += [key, *(value if isinstance(value, list) else [value or b""])]
    return b"\n".join(parts)


def issue(store_url: str, agent: str, ttl_s: float = 3600, scopes: Iterable[Scope] = DEFAULT_SCOPES) -> str:
    """A ticket, as the command makes it."""
    secret, name, grant = tickets.issue(AgentId.of(*agent.split("/")), scopes, ttl_s, time.time())
    with client(store_url) as store:
        store.set(vault_key("cs", name), encode(grant), px=round(ttl_s * 1000))
    return secret


def revoke(store_url: str, secret: str) -> None:
    """Its end, as the command tells it."""
    name = name_of(tickets.KIND, secret)
    with client(store_url) as store:
        store.delete(vault_key("cs", name))
        store.execute_command("SPUBLISH", control_channel("cs"), revoked(name))
