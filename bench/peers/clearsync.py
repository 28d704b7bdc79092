"""clearsync itself, as its users run it: `clearsync serve` on `clearsync/clearsync.toml`."""

from __future__ import annotations

import os
import platform
import sys
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Final

from argon2 import PasswordHasher

import server
from bench.candidate import Target
from bench.peers.handled import BODY
from bench.peers.installed import PEERS
from bench.site import Site, family

_ROOT: Final = Path(server.__file__).parents[1]
_PASSWORD: Final = "x"


class Clearsync:
    """A supervisor and its workers; the users `a0`, `a1`, … up to as many as `agents`, all with the password `x`.

    Workers share the server's core, or get those of `cores`, one after the other. `settings` are more of its
    environment, and go over the file. Authentication, limits and metrics are on; the admin listener has a free port.
    """

    slug = "clearsync"
    name = "clearsync"
    records = "the batch, in Valkey, for 30 days"

    def __init__(
        self,
        agents: int = 1000,
        workers: int = 1,
        settings: Mapping[str, str] | None = None,
        cores: Sequence[int] = (),
    ) -> None:
        self._agents = agents
        self._workers = workers
        self._settings = dict(settings or {})
        self._cores = cores

    def absent(self) -> str:
        return ""

    def version(self) -> str:
        return f"clearsync {server.__version__}, Python {platform.python_version()}"

    @contextmanager
    def running(self, site: Site) -> Iterator[Target]:
        with site.scope():
            store, port, admin = site.store(), site.free_port(), site.free_port()
            users = users_file(site, self._agents)
            env = {
                "PYTHONPATH": str(_ROOT),
                "CLEARSYNC_ADMIN__LISTEN": f"127.0.0.1:{admin}",
                "CLEARSYNC_AUTH__USERS_FILE": str(users),
            }
            config = PEERS / self.slug / "clearsync.toml"
            command = [sys.executable, "-P", "-m", "server", "serve", "--config", str(config), "--port", str(port)]
            command += ["--workers", str(self._workers), "--store", f"unix://{store.socket}"]
            process = site.start(command, core=site.server_core, env=env | self._settings, port=port)
            site.wait_until(partial(_ready, admin), process, "all workers are ready")
            for worker, core in zip(family(process.pid)[1:], self._cores, strict=False):
                _move(worker, core)
            yield Target(
                ws_port=port,
                http_port=port,
                ws_path="/api/v1/sync?device=d%d",
                http_path="/api/v1/Agents/Pocket/NotificationsHandled",
                body=BODY,
                ws_head="Authorization: Basic %B",
                http_head="Authorization: Basic %B",
                pids=partial(family, process.pid),
                store_pid=store.pid,
            )


def users_file(site: Site, agents: int) -> Path:
    """What a hash costs is the operator's choice; this is the least, so that a start takes a second."""
    cheap = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash(_PASSWORD)
    users = site.folder / "users.toml"
    users.write_text(
        "".join(f'[users.a{number}]\nhash = "{cheap}"\ntenant = "acme"\n' for number in range(agents)), encoding="utf-8"
    )
    return users


def _ready(admin: int) -> bool:
    """Whether all workers serve, as the admin listener says."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{admin}/ready", timeout=1) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def _move(pid: int, core: int) -> None:
    """Bind all threads of a process to a core."""
    for thread in Path(f"/proc/{pid}/task").iterdir():
        os.sched_setaffinity(int(thread.name), {core})
