"""One fault for a fixed time under load, and how long the repair takes once it is over.

`make outage`, or `python -m tests.faults.outage --seconds 20`: the store is paused (SIGSTOP), as a host that hangs.
With `--each` a second or two of every other fault, for the table in docs/reliability.md.
"""

from __future__ import annotations

import argparse
import asyncio
import random
from typing import Final

from tests.faults.drill import Stage, arguments, outcome, parsed, run, show, stage
from tests.faults.fleet import Fleet
from tests.faults.plan import Fault
from tests.faults.trouble import Trouble

POSTS_PER_S: Final = 200.0
SLOWEST_S: Final = 2.5
CAUGHT_UP_S: Final = 5.0
BEFORE_S: Final = 2.0
EACH: Final = {
    "store killed": 1.0,
    "store restarted": 0.0,
    "store silent": 4.0,
    "store full": 3.0,
    "subscriptions killed": 0.0,
    "links killed": 0.0,
    "worker killed": 0.0,
    "devices cut": 0.0,
}
"""Faults of the chaos drill, and for how long each."""


async def repaired(fleet: Fleet, here: Stage) -> tuple[float, float]:
    """Seconds from now on: until all workers are ready, and until all devices have what was acknowledged by then."""
    loop = asyncio.get_running_loop()
    over = loop.time()
    await here.green()
    green = loop.time()
    async with asyncio.timeout(60):
        await fleet.here()
        await fleet.caught_up()
    return green - over, loop.time() - over


async def one(fleet: Fleet, here: Stage, kind: str, for_s: float) -> dict[str, object]:
    """One fault, and what is to be said of it. Its load ends with it, so that `caught up` is a moment."""
    trouble = Trouble(here, fleet, seed=0)
    fleet.book.slowest_s = 0.0
    welcomes = sum(device.welcomes for device in fleet.devices)
    async with fleet.posting(POSTS_PER_S):
        await asyncio.sleep(BEFORE_S)
        await trouble.happens([Fault(0, kind, 0.0, for_s, random.random())], asyncio.get_running_loop().time())
    green, caught_up = await repaired(fleet, here)
    again = sum(device.welcomes for device in fleet.devices) - welcomes
    slowest = fleet.book.slowest_s
    said = f"ready {green:.2f} s, all caught up {caught_up:.2f} s after it; slowest POST {slowest:.2f} s"
    return {f"{kind}, {for_s:g} s": f"{said}; reconnects {again}"}


async def drill(options: argparse.Namespace) -> bool:
    """As a program."""
    faults = EACH if options.each else {"store silent": options.seconds}
    print(f"seed {options.seed}, {options.devices} devices of {options.agents} agents", flush=True)
    rows: dict[str, object] = {}
    late: list[str] = []
    async with (
        stage(1, agents=options.agents, workers=2) as here,
        Fleet(here.urls, agents=options.agents, devices=options.devices, seed=options.seed) as fleet,
    ):
        for kind, for_s in faults.items():
            began = asyncio.get_running_loop().time()
            rows |= await one(fleet, here, kind, for_s)
            if fleet.book.slowest_s > SLOWEST_S:
                late.append(f"{kind}: a POST took {fleet.book.slowest_s:.2f} s")
            print(f"{kind}: {asyncio.get_running_loop().time() - began:.1f} s in all", flush=True)
        verdict = await fleet.settled(CAUGHT_UP_S)
        rows |= outcome(fleet, verdict)
    show("outage" if not options.each else "one fault after the other", rows)
    try:
        verdict.check()
        assert not late, late
        assert options.each or verdict.reconnects == 0, f"{verdict.reconnects} devices were disconnected"
    except AssertionError as problem:
        print(problem)
        return False
    return True


def main() -> None:
    """The command line."""
    parser = arguments(__doc__, seconds=20.0, devices=500)
    parser.add_argument("--each", action="store_true", help="every fault, for a short time each")
    run(drill(parsed(parser)))


if __name__ == "__main__":
    main()
