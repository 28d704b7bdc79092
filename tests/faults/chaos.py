"""Everything goes wrong at once, by chance, for a fixed time, and nothing may be lost.

`make chaos`, or `python -m tests.faults.chaos --seconds 300 --devices 500`. It prints its seed and its plan; the same
`--seed` makes the same faults at the same times.
"""

from __future__ import annotations

import argparse
import asyncio
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from tests.faults.drill import Stage, arguments, outcome, parsed, run, show, stage
from tests.faults.fleet import Fleet, Verdict
from tests.faults.plan import in_order, plan
from tests.faults.trouble import Trouble

POSTS_PER_S: Final = 200.0
SLOWEST_S: Final = 3 * 2.0
"""`store.timeout_s`, with a factor for a machine that is busy with us."""
SERVERS: Final = 2
ENVIRONMENT: Final = {
    "CLEARSYNC_SERVER__DRAIN_S": "2",
    # Workers that are killed leave leases for a minute, and here more of them die than ever should.
    "CLEARSYNC_LIMITS__SESSIONS_PER_AGENT": "100",
}


@dataclass
class Result:
    """What is left when all is over."""

    fleet: Fleet
    verdict: Verdict
    away: int
    """Devices that could not come back."""
    rows: dict[str, object]

    def check(self) -> None:
        """AssertionError where something was lost or made up, a device could not come back, a POST took too long, or
        nothing was recorded at all."""
        self.verdict.check()
        assert self.away == 0, f"{self.away} devices did not come back"
        slowest = self.fleet.book.slowest_s
        assert slowest <= SLOWEST_S, f"a POST took {slowest:.2f} s, at most {SLOWEST_S:g} s"
        assert any(self.fleet.book.acknowledged.values()), "nothing was recorded"


async def happen(fleet: Fleet, here: Stage, seed: int, seconds: float, per_s: float) -> None:
    """The load and the faults, until all is healed."""
    trouble, start = Trouble(here, fleet, seed), asyncio.get_running_loop().time()
    async with fleet.posting(per_s):
        async with asyncio.TaskGroup() as tracks:
            for faults in plan(seed, seconds).values():
                tracks.create_task(trouble.happens(faults, start))
        await asyncio.sleep(max(0.0, start + seconds - asyncio.get_running_loop().time()))
        await here.green()


async def chaos(
    *, seed: int, seconds: float, devices: int, agents: int, workers: int, per_s: float, within_s: float
) -> Result:
    """The whole of it, with `within_s` for the end; what is printed at first is enough to repeat it."""
    faults = in_order(plan(seed, seconds))
    print(f"seed {seed}, {seconds:g} s, {devices} devices of {agents} agents, {len(faults)} faults:")
    print(*faults, sep="\n", flush=True)
    async with (
        stage(SERVERS, agents=agents, workers=workers, env=ENVIRONMENT) as here,
        Fleet(here.urls, agents=agents, devices=devices, seed=seed) as fleet,
    ):
        await happen(fleet, here, seed, seconds, per_s)
        with suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                await fleet.here()
        verdict, away = await fleet.settled(within_s), sum(not device.connected for device in fleet.devices)
        rows: dict[str, object] = dict(sorted(Counter(fault.kind for fault in faults).items()))
        rows |= outcome(fleet, verdict) | {"devices not back": away}
        told = [server.metrics().get("clearsync_clears_found_by_sweep_total") for server in here.servers]
        rows["clears found by sweep"] = "not told" if None in told else sum(filter(None, told))
    return Result(fleet, verdict, away, rows)


async def drill(options: argparse.Namespace) -> bool:
    """As a program."""
    result = await chaos(
        seed=options.seed,
        seconds=options.seconds,
        devices=options.devices,
        agents=options.agents,
        workers=options.workers,
        per_s=options.posts,
        within_s=30.0,
    )
    show(f"chaos, seed {options.seed}", result.rows)
    try:
        result.check()
    except AssertionError as problem:
        print(problem)
        return False
    return True


def main() -> None:
    """The command line."""
    parser = arguments(__doc__, seconds=300.0, devices=500)
    parser.add_argument("--workers", type=int, default=2, help="of each server")
    parser.add_argument("--posts", type=float, default=POSTS_PER_S, help="a second")
    run(drill(parsed(parser)))


if __name__ == "__main__":
    main()
