"""The worker processes, as the supervisor sees them: one `Child` keeps one place filled.

1. The settings go in by the control socket; closing it ends the worker (see `worker.py`).
2. A worker that ends unasked is replaced, after a growing pause.
3. Before the service has been up once, one that gives up by itself would do so again: that ends the service.
4. One that has served is asked for its figures every `WATCH_S`. Its loop answers, so one that is stuck does not: it
   counts as not ready, and after three looks without an answer it is killed, as it is of no use to its devices and
   keeps them from others. Looks and not seconds: when a machine or process group that was suspended goes on, clocks
   have jumped, and the worker gets its turn before the next look. One that a debugger holds is not killed.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
from asyncio.subprocess import Process
from collections.abc import Callable
from pathlib import Path
from typing import Final

from server import logs
from server.errors import SettingsError, StartupError, StoreError
from server.metrics import Sample
from server.processes.control import Answer, Ask, Figures, Hurry, Measure, Order, Report, Start, Stop, answer_of, line
from server.processes.launch import launch

GRACE_S: Final = 5.0
"""The time that a worker gets on top of its drain, to finish requests and let go of the store."""
WATCH_S: Final = 10.0
STUCK_AFTER: Final = 3
"""Looks in a row that found no answer."""
LINE_BYTES: Final = 1_000_000
"""Of what a worker says at once; its figures take about 15 kB."""

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

    `ready` is what it said last, false without a process, when it is stuck and once it is to stop; `on_change` is
    called after each change of it, `on_ask` when the worker asks for the figures of all, `is_up` asked whether the
    service has been up. `starts` counts processes.
    """

    def __init__(
        self,
        start: Start,
        listen: socket.socket,
        on_change: Callable[[], None],
        on_ask: Callable[[Child], None],
        is_up: Callable[[], bool],
    ) -> None:
        self.ready = False
        self.starts = 0
        self._start = start
        self._listen = listen
        self._on_change = on_change
        self._on_ask = on_ask
        self._is_up = is_up
        self._stopping = asyncio.Event()
        self._last_order: Stop | Hurry = Hurry()
        self._said_ready = False
        self._has_served = False
        self._question: asyncio.Future[list[Sample] | None] | None = None
        self._at_last_look: asyncio.Future[list[Sample] | None] | None = None
        self._unanswered = 0
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

    def stop(self, drain_s: float, grace_s: float) -> None:
        """End the worker as `Stop` says, and start no other."""
        self._end(Stop(drain_s, grace_s), drain_s + grace_s)

    def hurry(self) -> None:
        """End it now."""
        self._end(Hurry(), 0.0)

    async def measure(self, within_s: float) -> list[Sample] | None:
        """What the worker counts; None where it does not answer in time. Who asks meanwhile shares the question."""
        question = self._ask()
        if question is None:
            return None
        await asyncio.wait({question}, timeout=within_s)
        return question.result() if question.done() else None

    def look(self) -> None:
        """See whether the worker has answered since the last look, and ask again: rule 4. Every `WATCH_S`."""
        process, asked = self._process, self._at_last_look
        self._at_last_look = None
        if process is None or not self._has_served or self._stopping.is_set():
            return
        if asked is not None and not asked.done():
            self._unanswered += 1
            log.warning("worker does not answer", worker=self._start.worker, pid=process.pid, looks=self._unanswered)
            self._settle()
            if self._unanswered >= STUCK_AFTER and not is_traced(process.pid):
                log.error("worker is stuck, killed", worker=self._start.worker, pid=process.pid)
                process.kill()
        self._at_last_look = self._ask()

    def send(self, order: Order) -> None:
        """Tell the worker, if there is one."""
        if self._control is not None:
            self._control.write(line(order))

    def _ask(self) -> asyncio.Future[list[Sample] | None] | None:
        """The answer to come. At most one question is under way, or they would fill the socket of one that is stuck."""
        if self._question is None and self._control is not None:
            self._question = asyncio.get_running_loop().create_future()
            self.send(Measure())
        return self._question

    def _answered(self, samples: list[Sample] | None) -> None:
        question, self._question = self._question, None
        if question is not None:
            question.set_result(samples)

    def _end(self, order: Stop | Hurry, within_s: float) -> None:
        self._last_order = order
        self._stopping.set()
        self._settle()
        self.send(order)
        if self._process is not None:
            asyncio.get_running_loop().call_later(within_s + GRACE_S, self._kill, self._process)

    async def _live(self) -> int:
        self._failure = None
        self._has_served = False
        ours, theirs = socket.socketpair()
        try:
            with theirs:
                self._process = process = await launch(theirs, self._listen)
        except BaseException as problem:
            ours.close()
            if not isinstance(problem, OSError):
                raise
            self._failure = Report(failed=f"a worker process can't be started: {problem}", exit_code=1)
            return 1
        try:
            self.starts += 1
            reports, self._control = await asyncio.open_unix_connection(sock=ours, limit=LINE_BYTES)
            self._control.write(line(self._start))
            if self._stopping.is_set():
                self._end(self._last_order, 0.0)  # it has served nobody yet, and so ends at once
            log.info("worker started", worker=self._start.worker, pid=process.pid)
            with contextlib.suppress(ConnectionError):  # killed before it had read all that we said
                async for received in reports:
                    self._hear(answer_of(received))
        finally:
            await self._bury(process)
        return await process.wait()

    def _hear(self, said: Answer) -> None:
        if isinstance(said, Ask):
            self._on_ask(self)
        elif isinstance(said, Figures):
            self._unanswered = 0
            self._answered(said.samples)
        else:
            self._said_ready = said.ready
            self._has_served |= said.ready
            if said.failed:
                self._failure = said
        self._settle()

    def _settle(self) -> None:
        """`ready` anew, and who is told of it."""
        ready = self._said_ready and not self._unanswered and not self._stopping.is_set()
        if ready != self.ready:
            self.ready = ready
            log.info("worker ready" if ready else "worker not ready", worker=self._start.worker)
            self._on_change()

    async def _bury(self, process: Process) -> None:
        self._unanswered = 0
        self._answered(None)
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


def is_traced(pid: int) -> bool:
    """Whether a debugger holds the process, where the system tells (proc(5): `TracerPid`)."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False
    return bool(re.search(r"^TracerPid:\s*[1-9]", status, re.MULTILINE))
