"""Where a device keeps how far it got.

A cursor belongs to one server, one agent and one device: another's would hide clears that this one has never seen.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Awaitable
from pathlib import Path
from typing import NamedTuple, Protocol


class CursorKey(NamedTuple):
    """Whose cursor it is. `server` is its address, `agent` whatever tells agents apart."""

    server: str
    agent: str
    device: str


class CursorStore(Protocol):
    """Keeps one text for each key; both may be coroutines. What they raise goes to who asked for the next frame."""

    def get(self, key: CursorKey) -> str | Awaitable[str | None] | None:
        """The text set last, None where there was none."""

    def set(self, key: CursorKey, cursor: str) -> Awaitable[None] | None:
        """Replace it. Called once the frame has been applied, never before."""


class FileCursors:
    """One file for each key in a folder, readable by its owner only, always whole.

    A file's name is a hash, so that neither tells whom this account listens for.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, key: CursorKey) -> Path:
        """The file of a key."""
        return self.folder / hashlib.sha256("\n".join(key).encode()).hexdigest()

    def get(self, key: CursorKey) -> str | None:
        """What the file has, which may be no cursor if somebody wrote to it. Raises OSError."""
        try:
            return self.path(key).read_text("ascii", errors="replace").strip()
        except FileNotFoundError:
            return None

    def set(self, key: CursorKey, cursor: str) -> None:
        """Replace it in one step: a reader, or a crash, finds the old one or the new one. Raises OSError.

        Not synced to the disk: an older cursor after a power cut repeats clears, and clears may be repeated.
        """
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=self.folder)  # 0600
        try:
            with os.fdopen(handle, "w", encoding="ascii") as file:
                file.write(cursor + "\n")
            Path(name).replace(self.path(key))
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
