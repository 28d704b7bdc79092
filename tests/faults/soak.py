"""Devices come and go for a long time, and nothing is left behind: no memory, task, socket or key.

`make soak`, or `python -m tests.faults.soak --seconds 600 --devices 5000`.
"""

from __future__ import annotations

import argparse
import asyncio
import random
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import linear_regression
from typing import Final

from tests.faults.drill import Server, Stage, arguments, outcome, parsed, run, show, stage, until
from tests.faults.fleet import Device, Fleet, Verdict
from tests.faults.storm import whole
from tests.running import client

POSTS_PER_S: Final = 100.0
COMINGS_AND_GOINGS_PER_S: Final = 50.0
ABRUPT: Final = 0.3
"""The share of goings without a close frame; such a device comes back by itself."""
AWAY: Final = 0.1
"""Of all devices, at most."""
SAMPLE_S: Final = 10.0
WARM_S: Final = 180.0
ENOUGH_S: Final = 120.0
"""Of samples after `WARM_S`: a slope of fewer says nothing."""
SLOPE: Final = 1.0
"""MB a minute, of a worker."""
LEFT_S: Final = 90.0
"""For all that devices held to be gone; a lease lasts for 60 s."""
SETTLED_S: Final = 30.0
BACK_S: Final = 60.0
"""For a device to come back; a refusal would be for longer."""
GAUGES: Final = ("tasks", "sessions", "channels", "connections")
MB: Final = 1024.0


@dataclass(frozen=True)
class Sample:
    """What the workers hold at one moment; sizes in MB, one a worker."""

    at_s: float
    rss: list[float]
    descriptors: list[int]
    keys: int
    gauges: dict[str, int]

    def __str__(self) -> str:
        rss = " ".join(f"{size:6.1f}" for size in self.rss)
        gauges = " ".join(f"{name} {value}" for name, value in self.gauges.items())
        return f"{self.at_s:6.0f} s  RSS {rss} MB  descriptors {self.descriptors}  keys {self.keys}  {gauges}"


class Watch:
    """Takes samples of a server and its store. The workers have to be the same all the time."""

    def __init__(self, here: Stage) -> None:
        self._server: Server = here.servers[0]
        self._store_url = here.store.url
        self._pids = self._server.running.worker_pids()
        self.samples: list[Sample] = []

    def sample(self, at_s: float) -> Sample:
        """One, which is not kept."""
        assert self._server.running.worker_pids() == self._pids, "a worker has ended"
        told = self._server.metrics()
        with client(self._store_url) as store:
            keys = store.dbsize()
        return Sample(
            at_s,
            [_rss(pid) for pid in self._pids],
            [sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir()) for pid in self._pids],
            int(keys),
            {name: int(told[f"clearsync_{name}"]) for name in GAUGES if f"clearsync_{name}" in told},
        )

    def back(self, gauge: str, before: Sample) -> bool:
        """Whether there is no more of something than there was."""
        return self.sample(0).gauges[gauge] <= before.gauges[gauge]

    def leases(self) -> int:
        """Keys of leases in the store."""
        with client(self._store_url) as store:
            return sum(1 for _ in store.scan_iter("cs:*:sessions", count=1000))

    async def run(self, start: float, seconds: float) -> None:
        """A sample each `SAMPLE_S`, kept and printed."""
        loop = asyncio.get_running_loop()
        at_s = SAMPLE_S
        while at_s <= seconds:
            await asyncio.sleep(max(0.0, start + at_s - loop.time()))
            self.samples.append(await asyncio.to_thread(self.sample, at_s))
            print(self.samples[-1], flush=True)
            at_s += SAMPLE_S

    def slopes(self) -> list[float]:
        """MB a minute of each worker after `WARM_S`; empty where the time is too short to say."""
        late = [sample for sample in self.samples if sample.at_s >= WARM_S]
        if not late or late[-1].at_s - late[0].at_s < ENOUGH_S:
            return []
        minutes = [sample.at_s / 60 for sample in late]
        return [linear_regression(minutes, sizes).slope for sizes in zip(*(each.rss for each in late), strict=True)]


def _rss(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) / MB


