"""What the fault tests share: stores and proxies of their own, and how to tell that a service is red or green."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from tests.faults.proxy import Proxy
from tests.running import RealStore, Running, client, get

POLL_S = 0.02


async def until(predicate: Callable[[], object], within_s: float = 15.0, what: str = "") -> None:
    """Wait, while the loop turns, until `predicate` is true; AssertionError naming `what` where that is not in time."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + within_s
    while not predicate():
        assert loop.time() < deadline, f"not within {within_s:g} s: {what or predicate}"
        await asyncio.sleep(POLL_S)


async def until_asked(predicate: Callable[[], object], within_s: float = 15.0, what: str = "") -> None:
    """The same for a predicate that blocks."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + within_s
    while not await asyncio.to_thread(predicate):
        assert loop.time() < deadline, f"not within {within_s:g} s: {what or predicate}"
        await asyncio.sleep(POLL_S)


def order(store: Redis, *words: str | int) -> Any:
    """Send the store a command, and its reply."""
    return store.execute_command(*words)  # type: ignore[no-untyped-call]


def is_red(running: Running) -> bool:
    """No worker is ready, and both the public port and the operators' one say so."""
    status, said = running.ready()
    return status == 503 and said["workers_ready"] == 0 and get(f"{running.url}/ready")[0] == 503


def is_green(running: Running) -> bool:
    """All workers are ready."""
    return running.ready()[0] == 200 and get(f"{running.url}/ready")[0] == 200


def is_live(running: Running) -> bool:
    """Both listeners say that they live."""
    return all(get(f"{url}/live")[0] == 200 for url in (running.url, running.admin_url))


async def until_red(running: Running, within_s: float = 15.0) -> None:
    """Wait for `is_red`."""
    await until_asked(lambda: is_red(running), within_s, "no worker is ready")


async def until_green(running: Running, within_s: float = 15.0) -> None:
    """Wait for `is_green`."""
    await until_asked(lambda: is_green(running), within_s, "all workers are ready")


@pytest.fixture
def proxy(real_store: RealStore) -> Iterator[Proxy]:
    """A proxy before `real_store`, for `--store`."""
    with Proxy(real_store.url) as between:
        yield between


@pytest.fixture
def admin(real_store: RealStore) -> Iterator[Redis]:
    """A client of `real_store`, to order it about; it connects again by itself."""
    with client(real_store.url) as connected:
        yield connected


@pytest.fixture
def second_folder(tmp_path: Path) -> Path:
    """For a second service in the same test."""
    folder = tmp_path / "second"
    folder.mkdir()
    return folder
