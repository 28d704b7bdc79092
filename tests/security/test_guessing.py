"""Guessers of passwords: how often they may try, what a try costs, and what they can't do to others meanwhile."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from server.auth import basic as basic_module
from server.auth.attempts import Attempts
from server.auth.basic import Basic
from server.auth.chain import Chain
from server.auth.principal import Credentials
from server.auth.usersfile import UsersFile
from server.errors import TooManyRequests, Unauthenticated
from server.wire import SYNC_PATH
from tests.gateway.devices import resident_bytes
from tests.running import Running, serving
from tests.security.callers import (
    Header,
    Reply,
    alive,
    answer,
    ask,
    basic,
    closed_at_once,
    head_of,
    refused,
    send,
    session,
    sync,
    ticket,
)
from tests.security.conftest import PASSWORD, users_text
from tests.security.inside import issue

LIMITED = (429, "TooManyRequests")
UNKNOWN = (401, "Unauthenticated")
MIB = 1024 * 1024
GROWTH_MIB = 24
"""What 10,000 guesses may leave in a worker: a promise of 8 MiB (names and hashes of refusals), three times."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("guessing")


@pytest.fixture(scope="module")
def env(settings: dict[str, str]) -> dict[str, str]:
    """`127.0.0.7` is a proxy, and nobody else."""
    return settings | {
        "CLEARSYNC_LIMITS__FAILED_LOGINS_PER_MINUTE": "10",
        "CLEARSYNC_SERVER__TRUSTED_PROXIES": "127.0.0.7",
        "CLEARSYNC_LOG__LEVEL": "warning",
    }


@pytest.fixture(scope="module")
def guarded(folder: Path, env: dict[str, str], vault_url: str) -> Iterator[Running]:
    with serving("--store", vault_url, folder=folder, env=env) as running:
        yield running


def call_from(running: Running, address: str, *headers: Header, count: int = 1) -> list[Reply]:
    """Requests from another address of this machine, on one connection as long as that is kept."""
    replies = []
    with socket.create_connection(("127.0.0.1", running.port), 10, source_address=(address, 0)) as connection:
        for _ in range(count):
            connection.sendall(head_of(running, "GET", f"{SYNC_PATH}?device=a", headers))
            replies.append(answer(connection))
    return replies


def guess(running: Running, address: str, *headers: Header) -> tuple[int, str]:
    (reply,) = call_from(running, address, *headers)
    if reply.status == 429:
        assert 1 <= int(reply.all("retry-after")[0]) <= 6
    return reply.problem()


def exhaust(running: Running, address: str) -> None:
    for n in range(10):
        assert guess(running, address, basic("ada", f"exhaust {n}")) == UNKNOWN
    assert guess(running, address, basic("ada", "one more")) == LIMITED


# how many


def test_ten_thousand_guesses(guarded: Running) -> None:
    """Half for a name that there is; and the worker does not grow by them."""
    before = resident_bytes(guarded)
    statuses: list[int] = []
    sizes = Counter[str]()
    with socket.create_connection(("127.0.0.1", guarded.port), 10, source_address=("127.0.1.1", 0)) as connection:
        lines = connection.makefile("rb")
        for start in range(0, 10_000, 100):
            heads = (
                head_of(guarded, "GET", f"{SYNC_PATH}?device=a", [basic(("ada", f"no{n}")[n % 2], f"guess {n}")])
                for n in range(start, start + 100)
            )
            connection.sendall(b"".join(heads))
            for _ in range(100):
                status = int(lines.readline().split()[1])
                length = 0
                while line := lines.readline().strip():
                    name, _, value = line.lower().partition(b":")
                    length = int(value) if name == b"content-length" else length
                    sizes[f"{status} retry-after"] += name == b"retry-after"
                lines.read(length)
                statuses.append(status)
        lines.close()
    assert statuses[:10] == [401] * 10
    refused_later = statuses[10:].count(401)
    assert set(statuses[10:]) <= {401, 429}
    assert statuses[10] == 429
    assert refused_later <= 10  # one more is due each six seconds
    assert sizes["429 retry-after"] == statuses.count(429)
    grown = resident_bytes(guarded) - before
    print(f"10,000 guesses: {grown / MIB:.1f} MiB, {10 + refused_later} verified")
    assert grown < GROWTH_MIB * MIB


