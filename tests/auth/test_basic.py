"""Basic against a users file: who gets in, what it costs, and what a bad file is told."""

from __future__ import annotations

import asyncio
import base64
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import argon2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.auth import basic
from server.auth.basic import Basic, hash_password, parse
from server.auth.development import Development
from server.auth.principal import Principal, Scope
from server.auth.users import User, folded, read_users
from server.errors import BadRequest, SettingsError, Unauthenticated, Unavailable
from server.events import AgentId

CHEAP = argon2.PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
HASH = CHEAP.hash("pass:wörd")


def user(name: str, password: str = "pass:wörd") -> User:
    return User(CHEAP.hash(password), Principal(AgentId.of("acme", name), frozenset({Scope.SYNC_READ})))


def credentials(text: str) -> bytes:
    return base64.b64encode(text.encode())


@pytest.fixture
def users() -> Iterator[Basic]:
    verifier = Basic({"ada": user("ada"), "bo": user("bo", "other")}, waiting=3)
    yield verifier
    verifier.close()


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
    principal = await users.verify(credentials(f"{name}:pass:wörd"))
    assert str(principal.agent) == "acme/ada"
    assert principal.tenant == "acme"


async def test_a_password_is_the_same_in_either_normal_form(users: Basic) -> None:
    assert (await users.verify(credentials("ada:pass:wo\u0308rd"))).agent.associate == "ada"
    assert CHEAP.verify(hash_password("wo\u0308rd"), "wörd")


@pytest.mark.parametrize("text", ["ada:wrong", "ada:", "nobody:pass:wörd", ":", "bo:pass:wörd", "ada:PASS:WÖRD"])
async def test_others_do_not_and_all_hear_the_same(users: Basic, text: str) -> None:
    with pytest.raises(Unauthenticated, match=r"^user name or password is wrong$") as caught:
        await users.verify(credentials(text))
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
            await users.verify(credentials(text))
    known, unknown = runs.hashes
    assert known != unknown
    assert argon2.extract_parameters(known) == argon2.extract_parameters(unknown)
    assert [len(part) for part in known.split("$")] == [len(part) for part in unknown.split("$")]


async def test_an_unknown_user_costs_what_most_users_cost(runs: Runs) -> None:
    dear = argon2.PasswordHasher(time_cost=2, memory_cost=16, parallelism=1).hash("x")
    verifier = Basic({"a": User(dear, user("a").principal), "b": user("b"), "c": user("c")})
    with pytest.raises(Unauthenticated):
        await verifier.verify(credentials("nobody:x"))
    verifier.close()
    assert argon2.extract_parameters(runs.hashes[0]).memory_cost == 8


async def test_the_same_credentials_share_one_run(users: Basic, runs: Runs) -> None:
    runs.gate.clear()
    asking = [asyncio.ensure_future(users.verify(credentials("ada:pass:wörd"))) for _ in range(50)]
    await started(runs, 1)
    runs.gate.set()
    assert {principal.agent.associate for principal in await asyncio.gather(*asking)} == {"ada"}
    assert len(runs.hashes) == 1


async def test_one_who_gives_up_takes_nothing_from_the_others(users: Basic, runs: Runs) -> None:
    runs.gate.clear()
    first, second = (asyncio.ensure_future(users.verify(credentials("ada:pass:wörd"))) for _ in range(2))
    await started(runs, 1)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    runs.gate.set()
    assert (await second).agent.associate == "ada"
    assert len(runs.hashes) == 1


async def test_two_run_and_a_few_wait_and_the_rest_is_told(users: Basic, runs: Runs) -> None:
    runs.gate.clear()
    asking = [asyncio.ensure_future(users.verify(credentials(f"ada:wrong{n}"))) for n in range(3)]
    await started(runs, 2)
    with pytest.raises(Unavailable, match="too many are waiting") as caught:
        await users.verify(credentials("ada:pass:wörd"))
    assert caught.value.retry_after_s == 5
    runs.gate.set()
    assert [type(answer) for answer in await asyncio.gather(*asking, return_exceptions=True)] == [Unauthenticated] * 3
    assert runs.most_active == 2
    # what was refused was not remembered, and room has come back
    assert (await users.verify(credentials("ada:pass:wörd"))).agent.associate == "ada"


async def test_cancelled_runs_still_count(users: Basic, runs: Runs) -> None:
    runs.gate.clear()
    asking = [asyncio.ensure_future(users.verify(credentials(f"ada:wrong{n}"))) for n in range(3)]
    await started(runs, 2)
    for one in asking:
        one.cancel()
    await asyncio.gather(*asking, return_exceptions=True)
    with pytest.raises(Unavailable):
        await users.verify(credentials("ada:pass:wörd"))


async def test_a_run_that_fails_says_nothing_about_the_password(users: Basic, monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken:
        def verify(self, hash_: str, password: str) -> bool:
            raise argon2.exceptions.VerificationError("Memory allocation error")

    monkeypatch.setattr(basic, "_HASHER", Broken())
    with pytest.raises(Unavailable, match="can't be checked now"):
        await users.verify(credentials("ada:pass:wörd"))


async def test_a_failure_that_nobody_waits_for_makes_no_noise(users: Basic, runs: Runs) -> None:
    runs.gate.clear()
    runs.failing = Unavailable()
    asking = asyncio.ensure_future(users.verify(credentials("ada:x")))
    await started(runs, 1)
    (run,) = users._running.values()
    asking.cancel()
    runs.gate.set()
    await asyncio.wait([run])
    await asyncio.gather(asking, return_exceptions=True)
    assert not users._running


async def started(runs: Runs, count: int) -> None:
    """Until `count` more runs are in their threads."""
    for _ in range(count):
        assert await asyncio.to_thread(runs.started.acquire, timeout=10)


# --- the users file ---


@pytest.fixture
def written(tmp_path: Path) -> Callable[[str], Path]:
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
    ada, bo = users.values()
    assert ada.principal == Principal(AgentId.of("acme", "ada"), frozenset({Scope.HANDLED_WRITE, Scope.SYNC_READ}))
    assert bo.principal == Principal(AgentId.of("acme", "bo"), frozenset({Scope.ADMIN, Scope.AGENTS_WRITE}))


async def test_a_users_file_signs_in(written: Callable[[str], Path]) -> None:
    verifier = Basic.of_file(written("[users.'STRASSE']\nHASH\ntenant = 'a'"))
    assert (await verifier.verify(credentials("straße:pass:wörd"))).agent.associate == "strasse"
    verifier.close()


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


def test_names_fold() -> None:
    assert folded("Å") == folded("A\u030a") == folded("å") == "å"


# --- development ---


async def test_in_development_a_name_is_enough() -> None:
    principal = await Development().verify(credentials("Ada:x"))
    assert str(principal.agent) == "dev/ada"
    assert principal.scopes == frozenset(Scope)


async def test_in_development_a_password_is_not_empty_and_a_name_is_a_name() -> None:
    with pytest.raises(Unauthenticated, match="password is empty"):
        await Development().verify(credentials("ada:"))
    with pytest.raises(BadRequest, match="1 to 64 characters"):
        await Development().verify(credentials(":x"))
