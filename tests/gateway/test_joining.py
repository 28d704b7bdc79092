"""Devices that come, go and resume at any moment while batches are posted: each ends with what was acknowledged."""

from __future__ import annotations

import asyncio
import random
from collections import defaultdict
from collections.abc import Iterable
from contextlib import AsyncExitStack
from typing import Final

from tests.conftest import Serve
from tests.gateway.devices import (
    Ledger,
    Pair,
    caller,
    raw_session,
    session,
    snapshot,
    tickets,
)
from tests.running import Running

SENTINEL: Final[Pair] = ("Unknown", -1)
STORM_S: Final = 5.0
AGENTS: Final = 4
DEVICES: Final = 6


class Storm:
    """One agent's devices and callers, and what was acknowledged."""

    def __init__(self, running: Running, user: str, seed: int) -> None:
        self._running = running
        self._user = user
        self._chance = random.Random(f"{seed} {user}")
        self._over = asyncio.Event()
        self.ledgers = {f"device-{number}": Ledger() for number in range(DEVICES)}
        self.acknowledged: dict[str | None, set[Pair]] = defaultdict(set)
        """By origin."""
        self.sessions = 0

    async def run(self) -> None:
        """The storm, and the calm after it."""
        for device, ledger in self.ledgers.items():
            async with session(self._running, self._user, device, ledger=ledger):
                pass  # from here on it has to know everything
        async with asyncio.TaskGroup() as tasks:
            for device, ledger in self.ledgers.items():
                tasks.create_task(self._comes_and_goes(device, ledger))
            callers = [tasks.create_task(self._posts(origins)) for origins in self._origins()]
            await asyncio.sleep(STORM_S)
            self._over.set()
            await asyncio.gather(*callers)
            async with caller(self._running, self._user) as post:
                await post.handled(SENTINEL)  # a device that waits for its next frame gets this one
        for device, ledger in self.ledgers.items():
            async with session(self._running, self._user, device, ledger.cursor, ledger=ledger) as last:
                await last.until_cleared(SENTINEL)

    def _origins(self) -> Iterable[list[str | None]]:
        yield [None]
        yield [None, "device-0", "device-1"]
        yield ["device-0", "elsewhere"]

    async def _posts(self, origins: list[str | None]) -> None:
        async with caller(self._running, self._user) as post:
            while not self._over.is_set():
                origin = self._chance.choice(origins)
                batch = [
                    (self._chance.choice(("NewTicket", "TicketEscalated")), self._chance.randrange(2000))
                    for _ in range(self._chance.choice((1, 1, 3, 40)))
                ]
                await post.handled(*batch, device=origin)
                self.acknowledged[origin].update(batch)

    async def _comes_and_goes(self, device: str, ledger: Ledger) -> None:
        chance = self._chance
        while not self._over.is_set():
            self.sessions += 1
            receive_buffer = chance.choice((0, 4096))
            async with raw_session(
                self._running, self._user, device, ledger.cursor, receive_buffer=receive_buffer, ledger=ledger
            ) as here:
                for _ in range(chance.choice((0, 1, 2, 20, 60))):
                    await here.frame()
                    if self._over.is_set():
                        break
                    if chance.random() < 0.02:
                        await asyncio.sleep(chance.uniform(0, 0.1))
                if chance.random() < 0.5:
                    here.vanish()
            if chance.random() < 0.2:
                await asyncio.sleep(chance.uniform(0, 0.2))


async def test_no_device_misses_what_was_acknowledged(serve: Serve) -> None:
    with serve("--dev", workers=2) as running:
        await weather(running)


async def weather(running: Running) -> None:
    """A storm over each of a few agents at once, and the reckoning."""
    seed = random.SystemRandom().randrange(10**6)
    print("seed", seed)
    storms = {f"storm-{number}": Storm(running, f"storm-{number}", seed) for number in range(AGENTS)}
    await asyncio.gather(*(storm.run() for storm in storms.values()))
    for user, storm in storms.items():
        print(user, storm.sessions, "sessions", {o: len(pairs) for o, pairs in storm.acknowledged.items()}, "pairs")
        everything = {SENTINEL}.union(*storm.acknowledged.values())
        truth = await snapshot(running, user)
        assert truth.keys() == everything, f"seed {seed}"
        for device, ledger in storm.ledgers.items():
            by_others = {SENTINEL}.union(*(p for origin, p in storm.acknowledged.items() if origin != device))
            missing = by_others - ledger.cleared.keys()
            assert not missing, f"{user} {device} misses {len(missing)}, seed {seed}"
            assert ledger.cleared.keys() <= everything, f"seed {seed}"
            assert ledger.resets == 0, f"seed {seed}"
            if device not in storm.acknowledged:  # it knows the times too
                assert ledger.cleared == truth, f"{user} {device}, seed {seed}"


async def test_a_connected_origin_is_never_sent_its_own(running: Running, user: str) -> None:
    """Also while other devices of the agent join and others post."""
    own = [("QuoteApprovalDenied", number) for number in range(300)]
    over = asyncio.Event()

    async def joins(device: str) -> None:
        while not over.is_set():
            async with raw_session(running, user, device, "0") as here:
                await here.frame()

    async def posts() -> None:
        async with caller(running, user) as post:
            number = 0
            while not over.is_set():
                number += 1
                await post.handled(("NewTicket", number % 500))

    async with session(running, user, "desk") as desk, caller(running, user) as post, asyncio.TaskGroup() as tasks:
        for task in (posts(), posts(), joins("phone"), joins("tablet")):
            tasks.create_task(task)
        for pair in own:
            await post.handled(pair, device="desk")
        over.set()
        await post.handled(SENTINEL)
        await desk.until_cleared(SENTINEL)
    replayed = desk.ledger.cleared.keys() & set(own)
    assert not replayed, f"{len(replayed)} of {len(own)}"


async def test_sigterm_sends_the_devices_away_with_1012_and_ends_with_0(serve: Serve) -> None:
    env = {"CLEARSYNC_SERVER__DRAIN_S": "1"}
    with serve("--dev", env=env) as running:
        async with (
            caller(running, "ada") as post,
            raw_session(running, "ada", "deaf", receive_buffer=4096),
            raw_session(running, "bob", "mute") as mute,
        ):
            # one reads nothing any more, one does not answer a close
            for _ in range(12):
                await post.all_handled([tickets(range(n, n + 1000)) for n in range(0, 8000, 1000)])
            async with AsyncExitStack() as stack:
                devices = [await stack.enter_async_context(session(running, f"user-{n}")) for n in range(20)]
                ending = asyncio.create_task(asyncio.to_thread(running.terminate))
                codes = await asyncio.gather(*(device.close_code() for device in devices))
                assert set(codes) == {1012}
                assert await mute.close_code() == 1012
                assert await ending == 0
