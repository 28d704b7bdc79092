"""How the peers in Python are served: by uvicorn, as one process, set up for production."""

from __future__ import annotations

from pathlib import Path

from bench.peers.installed import PYTHON


def command(app: str, folder: Path, port: int) -> list[str]:
    """The command that serves `app`, `module:name` of the folder."""
    options = {
        "--app-dir": str(folder),
        "--host": "127.0.0.1",
        "--port": str(port),
        "--workers": "1",  # there is one core
        "--loop": "uvloop",  # both are in C, and faster than what they stand for
        "--http": "httptools",
        "--ws": "websockets-sansio",
        "--ws-per-message-deflate": "false",  # 100 bytes are not worth deflating, and clearsync does not either
        "--log-level": "warning",
        "--timeout-keep-alive": "75",  # longer than a proxy keeps its connections
        "--backlog": "4096",
        "--timeout-graceful-shutdown": "2",
    }
    named = (part for option, value in options.items() for part in (option, value))
    return [str(PYTHON), "-P", "-m", "uvicorn", app, *named, "--no-access-log", "--no-proxy-headers"]
