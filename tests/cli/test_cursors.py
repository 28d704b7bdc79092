"""Where `listen` remembers how far it got."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from server.cli.cursors import CursorStore, state_dir


def _store(folder: Path, **other: str) -> CursorStore:
    return CursorStore(folder, **({"url": "http://127.0.0.1:8080", "user": "ada", "device": "phone"} | other))


def test_what_was_saved_is_loaded_and_nothing_else_is_left(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "cursors"
    store = _store(folder)
    assert store.load() is None
    for cursor in ("ab1-5", "ab1-6"):
        store.save(cursor)
        assert _store(folder).load() == cursor
    assert list(folder.iterdir()) == [store.path]


@pytest.mark.parametrize(
    "other", [{"url": "http://127.0.0.1:8081"}, {"user": "bob"}, {"user": "ticket:0a1b2c3d4e5f"}, {"device": "desk"}]
)
def test_each_server_user_and_device_has_its_own(tmp_path: Path, other: dict[str, str]) -> None:
    _store(tmp_path).save("ab1-5")
    assert _store(tmp_path, **other).load() is None


def test_only_its_owner_can_read_it_and_its_name_tells_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "cursors"
    store = _store(folder)
    store.save("ab1-5")
    assert stat.S_IMODE(store.path.stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert "ada" not in store.path.name


@pytest.mark.parametrize("content", [b"", b"x\n", b"\xff\xfe", b"ab1-5\nab1-6\n", b"ab1-" + b"9" * 99])
def test_what_is_no_cursor_is_none(tmp_path: Path, content: bytes) -> None:
    store = _store(tmp_path)
    store.path.write_bytes(content)
    assert store.load() is None


def test_a_save_that_fails_leaves_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = _store(tmp_path)
    store.save("ab1-5")

    def full(self: Path, target: Path) -> Path:
        raise OSError("disk full")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(OSError, match="disk full"):
        store.save("ab1-6")
    assert store.load() == "ab1-5"
    assert list(tmp_path.iterdir()) == [store.path]


def test_it_lives_where_the_system_keeps_a_users_state() -> None:
    assert state_dir().parts[-2:] == ("clearsync", "cursors")