async def test_three_hundred_at_once_are_ten(guarded: Running) -> None:
    def one(n: int) -> int:
        return call_from(guarded, "127.0.1.2", basic(("bob", f"nobody{n}")[n % 2], f"at once {n}"))[0].status

    statuses = Counter(await asyncio.gather(*(asyncio.to_thread(one, n) for n in range(300))))
    assert statuses.keys() == {401, 429}
    assert statuses[401] <= 11


@pytest.mark.parametrize("name", ["ada", "nobody", ""])
async def test_runs_of_argon2_are_ten_for_whoever_is_guessed_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    runs: list[str] = []
    done = threading.Lock()
    real: Callable[[str, str], bool] = basic_module.matches

    def counted(hash_: str, password: str) -> bool:
        with done:
            runs.append(hash_)
        return real(hash_, password)

    monkeypatch.setattr(basic_module, "matches", counted)
    path = tmp_path / "users.toml"
    path.write_text(users_text({"ada": PASSWORD}))
    verifier = Basic(UsersFile(path, lambda grants: None))
    chain = Chain({"basic": [verifier]}, attempts=Attempts(10, clock=lambda: 1000.0))
    outcomes = Counter[str]()

    async def one(n: int) -> None:
        try:
            await chain.authenticate(Credentials(str(basic(name, f"guess {n}")[1]).encode()), "192.0.2.1")
        except Unauthenticated:
            outcomes["refused"] += 1
        except TooManyRequests:
            outcomes["limited"] += 1

    await asyncio.gather(*(one(n) for n in range(500)))
    for n in range(500, 10_000):
        await one(n)
    await chain.close()
    assert outcomes == {"refused": 10, "limited": 9_990}
    assert len(runs) == 10
    assert len({len(hash_) for hash_ in runs}) == 1


# by which ways


async def test_all_ways_to_guess_count_together(guarded: Running, vault_url: str) -> None:
    """Requests, handshakes and refreshes. What can't be guessed does not count: pages go on with what has expired."""
    lasting = ticket(issue(vault_url, "acme/way"))
    async with session(guarded, lasting) as (device, _):
        for n in range(3):
            answer = await ask(device, type="refresh", ref="r", authorization=str(basic("ada", f"refresh {n}")[1]))
            assert (answer["type"], answer["code"]) == ("error", "forbidden")
        for n in range(3):
            assert await refused(guarded, basic("ada", f"handshake {n}")) == UNKNOWN
        for n in range(20):
            assert await refused(guarded, target=f"{SYNC_PATH}?device=a&ticket={n:043}") == UNKNOWN
            assert sync(guarded, ("Authorization", f"Bearer a.b.c{n}")).problem() == UNKNOWN
            assert sync(guarded, ticket(f"cs1.{n:043}")).problem() == UNKNOWN
        for n in range(4):
            assert sync(guarded, basic("ada", f"request {n}")).problem() == UNKNOWN

        assert sync(guarded, basic("ada", PASSWORD)).problem() == LIMITED
        assert await refused(guarded, basic("ada", PASSWORD)) == LIMITED
        assert await refused(guarded, target=f"{SYNC_PATH}?device=a&ticket={'x' * 43}") == UNKNOWN
        own = ("Origin", f"http://127.0.0.1:{guarded.port}")
        assert await closed_at_once(guarded, basic("ada", "a guess"), own) == 4008
        answer = await ask(device, type="refresh", ref="r", authorization=str(basic("ada", PASSWORD)[1]))
        assert (answer["type"], answer["code"]) == ("error", "busy")
        assert await alive(device)
        assert sync(guarded, lasting).status == 200  # who is known already is not kept out


