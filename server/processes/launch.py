"""Starting the process of a worker."""

from __future__ import annotations

import asyncio
import os
import signal
import site
import socket
import sys
from asyncio.subprocess import DEVNULL, Process
from pathlib import Path


async def launch(control: socket.socket, listen: socket.socket) -> Process:
    """A worker (`worker.py`) with its end of the control socket and the socket to listen on. Raises OSError."""
    descriptors = (control.fileno(), listen.fileno())
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-P",
        "-m",
        "server.processes.worker",
        *map(str, descriptors),
        stdin=DEVNULL,
        pass_fds=descriptors,
        env=_environment(),
        # Python takes a while until `worker.py` can ignore them itself.
        preexec_fn=_ignore_group_signals,
    )


def _ignore_group_signals() -> None:
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)


def _environment() -> dict[str, str]:
    """Ours, and where this package is if Python would not find it by itself (a checkout that is not installed).

    It is started with -P, else a folder `server` in the current directory would be taken for this one.
    """
    home = str(Path(__file__).parents[2])
    if home in (*site.getsitepackages(), site.getusersitepackages()):
        return dict(os.environ)
    return os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, (home, os.environ.get("PYTHONPATH"))))}
