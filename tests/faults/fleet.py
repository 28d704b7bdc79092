"""Devices and a load of POSTs, thousands in one process, with a ledger that decides whether anything was lost."""

from __future__ import annotations

import asyncio
import random
import resource
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Final

from tests.faults.book import Book, Verdict
from tests.faults.device import Device, Network
from tests.faults.posts import Poster

__all__ = ["Book", "Device", "Fleet", "Verdict", "names"]

START_S: Final = 120.0
"""For all devices of a fleet, on a slow machine."""
ORIGINS: Final = 0.3
"""The share of batches that one of the agent's devices handled, which is then not owed them."""


def names(agents: int, prefix: str = "agent") -> list[str]:
    """What the agents of a fleet are called."""
    return [f"{prefix}-{i}" for i in range(agents)]


class Fleet:
    """`agents` agents with `devices` devices in all, dealt in turn, which connect to the `urls` in turn: those of
    servers, or of a proxy. In its context all are connected at first, `at_once` handshakes at a time; at its end all
    leave."""

    def __init__(
        self, urls: Sequence[str], *, agents: int, devices: int, seed: int, prefix: str = "agent", at_once: int = 500
    ) -> None:
        self.network = Network(urls, seed, at_once)
        self.agents = names(agents, prefix)
        self.devices = [
            Device(self.network, self.agents[i % agents], f"device-{i // agents}", turn=i) for i in range(devices)
        ]
        self.book = Book()
        self._poster = Poster(self.network.addresses, self.book)
        self._chance = random.Random(f"posts of {seed}")
        self._of: dict[str, list[Device]] = {agent: [] for agent in self.agents}
        for device in self.devices:
            self._of[device.agent].append(device)

    async def __aenter__(self) -> Fleet:
        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
        async with AsyncExitStack() as stack:
            stack.push_async_callback(self.stop)
            await self.start()
            stack.pop_all()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()
        self._poster.close()

    async def start(self) -> None:
        """Connect all; done when each has been welcomed. TimeoutError after `START_S`."""
        async with asyncio.timeout(START_S):
            await asyncio.gather(*(device.start() for device in self.devices))

    async def here(self) -> None:
        """Wait until each, one after the other, has been seen connected, or to have given up. TimeoutError after
        `START_S`."""
        async with asyncio.timeout(START_S):
            for device in self.devices:
                await device.here.wait()

    async def stop(self) -> None:
        """All leave."""
        await asyncio.gather(*(device.stop() for device in self.devices))

    async def post(self, agent: str, *, batch: int = 2, origin: str = "") -> int:
        """Post a batch of pairs that are nobody's yet; the status of the answer, 0 where there was none."""
        return await self._poster.post(agent, self.book.batch(batch), origin)

    @asynccontextmanager
    async def posting(self, per_s: float, *, batch: int = 2) -> AsyncIterator[None]:
        """A load that does not wait for answers; at the end it waits for those that are due."""
        stopped = asyncio.Event()
        load = asyncio.create_task(self._load(per_s, batch, stopped))
        try:
            yield
        finally:
            stopped.set()
            await load

    async def caught_up(self) -> None:
        """Wait until every device, one after the other, has had all that it is owed."""
        for device in self.devices:
            while self.book.lacking(device):
                device.news.clear()
                await device.news.wait()

    async def settled(self, within_s: float) -> Verdict:
        """Wait until every device has all that it is owed, at most `within_s`; then judge."""
        with suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                await self.caught_up()
        return self.book.judge(self.devices)

    async def _load(self, per_s: float, batch: int, stopped: asyncio.Event) -> None:
        loop = asyncio.get_running_loop()
        async with asyncio.TaskGroup() as posts:
            due = loop.time()
            while not stopped.is_set():
                agent = self._chance.choice(self.agents)
                by_device = bool(self._of[agent]) and self._chance.random() < ORIGINS
                origin = self._chance.choice(self._of[agent]).name if by_device else ""
                posts.create_task(self.post(agent, batch=batch, origin=origin))
                due += 1 / per_s
                await asyncio.sleep(max(0.0, due - loop.time()))
