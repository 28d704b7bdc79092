"""One broker suite, on fakeredis and on a real store."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import pytest
import redis

from server.broker.endpoint import Endpoint
from server.broker.memory import memory_store
from server.broker.redis import RedisBroker
from server.events import AgentId
from server.session import Announcement

AGENT = AgentId.of("acme", "ada")
KEY = "cs:{acme/ada}"


class Listener:
    """A subscriber that keeps what it is told and lets tests wait for it."""

    def __init__(self, agent: AgentId = AGENT) -> None:
        self.agent = agent
        self.messages: list[Announcement] = []
        self.confirmations = 0
        self._changed = asyncio.Event()

    def confirmed(self) -> None:
        self.confirmations += 1
        self._changed.set()

    def missed(self) -> None:
        self.confirmed()

    def announced(self, messages: Sequence[Announcement]) -> None:
        self.messages += messages
        self._changed.set()

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait for what a callback brings about."""
        async with asyncio.timeout(20):
            while not condition():
                self._changed.clear()
                await self._changed.wait()


@asynccontextmanager
async def broker_on(url: str, within_s: float = 10, **options: Any) -> AsyncIterator[RedisBroker]:
    """A started broker."""
    settings: dict[str, Any] = {"max_events": 10_000, "retention_days": 30, "timeout_s": 2.0, "prefix": "cs"}
    settings |= {"on_store": lambda: None, "on_change": lambda: None} | options
    broker = RedisBroker(Endpoint.parse(url), **settings)
    running = asyncio.ensure_future(broker.run())
    try:
        await broker.start(within_s)
        yield broker
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def eventually(condition: Callable[[], object]) -> None:
    """Wait for what nothing tells of."""
    for _ in range(2000):
        if condition():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("not within 20 s")


MakeBroker = Callable[..., AbstractAsyncContextManager[RedisBroker]]


@pytest.fixture(params=["fakeredis", "valkey"])
def url(request: pytest.FixtureRequest) -> Iterator[str]:
    """An empty store, of either kind."""
    if request.param == "valkey":
        yield request.getfixturevalue("store_url")
    else:
        with memory_store() as memory:
            yield memory


@pytest.fixture
def raw(url: str) -> Iterator[Any]:
    """A plain client, to look into the store behind the broker's back."""
    client = redis.Redis.from_url(url)
    yield client
    client.close()


@pytest.fixture
async def broker(url: str) -> AsyncIterator[RedisBroker]:
    async with broker_on(url) as made:
        yield made
