"""Where `listen` remembers how far it got."""

from __future__ import annotations

from pathlib import Path

from server.cli.cursors import Remembered, state_dir
from server.client import CursorKey

KEY = CursorKey("http://127.0.0.1:8080", "ada", "phone")


def test_what_cant_be_remembered_is_said_once(tmp_path: Path) -> None:
    notes: list[str] = []
    folder = tmp_path / "file"
    folder.touch()
    store = Remembered(folder, notes.append)
    assert store.get(KEY) is None
    store.set(KEY, "ab1-5")
    assert notes == [f"the position can't be remembered in {folder}: Not a directory"]


def test_it_lives_where_the_system_keeps_a_users_state() -> None:
    assert state_dir().parts[-2:] == ("clearsync", "cursors")