class Churn:
    """Devices that come and go."""

    def __init__(self, fleet: Fleet, seed: int) -> None:
        self._devices = fleet.devices
        self._chance = random.Random(f"churn of {seed}")
        self._away: deque[Device] = deque()
        self._most_away = max(1, round(AWAY * len(fleet.devices)))
        self.count = 0

    async def run(self, start: float, seconds: float) -> None:
        """Until `seconds` after `start`."""
        loop, due = asyncio.get_running_loop(), start
        async with asyncio.TaskGroup() as steps:
            while loop.time() < start + seconds:
                steps.create_task(self._step())
                due += 1 / COMINGS_AND_GOINGS_PER_S
                await asyncio.sleep(max(0.0, due - loop.time()))
        await asyncio.gather(*map(self._back, self._away))

    async def _back(self, device: Device) -> None:
        async with asyncio.timeout(BACK_S):
            await device.start()

    async def _step(self) -> None:
        self.count += 1
        if len(self._away) >= self._most_away or (self._away and self._chance.random() < 0.4):
            await self._back(self._away.popleft())
            return
        device = self._chance.choice(self._devices)
        if self._chance.random() < ABRUPT:
            device.cut()
        elif device.connected:
            await device.stop()
            self._away.append(device)


async def left(watch: Watch, before: Sample) -> list[str]:
    """Wait until nothing is held any more than before the first device; what still is, after `LEFT_S`."""
    checks: dict[str, Callable[[], object]] = {
        "descriptors": lambda: _at_most(watch.sample(0).descriptors, before.descriptors),
        "leases": lambda: watch.leases() == 0,
        **{name: partial(watch.back, name, before) for name in before.gauges},
    }
    deadline = asyncio.get_running_loop().time() + LEFT_S
    problems = []
    for name, check in checks.items():
        try:
            await until(check, max(0.0, deadline - asyncio.get_running_loop().time()), f"{name} as before")
        except AssertionError as problem:
            problems.append(str(problem))
    return problems


def _at_most(now: Sequence[int], before: Sequence[int]) -> bool:
    return all(one <= other for one, other in zip(now, before, strict=True))


async def soak(options: argparse.Namespace, here: Stage) -> bool:
    """The whole of it on a stage that is up."""
    watch = Watch(here)
    before = watch.sample(0)
    print(before, flush=True)
    fleet = Fleet(here.urls, agents=options.agents, devices=options.devices, seed=options.seed)
    async with fleet:
        churn, start = Churn(fleet, options.seed), asyncio.get_running_loop().time()
        async with fleet.posting(POSTS_PER_S):
            await asyncio.gather(watch.run(start, options.seconds), churn.run(start, options.seconds))
        verdict = await fleet.settled(SETTLED_S)
    began = asyncio.get_running_loop().time()
    problems = await left(watch, before)
    after_s = asyncio.get_running_loop().time() - began
    print(watch.sample(options.seconds + after_s), flush=True)
    problems += [f"a worker grew by {slope:.2f} MB a minute" for slope in watch.slopes() if slope >= SLOPE]
    slopes = ", ".join(f"{slope:+.2f}" for slope in watch.slopes()) or "too short to say"
    rows: dict[str, object] = {
        "comings and goings": churn.count,
        "RSS after minute 3, MB a minute": slopes,
        "all gone after": f"{after_s:.1f} s",
    }
    return judged(fleet, verdict, rows, problems)


def judged(fleet: Fleet, verdict: Verdict, rows: dict[str, object], problems: list[str]) -> bool:
    """Print the table and what is wrong; whether nothing is."""
    show("soak", rows | outcome(fleet, verdict))
    for problem in problems:
        print(problem)
    return whole(fleet, verdict) and not problems


async def drill(options: argparse.Namespace) -> bool:
    """As a program."""
    print(
        f"seed {options.seed}, {options.seconds:g} s, {options.devices} devices of {options.agents} agents", flush=True
    )
    async with stage(1, agents=options.agents, workers=options.workers) as here:
        return await soak(options, here)


def main() -> None:
    """The command line."""
    parser = arguments(__doc__, seconds=600.0, devices=5000)
    parser.add_argument("--workers", type=int, default=2)
    run(drill(parsed(parser)))


if __name__ == "__main__":
    main()