def test_who_is_signed_in_goes_on_meanwhile(guarded: Running) -> None:
    known = basic("ada", PASSWORD)
    assert call_from(guarded, "127.0.1.3", known)[0].status == 200
    exhaust(guarded, "127.0.1.3")
    assert [reply.status for reply in call_from(guarded, "127.0.1.3", known, count=20)] == [200] * 20
    assert guess(guarded, "127.0.1.3", basic("bob", "again")) == LIMITED
    assert call_from(guarded, "127.0.1.4", basic("carl", PASSWORD))[0].status == 200  # another address


# addresses that are said


@pytest.mark.parametrize("name", ["X-Forwarded-For", "x-forwarded-for", "X-Real-IP", "Forwarded", "True-Client-IP"])
def test_who_is_no_proxy_has_one_address(guarded: Running, name: str) -> None:
    source = f"127.0.2.{len(name) + sum(map(ord, name)) % 50}"
    for n in range(10):
        value = f"198.51.100.{n}"
        assert guess(guarded, source, (name, value), basic("ada", f"{name} {n}")) == UNKNOWN
    assert guess(guarded, source, (name, "198.51.100.99"), basic("ada", "more")) == LIMITED


def test_of_a_proxys_word_only_the_end_counts(guarded: Running) -> None:
    """What a client sent itself stands before what the proxy added."""
    for n in range(10):
        said = ("X-Forwarded-For", f"198.51.100.{n}, 203.0.113.9")
        assert guess(guarded, "127.0.0.7", said, basic("ada", f"chain {n}")) == UNKNOWN
    more = ("X-Forwarded-For", "192.0.2.1"), ("X-Forwarded-For", "198.51.100.77"), ("X-Forwarded-For", "203.0.113.9")
    assert guess(guarded, "127.0.0.7", *more, basic("ada", "more")) == LIMITED
    assert guess(guarded, "127.0.0.7", ("X-Forwarded-For", "203.0.113.10"), basic("ada", "other")) == UNKNOWN


def test_network_of_an_ipv6_guesser_is_one_address(guarded: Running) -> None:
    for n in range(10):
        assert guess(guarded, "127.0.0.7", ("X-Forwarded-For", f"2001:db8::{n:x}"), basic("ada", f"v6 {n}")) == UNKNOWN
    for said in ("2001:db8::ffff:1", "2001:DB8:0:0::5", "2001:db8:0:ff::1", "[2001:db8::9]:4711"):
        assert guess(guarded, "127.0.0.7", ("X-Forwarded-For", said), basic("ada", said)) == LIMITED


@pytest.mark.parametrize(
    "said",
    [
        "",
        "unknown",
        "203.0.113.1:80000000",
        "[2001:db8::1",
        "2001:db8::1%eth0",
        "203.0.113.1\x0b",
        "<script>",
        "1.2.3.4;x",
        "0x7f.1",
        "é",
    ],
)
def test_what_is_no_address_is_not_believed_and_not_logged(guarded: Running, said: str) -> None:
    reply = call_from(guarded, "127.0.0.7", ("X-Forwarded-For", said))[0]
    assert reply.status in (400, 401)
    assert "<script>" not in guarded.logged


# what others cost


def test_refused_again_is_refused_without_a_difference(guarded: Running) -> None:
    """Neither text nor headers say whether there is such a user."""
    known, unknown = (call_from(guarded, "127.0.3.1", basic(name, "no"))[0] for name in ("ada", "nobody"))
    again = call_from(guarded, "127.0.3.1", basic("nobody", "no"))[0]
    assert known.body == unknown.body == again.body
    for reply in (unknown, again):
        assert [h for h in reply.headers if h[0] != "date"] == [h for h in known.headers if h[0] != "date"]
    assert send(guarded, head_of(guarded, "GET", f"{SYNC_PATH}?device=a", [])).status == 401
