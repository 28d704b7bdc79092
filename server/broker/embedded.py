"""The store that `serve` brings along: one Valkey process on a unix socket, with an append-only file.

It is a child of the supervisor and ends with it. What a `kill -9` of either leaves behind, the next start clears up.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import re
import signal
import sys
from asyncio.subprocess import DEVNULL, PIPE, STDOUT, Process
from collections.abc import Callable
from pathlib import Path
from typing import Final

from redis.exceptions import RedisError

from server import logs
from server.broker.binary import Binary
from server.broker.orphan import POLL_S, claim, client
from server.broker.whereabouts import Whereabouts
from server.errors import StoreError

START_S: Final = 60.0
"""The time in which a store answers, reading its file included."""
END_S: Final = 15.0
"""The time in which it ends by itself once told to, writing its file to the disk included."""

_PR_SET_PDEATHSIG: Final = 1
_LINE = re.compile(r"\d+:[A-Z] .{10,32}? ([.*#-]) (.*)")
_NOISE: Final = ("WARNING Memory overcommit must be enabled", "Valkey is now ready to exit")

# Loaded here and not between fork and exec, where to load anything could deadlock.
_libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None

log = logs.get("clearsync.store")


def arguments(binary: Path, folder: Path, socket: str) -> list[str]:
    """The command of a store that keeps its files in `folder` and answers on `socket` and nowhere else."""
    options = {
        "port": "0",
        "unixsocket": socket,
        "unixsocketperm": "700",
        "daemonize": "no",
        "dir": str(folder),
        "appendonly": "yes",
        "appendfsync": "everysec",
        # What a kill cut off in the middle of a write was not acknowledged.
        "aof-load-truncated": "yes",
        # One agent is a few hundred bytes, rewritten in place again and again: small files are not worth a rewrite.
        "auto-aof-rewrite-min-size": "256mb",
        "save": "",
        # A handled state that is evicted is a clear that is lost, without a word. Better to refuse.
        "maxmemory-policy": "noeviction",
    }
    return [str(binary), *(part for name, value in options.items() for part in (f"--{name}", value))]


class EmbeddedStore:
    """The store of one data directory, which the caller holds by `hold_data_dir`. One life at a time.

    The socket is the same in all its lives, so that workers find it again; `close` removes it.
    """

    def __init__(self, data_dir: Path, binary: Binary) -> None:
        self._data_dir = data_dir
        self._binary = binary
        self._where: Whereabouts | None = None
        self._last_line = ""

    @property
    def url(self) -> str:
        """Where it answers; known once it has come up."""
        if self._where is None:
            raise StoreError("the embedded store has not been started")
        return f"unix://{self._where.socket}"

    async def live(self, up: Callable[[], None]) -> int:
        """One life, to its exit status; `up` is called once it answers. Cancelled, it ends the store in order.

        Raises `StoreError` where it does not come up.
        """
        try:
            process = await self._spawn()
        except OSError as problem:
            raise StoreError(f"the embedded store can't be started: {problem}") from None
        try:
            return await self._attend(process, up)
        except BaseExceptionGroup as group:
            raise group.exceptions[0] from None

    def close(self) -> None:
        """Remove the socket, its folder and the note of it. After the last life."""
        if self._where is not None:
            self._where.remove(self._data_dir)

    async def _spawn(self) -> Process:
        folder = self._data_dir / "store"
        folder.mkdir(mode=0o700, exist_ok=True)
        lock = await claim(self._data_dir)
        try:
            where = self._settle()
            process = await asyncio.create_subprocess_exec(
                *arguments(self._binary.path, folder, where.socket),
                stdin=DEVNULL,
                stdout=PIPE,
                stderr=STDOUT,
                pass_fds=(lock,),
                umask=0o077,
                # Ctrl-C reaches a whole process group, and the store has to outlast the workers.
                start_new_session=True,
                preexec_fn=end_with(os.getpid()),
            )
        finally:
            os.close(lock)
        Whereabouts(where.socket, process.pid).write(self._data_dir)
        return process

    def _settle(self) -> Whereabouts:
        # With the lock in hand no store is alive: what the note of an earlier serve names is nobody's.
        stale = Whereabouts.read(self._data_dir)
        if stale and (self._where is None or stale.socket != self._where.socket):
            stale.remove(self._data_dir)
        if self._where is None:
            self._where = Whereabouts.make()
        elif not self._where.is_private():
            os.mkdir(os.path.dirname(self._where.socket), 0o700)
        self._where.write(self._data_dir)
        return self._where

    async def _attend(self, process: Process, up: Callable[[], None]) -> int:
        answered = asyncio.Event()
        async with asyncio.TaskGroup() as tasks:
            copying = tasks.create_task(self._copy_log(process))
            asking = tasks.create_task(self._await_answer(answered, up))
            try:
                status = await process.wait()
            finally:
                asking.cancel()
                await _end(process)
            # A child of the store, busy with a rewrite, may keep the pipe open; the next life ends it.
            await asyncio.wait({copying}, timeout=1.0)
            copying.cancel()
        if not answered.is_set():
            raise StoreError(f"the embedded store ended at its start: {self._last_words(status)}")
        return status

    async def _await_answer(self, answered: asyncio.Event, up: Callable[[], None]) -> None:
        assert self._where is not None
        try:
            async with asyncio.timeout(START_S), client(self._where.socket) as store:
                while not answered.is_set():
                    try:
                        await store.ping()
                        answered.set()
                    except (RedisError, OSError):  # no socket yet, or LOADING
                        await asyncio.sleep(POLL_S)
        except TimeoutError:
            raise StoreError(f"the embedded store did not answer in {START_S:g} s: {self._last_words(None)}") from None
        up()

    async def _copy_log(self, process: Process) -> None:
        assert process.stdout is not None
        async for raw in process.stdout:
            line = raw.decode(errors="replace").rstrip()
            match = _LINE.fullmatch(line)
            level, text = match.groups() if match else ("-", line)
            if text:
                self._last_line = text
            quiet = level != "#" or text.startswith(_NOISE)
            (log.debug if quiet else log.warning)("store says", text=text)

    def _last_words(self, status: int | None) -> str:
        return self._last_line or f"it said nothing (status {status})"


async def _end(process: Process) -> None:
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        try:
            await asyncio.wait_for(process.wait(), END_S)
        except TimeoutError:
            log.error("store does not end, killed", pid=process.pid, after_s=END_S)
            process.kill()
            await process.wait()


def end_with(parent: int) -> Callable[[], None] | None:
    """What makes a child end when `parent` does, run between its fork and its exec; None outside Linux.

    The kernel watches the *thread* that forked: call it from the main one.
    """
    if _libc is None:
        return None
    prctl = _libc.prctl

    def ask_for_signal() -> None:
        prctl(_PR_SET_PDEATHSIG, int(signal.SIGTERM), 0, 0, 0)
        if os.getppid() != parent:  # it died before we asked
            os._exit(1)

    return ask_for_signal
