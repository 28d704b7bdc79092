"""The straightforward server: what a developer writes on the first day, in `starlette/app.py`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from importlib.resources import files

from bench.candidate import Target
from bench.peers import uvicorn
from bench.peers.handled import BODY
from bench.peers.installed import PEERS, python_absent, python_versions
from bench.site import Site, family


class Starlette:
    """Starlette and redis-py."""

    slug = "starlette"
    name = "Starlette + redis-py, straightforward"
    records = "the batch, in Valkey, by clearsync's own script"

    def absent(self) -> str:
        return python_absent()

    def version(self) -> str:
        return python_versions("starlette", "redis", "hiredis", "uvicorn", "websockets", "uvloop")

    @contextmanager
    def running(self, site: Site) -> Iterator[Target]:
        with site.scope():
            store, port = site.store(), site.free_port()
            env = {
                "STORE_URL": f"unix://{store.socket}",
                "RECORD_SCRIPT": str(files("server.broker") / "scripts" / "record.lua"),
            }
            command = uvicorn.command("app:app", PEERS / self.slug, port)
            process = site.start(command, core=site.server_core, env=env, port=port)
            yield Target(
                ws_port=port,
                http_port=port,
                ws_path="/agents/%a/sync",
                http_path="/agents/%a/handled",
                body=BODY,
                pids=partial(family, process.pid),
                store_pid=store.pid,
            )
