"""The users of a file, as it is now: read again when it changes."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Final, NoReturn, TypeVar

from server import logs
from server.auth.users import User, read_users
from server.errors import SettingsError

EVERY_S: Final = 1.0
SETTLE_S: Final = 0.2
"""For which a changed file has to stay as it is, since an editor may be writing it."""
RETRY_LOOKS: Final = 5
"""Looks after which a file that can't be used is read again, though it seems the same."""

T = TypeVar("T")
_log = logs.get("clearsync.auth")


class UsersFile:
    """The users of a file that is read again when it changes; `run` looks once in `EVERY_S`. Belongs to one event loop.

    1. A file that can't be used (gone, half written, wrong, without any user) leaves the users as they are. That is an
       error in the log, once, and the file is read again when it changes, and every few seconds.
    2. Files are looked at and read in a thread: a file server that hangs stalls nobody, and does not hold up the exit.
       6,000 users are read in 0.4 s, meanwhile the loop is late by up to 30 ms.
    3. Who is gone, or has anything changed in his entry, loses his grant as the new users come in, in one step.
    """

    def __init__(
        self,
        path: Path,
        on_revoked: Callable[[frozenset[str]], None],
        on_reloaded: Callable[[], None] = lambda: None,
        *,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        """Reads it; raises `SettingsError`. `on_revoked` gets grants that stand no more, `on_reloaded` is told of
        every change; both are called on the loop and may not raise. `pause` is called in the thread."""
        self._path = path
        self._on_revoked = on_revoked
        self._on_reloaded = on_reloaded
        self._pause = pause
        self._asked = asyncio.Event()
        self._problem = ""
        self._looks = 0
        self._seen = _signature(path)
        self._users: Mapping[str, User] = read_users(path)
        self._grants = frozenset(user.grant for user in self._users.values())

    @property
    def users(self) -> Mapping[str, User]:
        """The present users by their folded names. Never changed: a reload makes another."""
        return self._users

    def stands(self, grant: str) -> bool:
        """Whether a grant is a present user's."""
        return grant in self._grants

    def reload(self) -> None:
        """Read it now, whether it seems changed or not; on the loop."""
        self._asked.set()

    async def run(self) -> NoReturn:
        """Look until cancelled."""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(EVERY_S):
                    await self._asked.wait()
            asked = self._asked.is_set()
            self._asked.clear()
            try:
                await self.look(anyway=asked)
            except Exception:  # such as no thread to be had; the next look may have one
                _log.exception("users file could not be looked at")

    async def look(self, *, anyway: bool = False) -> None:
        """Read the file if it has changed, or `anyway`. What `run` does each time."""
        self._looks += 1
        retry = bool(self._problem) and self._looks % RETRY_LOOKS == 0
        found = await _in_thread(partial(self._read, anyway or retry))
        if found is None:
            return
        self._seen, users = found
        if not isinstance(users, SettingsError):
            self._problem = ""
            self._take(users)
        elif str(users) != self._problem or not retry:
            self._problem = str(users)
            _log.error("users file not reloaded, the old users stay", error=self._problem)

    def _read(self, anyway: bool) -> tuple[_Signature, dict[str, User] | SettingsError] | None:
        """In the thread. None where the file is as it was, or is being written: then the next look finds it changed."""
        seen = _signature(self._path)
        if seen == self._seen and not anyway:
            return None
        self._pause(SETTLE_S)
        try:
            users: dict[str, User] | SettingsError = read_users(self._path)
        except SettingsError as problem:
            users = problem
        return (seen, users) if _signature(self._path) == seen else None

    def _take(self, users: dict[str, User]) -> None:
        before, grants = self._users, frozenset(user.grant for user in users.values())
        changed = sum(name in before and before[name].grant != user.grant for name, user in users.items())
        added, removed = len(users.keys() - before.keys()), len(before.keys() - users.keys())
        revoked = self._grants - grants
        self._users, self._grants = users, grants
        _log.info("users file reloaded", users=len(users), added=added, changed=changed, removed=removed)
        self._on_reloaded()
        if revoked:
            self._on_revoked(revoked)


_Signature = tuple[int, ...] | None


def _signature(path: Path) -> _Signature:
    """What changes with a file, also one that is replaced, or written with its times set back; None without one."""
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_mtime_ns, stat.st_ctime_ns, stat.st_size, stat.st_ino, stat.st_dev


async def _in_thread(work: Callable[[], T]) -> T:
    """What `work` returns or raises, in a daemon thread: an executor's would be waited for at the exit."""
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[T] = loop.create_future()

    def settle(outcome: Callable[[], None]) -> None:
        if not answer.done():  # nobody waits any more
            outcome()

    def run() -> None:
        try:
            outcome = partial(answer.set_result, work())
        except Exception as problem:
            outcome = partial(answer.set_exception, problem)
        with suppress(RuntimeError):  # the loop has ended
            loop.call_soon_threadsafe(settle, outcome)

    threading.Thread(target=run, name="users-file", daemon=True).start()
    return await answer
