"""A real nginx on `config/nginx.conf`, before servers that run."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from tests.running import ROOT, free_port, get, wait_until

_TEMPORARY: Final = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")


def find_nginx() -> str | None:
    """Its path, None where there is none."""
    return shutil.which("nginx", path=os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"]))


def configuration(text: str, port: int, replicas: Sequence[int], folder: Path) -> str:
    """`config/nginx.conf`, with what must differ here: where it listens, the ports of its replicas, where it writes.
    The two replicas may be one."""
    for number, replica in enumerate((replicas[0], replicas[-1]), 1):
        text = replaced(rf"server clearsync-{number}:\d+", f"server 127.0.0.1:{replica}", text)
    text = replaced(r"(?m)^( *)listen 80;", rf"\1listen 127.0.0.1:{port};", text)
    temporary = "".join(f"    {name}_temp_path {folder}/{name};\n" for name in _TEMPORARY)
    return replaced(r"(?m)^http \{\n", f"http {{\n{temporary}", text)


def replaced(pattern: str, new: str, text: str) -> str:
    """`text` with the one place that fits `pattern` made new."""
    text, count = re.subn(pattern, new, text)
    assert count == 1, f"the configuration has {count} of {pattern!r}"
    return text


@contextmanager
def nginx(
    path: str, replicas: Sequence[int], folder: Path, changed: Callable[[str], str] = lambda text: text
) -> Iterator[str]:
    """The URL of an nginx before the servers on these ports. `folder` is made, `changed` is what else must differ."""
    port = free_port()
    folder.mkdir()
    for above in (folder, folder.parent):
        above.chmod(0o755)  # started by root, its workers are somebody else
    config = folder / "nginx.conf"
    config.write_text(changed(configuration((ROOT / "config" / "nginx.conf").read_text(), port, replicas, folder)))
    options = f"daemon off; pid {folder}/pid; error_log {folder}/error.log;"
    command = [path, "-p", str(folder), "-c", str(config), "-g", options]
    with (folder / "err").open("wb") as stderr:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=stderr)
    url = f"http://127.0.0.1:{port}"
    try:
        wait_until(lambda: process.poll() is not None or get(f"{url}/ready")[0] == 200, 10.0, "nginx answers")
        assert process.poll() is None, (folder / "err").read_text()
        yield url
    finally:
        process.terminate()
        process.wait(30)
