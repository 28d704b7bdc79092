"""Devices that stop reading, and devices whose host vanished: nobody else notices, and nothing is lost on them."""

from __future__ import annotations

import asyncio
import random
from contextlib import AsyncExitStack
from typing import Final

import pytest

from server.gateway.connection import HIGH_WATER_BYTES
from tests.conftest import Serve
from tests.faults.conftest import until_asked
from tests.faults.figures import figure
from tests.faults.proxy import Proxy
from tests.gateway.devices import Pair, Raw, caller, raw_session, resident_bytes, session, snapshot, tickets
from tests.running import Running

pytestmark = pytest.mark.faults
SENTINEL: Final[Pair] = ("Unknown", -1)
SLOW: Final = 200
BATCH: Final = 300
BATCHES: Final = 400
INTERVAL_S, TIMEOUT_S = 1.0, 0.5


async def post_past(running: Running, user: str, pairs: list[Pair], batches: int) -> None:
    """So many batches of some of the pairs each, to a device that reads."""
    chance = random.Random(7)
    async with caller(running, user) as post, session(running, user, "quick") as quick:
        for _ in range(batches // 20):
            await post.all_handled([chance.sample(pairs, BATCH) for _ in range(20)])
            for _ in range(20):
                await quick.receive()
        await post.handled(SENTINEL)
        await quick.until_cleared(SENTINEL)


async def test_devices_that_stop_reading_cost_their_buffers_and_get_the_rest_once(serve: Serve) -> None:
    """200 devices, past each of which 5 MB of clears go while it does not read: 1 GB if anything were kept for it."""
    env = {
        "CLEARSYNC_LIMITS__SESSIONS_PER_AGENT": "0",
        "CLEARSYNC_LIMITS__REQUESTS_PER_AGENT_S": "0",
        "CLEARSYNC_STORE__RECORD_AGAIN_S": "0",
    }
    pairs = tickets(range(2000))
    with serve("--dev", env=env) as running:
        async with AsyncExitStack() as stack:
            devices = [
                await stack.enter_async_context(raw_session(running, "ada", f"slow-{n}", receive_buffer=4096))
                for n in range(SLOW)
            ]
            await post_past(running, "ada", pairs, 20)
            before = resident_bytes(running)
            await post_past(running, "ada", pairs, BATCHES)
            grown = resident_bytes(running) - before
            most = SLOW * HIGH_WATER_BYTES * 3
            assert grown < most, f"{grown:,} bytes for {SLOW} devices that do not read"
            assert figure(running, "clearsync_sessions") == SLOW, "none was disconnected"
            truth = await snapshot(running, "ada")
            for device in devices[::20]:
                await reads_on(device, truth)


async def reads_on(device: Raw, truth: dict[Pair, int]) -> None:
    """What it was sent before it stopped, and behind that all that it missed, each pair once, and no reset."""
    live: list[Pair] = []
    missed: list[Pair] = []
    while SENTINEL not in device.ledger.cleared:
        frame = await device.frame()
        assert frame["type"] == "clear"
        pairs = [(event["Type"], event["Id"]) for event in frame["events"]]
        if all("At" in event for event in frame["events"]):
            missed += pairs
        else:
            assert not missed, "a catch-up is followed by live clears only where it is complete"
            live += pairs
    assert device.ledger.cleared == truth
    assert device.ledger.resets == 0
    assert len(live) < BATCH * BATCHES / 2, "it was never behind, this test proves nothing"
    assert len(missed) == len(set(missed)), "one coalesced catch-up has each pair once"
    assert len(missed) >= 2000


async def test_devices_whose_host_vanished_are_closed_after_the_timeout(serve: Serve) -> None:
    """The network swallows both ways; nobody says that they are gone. One beside them answers, and stays."""
    env = {"CLEARSYNC_GATEWAY__PING_INTERVAL_S": f"{INTERVAL_S}", "CLEARSYNC_GATEWAY__PING_TIMEOUT_S": f"{TIMEOUT_S}"}
    with serve("--dev", env=env) as running, Proxy(running.url) as network:
        beyond = Running(running.process, running.data_dir, running.out, running.err, network.url)
        async with (
            session(running, "ada", "here") as here,
            session(beyond, "ada", "one"),
            session(beyond, "ada", "two"),
            caller(running, "ada") as post,
        ):
            loop = asyncio.get_running_loop()
            answered = loop.time() + 2 * (INTERVAL_S + TIMEOUT_S)
            while loop.time() < answered:  # pings are answered through the network, so nobody is closed
                assert figure(running, "clearsync_sessions") == 3
                await asyncio.sleep(0.1)
            network.silence()
            began = loop.time()
            await until_asked(lambda: figure(running, "clearsync_sessions") == 1, what="the silent ones are closed")
            assert loop.time() - began < 3 * (INTERVAL_S + TIMEOUT_S)
            await post.handled(SENTINEL)
            await here.until_cleared(SENTINEL)
            network.cut()
