"""Devices that do not read, do not answer, or vanish: nobody else notices, and nothing is lost on them."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Iterator
from contextlib import AsyncExitStack
from typing import Any, Final

import pytest
from redis import Redis
from websockets.frames import Opcode

from server.wire import SYNC_PATH
from tests.gateway.devices import (
    Ledger,
    Pair,
    Raw,
    caller,
    masked,
    raw,
    raw_session,
    resident_bytes,
    session,
    snapshot,
    tickets,
    upgrade,
)
from tests.running import Running, client, serving, wait_until

SENTINEL: Final[Pair] = ("Unknown", -1)
INTERVAL_S, TIMEOUT_S = 1.0, 0.5


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A server that keeps nothing of what was recorded, so that its memory tells what devices cost."""
    env = {"CLEARSYNC_STORE__RECORD_AGAIN_S": "0"}
    with serving("--dev", folder=tmp_path_factory.mktemp("serve"), env=env) as running:
        yield running


@pytest.fixture(scope="module")
def pinging(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A server that pings every second, and waits half a second for the answer."""
    env = {"CLEARSYNC_GATEWAY__PING_INTERVAL_S": f"{INTERVAL_S}", "CLEARSYNC_GATEWAY__PING_TIMEOUT_S": f"{TIMEOUT_S}"}
    with serving("--dev", folder=tmp_path_factory.mktemp("pinging"), env=env) as running:
        yield running


def listeners(store: Redis, user: str) -> int:
    """How many listen to the agent's channel."""
    reply: Any = store.pubsub_shardnumsub(f"cs:{{dev/{user}}}")
    return int(reply[0][1])


# a device that does not read


async def test_a_device_that_stops_reading_catches_up_when_it_reads_again(running: Running, user: str) -> None:
    """20 MB are sent past it: some wait in the kernel, 64 KiB in the worker, the rest is read from the store."""
    pairs = tickets(range(3000))
    chance = random.Random(20)
    batches = [chance.sample(pairs, 400) for _ in range(1400)]
    async with (
        caller(running, user) as post,
        session(running, user, "quick") as quick,
        raw_session(running, user, "slow", receive_buffer=4096) as slow,
    ):
        before = 0
        for start in range(0, 1400, 100):
            await post.all_handled(batches[start : start + 100])
            for _ in range(100):
                await quick.receive()
            before = before or resident_bytes(running)
        grown = resident_bytes(running) - before
        assert grown < 5_000_000, f"{grown:,} bytes in the worker"

        assert quick.ledger.cleared == await snapshot(running, user)
        seen = 0
        while slow.ledger.cursor != quick.cursor:
            await slow.frame()
            seen += 1
        assert slow.ledger.cleared == quick.ledger.cleared
        assert slow.ledger.resets == 0
        assert seen < 1400, "it was never behind, this test proves nothing"
        # it was not disconnected, and is live again
        await post.handled(SENTINEL, device="quick")
        assert (await slow.frame())["events"] == [{"Type": "Unknown", "Id": -1}]


async def test_slow_devices_that_read_a_little_miss_nothing(running: Running, user: str) -> None:
    """Each at a pace of its own, in and out of lagging while batches are posted."""
    chance = random.Random(5)
    pairs = tickets(range(4000))
    paces = [1, 3, 10, 40]

    async def reads(device: Raw, pace: int) -> int:
        frames = 0
        while SENTINEL not in device.ledger.cleared:
            await device.frame()
            frames += 1
            if frames % pace == 0:
                await asyncio.sleep(0.001)
        return frames

    async with caller(running, user) as post, AsyncExitStack() as stack:
        devices = [
            await stack.enter_async_context(raw_session(running, user, f"slow-{pace}", receive_buffer=4096))
            for pace in paces
        ]
        reading = asyncio.gather(*map(reads, devices, paces))
        for _ in range(30):
            await post.all_handled([chance.sample(pairs, 500) for _ in range(20)])
        await post.handled(SENTINEL)
        assert min(await reading) < 601, "none was ever behind, this test proves nothing"
    truth = await snapshot(running, user)
    for device in devices:
        assert device.ledger.cleared == truth
        assert device.ledger.resets == 0


# a device that does not answer


async def test_a_half_open_device_is_closed_and_one_that_answers_is_not(pinging: Running, user: str) -> None:
    async with (
        caller(pinging, user) as post,
        raw_session(pinging, user, "silent") as silent,
        raw_session(pinging, user, "answering") as answering,
        session(pinging, user, "polite") as polite,
    ):
        began = asyncio.get_running_loop().time()

        async def answers() -> int:
            """Pongs, and nothing else, until the silent one is gone."""
            pings = 0
            while not gone.done():
                opcode, data = await answering.message()
                assert opcode is Opcode.PING
                pings += 1
                await answering.send(masked(data, Opcode.PONG))
            return pings

        gone = asyncio.ensure_future(silent.ended())
        pings = await answers()
        await gone
        assert asyncio.get_running_loop().time() - began <= INTERVAL_S + TIMEOUT_S + 1.5
        for _ in range(3):
            opcode, data = await answering.message()
            assert opcode is Opcode.PING
            await answering.send(masked(data, Opcode.PONG))
        assert pings >= 1
        await post.handled(SENTINEL)
        assert (await answering.frame())["events"] == [{"Type": "Unknown", "Id": -1}]
        await polite.until_cleared(SENTINEL)


async def test_a_device_that_reads_slowly_and_answers_is_not_disconnected(pinging: Running, user: str) -> None:
    """What it was sent takes it many ping timeouts to read, and each ping stands behind that."""
    batches = [[("QuoteApprovalApproved", number) for number in range(n, n + 500)] for n in range(0, 10_000, 500)]
    async with caller(pinging, user) as post:
        await post.all_handled(batches)
        async with raw(pinging, receive_buffer=4096) as device:
            await device.send(upgrade(pinging, f"{SYNC_PATH}?device=slow&cursor=0", user=user))
            assert (await device.answer()).status == 101
            loop = asyncio.get_running_loop()
            began = loop.time()
            while len(device.ledger.cleared) < 10_000:
                opcode, data = await device.message()
                if opcode is Opcode.PING:
                    await device.send(masked(data, Opcode.PONG))
                else:
                    device.ledger.apply(json.loads(data))
                    await asyncio.sleep(len(data) / 250_000)
            assert loop.time() - began > INTERVAL_S + 2 * TIMEOUT_S, "it was too quick, this test proves nothing"
            await post.handled(SENTINEL)
            while SENTINEL not in device.ledger.cleared:
                opcode, data = await device.message()
                if opcode is Opcode.TEXT:
                    device.ledger.apply(json.loads(data))


async def test_a_device_that_talks_but_sends_no_pong_is_alive(pinging: Running, user: str) -> None:
    async with raw_session(pinging, user) as device:
        for _ in range(3):
            opcode, _ = await device.message()
            assert opcode is Opcode.PING
            await device.send(masked(b'{"type":"ping"}'))
            assert await device.message() == (Opcode.TEXT, b'{"type":"pong"}')


# a device that vanishes


async def test_a_vanished_device_is_dropped_its_channel_released_and_taken_up_again(
    pinging: Running, user: str
) -> None:
    with client(pinging.store_url()) as store:
        async with caller(pinging, user) as post, raw_session(pinging, user) as device:
            assert listeners(store, user) == 1
            await post.handled(("NewTicket", 1))
            await device.frame()
            device.vanish()
            await post.handled(("NewTicket", 2))

            def released() -> bool:
                return listeners(store, user) == 0

            await asyncio.to_thread(wait_until, released, 12.0, "the channel is unsubscribed")
            await post.handled(("NewTicket", 3))
            async with session(pinging, user, cursor=device.ledger.cursor, ledger=device.ledger) as again:
                assert [e["Id"] for e in (await again.receive())["events"]] == [2, 3]
                assert listeners(store, user) == 1
                await post.handled(SENTINEL)
                assert [e["Id"] for e in (await again.receive())["events"]] == [-1]


class Restless:
    """One agent with one device that leaves and returns, while somebody posts."""

    def __init__(self, running: Running, number: int, seed: int) -> None:
        self._running = running
        self._user = f"restless-{number}"
        self._chance = random.Random(f"{seed} {number}")
        self._over = False
        self.ledger = Ledger()
        self.sent: list[Pair] = []

    async def run(self) -> None:
        """To the end, when the device should know all that was sent."""
        await self._visit(0.0)
        posting = asyncio.create_task(self._post())
        for stay_s, away_s in self._plan():
            await self._visit(stay_s)
            await asyncio.sleep(away_s)
        self._over = True
        await posting
        async with session(self._running, self._user, cursor=self.ledger.cursor, ledger=self.ledger) as device:
            await device.until_cleared(SENTINEL)

    def _plan(self) -> Iterator[tuple[float, float]]:
        """How long it stays, and is away: back at once, and then about when its channel is or would be released."""
        brief = [(self._chance.uniform(0, 0.1), 0.0) for _ in range(8)]
        yield from brief
        yield self._chance.choice([(0.0, self._chance.uniform(4.8, 6.4)), (6.4, 0.0)])
        yield from brief[:3]

    async def _visit(self, stay_s: float) -> None:
        loop = asyncio.get_running_loop()
        async with raw_session(
            self._running, self._user, "phone", self.ledger.cursor or None, ledger=self.ledger
        ) as device:
            until = loop.time() + stay_s
            while loop.time() < until:
                await device.frame()  # the next is posted within a moment
            if self._chance.random() < 0.5:
                device.vanish()

    async def _post(self) -> None:
        async with caller(self._running, self._user) as post:
            while not self._over:
                pair = ("NewTicket", len(self.sent))
                await post.handled(pair)
                self.sent.append(pair)
                await asyncio.sleep(self._chance.uniform(0, 0.1))
            await post.handled(SENTINEL)


async def test_leaving_and_returning_misses_nothing(running: Running) -> None:
    """A channel outlives its last device by five seconds; around that, a device must not come to a deaf one."""
    seed = random.SystemRandom().randrange(10**6)
    print("seed", seed)
    agents = [Restless(running, number, seed) for number in range(40)]
    await asyncio.gather(*(agent.run() for agent in agents))
    for agent in agents:
        assert agent.ledger.cleared.keys() == {*agent.sent, SENTINEL}
        assert agent.ledger.resets == 0
