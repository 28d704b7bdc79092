"""Rolling restarts of two servers behind a real nginx, and neither devices nor callers may notice more than they must.

`make rolling`, or `python -m tests.faults.rolling --restarts 10 --devices 2000`. nginx runs on `config/nginx.conf`.
Exits with 2 where there is no nginx.
"""

from __future__ import annotations

import argparse
import asyncio
import re
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from tests.faults.drill import Stage, arguments, outcome, parsed, run, show, stage
from tests.faults.fleet import Fleet, Verdict
from tests.faults.storm import whole
from tests.nginx import find_nginx, nginx

POSTS_PER_S: Final = 200.0
SETTLED_S: Final = 30.0
HERE_S: Final = 60.0
ENVIRONMENT: Final = {"CLEARSYNC_SERVER__DRAIN_GRACE_S": "1", "CLEARSYNC_SERVER__DRAIN_S": "5"}


@asynccontextmanager
async def nginx_before(path: str, here: Stage) -> AsyncIterator[str]:
    """The URL of an nginx before the servers; what it logged is shown at its end."""
    folder = here.folder / "nginx"
    with nginx(path, [server.port for server in here.servers], folder) as url:
        yield url
    _say_what_was_logged(folder / "error.log")


def _say_what_was_logged(log: Path) -> None:
    """How often nginx said what, without what differs each time."""
    said: dict[str, int] = {}
    for line in log.read_text().splitlines():
        text = re.sub(r"^.*?\*?\d+#\d+: (\*\d+ )?|, client: .*$", "", line)
        said[text] = said.get(text, 0) + 1
    for text, count in sorted(said.items(), key=lambda item: -item[1])[:8]:
        print(f"  nginx logged {count} × {text}")


class Rounds:
    """The restarts, and how often devices had to come back at each."""

    def __init__(self, here: Stage, fleet: Fleet) -> None:
        self._here = here
        self._fleet = fleet
        self.most: list[int] = []
        """Of each restart: the most that one device reconnected."""
        self.often: list[int] = []
        """Of each restart: how many devices reconnected more than once."""

    async def restart(self, number: int) -> None:
        """One server, in turn; done when it is ready, and all devices are connected."""
        before = [device.welcomes for device in self._fleet.devices]
        server = self._here.servers[number % len(self._here.servers)]
        await server.restart()
        await self._here.green()
        async with asyncio.timeout(HERE_S):
            await self._fleet.here()
        came = [device.welcomes - had for device, had in zip(self._fleet.devices, before, strict=True)]
        self.most.append(max(came))
        self.often.append(sum(count > 1 for count in came))
        statuses = dict(self._fleet.book.statuses)
        back = sum(map(bool, came))
        print(f"restart {number + 1}: {back} devices came back, at most {max(came)} times; {statuses}", flush=True)


async def drill(options: argparse.Namespace) -> bool:
    """As a program."""
    path = find_nginx()
    if path is None:
        print("no nginx here: nothing was tested", file=sys.stderr)
        sys.exit(2)
    print(f"seed {options.seed}, {options.devices} devices of {options.agents} agents", flush=True)
    async with stage(2, agents=options.agents, workers=1, env=ENVIRONMENT) as here, nginx_before(path, here) as url:
        fleet = Fleet([url], agents=options.agents, devices=options.devices, seed=options.seed)
        async with fleet:
            rounds = Rounds(here, fleet)
            async with fleet.posting(POSTS_PER_S):
                for number in range(options.restarts):
                    await rounds.restart(number)
            verdict = await fleet.settled(SETTLED_S)
    return judged(options, rounds, fleet, verdict)


def judged(options: argparse.Namespace, rounds: Rounds, fleet: Fleet, verdict: Verdict) -> bool:
    """Print the table; whether all is as promised. That each server ended with 0 was checked as it did."""
    rows: dict[str, object] = {
        "restarts": len(rounds.most),
        "most reconnects of a device in one": max(rounds.most, default=0),
        "devices with more than one": sum(rounds.often),
    }
    show(f"rolling restarts under {options.devices} devices", rows | outcome(fleet, verdict))
    return whole(fleet, verdict) and not any(rounds.often)


def main() -> None:
    """The command line."""
    parser = arguments(__doc__, devices=2000)
    parser.add_argument("--restarts", type=int, default=10)
    run(drill(parsed(parser)))


if __name__ == "__main__":
    main()
