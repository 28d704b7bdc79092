"""Node.js and `ws`, in `node-ws/server.mjs`: fan-out and nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from bench.candidate import Target
from bench.peers.handled import BODY
from bench.peers.installed import PEERS, node, node_absent, node_versions
from bench.site import Site, family


class NodeWs:
    """node and ws."""

    slug = "node-ws"
    name = "node + ws, in memory"
    records = "nothing"

    def absent(self) -> str:
        return node_absent(self.slug)

    def version(self) -> str:
        return node_versions(self.slug, "ws")

    @contextmanager
    def running(self, site: Site) -> Iterator[Target]:
        with site.scope():
            port = site.free_port()
            command = [str(node()), str(PEERS / self.slug / "server.mjs")]
            env = {"NODE_ENV": "production", "PORT": str(port)}
            process = site.start(command, core=site.server_core, env=env, port=port)
            yield Target(
                ws_port=port,
                http_port=port,
                ws_path="/agents/%a/sync",
                http_path="/agents/%a/handled",
                body=BODY,
                pids=partial(family, process.pid),
            )
