"""Rolling restarts of two servers behind a real nginx, and neither devices nor callers may notice more than they must.

`make rolling`, or `python -m tests.faults.rolling --restarts 10 --devices 2000`. nginx runs on `config/nginx.conf`.
Exits with 2 where there is no nginx.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import re
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from tests.faults.drill import Server, Stage, arguments, free_port, outcome, parsed, run, show, stage, until
from tests.faults.fleet import Fleet, Verdict
from tests.faults.storm import whole
from tests.running import ROOT, get

POSTS_PER_S: Final = 200.0
SETTLED_S: Final = 30.0
HERE_S: Final = 60.0
ENVIRONMENT: Final = {"CLEARSYNC_SERVER__DRAIN_GRACE_S": "1", "CLEARSYNC_SERVER__DRAIN_S": "5"}
TEMPORARY: Final = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")


def find_nginx() -> str:
    """Its path; exits with 2 where there is none."""
    path = shutil.which("nginx", path=os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"]))
    if path is None:
        print("no nginx here: nothing was tested", file=sys.stderr)
        sys.exit(2)
    return path


def configuration(text: str, port: int, servers: list[Server], folder: Path) -> str:
    """`config/nginx.conf`, with what must differ here: where it listens, who the replicas are, where it writes."""
    for number, server in enumerate(servers, 1):
        text = _replaced(rf"server clearsync-{number}:\d+", f"server 127.0.0.1:{server.port}", text)
    text = _replaced(r"(?m)^( *)listen 80;", rf"\1listen 127.0.0.1:{port};", text)
    temporary = "".join(f"    {name}_temp_path {folder}/{name};\n" for name in TEMPORARY)
    return _replaced(r"(?m)^http \{\n", f"http {{\n{temporary}", text)


def _replaced(pattern: str, new: str, text: str) -> str:
    text, count = re.subn(pattern, new, text)
    assert count == 1, f"config/nginx.conf has {count} of {pattern!r}"
    return text


@asynccontextmanager
async def nginx(path: str, here: Stage) -> AsyncIterator[str]:
    """The URL of an nginx before the servers."""
    folder, port = here.folder / "nginx", free_port()
    folder.mkdir()
    here.folder.chmod(0o755)  # started by root, its workers are somebody else
    config = folder / "nginx.conf"
    config.write_text(configuration((ROOT / "config" / "nginx.conf").read_text(), port, here.servers, folder))
    options = f"daemon off; pid {folder}/pid; error_log {folder}/error.log;"
    process = start([path, "-p", str(folder), "-c", str(config), "-g", options], folder / "err")
    url = f"http://127.0.0.1:{port}"
    try:
        await until(lambda: process.poll() is not None or get(f"{url}/ready")[0] == 200, 10.0, "nginx answers")
        assert process.poll() is None, (folder / "err").read_text()
        yield url
    finally:
        process.terminate()
        await asyncio.to_thread(process.wait, 30)
        _say_what_was_logged(folder / "error.log")


def start(command: list[str], err: Path) -> subprocess.Popen[bytes]:
    """A process that says what is wrong with its configuration in a file."""
    with err.open("wb") as stderr:
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=stderr)


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
    print(f"seed {options.seed}, {options.devices} devices of {options.agents} agents", flush=True)
    async with stage(2, agents=options.agents, workers=1, env=ENVIRONMENT) as here, nginx(path, here) as url:
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
