"""Django Channels with its Redis layer, in `channels/`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from bench.candidate import Target
from bench.peers import uvicorn
from bench.peers.handled import BODY
from bench.peers.installed import PEERS, python_absent, python_versions
from bench.site import Site, family


class Channels:
    """Django Channels and channels_redis."""

    slug = "channels"
    name = "Django Channels 4 + channels_redis"
    records = "nothing; it is published in Redis"

    def absent(self) -> str:
        return python_absent()

    def version(self) -> str:
        return python_versions("channels", "channels-redis", "django", "uvicorn", "websockets", "uvloop")

    @contextmanager
    def running(self, site: Site) -> Iterator[Target]:
        with site.scope():
            store, port = site.store(), site.free_port()
            env = {"STORE_URL": f"unix://{store.socket}", "DJANGO_SETTINGS_MODULE": "settings"}
            command = uvicorn.command("asgi:application", PEERS / self.slug, port)
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
