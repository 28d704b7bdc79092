"""The worker processes, as the supervisor sees them: one `Child` keeps one place filled.

1. The settings go in by the control socket; closing it ends the worker (see `worker.py`).
2. A worker that ends unasked is replaced, after a growing pause.
3. Before the service has been up once, one that gives up by itself would do so again: that ends the service.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import site
import socket
import sys
from asyncio.subprocess import DEVNULL, Process
from collections.abc import Callable
from pathlib import Path
from typing import Final

from server import logs
from server.errors import SettingsError, StartupError, StoreError
from server.processes.control import Order, Report, Start, Stop, line, report_of

GRACE_S: Final = 5.0
"""The time that a worker gets on top of its drain, to finish requests and let go of the store."""

log = logs.get("clearsync.supervisor")


class Backoff:
    """The pause before something that ended is started again: 0.1 s, doubled to 10 s, and anew after a life of 60 s."""

    FIRST_S: Final = 0.1
    LONGEST_S: Final = 10.0
    HEALTHY_S: Final = 60.0

    def __init__(self) -> None:
        self._next_s = self.FIRST_S

    def pause_s(self, lived_s: float) -> float:
        """The pause after a life of `lived_s`."""
        pause_s = self.FIRST_S if lived_s >= self.HEALTHY_S else self._next_s
        self._next_s = min(2 * pause_s, self.LONGEST_S)
        return pause_s


class Child:
    """Worker number `start.worker`: a process, and the next one after it.

    `ready` is what it said last, false without a process; `on_change` is called after each change of it, `is_up` asked
    whether the service has been up.
    """

    def __init__(
        self, start: Start, listen: socket.socket, on_change: Callable[[], None], is_up: Callable[[], bool]
    ) -> None:
        self.ready = False
        self._start = start
        self._listen = listen
        self._on_change = on_change
        self._is_up = is_up
        self._stopping = asyncio.Event()
        self._drain_s = 0.0
        self._process: Process | None = None
        self._control: asyncio.StreamWriter | None = None
        self._failure: Report | None = None

    async def keep(self) -> None:
        """Keep a worker alive until `stop`. Cancelled, it ends the worker without a drain.

        Raises the `StartupError` that kept the service from coming up.
        """
        backoff, loop = Backoff(), asyncio.get_running_loop()
        while not self._stopping.is_set():
            born = loop.time()
            status = await self._live()
            if self._stopping.is_set():
                return
            self._judge(status)
            pause_s = backoff.pause_s(loop.time() - born)
            reason = self._failure.failed if self._failure else None
            log.warning("worker ended", worker=self._start.worker, status=status, reason=reason, restart_in_s=pause_s)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), pause_s)

    def stop(self, drain_s: float) -> None:
        """End the worker over `drain_s`, and start no other. Again, with less, to hurry."""
        self._drain_s = drain_s
        self._stopping.set()
        self.send(Stop(drain_s))
        if self._process is not None:
            asyncio.get_running_loop().call_later(drain_s + GRACE_S, self._kill, self._process)

    def send(self, order: Order) -> None:
        """Tell the worker, if there is one."""
        if self._control is not None:
            self._control.write(line(order))

    async def _live(self) -> int:
        self._failure = None
        ours, theirs = socket.socketpair()
        try:
            with theirs:
                self._process = process = await self._spawn(theirs)
        except BaseException as problem:
            ours.close()
            if not isinstance(problem, OSError):
                raise
            self._failure = Report(failed=f"a worker process can't be started: {problem}", exit_code=1)
            return 1
        try:
            reports, self._control = await asyncio.open_unix_connection(sock=ours)
            self._control.write(line(self._start))
            if self._stopping.is_set():
                self.stop(self._drain_s)
            log.info("worker started", worker=self._start.worker, pid=process.pid)
            with contextlib.suppress(ConnectionError):  # killed before it had read all that we said
                async for received in reports:
                    self._hear(report_of(received))
        finally:
            await self._bury(process)
        return await process.wait()

    async def _spawn(self, control: socket.socket) -> Process:
        descriptors = (control.fileno(), self._listen.fileno())
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

    def _hear(self, report: Report) -> None:
        if report.failed:
            self._failure = report
        if report.ready != self.ready:
            self.ready = report.ready
            log.info("worker ready" if self.ready else "worker not ready", worker=self._start.worker)
            self._on_change()

    async def _bury(self, process: Process) -> None:
        self._hear(Report(ready=False))
        control, self._control = self._control, None
        if control is not None:
            control.close()
        try:
            await asyncio.wait_for(process.wait(), GRACE_S)
        except TimeoutError:
            self._kill(process)
            await process.wait()
        self._process = None

    def _kill(self, process: Process) -> None:
        if process.returncode is None:
            log.error("worker does not end, killed", worker=self._start.worker, pid=process.pid)
            process.kill()

    def _judge(self, status: int) -> None:
        if self._is_up() or (self._failure is None and status <= 0):
            return
        if self._failure is None:
            raise StartupError(f"worker {self._start.worker} ended with status {status} before it was ready")
        for kind in (SettingsError, StoreError):
            if kind.exit_code == self._failure.exit_code:
                raise kind(self._failure.failed)
        raise StartupError(self._failure.failed)


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
