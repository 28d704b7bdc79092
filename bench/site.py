"""One run of a server: a private folder, ports, and processes bound to a core, all gone at its end."""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from redis import Redis
from redis.exceptions import RedisError

from server.broker import binary
from server.broker.embedded import end_with

START_S: Final = 30.0
END_S: Final = 15.0
"""The time that a process has between being asked to end and being killed."""
TAIL_BYTES: Final = 2000
_POLL_S: Final = 0.01


class SiteError(Exception):
    """A process did not come up; the text has the end of its log."""


@dataclass(frozen=True, slots=True)
class Store:
    """A Valkey in memory, at a unix socket and at a port of 127.0.0.1."""

    socket: Path
    port: int
    pid: int


class Site:
    """A context: its folder, and the processes started in it with all that they started, are gone at its end.

    The server's core and the load's are the first two that this process may use, one and the same where it has but one.
    """

    folder: Path

    def __init__(self, server_core: int | None = None, load_core: int | None = None) -> None:
        cores = sorted(os.sched_getaffinity(0))
        self.server_core = cores[0] if server_core is None else server_core
        self.load_core = cores[:2][-1] if load_core is None else load_core
        self._processes: list[subprocess.Popen[bytes]] = []
        self._logs: dict[int, Path] = {}
        self._ports: set[int] = set()

    def __enter__(self) -> Self:
        # not in TMPDIR, whose path may be too long for a socket
        self.folder = Path(tempfile.mkdtemp(prefix="clearsync-bench-", dir="/tmp"))
        return self

    def __exit__(self, *raised: object) -> None:
        try:
            self._end(down_to=0)
        finally:
            shutil.rmtree(self.folder, ignore_errors=True)

    @contextmanager
    def scope(self) -> Iterator[None]:
        """A part of the run: what is started in it ends with it."""
        before = len(self._processes)
        try:
            yield
        finally:
            self._end(down_to=before)

    def _end(self, down_to: int) -> None:
        ending, self._processes[down_to:] = self._processes[down_to:], []
        try:
            for process in reversed(ending):  # a store outlasts the server that stands on it
                _ask_to_end(process)
        finally:
            for process in ending:
                _kill(process)

    def start(
        self,
        command: Sequence[str],
        *,
        core: int,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        port: int | None = None,
    ) -> subprocess.Popen[bytes]:
        """Start a process on `core`, with `env` over our own environment, in `cwd` or the site's folder.

        Returns once `port` of 127.0.0.1 accepts, if one is given. Raises `SiteError` where the process can't be
        started, ends before that, or takes longer than `START_S`.
        """
        log = self.folder / f"{len(self._logs)}-{Path(command[0]).name}.log"
        with log.open("wb") as out:
            try:
                process = subprocess.Popen(
                    command,
                    cwd=cwd or self.folder,
                    env=_environment() | dict(env or {}),
                    stdin=subprocess.DEVNULL,
                    stdout=out,
                    stderr=out,
                    start_new_session=True,  # one signal reaches all that it starts
                    preexec_fn=_settling(core),
                )
            except (OSError, subprocess.SubprocessError) as problem:
                raise SiteError(f"{command[0]} can't be started: {problem}") from None
        self._processes.append(process)
        self._logs[process.pid] = log
        if port is not None:
            self.wait_until(lambda: _accepts(port), process, f"port {port} accepts")
        return process

    def wait_until(self, done: Callable[[], bool], process: subprocess.Popen[bytes], what: str) -> None:
        """Return once `done()`; SiteError, naming `what`, where `process` ends first or `START_S` pass."""
        deadline = time.monotonic() + START_S
        while not done():
            late = time.monotonic() > deadline
            if late or process.poll() is not None:
                problem = f"not within {START_S:g} s" if late else f"it ended with {process.returncode} before"
                log = self._logs[process.pid]
                raise SiteError(f"{log.stem}: {problem}: {what}\n{_tail(log)}")
            time.sleep(_POLL_S)

    def free_port(self) -> int:
        """A port of 127.0.0.1 that nobody listens to, another each time."""
        while True:
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", 0))
                port = int(probe.getsockname()[1])
            if port not in self._ports:
                self._ports.add(port)
                return port

    def store(self) -> Store:
        """A store on the load's core, empty, that writes nothing to disk.

        Raises `StoreError` where there is no Valkey or Redis, `SiteError` where it does not come up.
        """
        port = self.free_port()
        folder = self.folder / f"store-{port}"
        folder.mkdir()
        options = {
            "bind": "127.0.0.1",
            "port": str(port),
            "unixsocket": str(folder / "s"),
            "dir": str(folder),
            "save": "",
            "appendonly": "no",
            "daemonize": "no",
        }
        named = (part for option, value in options.items() for part in (f"--{option}", value))
        process = self.start([str(binary.find().path), *named], core=self.load_core, port=port)
        store = Store(folder / "s", port, process.pid)
        self.wait_until(lambda: _answers(store.socket), process, "the store answers")
        return store


def family(pid: int) -> list[int]:
    """A process and all that descend from it, as far as they are alive."""
    children: dict[int, list[int]] = {}
    alive = set()
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            state, parent = (entry / "stat").read_text().rpartition(")")[2].split()[:2]
            if state != "Z":
                alive.add(int(entry.name))
                children.setdefault(int(parent), []).append(int(entry.name))
    found = [pid] if pid in alive else []
    for each in found:  # grows meanwhile
        found += children.get(each, [])
    return found


def _environment() -> dict[str, str]:
    """Ours without what would reach into a candidate: settings of clearsync, and of Python's and node's own."""
    foreign = ("CLEARSYNC_", "PYTHON", "NODE_", "UV_")
    return {name: value for name, value in os.environ.items() if not name.startswith(foreign)}


def _settling(core: int) -> Callable[[], None]:
    """What binds a child to `core`, allows it as many open files as may be, and lets it end with us."""
    end_with_us = end_with(os.getpid())
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[1]

    def settle() -> None:
        os.sched_setaffinity(0, {core})
        resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))
        if end_with_us is not None:
            end_with_us()

    return settle


def _ask_to_end(process: subprocess.Popen[bytes]) -> None:
    """SIGTERM, and END_S to follow it. The process stays unreaped, so that its number remains its own."""
    if process.returncode is not None:
        return
    with contextlib.suppress(ProcessLookupError):
        os.kill(process.pid, signal.SIGTERM)
    deadline = time.monotonic() + END_S
    while not os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT):
        if time.monotonic() > deadline:
            return
        time.sleep(_POLL_S)


def _kill(process: subprocess.Popen[bytes]) -> None:
    """Kill whatever is left of the process's session."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _accepts(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1.0)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _answers(path: Path) -> bool:
    try:
        with Redis(unix_socket_path=str(path), socket_timeout=1.0) as store:
            return bool(store.ping())
    except (RedisError, OSError):
        return False


def _tail(log: Path) -> str:
    return log.read_bytes()[-TAIL_BYTES:].decode(errors="replace").strip()
