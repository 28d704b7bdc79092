"""Locks on files. The kernel lets go of one when its last descriptor is closed, so no `kill -9` leaves one behind.

The files stay where they are: to unlink a lock file is to let two processes lock two files of one name.
"""

from __future__ import annotations

import fcntl
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from server.errors import DataDirInUse, SettingsError


def open_lock(path: Path) -> int:
    """A descriptor of the lock file, not locked yet, and closed by an exec; the caller closes it. Raises OSError."""
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)


def try_lock(descriptor: int) -> bool:
    """Whether the lock is ours now. It belongs to the open file: whoever inherits the descriptor holds it too."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextmanager
def hold_data_dir(data_dir: Path) -> Iterator[None]:
    """The data directory, made where it is missing, is this process's alone as long as this context is open.

    Raises `DataDirInUse`, and `SettingsError` where there can be no such directory. The file says who holds it.
    """
    try:
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        if data_dir.stat().st_mode & stat.S_IWOTH:
            raise SettingsError(f"store.data_dir: {data_dir} can be written to by everybody, chmod it")
        descriptor = open_lock(data_dir / "serve.lock")
    except OSError as problem:
        raise SettingsError(f"store.data_dir: {data_dir} can't be used: {problem.strerror}") from None
    try:
        if not try_lock(descriptor):
            holder = os.pread(descriptor, 20, 0).decode(errors="replace").strip()
            by = f"another clearsync serve (process {holder})" if holder.isdigit() else "another clearsync serve"
            raise DataDirInUse(f"data directory {data_dir} is in use by {by}")
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, b"%d\n" % os.getpid(), 0)
        yield
    finally:
        os.close(descriptor)
