"""socket.io with its Redis adapter, in `socketio/server.mjs`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from bench.candidate import Target
from bench.peers.handled import BODY
from bench.peers.installed import PEERS, node, node_absent, node_versions
from bench.site import Site, family


class SocketIo:
    """socket.io and @socket.io/redis-adapter."""

    slug = "socketio"
    name = "socket.io 4 + Redis adapter"
    records = "nothing; it is on its way to Redis, for other servers"

    def absent(self) -> str:
        return node_absent(self.slug)

    def version(self) -> str:
        return node_versions(self.slug, "socket.io", "@socket.io/redis-adapter", "redis", "ws")

    @contextmanager
    def running(self, site: Site) -> Iterator[Target]:
        with site.scope():
            store, port = site.store(), site.free_port()
            env = {"NODE_ENV": "production", "PORT": str(port), "STORE_SOCKET": str(store.socket)}
            command = [str(node()), str(PEERS / self.slug / "server.mjs")]
            process = site.start(command, core=site.server_core, env=env, port=port)
            yield Target(
                ws_port=port,
                http_port=port,
                ws_path="/socket.io/?EIO=4&transport=websocket&agent=%a",
                http_path="/agents/%a/handled",
                body=BODY,
                first_frames=("40",),  # it opens a namespace, in socket.io's own protocol
                pids=partial(family, process.pid),
                store_pid=store.pid,
            )
