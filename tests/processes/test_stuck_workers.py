"""A worker whose process is there and whose loop is not: noticed, killed, replaced; and who is not to be killed."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from pathlib import Path

import pytest

from server.processes.children import STUCK_AFTER, Child, is_traced
from server.processes.control import Order, Start
from server.processes.supervisor import Supervisor
from server.processes.systemd import Notifier
from server.settings import Settings, load
from tests.running import born, is_alive

pytestmark = pytest.mark.faults


async def until(reached: Callable[[], object], what: str) -> None:
    """Wait, and let the loop run meanwhile."""
    try:
        async with asyncio.timeout(20):
            while not reached():  # noqa: ASYNC110  # of processes, which set no event
                await asyncio.sleep(0.01)
    except TimeoutError:
        raise AssertionError(f"not in time: {what}") from None


def settings_of(store_url: str) -> Settings:
    environ = {"CLEARSYNC_SERVER__PORT": "0", "CLEARSYNC_STORE__URL": store_url, "CLEARSYNC_ADMIN__LISTEN": ""}
    return load(None, environ | {"CLEARSYNC_SERVER__WORKERS": "2", "CLEARSYNC_SERVER__DRAIN_S": "0"}, {"dev": True})


def workers() -> list[int]:
    """Our children that are workers."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            ours = (entry / "stat").read_text().rpartition(")")[2].split()[1] == str(os.getpid())
            if ours and b"server.processes.worker" in (entry / "cmdline").read_bytes():
                found.append(int(entry.name))
    return sorted(found)


async def stop(pid: int) -> None:
    """SIGSTOP, once it has come into effect."""
    os.kill(pid, signal.SIGSTOP)
    status = Path(f"/proc/{pid}/stat")
    await until(lambda: status.read_text().rpartition(")")[2].split()[0] == "T", "the worker has stopped")


@asynccontextmanager
async def child_of(store_url: str, *, ready: bool = True) -> AsyncIterator[Child]:
    """A worker that is kept, and looked at only by the test."""
    with closing(socket.create_server(("127.0.0.1", 0))) as listen:
        start = Start(settings=settings_of(store_url), store_url=store_url, worker=0)
        child = Child(start, listen, on_change=lambda: None, on_ask=lambda _: None, is_up=lambda: True)
        keeping = asyncio.create_task(child.keep())
        try:
            await until(lambda: child.ready or not ready, "the worker serves")
            yield child
        finally:
            for pid in workers():
                os.kill(pid, signal.SIGCONT)
            child.stop(0.0, 0.0)
            await keeping


async def test_a_worker_that_leaves_three_questions_unanswered_is_replaced(store_url: str) -> None:
    async with child_of(store_url) as child:
        (pid,) = workers()
        birth = born(pid)
        await stop(pid)
        child.look()  # asks
        assert child.ready
        child.look()
        assert not child.ready, "who does not answer does not serve"
        for _ in range(STUCK_AFTER - 2):
            child.look()
        assert born(pid) == birth, "not yet"
        child.look()
        await until(lambda: born(pid) != birth, "it is killed")
        await until(lambda: child.ready, "the next one serves")
        assert workers() != [pid]


async def test_a_worker_that_answers_late_stays(store_url: str) -> None:
    """Suspended with all others and awake again, it is asked some more before anything happens to it."""
    async with child_of(store_url) as child:
        (pid,) = workers()
        for _ in range(3):
            await stop(pid)
            for _ in range(STUCK_AFTER):
                child.look()
            assert not child.ready
            os.kill(pid, signal.SIGCONT)
            await until(lambda: child.ready, "it has answered")
        assert workers() == [pid]


async def test_a_worker_that_a_debugger_holds_stays(store_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("server.processes.children.is_traced", lambda pid: True)
    async with child_of(store_url) as child:
        (pid,) = workers()
        await stop(pid)
        for _ in range(2 * STUCK_AFTER):
            child.look()
        assert not child.ready
        os.kill(pid, signal.SIGCONT)
        await until(lambda: child.ready, "it has answered")
        assert workers() == [pid]


async def test_a_worker_that_has_not_served_yet_may_take_its_time(store_url: str) -> None:
    async with child_of(store_url, ready=False) as child:
        await until(workers, "the process is there")
        (pid,) = workers()
        await stop(pid)
        for _ in range(2 * STUCK_AFTER):
            child.look()
        os.kill(pid, signal.SIGCONT)
        await until(lambda: child.ready, "it has come up")
        assert workers() == [pid]


async def test_who_asks_a_stuck_worker_again_and_again_does_not_fill_its_socket(
    store_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with child_of(store_url) as child:
        (pid,) = workers()
        await stop(pid)
        sent, send = list[Order](), child.send

        def counted(order: Order) -> None:
            sent.append(order)
            send(order)

        monkeypatch.setattr(child, "send", counted)
        child.look()
        assert await asyncio.gather(*(child.measure(0.01) for _ in range(50))) == [None] * 50
        assert len(sent) == 1
        os.kill(pid, signal.SIGCONT)
        assert await child.measure(10.0)
        assert await child.measure(10.0), "and can be asked again"
        os.kill(pid, signal.SIGKILL)
        await until(lambda: not is_alive(pid), "it has ended")
        async with asyncio.timeout(5):
            await child.measure(60.0)  # of the end everybody is told, or the next one answers


TRACED = """
import ctypes, sys
ctypes.CDLL(None).ptrace(0, 0, 0, 0)  # PTRACE_TRACEME
print(flush=True)
sys.stdin.read()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere it is not told")
@pytest.mark.parametrize("traced", [True, False])
def test_a_debugger_is_seen(traced: bool) -> None:
    code = TRACED if traced else TRACED.replace("ctypes.CDLL", "#")
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        assert is_traced(process.pid) is traced
    assert not is_traced(process.pid)


async def test_the_supervisor_looks(store_url: str, capsys: pytest.CaptureFixture[str]) -> None:
    supervisor = Supervisor(settings_of(store_url), Notifier({}), watch_s=0.3)
    running = asyncio.create_task(supervisor.run())
    try:
        await until(lambda: "listening on" in capsys.readouterr().out, "it is up")
        first, second = workers()
        await stop(first)
        await until(lambda: supervisor.readiness().ready == 1, "the stuck one counts as not ready")
        await until(lambda: not is_alive(first), "it is killed")
        await until(lambda: supervisor.readiness().ready == 2, "the next one serves")
        assert second in workers()
    finally:
        os.kill(os.getpid(), signal.SIGTERM)
        await running
