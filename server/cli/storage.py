"""How a command reaches the store that a service uses: by the same settings, past the service itself."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec

from server.auth.vault import Grant, decode, encode
from server.broker.keys import agent_key, control_channel, forgotten, revoked, sessions_key, vault_key
from server.broker.whereabouts import Whereabouts
from server.errors import BadRequest, SettingsError, StoreError
from server.events import AgentId
from server.settings import Settings, load, masked_url

if TYPE_CHECKING:
    from redis import Redis

TIMEOUT_S: Final = 5.0
SLICE: Final = 500
"""Keys asked for at one time."""


def add_store_options(parser: argparse.ArgumentParser) -> None:
    """The flags that say where the store is, as `serve` has them."""
    parser.add_argument("--store", metavar="URL", help="embedded (default: that of a running serve), redis://, …")
    parser.add_argument("--data-dir", metavar="DIR", help="directory of the embedded store")
    parser.add_argument("--config", metavar="FILE", help="settings, TOML (CLEARSYNC_CONFIG)")


def store_settings(args: argparse.Namespace, environ: Mapping[str, str]) -> Settings:
    """The settings of parsed flags and an environment, each checked alone: a command is not the service, and may lack
    its files. Raises `SettingsError`."""
    config = args.config or environ.get("CLEARSYNC_CONFIG")
    return load(Path(config) if config else None, environ, {"store.url": args.store, "store.data_dir": args.data_dir})


@contextmanager
def storage(settings: Settings) -> Iterator[Storage]:
    """The store of these settings. Raises `StoreError` where it does not answer, also from within the context."""
    # Imported late: the other commands need none of it, and it takes longer to load than they take to run.
    from redis import Redis
    from redis.backoff import NoBackoff
    from redis.exceptions import RedisError
    from redis.retry import Retry

    from server.broker.endpoint import Endpoint

    url, trouble = _located(settings)
    Endpoint.parse(url)  # refuses what `serve` would, in the same words
    try:
        with Redis.from_url(
            url, socket_timeout=TIMEOUT_S, socket_connect_timeout=TIMEOUT_S, retry=Retry(NoBackoff(), 0)
        ) as store:
            store.ping()
            yield Storage(store, settings.store.prefix, embedded=settings.store.url == "embedded")
    except RedisError as problem:
        raise StoreError(f"{trouble}: {str(problem).rstrip('.')}") from None


def _located(settings: Settings) -> tuple[str, str]:
    """The store's URL, and how the message of a trouble with it begins."""
    url, data_dir = settings.store.url, settings.store.data_dir_path
    if url == "memory":
        raise SettingsError("store.url is memory, which only the process that serves can see")
    if url != "embedded":
        return url, f"the store at {masked_url(url)} can't be used"
    noted = Whereabouts.read(data_dir)
    if noted is None:
        raise StoreError(
            f"no service runs on {data_dir}: run this with the same --store, --data-dir or --config as "
            "clearsync serve, while that runs"
        )
    if not noted.is_private():
        raise StoreError(f"the embedded store of {data_dir} is not this user's, run this as the user that serves")
    return f"unix://{noted.socket}", f"the embedded store of {data_dir} can't be used, does clearsync serve run"


class Storage:
    """What commands do in the store. Raises redis-py's errors, which `storage` turns into `StoreError`."""

    def __init__(self, store: Redis, prefix: str, *, embedded: bool) -> None:
        self._store = store
        self._prefix = prefix
        self._embedded = embedded

    def put(self, name: str, grant: Grant) -> None:
        """Keep a grant until it expires."""
        ttl_ms = max(1, round((grant.expires_at - grant.issued_at) * 1000))
        self._store.set(vault_key(self._prefix, name), encode(grant), px=ttl_ms)

    def grants(self, *kinds: str, agent: AgentId | None = None) -> dict[str, Grant]:
        """All grants of these kinds, or those of one agent, by their names; what can't be read is said on stderr."""
        found: dict[str, tuple[Grant, AgentId]] = {}
        for kind in kinds:
            name = re.compile(rf"{re.escape(self._prefix)}:({re.escape(kind)}:[0-9a-f]{{64}})".encode())
            keys = self._store.scan_iter(match=f"{self._prefix}:{kind}:*", count=SLICE)
            while part := list(islice(keys, SLICE)):
                found.update(self._read([match[1].decode() for key in part if (match := name.fullmatch(key))]))
        return {name: grant for name, (grant, whose) in found.items() if agent in (None, whose)}

    def _read(self, names: list[str]) -> Iterator[tuple[str, tuple[Grant, AgentId]]]:
        with self._store.pipeline(transaction=False) as asked:
            for name in names:
                asked.get(vault_key(self._prefix, name))
            values: list[Any] = asked.execute(raise_on_error=False)
        for name, value in zip(names, values, strict=True):
            if value is None:
                continue  # it expired meanwhile
            try:
                grant = decode(value)
                yield name, (grant, grant.principal(name).agent)
            except (msgspec.DecodeError, UnicodeDecodeError, BadRequest, TypeError):  # TypeError: not even a text
                print(f"clearsync: {name} in the store is no grant, left out", file=sys.stderr)

    def revoke(self, names: Iterable[str]) -> None:
        """Take grants back, and tell every worker of each."""
        names = iter(names)
        while part := list(islice(names, SLICE)):
            with self._store.pipeline(transaction=False) as asked:
                for name in part:
                    asked.delete(vault_key(self._prefix, name))
                    asked.spublish(control_channel(self._prefix), revoked(name))
                asked.execute()

    def erase(self, agent: AgentId) -> int:
        """Erase what an agent handled, and tell every worker; how many events that were."""
        key = agent_key(self._prefix, agent)
        with self._store.pipeline(transaction=False) as asked:
            asked.zcard(key)
            asked.zscore(key, "-")  # the floor is no event
            asked.delete(key)
            asked.delete(sessions_key(self._prefix, agent))
            asked.spublish(control_channel(self._prefix), forgotten(agent))
            count, floor, *_ = asked.execute()
        return int(count) - (floor is not None)

    def write_anew(self) -> bool:
        """Have the embedded store write its file anew, without what was erased; False where that can't be begun now.

        The file of a store of one's own, and its backups, are its owner's.
        """
        from redis.exceptions import ResponseError

        if self._embedded:
            try:
                self._store.bgrewriteaof()
            except ResponseError:  # one is under way, which may have begun before
                return False
        return True
