"""What the drills share: servers that are started again on their port, what they say of themselves, and the tables."""

from __future__ import annotations

import argparse
import asyncio
import secrets
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NoReturn

import argon2
import uvloop

from tests.faults.fleet import Fleet, Verdict, names
from tests.running import RealStore, Running, free_port, serving

POLL_S: Final = 0.1
ENVIRONMENT: Final = {"CLEARSYNC_LOG__LEVEL": "warning"}


class Server:
    """A `serve` on one store, which is started again on the same port. It has all limits, which development has not."""

    def __init__(self, folder: Path, store_url: str, workers: int, env: Mapping[str, str]) -> None:
        folder.mkdir()
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._folder = folder
        self._options = ("--store", store_url, "--port", str(self.port))
        self._workers = workers
        self._env = env
        self._context: AbstractContextManager[Running] | None = None
        self._running: Running | None = None

    @property
    def running(self) -> Running:
        """While it runs."""
        assert self._running is not None, "the server is not running"
        return self._running

    async def start(self) -> None:
        """Start it; done when all of its workers serve."""
        context = serving(*self._options, folder=self._folder, workers=self._workers, env=self._env)
        self._running = await asyncio.to_thread(context.__enter__)
        self._context = context

    async def stop(self) -> None:
        """SIGTERM, and its end, which has to be with 0. Idempotent."""
        context, self._context, self._running = self._context, None, None
        if context is not None:
            await asyncio.to_thread(context.__exit__, None, None, None)

    async def restart(self, down_s: float = 0.0) -> None:
        """An orderly end, some time, and a start."""
        await self.stop()
        await asyncio.sleep(down_s)
        await self.start()

    def metrics(self) -> dict[str, float]:
        """What `GET /metrics` of the operators' listener says, see `prometheus`."""
        return prometheus(f"{self.running.admin_url}/metrics")


@dataclass
class Stage:
    """A real store and servers on it, all running."""

    folder: Path
    store: RealStore
    servers: list[Server]

    @property
    def urls(self) -> list[str]:
        """Where devices and callers go."""
        return [server.url for server in self.servers]

    async def green(self, within_s: float = 30.0) -> None:
        """Wait until all workers of all servers are ready."""
        await until(
            lambda: all(server.running.ready()[0] == 200 for server in self.servers), within_s, "all workers are ready"
        )


@asynccontextmanager
async def stage(
    servers: int, *, agents: int, workers: int, env: Mapping[str, str] | None = None
) -> AsyncIterator[Stage]:
    """Start them in a folder of their own, for so many agents of a `Fleet`; at the end all are ended."""
    with tempfile.TemporaryDirectory(prefix="clearsync-drill-") as name:
        folder = Path(name)
        store = RealStore(folder / "store")
        given = ENVIRONMENT | dict(env or {}) | {"CLEARSYNC_AUTH__USERS_FILE": str(users_file(folder, agents))}
        made: list[Server] = []
        try:
            await asyncio.to_thread(store.start)
            for number in range(servers):
                made.append(Server(folder / f"server-{number}", store.url, workers, given))
                await made[-1].start()
            yield Stage(folder, store, made)
        finally:
            await asyncio.gather(*(server.stop() for server in made))
            await asyncio.to_thread(store.close)


def users_file(folder: Path, agents: int) -> Path:
    """Users with the names of a fleet's agents, and its password under a hash that costs nothing."""
    hashed = argon2.PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash("x")
    path = folder / "users.toml"
    path.write_text("".join(f"[users.{name}]\nhash = '{hashed}'\ntenant = 'acme'\n" for name in names(agents)))
    path.chmod(0o600)
    return path


async def until(predicate: Callable[[], object], within_s: float, what: str) -> None:
    """Wait until `predicate`, which may block, is true; AssertionError naming `what` where that is not in time."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + within_s
    while not await asyncio.to_thread(predicate):
        assert loop.time() < deadline, f"not within {within_s:g} s: {what}"
        await asyncio.sleep(POLL_S)


def prometheus(url: str) -> dict[str, float]:
    """Samples by name, those with labels added up; nothing where that is not answered 200."""
    found: dict[str, float] = {}
    try:
        with urllib.request.urlopen(url, timeout=5) as response:
            lines = response.read().decode().splitlines()
    except (urllib.error.URLError, OSError):
        return {}
    for line in lines:
        if line and not line.startswith("#"):
            sample, _, value = line.rpartition(" ")
            name = sample.partition("{")[0]
            found[name] = found.get(name, 0.0) + float(value)
    return found


def outcome(fleet: Fleet, verdict: Verdict) -> dict[str, object]:
    """The ledger as rows of a table."""
    book = fleet.book
    return {
        "posts": book.posted,
        "answers": ", ".join(f"{count} × {status or 'none'}" for status, count in sorted(book.statuses.items())),
        "events acknowledged": sum(map(len, book.acknowledged.values())),
        "events unknown": sum(map(len, book.unknown.values())),
        "slowest POST": f"{book.slowest_s:.2f} s",
        "missing": len(verdict.missing),
        "foreign": len(verdict.foreign),
        "devices that gave up": len(verdict.failures),
        "twice": verdict.twice,
        "latest after its 204": f"{verdict.late_s:.2f} s",
        "resets": verdict.resets,
        "reconnects": verdict.reconnects,
    }


def show(title: str, rows: Mapping[str, object]) -> None:
    """Print a table."""
    wide = max(map(len, rows))
    print(f"\n{title}", *(f"  {name:<{wide}}  {value}" for name, value in rows.items()), sep="\n", flush=True)


def arguments(what: str | None, *, seconds: float | None = None, devices: int) -> argparse.ArgumentParser:
    """What every drill takes; a drill adds its own."""
    parser = argparse.ArgumentParser(description=what)
    if seconds is not None:
        parser.add_argument("--seconds", type=float, default=seconds)
    parser.add_argument("--devices", type=int, default=devices)
    parser.add_argument("--agents", type=int, default=0, help="by default one for three devices")
    parser.add_argument("--seed", type=int, default=None, help="by default any; it is printed")
    return parser


def parsed(parser: argparse.ArgumentParser) -> argparse.Namespace:
    """The command line, with a seed and a number of agents."""
    options = parser.parse_args()
    if options.seed is None:
        options.seed = secrets.randbelow(1_000_000)
    options.agents = options.agents or max(1, options.devices // 3)
    return options


def run(drill: Awaitable[bool]) -> NoReturn:
    """Exit with 0 where the drill found nothing wrong, else 1."""

    async def main() -> bool:
        return await drill

    whole = uvloop.run(main())
    print("passed" if whole else "FAILED", flush=True)
    sys.exit(0 if whole else 1)
