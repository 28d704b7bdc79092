"""A reconnect storm: all devices come back to a server that was down, and each of them has missed something.

`make storm`, or `python -m tests.faults.storm --devices 10000`. Nothing is judged by its time, which is printed.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from typing import Final

from tests.faults.drill import Server, arguments, outcome, parsed, run, show, stage
from tests.faults.fleet import Fleet, Verdict
from tests.faults.posts import Address, Poster

MISSED: Final = 3
"""Events that are recorded for each agent while its devices are away."""
POSTS_PER_S: Final = 20.0
RECORDERS: Final = 32
SETTLED_S: Final = 60.0


async def record(fleet: Fleet, server: Server) -> None:
    """`MISSED` batches of one event for every agent, all to be answered 204."""
    poster = Poster([Address(server.url)], fleet.book)
    left = iter([agent for agent in fleet.agents for _ in range(MISSED)])

    async def recorder() -> None:
        for agent in left:
            status = await poster.post(agent, fleet.book.batch(1))
            assert status == 204, f"answered {status} while nobody was connected"

    async with asyncio.TaskGroup() as recorders:
        for _ in range(RECORDERS):
            recorders.create_task(recorder())
    poster.close()


async def storm(fleet: Fleet, server: Server, other: Server, jitter: bool) -> dict[str, object]:
    """Down, record, up; the times."""
    if not jitter:
        await fleet.stop()
    await server.stop()
    await record(fleet, other)
    fleet.book.slowest_s = 0.0
    await server.start()
    began, cpu = asyncio.get_running_loop().time(), time.process_time()
    async with fleet.posting(POSTS_PER_S):
        await (fleet.here() if jitter else fleet.start())
        connected = asyncio.get_running_loop().time()
        async with asyncio.timeout(SETTLED_S):
            await fleet.caught_up()
        caught_up = asyncio.get_running_loop().time()
    return {
        "all connected after": f"{connected - began:.2f} s",
        "all caught up after": f"{caught_up - began:.2f} s",
        "processor time of the devices": f"{time.process_time() - cpu:.2f} s",
    }


async def drill(options: argparse.Namespace) -> bool:
    """As a program."""
    agents, devices = options.agents, options.devices
    print(f"seed {options.seed}, {devices} devices of {agents} agents", flush=True)
    async with stage(2, agents=agents, workers=options.workers, env={"CLEARSYNC_SERVER__DRAIN_S": "1"}) as here:
        server, other = here.servers
        fleet = Fleet([server.url], agents=agents, devices=devices, seed=options.seed, at_once=options.at_once)
        async with fleet:
            rows = await storm(fleet, server, other, options.jitter)
            verdict = await fleet.settled(SETTLED_S)
            rows |= outcome(fleet, verdict)
    show(f"storm of {devices} devices of {agents} agents", rows)
    return whole(fleet, verdict)


def whole(fleet: Fleet, verdict: Verdict) -> bool:
    """Nothing lost, and every POST answered 204; says what is wrong."""
    try:
        verdict.check()
        assert set(fleet.book.statuses) == {204}, f"answers were {dict(fleet.book.statuses)}"
    except AssertionError as problem:
        print(problem)
        return False
    return True


def main() -> None:
    """The command line."""
    parser = arguments(__doc__, devices=10_000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--at-once", type=int, default=1000, help="handshakes at one time")
    parser.add_argument("--jitter", action="store_true", help="the devices come back by themselves, as they should")
    run(drill(parsed(parser)))


if __name__ == "__main__":
    main()
