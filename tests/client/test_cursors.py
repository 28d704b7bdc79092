"""Where a device keeps how far it got: files, whose key they are under, and what a client makes of what it finds."""

from __future__ import annotations

import stat
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

from server.client import AccessRefused, Client, CursorKey, FileCursors
from server.errors import BadRequest
from tests.client.fake_gateway import clear, gateway, says, says_and_closes, welcome

KEY = CursorKey("http://127.0.0.1:8080", "ada", "phone")


def test_what_was_set_is_got_and_nothing_else_is_left(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "cursors"
    store = FileCursors(folder)
    assert store.get(KEY) is None
    for cursor in ("ab1-5", "ab1-6"):
        store.set(KEY, cursor)
        assert FileCursors(folder).get(KEY) == cursor
    assert list(folder.iterdir()) == [store.path(KEY)]


@pytest.mark.parametrize(
    "other", [{"server": "http://127.0.0.1:8081"}, {"agent": "bob"}, {"agent": "ticket:0a1b"}, {"device": "desk"}]
)
def test_each_server_agent_and_device_has_its_own(tmp_path: Path, other: dict[str, str]) -> None:
    store = FileCursors(tmp_path)
    store.set(KEY, "ab1-5")
    assert store.get(KEY._replace(**other)) is None


def test_only_its_owner_can_read_it_and_its_name_tells_nothing(tmp_path: Path) -> None:
    store = FileCursors(tmp_path / "cursors")
    store.set(KEY, "ab1-5")
    assert stat.S_IMODE(store.path(KEY).stat().st_mode) == 0o600
    assert stat.S_IMODE(store.folder.stat().st_mode) == 0o700
    assert "ada" not in store.path(KEY).name


def test_a_set_that_fails_leaves_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = FileCursors(tmp_path)
    store.set(KEY, "ab1-5")

    def full(self: Path, target: Path) -> Path:
        raise OSError("disk full")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(OSError, match="disk full"):
        store.set(KEY, "ab1-6")
    assert store.get(KEY) == "ab1-5"
    assert list(tmp_path.iterdir()) == [store.path(KEY)]


async def shown(store: FileCursors, cursor: str | None = None) -> str | None:
    """Which cursor a client with this store shows."""
    async with gateway(says(welcome("ab1-9"))) as fake:
        # The key has the address, which is another one each time; so the file is put where it will be looked for.
        key = CursorKey(fake.url, "ada", "phone")
        if (kept := store.folder / "kept").exists():
            store.path(key).write_bytes(kept.read_bytes())
        client = Client(fake.url, user="ada", password="x", device="phone", cursor=cursor, cursors=store)
        async with client, aclosing(client.frames()) as frames:
            await anext(frames)
        return fake.query(0).get("cursor")


@pytest.mark.parametrize("content", [b"", b"x\n", b"\xff\xfe", b"ab1-5\nab1-6\n", b"ab1-" + b"9" * 99])
async def test_a_file_that_has_no_cursor_is_a_lost_position_and_not_none(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "kept").write_bytes(content)
    assert await shown(FileCursors(tmp_path)) == "0"


async def test_a_cursor_that_is_given_beats_the_stores(tmp_path: Path) -> None:
    assert await shown(FileCursors(tmp_path)) is None
    (tmp_path / "kept").write_bytes(b"ab1-5\n")
    assert await shown(FileCursors(tmp_path)) == "ab1-5"
    assert await shown(FileCursors(tmp_path), cursor="0") == "0"


class Slow:
    """A store whose work takes a while."""

    def __init__(self) -> None:
        self.kept: dict[CursorKey, str] = {}

    async def get(self, key: CursorKey) -> str | None:
        return self.kept.get(key)

    async def set(self, key: CursorKey, cursor: str) -> None:
        self.kept[key] = cursor


async def test_a_store_may_be_of_coroutines_and_is_asked_under_server_agent_and_device() -> None:
    store = Slow()
    scenes = says_and_closes(4003, welcome("ab1-1"), clear("ab1-2")), says(welcome("ab1-2"))
    async with gateway(*scenes) as fake:
        options: dict[str, Any] = {"authorization": "Bearer x", "agent": "ada", "device": "phone", "cursors": store}
        with pytest.raises(AccessRefused):
            async for _ in Client(fake.url, **options).frames():
                pass
        async with Client(fake.url, **options) as client, aclosing(client.frames()) as frames:
            await anext(frames)
        assert [fake.query(i).get("cursor") for i in range(2)] == [None, "ab1-2"]
        assert store.kept == {CursorKey(fake.url, "ada", "phone"): "ab1-2"}


def test_who_keeps_cursors_says_whose_they_are() -> None:
    with pytest.raises(BadRequest, match="agent is missing"):
        Client("http://127.0.0.1:1", authorization="Bearer x", device="phone", cursors=Slow())


async def test_a_cursor_that_was_given_is_stored_too() -> None:
    """The store may not have it, and what comes after it would be missed by the next run."""
    store = Slow()
    async with gateway(says(welcome("ab1-5"), clear("ab1-6"))) as fake:
        client = Client(fake.url, user="ada", password="x", device="phone", cursor="ab1-5", cursors=store)
        async with client, aclosing(client.frames()) as frames:
            await anext(frames)
            await anext(frames)
        assert store.kept == {CursorKey(fake.url, "ada", "phone"): "ab1-5"}
