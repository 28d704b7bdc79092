"""The users file: what a bad one is told, grants, and what a change of it does."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import argon2
import pytest
from structlog.testing import capture_logs

from server.auth.principal import DEFAULT_SCOPES, Scope
from server.auth.users import folded, read_users
from server.auth.usersfile import EVERY_S, RETRY_LOOKS, SETTLE_S, UsersFile
from server.errors import SettingsError
from server.events import AgentId

CHEAP = argon2.PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
HASH = CHEAP.hash("one")
OTHER_HASH = CHEAP.hash("another")
ADA = "[users.ada]\nHASH\ntenant = 'acme'\n"
BO = "[users.bo]\nHASH\ntenant = 'acme'\n"


@pytest.fixture
def written(tmp_path: Path) -> Callable[[str], Path]:
    """Writes a users file in place."""

    def write(text: str) -> Path:
        path = tmp_path / "users.toml"
        path.write_text(text.replace("HASH", f"hash = '{HASH}'"), encoding="utf-8")
        return path

    return write


def test_a_users_file(written: Callable[[str], Path]) -> None:
    users = read_users(
        written("""
            [users.Ada]
            HASH
            tenant = "Acme"
            [users."bo@acme.example"]
            HASH
            tenant = "acme"
            agent = "BO"
            scopes = ["admin", "agents:write"]
        """)
    )
    assert list(users) == ["ada", "bo@acme.example"]
    ada, bo = (user.principal for user in users.values())
    assert (ada.agent, ada.scopes) == (AgentId.of("acme", "ada"), DEFAULT_SCOPES)
    assert (bo.agent, bo.scopes) == (AgentId.of("acme", "bo"), frozenset({Scope.ADMIN, Scope.AGENTS_WRITE}))


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("", "it has no users, each needs a table [users.NAME]"),
        ("[users]", "it has no users, each needs a table [users.NAME]"),
        ("users = 1", "it has no users, each needs a table [users.NAME]"),
        ("[users.a]\nHASH\ntenant='t'\n[x]", "unknown table [x], a user is a table [users.NAME]"),
        ("[users]\na = 'hunter2'", "[users.a] must be a table with hash and tenant"),
        ("[users.a]\ntenant = 't'", "[users.a] hash is missing"),
        ("[users.a]\nHASH", "[users.a] tenant is missing"),
        ("[users.a]\nHASH\ntenant = 1", "[users.a] tenant must be text"),
        ("[users.a]\nHASH\ntenant = ''", "[users.a] tenant must have 1 to 64 characters, it has 0"),
        ("[users.a]\nHASH\ntenant = 't'\nagent = ''", "[users.a] associate must have 1 to 64 characters, it has 0"),
        ("[users.a]\nHASH\ntenat = 't'", "[users.a] unknown key tenat, did you mean tenant?"),
        ("[users.a]\nHASH\ntenant = 't'\nzzz = 't'", "[users.a] unknown key zzz"),
        ("[users.a]\nHASH\ntenant = 't'\nscopes = 'admin'", "[users.a] scopes must be a list of texts"),
        (
            "[users.a]\nHASH\ntenant = 't'\nscopes = ['root']",
            "[users.a] unknown scope 'root', it must be one of handled:write, sync:read, admin, agents:write",
        ),
        (
            "[users.a]\nhash = 'hunter2'\ntenant = 't'",
            "[users.a] hash must be an argon2 hash, such as `clearsync hash-password` prints",
        ),
        (
            "[users.a]\nhash = '$argon2id$v=19$m=8,t=1,p=1$short$hunter2'\ntenant = 't'",
            "[users.a] hash must be an argon2 hash, such as `clearsync hash-password` prints",
        ),
        (
            "[users.'a:b']\nHASH\ntenant = 't'",
            "[users.a:b] can't sign in: a user name has no colon and no control character, and is not empty",
        ),
        (
            "[users.a]\nHASH\ntenant='t'\n[users.A]\nHASH\ntenant='t'",
            "[users.A] and [users.a] are the same user, case does not count",
        ),
    ],
)
def test_a_bad_users_file_is_one_line(written: Callable[[str], Path], text: str, line: str) -> None:
    path = written(text)
    with pytest.raises(SettingsError) as caught:
        read_users(path)
    assert str(caught.value) == f"users file {path}: {line}"


def test_a_users_file_that_is_not_there_or_not_toml(tmp_path: Path, written: Callable[[str], Path]) -> None:
    with pytest.raises(SettingsError, match="can't be read: No such file"):
        read_users(tmp_path / "none")
    with pytest.raises(SettingsError, match="is not TOML: Expected"):
        read_users(written("[users"))
    with pytest.raises(SettingsError, match="is not TOML: maximum recursion"):
        read_users(written("a = " + 10_000 * "["))


def test_names_fold() -> None:
    assert folded("Å") == folded("A\u030a") == folded("å") == "å"


# --- grants ---


def test_a_grant_is_the_same_as_long_as_the_entry_is(written: Callable[[str], Path]) -> None:
    (grant,) = (user.grant for user in read_users(written(ADA)).values())
    assert grant.startswith("user:")
    assert len(grant) == len("user:") + 32
    again = "[users.ADA]\ntenant = 'Acme'\nagent = 'ada'\nscopes = ['sync:read', 'handled:write']\nHASH"
    assert read_users(written(again + "\n" + BO))["ada"].principal.grants == (grant,)


@pytest.mark.parametrize(
    "changed",
    [
        "[users.eda]\nHASH\ntenant = 'acme'\nagent = 'ada'",
        f"[users.ada]\nhash = '{OTHER_HASH}'\ntenant = 'acme'",
        "[users.ada]\nHASH\ntenant = 'other'",
        "[users.ada]\nHASH\ntenant = 'acme'\nagent = 'eda'",
        "[users.ada]\nHASH\ntenant = 'acme'\nscopes = ['sync:read']",
    ],
)
def test_any_change_of_an_entry_is_another_grant(written: Callable[[str], Path], changed: str) -> None:
    before, after = (next(iter(read_users(written(text)).values())).grant for text in (ADA, changed))
    assert before != after


# --- a change ---


class Watched:
    """A users file that is looked at when the test says so."""

    def __init__(self, write: Callable[[str], Path]) -> None:
        self.write = write
        self.path = write(ADA + BO)
        self.revoked: list[frozenset[str]] = []
        self.pauses: list[float] = []
        self.meanwhile: Callable[[], Any] = lambda: None
        self.file = UsersFile(self.path, self._on_revoked, pause=self._pause)

    def _on_revoked(self, grants: frozenset[str]) -> None:
        assert threading.current_thread() is threading.main_thread()
        assert not any(map(self.file.stands, grants)), "the new users are there before the old ones' grants go"
        self.revoked.append(grants)

    def _pause(self, seconds: float) -> None:
        assert threading.current_thread() is not threading.main_thread()
        self.pauses.append(seconds)
        self.meanwhile()

    def replace(self, text: str) -> None:
        """As editors do: a new file takes the place."""
        new = self.path.with_suffix(".new")
        self.write(text).replace(new)
        self.write(ADA + BO)
        new.replace(self.path)

    async def look(self, anyway: bool = False) -> list[dict[str, Any]]:
        """What is logged of a look."""
        with capture_logs() as lines:
            await self.file.look(anyway=anyway)
        return [dict(line) for line in lines]

    @property
    def names(self) -> list[str]:
        return list(self.file.users)


@pytest.fixture
def watched(written: Callable[[str], Path]) -> Watched:
    return Watched(written)


async def test_who_is_gone_or_changed_loses_his_grant(watched: Watched) -> None:
    before = watched.file.users
    ada, bo = (user.grant for user in before.values())
    assert watched.file.stands(ada)
    assert not watched.file.stands("ticket:" + ada.removeprefix("user:"))
    watched.write(BO + "scopes = ['admin']\n[users.cy]\nHASH\ntenant = 'acme'")
    (line,) = await watched.look()
    assert line["event"] == "users file reloaded"
    assert (line["users"], line["added"], line["changed"], line["removed"]) == (2, 1, 1, 1)
    assert watched.revoked == [frozenset({ada, bo})]
    assert watched.names == ["bo", "cy"]
    assert all(watched.file.stands(user.grant) for user in watched.file.users.values())
    assert list(before) == ["ada", "bo"], "what somebody reads meanwhile stays as it was"


async def test_a_file_that_did_not_change_is_not_read(watched: Watched) -> None:
    for _ in range(2 * RETRY_LOOKS):
        assert await watched.look() == []
    assert watched.pauses == []


async def test_who_stays_as_he_is_keeps_his_grant(watched: Watched) -> None:
    watched.replace("# a word\n" + BO + ADA)
    (line,) = await watched.look()
    assert (line["added"], line["changed"], line["removed"]) == (0, 0, 0)
    assert watched.revoked == []
    assert await watched.look() == []


@pytest.mark.parametrize("how", ["in place", "by a new file", "with its times set back"])
async def test_a_change_is_seen_however_it_is_made(watched: Watched, how: str) -> None:
    stat = watched.path.stat()
    text = ADA + BO.replace("bo", "cy")  # of the same size
    (watched.replace if how == "by a new file" else watched.write)(text)
    if how == "with its times set back":
        os.utime(watched.path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    await watched.look()
    assert watched.names == ["ada", "cy"]
    assert watched.pauses == [SETTLE_S]


@pytest.mark.parametrize(
    ("text", "error"),
    [("", "it has no users"), ("[users.ada]\nHASH\nten", "is not TOML"), ("[users.ada]\nHASH\n", "tenant is missing")],
)
async def test_a_file_that_can_not_be_used_leaves_the_users_as_they_are(
    watched: Watched, text: str, error: str
) -> None:
    watched.write(text)
    (line,) = await watched.look()
    assert (line["log_level"], line["event"]) == ("error", "users file not reloaded, the old users stay")
    assert error in line["error"]
    assert HASH not in str(line)
    assert await watched.look() == [], "once"
    watched.write(text + "\n")
    assert len(await watched.look()) == 1, "and at each change"
    assert (watched.names, watched.revoked) == (["ada", "bo"], [])
    watched.write(BO)
    (line,) = await watched.look()
    assert line["removed"] == 1
    assert watched.names == ["bo"]
    for _ in range(2 * RETRY_LOOKS):
        assert await watched.look() == []


async def test_a_file_that_is_away_leaves_the_users_as_they_are(watched: Watched) -> None:
    watched.path.unlink()
    (line,) = await watched.look()
    assert "No such file" in line["error"]
    assert watched.names == ["ada", "bo"]
    watched.write(ADA + BO)
    assert len(await watched.look()) == 1
    assert watched.revoked == []


async def test_a_moment_without_the_file_is_nothing(watched: Watched) -> None:
    watched.path.unlink()
    watched.meanwhile = lambda: watched.write(BO)
    assert await watched.look() == []
    watched.meanwhile = lambda: None
    (line,) = await watched.look()
    assert line["removed"] == 1


async def test_half_a_file_is_nobody_s_end(watched: Watched) -> None:
    watched.write(ADA)
    watched.meanwhile = lambda: watched.write(ADA + BO)
    assert await watched.look() == []
    watched.meanwhile = lambda: None
    await watched.look()
    assert (watched.names, watched.revoked) == (["ada", "bo"], [])


async def test_a_file_that_can_not_be_read_is_tried_again(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(path: Path) -> Any:
        raise SettingsError("can't be read")

    watched.write(BO)
    with monkeypatch.context() as patched:
        patched.setattr("server.auth.usersfile.read_users", refused)
        lines = [line for _ in range(3 * RETRY_LOOKS) for line in await watched.look()]
        assert [line["error"] for line in lines] == ["can't be read"], "tried again, told once"
        assert len(watched.pauses) >= 3
    lines = [line for _ in range(RETRY_LOOKS) for line in await watched.look()]
    assert [line["removed"] for line in lines] == [1]
    assert watched.names == ["bo"]


async def test_who_asks_is_answered_in_any_case(watched: Watched) -> None:
    for _ in range(2):
        (line,) = await watched.look(anyway=True)
        assert (line["event"], line["users"]) == ("users file reloaded", 2)
    watched.write("")
    for _ in range(2):
        (line,) = await watched.look(anyway=True)
        assert line["log_level"] == "error"


# --- run ---


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("server.auth.usersfile.EVERY_S", EVERY_S / 200)


@pytest.mark.usefixtures("quick")
async def test_run_sees_a_change(written: Callable[[str], Path]) -> None:
    told: asyncio.Queue[frozenset[str]] = asyncio.Queue()
    file = UsersFile(written(ADA + BO), told.put_nowait, pause=lambda seconds: None)
    running = asyncio.ensure_future(file.run())
    grants = [file.users[name].grant for name in ("ada", "bo")]
    async with asyncio.timeout(10):
        written(BO)
        assert await told.get() == {grants[0]}
        written(BO.replace("acme", "other"))
        assert await told.get() == {grants[1]}
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


@pytest.mark.usefixtures("quick")
async def test_run_survives_a_look_that_fails(written: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch) -> None:
    told: asyncio.Queue[frozenset[str]] = asyncio.Queue()
    failed, look = asyncio.Event(), UsersFile.look

    async def fail(file: UsersFile, *, anyway: bool = False) -> None:
        failed.set()
        raise RuntimeError("can't start new thread")

    file = UsersFile(written(ADA + BO), told.put_nowait, pause=lambda seconds: None)
    monkeypatch.setattr(UsersFile, "look", fail)
    running = asyncio.ensure_future(file.run())
    with capture_logs() as lines:
        async with asyncio.timeout(10):
            await failed.wait()
            monkeypatch.setattr(UsersFile, "look", look)
            written(BO)
            await told.get()
    assert ("error", "users file could not be looked at") in [(line["log_level"], line["event"]) for line in lines]
    assert list(file.users) == ["bo"]
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


async def test_an_order_is_obeyed_at_once(written: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("server.auth.usersfile.EVERY_S", 3600.0)
    told: asyncio.Queue[frozenset[str]] = asyncio.Queue()
    read: asyncio.Queue[float] = asyncio.Queue()
    loop = asyncio.get_running_loop()
    pauses: list[float] = []

    def pause(seconds: float) -> None:
        pauses.append(seconds)
        loop.call_soon_threadsafe(read.put_nowait, seconds)

    file = UsersFile(written(ADA + BO), told.put_nowait, pause=pause)
    running = asyncio.ensure_future(file.run())
    async with asyncio.timeout(10):
        for text in (BO, ADA, BO):
            written(text)
            file.reload()
            await told.get()
        assert len(pauses) == 3, "once for each order"
        while not read.empty():
            read.get_nowait()
        file.reload()
        await read.get()  # though nothing has changed
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


async def test_a_file_server_that_hangs_stalls_nobody(watched: Watched) -> None:
    hanging, go_on = asyncio.Event(), threading.Event()
    loop, errors = asyncio.get_running_loop(), list[dict[str, Any]]()
    loop.set_exception_handler(lambda loop, context: errors.append(context))

    def hang() -> None:
        loop.call_soon_threadsafe(hanging.set)
        go_on.wait(10)

    watched.meanwhile = hang
    looking = asyncio.ensure_future(watched.file.look(anyway=True))
    async with asyncio.timeout(10):
        await hanging.wait()
        (thread,) = (thread for thread in threading.enumerate() if thread.name == "users-file")
        assert thread.daemon, "it does not hold up the exit"
        looking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await looking
    go_on.set()
    await asyncio.to_thread(thread.join, 10)
    await asyncio.sleep(0)
    assert watched.names == ["ada", "bo"]
    assert not errors


def test_a_thread_that_outlives_the_loop_makes_no_noise(watched: Watched) -> None:
    go_on = threading.Event()
    watched.meanwhile = lambda: go_on.wait(10) and None

    async def give_up() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await watched.file.look(anyway=True)

    asyncio.run(give_up())
    (thread,) = (thread for thread in threading.enumerate() if thread.name == "users-file")
    go_on.set()
    thread.join(10)
    assert not thread.is_alive()
