"""Basic against a users file: who gets in, what it costs, and what a reload means for those under way."""

from __future__ import annotations

import asyncio
import base64
import threading
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import argon2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.auth import basic
from server.auth.basic import Basic, StandIns, hash_password, parse
from server.auth.development import Development
from server.auth.principal import Scope
from server.auth.usersfile import UsersFile
from server.errors import BadRequest, Unauthenticated, Unavailable

CHEAP = argon2.PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
DEAR = argon2.PasswordHasher(time_cost=2, memory_cost=16, parallelism=1)
DEAREST = argon2.PasswordHasher(time_cost=3, memory_cost=32, parallelism=1)


class Written:
    """A users file, its users and Basic."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.revoked: list[frozenset[str]] = []

    def write(self, *entries: str) -> None:
        self._path.write_text("".join(entries), encoding="utf-8")

    def load(self, waiting: int = 3) -> Basic:
        self.file = UsersFile(self._path, self.revoked.append, pause=lambda seconds: None)
        self.basic = Basic(self.file, waiting=waiting)
        return self.basic

    async def reload(self, *entries: str) -> None:
        self.write(*entries)
        await self.file.look(anyway=True)


def entry(name: str, password: str = "pass:wörd", hasher: argon2.PasswordHasher = CHEAP) -> str:
    return f"[users.{name}]\nhash = '{hasher.hash(password)}'\ntenant = 'acme'\n"


def credentials(text: str) -> bytes:
    return base64.b64encode(text.encode())


@pytest.fixture
async def written(tmp_path: Path) -> AsyncIterator[Written]:
    made = Written(tmp_path / "users.toml")
    made.write(entry("ada"), entry("bo", "other"))
    made.load()
    yield made
    await made.basic.close()


@pytest.fixture
def users(written: Written) -> Basic:
    return written.basic


class Runs:
    """Stands before argon2: counts the runs by parameters, and holds them while `gate` is closed."""

    def __init__(self) -> None:
        self.hashes: list[str] = []
        self.started = threading.Semaphore(0)
        self.gate = threading.Event()
        self.gate.set()
        self.failing: Exception | None = None
        self._lock = threading.Lock()
        self._active = 0
        self.most_active = 0
        self._matches = basic.matches

    def __call__(self, hash_: str, password: str) -> bool:
        with self._lock:
            self.hashes.append(hash_)
            self._active += 1
            self.most_active = max(self.most_active, self._active)
        self.started.release()
        self.gate.wait(10)
        with self._lock:
            self._active -= 1
        if self.failing:
            raise self.failing
        return self._matches(hash_, password)


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> Iterator[Runs]:
    counted = Runs()
    monkeypatch.setattr(basic, "matches", counted)
    yield counted
    counted.gate.set()


# --- who gets in ---


@pytest.mark.parametrize("name", ["ada", "ADA", "Ada"])
async def test_a_user_signs_in_in_any_case(users: Basic, name: str) -> None:
    principal = await users.verify(credentials(f"{name}:pass:wörd"), None)
    assert str(principal.agent) == "acme/ada"
    assert principal.tenant == "acme"


async def test_a_password_is_the_same_in_either_normal_form(users: Basic) -> None:
    assert (await users.verify(credentials("ada:pass:wo\u0308rd"), None)).agent.associate == "ada"
    assert CHEAP.verify(hash_password("wo\u0308rd"), "wörd")


@pytest.mark.parametrize("text", ["ada:wrong", "ada:", "nobody:pass:wörd", ":", "bo:pass:wörd", "ada:PASS:WÖRD"])
async def test_others_do_not_and_all_hear_the_same(users: Basic, text: str) -> None:
    with pytest.raises(Unauthenticated, match=r"^user name or password is wrong$") as caught:
        await users.verify(credentials(text), None)
    assert caught.value.headers == (("WWW-Authenticate", 'Basic realm="clearsync", charset="UTF-8"'),)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"YWRh",
        b"YTpi!",
        b"YTpi=",
        b"YTpiYQ==YQ==",
        b"YTpiYR==",
        b"Y Tpi",
        b"YTpi\n",
        b"YTpiYw",
        b"\xff\xfe",
        base64.b64encode(b"ada:w\xf6rd"),
        b"====",
    ],
)
def test_malformed_credentials(raw: bytes) -> None:
    with pytest.raises(Unauthenticated, match="must be the base64 of user:password"):
        parse(raw)


@given(name=st.text().filter(lambda text: ":" not in text), password=st.text())
def test_any_name_and_password_come_through(name: str, password: str) -> None:
    assert parse(credentials(f"{name}:{password}")) == (name, basic._normal(password))


# --- what it costs ---


async def test_an_unknown_user_costs_the_same(users: Basic, runs: Runs) -> None:
    for text in ("ada:wrong", "nobody:wrong"):
        with pytest.raises(Unauthenticated):
            await users.verify(credentials(text), None)
    known, unknown = runs.hashes
    assert known != unknown
    assert argon2.extract_parameters(known) == argon2.extract_parameters(unknown)
    assert [len(part) for part in known.split("$")] == [len(part) for part in unknown.split("$")]


def hashes_of(*hashers: argon2.PasswordHasher) -> list[str]:
    """One of each; salts, and so the lot, are the same in every run."""
    return [hasher.hash("x", salt=b"%016d" % number) for number, hasher in enumerate(hashers)]


def costs(hashes: list[str], names: int) -> list[int]:
    """What so many unknown names cost."""
    stand_ins = StandIns(hashes)
    return [argon2.extract_parameters(stand_ins.of(f"nobody{n}")).memory_cost for n in range(names)]


def test_the_unknown_cost_what_users_cost_in_proportion() -> None:
    hashes = hashes_of(*[CHEAP] * 6, *[DEAR] * 3, DEAREST)
    assert Counter(costs(hashes, 2000)) == pytest.approx({8: 1200, 16: 600, 32: 200}, abs=80)
    stand_ins = StandIns(hashes)
    assert not {stand_ins.of(f"nobody{n}") for n in range(100)} & set(hashes)


def test_a_name_that_is_unknown_costs_the_same_in_every_worker_and_mostly_after_a_reload() -> None:
    hashes = hashes_of(*[CHEAP] * 6, *[DEAR] * 4, CHEAP)
    before = costs(hashes[:-1], 500)
    assert costs(hashes[-2::-1], 500) == before
    assert sum(a != b for a, b in zip(before, costs(hashes, 500), strict=True)) < 50


async def test_a_reload_changes_what_the_unknown_cost(written: Written, runs: Runs) -> None:
    for _ in range(2):
        with pytest.raises(Unauthenticated):
            await written.basic.verify(credentials("nobody:x"), None)
        await written.reload(entry("ada", hasher=DEAR))
    cheap, dear = (argon2.extract_parameters(hash_).memory_cost for hash_ in runs.hashes)
    assert (cheap, dear) == (8, 16)


async def test_the_same_credentials_share_one_run(users: Basic, runs: Runs) -> None:
    runs.gate.clear()
    asking = [asyncio.ensure_future(users.verify(credentials("ada:pass:wörd"), None)) for _ in range(50)]
    await started(runs, 1)
    runs.gate.set()
    assert {principal.agent.associate for principal in await asyncio.gather(*asking)} == {"ada"}
    assert len(runs.hashes) == 1


async def test_one_who_gives_up_takes_nothing_from_the_others(users: Basic, runs: Runs) -> None:
    runs.gate.clear()
    first, second = (asyncio.ensure_future(users.verify(credentials("ada:pass:wörd"), None)) for _ in range(2))
    await started(runs, 1)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    runs.gate.set()
    assert (await second).agent.associate == "ada"
    assert len(runs.hashes) == 1


async def test_two_run_and_a_few_wait_and_the_rest_is_told(users: Basic, runs: Runs) -> None:
    runs.gate.clear()
    asking = [asyncio.ensure_future(users.verify(credentials(f"ada:wrong{n}"), None)) for n in range(3)]
    await started(runs, 2)
    with pytest.raises(Unavailable, match="too many are waiting") as caught:
        await users.verify(credentials("ada:pass:wörd"), None)
    assert caught.value.retry_after_s == 5
    runs.gate.set()
    assert [type(answer) for answer in await asyncio.gather(*asking, return_exceptions=True)] == [Unauthenticated] * 3
    assert runs.most_active == 2
    # what was refused was not remembered, and room has come back
    assert (await users.verify(credentials("ada:pass:wörd"), None)).agent.associate == "ada"


async def test_cancelled_runs_still_count(users: Basic, runs: Runs) -> None:
    runs.gate.clear()
    asking = [asyncio.ensure_future(users.verify(credentials(f"ada:wrong{n}"), None)) for n in range(3)]
    await started(runs, 2)
    for one in asking:
        one.cancel()
    await asyncio.gather(*asking, return_exceptions=True)
    with pytest.raises(Unavailable):
        await users.verify(credentials("ada:pass:wörd"), None)


async def test_a_run_that_fails_says_nothing_about_the_password(users: Basic, monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken:
        def verify(self, hash_: str, password: str) -> bool:
            raise argon2.exceptions.VerificationError("Memory allocation error")

    monkeypatch.setattr(basic, "_HASHER", Broken())
    with pytest.raises(Unavailable, match="can't be checked now"):
        await users.verify(credentials("ada:pass:wörd"), None)


async def test_a_failure_that_nobody_waits_for_makes_no_noise(users: Basic, runs: Runs) -> None:
    runs.gate.clear()
    runs.failing = Unavailable()
    asking = asyncio.ensure_future(users.verify(credentials("ada:x"), None))
    await started(runs, 1)
    (run,) = users._running.values()
    asking.cancel()
    runs.gate.set()
    await asyncio.wait([run])
    await asyncio.gather(asking, return_exceptions=True)
    assert not users._running


async def test_closing_twice(users: Basic) -> None:
    await users.close()
    await users.close()


async def test_all_that_is_basic_is_claimed(users: Basic) -> None:
    assert users.claims(b"")
    assert Development().claims(b"")


# --- a reload meanwhile ---


@pytest.mark.parametrize(
    "after", [[entry("bo")], [entry("ada", "new"), entry("bo")]], ids=["removed", "another password"]
)
async def test_who_is_gone_at_the_end_of_a_run_does_not_get_in(written: Written, runs: Runs, after: list[str]) -> None:
    runs.gate.clear()
    asking = asyncio.ensure_future(written.basic.verify(credentials("ada:pass:wörd"), None))
    await started(runs, 1)
    await written.reload(*after)
    assert len(written.revoked) == 1
    runs.gate.set()
    with pytest.raises(Unauthenticated):
        await asking


async def test_who_stays_gets_in_across_a_reload(written: Written, runs: Runs, tmp_path: Path) -> None:
    runs.gate.clear()
    asking = asyncio.ensure_future(written.basic.verify(credentials("ada:pass:wörd"), None))
    await started(runs, 1)
    await written.reload((tmp_path / "users.toml").read_text(encoding="utf-8"), entry("cy"))
    runs.gate.set()
    assert (await asking).agent.associate == "ada"
    assert not written.revoked


async def test_a_run_on_the_old_password_is_not_shared_after_a_reload(written: Written, runs: Runs) -> None:
    runs.gate.clear()
    before = asyncio.ensure_future(written.basic.verify(credentials("ada:pass:wörd"), None))
    await started(runs, 1)
    await written.reload(entry("ada", "new"))
    after = asyncio.ensure_future(written.basic.verify(credentials("ada:pass:wörd"), None))
    await started(runs, 1)
    runs.gate.set()
    for asking in (before, after):
        with pytest.raises(Unauthenticated):
            await asking
    assert (await written.basic.verify(credentials("ada:new"), None)).agent.associate == "ada"


async def test_basic_keeps_up_with_the_file(written: Written) -> None:
    running = asyncio.ensure_future(written.basic.run())
    written.write(entry("bo", "other"))
    written.file.reload()
    async with asyncio.timeout(10):
        while True:
            try:
                await written.basic.verify(credentials("ada:pass:wörd"), None)
            except Unauthenticated:
                break
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


async def started(runs: Runs, count: int) -> None:
    """Until `count` more runs are in their threads."""
    for _ in range(count):
        assert await asyncio.to_thread(runs.started.acquire, timeout=10)


# --- development ---


async def test_in_development_a_name_is_enough() -> None:
    principal = await Development().verify(credentials("Ada:x"), None)
    assert str(principal.agent) == "dev/ada"
    assert principal.scopes == frozenset(Scope)


async def test_in_development_a_password_is_not_empty_and_a_name_is_a_name() -> None:
    with pytest.raises(Unauthenticated, match="password is empty"):
        await Development().verify(credentials("ada:"), None)
    with pytest.raises(BadRequest, match="1 to 64 characters"):
        await Development().verify(credentials(":x"), None)


async def test_development_has_nothing_to_do() -> None:
    verifier = Development()
    await verifier.run()
    await verifier.close()
