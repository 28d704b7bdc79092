"""nchan, a module of nginx, in memory (`nchan/nginx.conf`) and with Redis (`nchan-redis/nginx.conf`)."""

from __future__ import annotations

import os
import re
import shutil
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Final

from bench.candidate import Target
from bench.peers.handled import BODY
from bench.peers.installed import HELP, PEERS, first_line, output
from bench.site import Site, family

_MODULE: Final = "ngx_nchan_module.so"
_SBIN: Final = (os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin")


class Nchan:
    """nginx with nchan, which keeps its messages in the memory that its workers share."""

    slug = "nchan"
    name = "nchan, in memory"
    records = "nothing"

    def absent(self) -> str:
        if _nginx() is None:
            return f"no nginx: {HELP} as root, or install Debian's libnginx-mod-nchan"
        return "" if _module() else f"nginx without nchan: {HELP} as root, or install Debian's libnginx-mod-nchan"

    def version(self) -> str:
        package = first_line("dpkg-query", "--show", "--showformat", "${Version}", "libnginx-mod-nchan")
        nchan = re.search(r"\d+\.\d+(\.\d+)?", package.partition(":")[2])
        nginx = first_line(str(_nginx()), "-v").rpartition("/")[2]
        return f"nchan {nchan[0] if nchan else 'of unknown version'}, nginx {nginx}"

    @contextmanager
    def running(self, site: Site) -> Iterator[Target]:
        with site.scope():
            yield self._serving(site, {})

    def _serving(self, site: Site, values: dict[str, object], store_pid: int | None = None) -> Target:
        """Fill in the `@name@` of the configuration, and start nginx on it."""
        port = site.free_port()
        folder = site.folder / f"{self.slug}-{port}"
        folder.mkdir()
        text = (PEERS / self.slug / "nginx.conf").read_text(encoding="utf-8")
        for name, value in {"module": _module(), "port": port, **values}.items():
            text = text.replace(f"@{name}@", str(value))
        config = folder / "nginx.conf"
        config.write_text(text, encoding="utf-8")
        command = [str(_nginx()), "-p", str(folder), "-c", str(config), "-e", "stderr"]
        process = site.start(command, core=site.server_core, port=port)
        # it listens before it has found Redis
        site.wait_until(partial(_takes_messages, port), process, "a message is taken")
        return Target(
            ws_port=port,
            http_port=port,
            ws_path="/sync?agent=%a",
            http_path="/handled?agent=%a",
            body=BODY,
            pids=partial(family, process.pid),
            store_pid=store_pid,
        )


class NchanRedis(Nchan):
    """The same, where messages are in Redis, so that any number of servers can share them."""

    slug = "nchan-redis"
    name = "nchan + Redis"
    records = "an agent's last 100 messages, for 30 days, in Valkey"

    @contextmanager
    def running(self, site: Site) -> Iterator[Target]:
        with site.scope():
            store = site.store()
            yield self._serving(site, {"store": store.port}, store.pid)


def _nginx() -> str | None:
    return shutil.which("nginx", path=os.pathsep.join(_SBIN))


def _takes_messages(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/handled?agent=nobody", b"{}", timeout=1) as answer:
            return bool(answer.status < 300)
    except OSError:
        return False


def _module() -> Path | None:
    """Where this nginx keeps its modules, if nchan is among them."""
    folder = re.search(r"--modules-path=(\S+)", output(str(_nginx()), "-V"))
    path = Path(folder[1], _MODULE) if folder else None
    return path if path and path.is_file() else None
