"""Where the embedded store of a data directory is to be found, kept in the directory for the one who comes next.

A unix socket's path has about 107 bytes at most, which a data directory may well exceed: the socket gets a short
private folder elsewhere, and the data directory gets a note of it.
"""

from __future__ import annotations

import contextlib
import os
import stat
import sys
import tempfile
from pathlib import Path
from typing import Final, Self

import msgspec

LONGEST: Final = 107 if sys.platform == "linux" else 103
"""The most bytes of a unix socket's path (unix(7): `sun_path`)."""

_FOLDER: Final = "clearsync-"
_SOCKET: Final = "s"


class Whereabouts(msgspec.Struct, frozen=True):
    """The store's socket, and its process id, 0 as long as it has none."""

    socket: str
    pid: int = 0

    @classmethod
    def read(cls, data_dir: Path) -> Self | None:
        """What is noted in the data directory; None for nothing, or nothing that makes sense."""
        try:
            return msgspec.json.decode(_note(data_dir).read_bytes(), type=cls)
        except (OSError, msgspec.DecodeError, UnicodeDecodeError):
            return None

    @classmethod
    def make(cls) -> Self:
        """A new folder that only this user may enter, in the first place where the path is short enough."""
        # XDG_RUNTIME_DIR only where it must be: it goes with the user's last login, and a server may stay.
        places = [tempfile.gettempdir(), os.environ.get("XDG_RUNTIME_DIR", ""), "/tmp"]  # nosec B108 # a new folder in it, by mkdtemp, that only this user may enter
        for place in filter(os.path.isabs, places):
            with contextlib.suppress(OSError):
                folder = tempfile.mkdtemp(prefix=_FOLDER, dir=place)
                socket = os.path.join(folder, _SOCKET)
                if len(os.fsencode(socket)) <= LONGEST:
                    return cls(socket)
                os.rmdir(folder)
        raise OSError(f"no folder for a unix socket in any of {', '.join(filter(None, places))}")

    def write(self, data_dir: Path) -> None:
        """Note it; a reader sees the note before or this one, never half of one."""
        fresh = _note(data_dir).with_suffix(".new")
        fresh.write_bytes(msgspec.json.encode(self))
        fresh.chmod(0o600)
        fresh.replace(_note(data_dir))

    def is_private(self) -> bool:
        """Whether the folder is there, is one of ours, and lets nobody else in.

        Asked before each use of a folder that is not new: a cleaner of temporary files may have removed it, and in a
        shared place anybody can make one of that name.
        """
        folder = os.path.dirname(self.socket)
        try:
            status = os.lstat(folder)
        except OSError:
            return False
        named = os.path.basename(folder).startswith(_FOLDER) and os.path.basename(self.socket) == _SOCKET
        return named and stat.S_ISDIR(status.st_mode) and status.st_uid == os.geteuid() and not status.st_mode & 0o077

    def remove(self, data_dir: Path) -> None:
        """Remove socket and folder, where they are ours, and the note. Only once the store has ended."""
        _note(data_dir).unlink(missing_ok=True)
        if self.is_private():
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self.socket)
            with contextlib.suppress(OSError):
                os.rmdir(os.path.dirname(self.socket))


def _note(data_dir: Path) -> Path:
    return data_dir / "store.json"
