"""Where `clearsync listen` remembers how far it got."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from platformdirs import user_state_path

from server.client import CursorKey, FileCursors


def state_dir() -> Path:
    """The folder of the cursors, by default; the system's place for a user's program state."""
    return user_state_path("clearsync", appauthor=False) / "cursors"


class Remembered(FileCursors):
    """Where a cursor can't be kept, `note` is told so once, and it goes on: showing clears matters more."""

    def __init__(self, folder: Path, note: Callable[[str], None]) -> None:
        super().__init__(folder)
        self._note = note
        self._complained = False

    def get(self, key: CursorKey) -> str | None:
        try:
            return super().get(key)
        except OSError as error:
            self._complain(error)
            return None

    def set(self, key: CursorKey, cursor: str) -> None:
        try:
            super().set(key, cursor)
        except OSError as error:
            self._complain(error)

    def _complain(self, error: OSError) -> None:
        if not self._complained:
            self._complained = True
            self._note(f"the position can't be remembered in {self.folder}: {error.strerror}")
