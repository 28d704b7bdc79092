"""Where `clearsync listen` remembers how far it got."""

from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path

from platformdirs import user_state_path

from server.errors import BadRequest
from server.events import Cursor


def state_dir() -> Path:
    """The folder of the cursors, by default; the system's place for a user's program state."""
    return user_state_path("clearsync", appauthor=False) / "cursors"


class CursorStore:
    """One file for each server, user and device, readable by its owner only, always whole.

    `user` is whatever tells agents apart (`Remote.who`). The file's name is a hash, so that neither tells whom this
    account listens for.
    """

    def __init__(self, folder: Path, *, url: str, user: str, device: str) -> None:
        key = hashlib.sha256("\n".join((url, user, device)).encode()).hexdigest()
        self.path = folder / key

    def load(self) -> str | None:
        """The cursor of the run before; None where there was none, or what is there is no cursor."""
        try:
            return str(Cursor.parse(self.path.read_text("ascii").strip()))
        except (FileNotFoundError, UnicodeDecodeError, BadRequest):
            return None

    def save(self, cursor: str) -> None:
        """Replace it in one step: a reader, or a crash, finds the old one or the new one. Raises OSError.

        Not synced to the disk: an older cursor after a power cut repeats clears, and clears may be repeated.
        """
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=self.path.parent)  # 0600
        try:
            with os.fdopen(handle, "w", encoding="ascii") as file:
                file.write(cursor + "\n")
            Path(name).replace(self.path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
