"""A device that sends more than it may is told, then sent away; nobody else notices."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from typing import Final

import pytest
from websockets.frames import Opcode

from server.wire import CloseCode
from tests.faults.conftest import until_asked
from tests.faults.figures import limited
from tests.gateway.devices import Pair, caller, masked, raw_session, resident_bytes, session
from tests.running import Running, serving

pytestmark = pytest.mark.faults
BURST: Final = 50
ASKS: Final = masked(b'{"type":"ping","ref":"7"}')
SENTINEL: Final[Pair] = ("Unknown", -1)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A server that takes one frame a second of a device, 50 at once, and keeps nothing of what was recorded."""
    env = {
        "CLEARSYNC_LIMITS__FRAMES_PER_SESSION_S": "1",
        "CLEARSYNC_LIMITS__FRAMES_PER_SESSION_BURST": f"{BURST}",
        "CLEARSYNC_LIMITS__REQUESTS_PER_AGENT_S": "0",
        "CLEARSYNC_LIMITS__SESSIONS_PER_AGENT": "0",
        "CLEARSYNC_STORE__RECORD_AGAIN_S": "0",
    }
    with serving("--dev", folder=tmp_path_factory.mktemp("serve"), env=env) as running:
        yield running


async def test_a_device_that_floods_is_answered_error_then_closed(running: Running) -> None:
    before = limited(running, "frames")
    async with raw_session(running, "ada", "rude") as rude, session(running, "ada", "polite") as polite:
        await rude.send(ASKS * BURST)
        for _ in range(BURST):
            assert await rude.frame() == {"type": "pong"}
        await rude.send(ASKS * 20)
        refused = [await rude.frame() for _ in range(20)]
        assert {frame["type"] for frame in refused} <= {"error", "pong"}  # a second or two may have passed
        told = [frame for frame in refused if frame["type"] == "error"]
        assert len(told) >= 10
        assert {(frame["code"], frame["ref"]) for frame in told} == {("busy", "7")}
        await rude.send(ASKS * 2 * BURST)
        while (message := await rude.message())[0] is Opcode.TEXT:
            pass
        assert message[0] is Opcode.CLOSE
        assert int.from_bytes(message[1][:2]) == CloseCode.POLICY_VIOLATION
        assert limited(running, "frames") - before >= BURST
        await polite.ask(type="ping")
        assert await polite.receive() == {"type": "pong"}
        async with caller(running, "ada") as post:
            await post.handled(SENTINEL)
        await polite.until_cleared(SENTINEL)


@pytest.mark.parametrize("opcode", [Opcode.PING, Opcode.PONG])
async def test_frames_below_the_messages_count_as_well(running: Running, opcode: Opcode) -> None:
    async with raw_session(running, "ada", "rude") as rude:
        await rude.send(masked(b"", opcode) * 3 * BURST)
        while (message := await rude.message())[0] is not Opcode.CLOSE:
            assert message[0] is Opcode.PONG
        assert int.from_bytes(message[1][:2]) == CloseCode.POLICY_VIOLATION


async def test_a_device_that_keeps_to_what_it_may_send_is_served_for_ever(running: Running) -> None:
    """Answers to our pings are none of its frames: here every frame that it is sent asks for one."""
    async with session(running, "ada", "polite") as polite:
        for _ in range(BURST):
            await polite.ask(type="ping")
            assert await polite.receive() == {"type": "pong"}
        async with caller(running, "ada") as post:
            await post.handled(SENTINEL)
        await polite.until_cleared(SENTINEL)


async def test_floods_of_devices_that_do_not_read_cost_no_memory_and_nobody_elses_time(running: Running) -> None:
    """Each sends what it can, megabytes if it is let: pings and questions whose answers nobody takes."""

    def closed_for_floods(running: Running) -> int:
        return sum('"code": 1008' in line and '"device": "rude-' in line for line in running.logged.splitlines())

    flood = (masked(b"x" * 100, Opcode.PING) + masked(b'{"type":"?","ref":"%b"}' % (b"r" * 64))) * 40_000
    async with contextlib.AsyncExitStack() as stack:
        polite = await stack.enter_async_context(session(running, "ada", "polite"))
        post = await stack.enter_async_context(caller(running, "ada"))
        rude = [
            await stack.enter_async_context(raw_session(running, "ada", f"rude-{n}", receive_buffer=4096))
            for n in range(50)
        ]
        before = resident_bytes(running)
        flooding = asyncio.gather(
            *(one.send_until_blocked(flood, 2 * len(flood)) for one in rude), return_exceptions=True
        )
        while not flooding.done():
            await post.handled(SENTINEL)
            await asyncio.sleep(0)
        grown = resident_bytes(running) - before
        await flooding
        assert grown < 25_000_000, f"{grown:,} bytes for 50 devices that flood"
        await until_asked(lambda: closed_for_floods(running) == 50, what="all are sent away")
        await polite.until_cleared(SENTINEL)
    await until_asked(lambda: running.ready()[0] == 200, what="the worker is well")
