"""The lock of the embedded store, and what to do with a store that holds it without a supervisor.

1. The store's process inherits the descriptor of `store.lock` and is the only one to keep it: taken means alive.
2. Only the holder of `serve.lock` comes here, so a store that is alive now has lost its supervisor: an orphan.
3. It is asked to end, then told, then killed. Each loses nothing that was acknowledged.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from server import logs
from server.broker.locks import open_lock, try_lock
from server.broker.whereabouts import Whereabouts
from server.errors import StoreError

POLL_S: Final = 0.02
PATIENCE_S: Final = 5.0
"""The time that each of the three ways to end an orphan gets."""

_STORES: Final = ("valkey-", "redis-")
"""How the program of a store is called; some packages link `redis-server` to `redis-check-rdb`."""

log = logs.get("clearsync.store")


def client(socket: str, timeout_s: float = 1.0) -> Redis:
    """A client for a few cold commands, which fails instead of trying again."""
    return Redis(
        unix_socket_path=socket,
        socket_timeout=timeout_s,
        socket_connect_timeout=timeout_s,
        retry=Retry(NoBackoff(), 0),
    )


async def claim(data_dir: Path) -> int:
    """A descriptor that holds `store.lock`, once an orphan that held it has ended. The caller closes it.

    The caller holds `serve.lock`. Raises `StoreError` for an orphan that can't be ended, OSError.
    """
    path = data_dir / "store.lock"
    descriptor = open_lock(path)
    try:
        if not try_lock(descriptor):
            await _take_down(data_dir, path, descriptor)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


async def _take_down(data_dir: Path, path: Path, descriptor: int) -> None:
    log.warning("orphan store found, ending it", data_dir=str(data_dir))
    if (noted := Whereabouts.read(data_dir)) and noted.is_private():
        await _ask(noted.socket)
        if await _locked(descriptor):
            return
    for number in (signal.SIGTERM, signal.SIGKILL):
        for pid in holders(path):
            log.warning("orphan store signalled", pid=pid, signal=number.name)
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
        if await _locked(descriptor):
            return
    raise StoreError(f"a store without its supervisor holds {path} and does not end, end it by hand")


async def _ask(socket: str) -> None:
    # No answer is the good answer: the connection is closed. An orphan that is stopped or stuck gives none either.
    with contextlib.suppress(RedisError, OSError):
        async with client(socket) as orphan:
            await orphan.shutdown(nosave=True, now=True, force=True)


async def _locked(descriptor: int) -> bool:
    deadline = asyncio.get_running_loop().time() + PATIENCE_S
    while not try_lock(descriptor):
        if asyncio.get_running_loop().time() > deadline:
            return False
        await asyncio.sleep(POLL_S)
    return True


def holders(path: Path) -> Iterator[int]:
    """The stores that have this file open, by what the kernel says (Linux; elsewhere none are found).

    Not by the noted process id, which may be another's by now; and a store's own child, busy with a rewrite of the
    file, holds the lock as well after its parent was killed.
    """
    wanted = path.stat()
    for entry in Path("/proc").glob("[0-9]*"):
        if int(entry.name) != os.getpid() and _is_store(entry) and _has_open(entry, wanted):
            yield int(entry.name)


def _is_store(process: Path) -> bool:
    try:
        return os.path.basename(os.readlink(process / "exe")).startswith(_STORES)
    except OSError:
        return False


def _has_open(process: Path, wanted: Any) -> bool:
    with contextlib.suppress(OSError):
        for descriptor in (process / "fd").iterdir():
            with contextlib.suppress(OSError):
                if os.path.samestat(descriptor.stat(), wanted):
                    return True
    return False
