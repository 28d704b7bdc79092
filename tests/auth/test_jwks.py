"""The issuer's keys over a real connection: when they are fetched, how often, and what is taken of an answer."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key

from server.auth.jwks import MAX_BYTES, REFRESH_S, RETRY_S, STALE_S, WINDOW_S, Jwks
from server.errors import Unavailable
from tests.auth.issuer import Clock, Publisher, jwk, jwks, publishing

ALGORITHMS = ("RS256", "ES256")
KEY = generate_private_key(SECP256R1())
FIRST, SECOND = jwk(KEY, "ES256", kid="first"), jwk(KEY, "ES256", kid="second")

Make = Callable[..., Jwks]


@pytest.fixture
async def publisher() -> AsyncIterator[Publisher]:
    async with publishing() as publisher:
        publisher.body = jwks(FIRST)
        yield publisher


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def make(publisher: Publisher, clock: Clock) -> AsyncIterator[Make]:
    made: list[Jwks] = []

    def make(**kwargs: Any) -> Jwks:
        made.append(Jwks(publisher.url, ALGORITHMS, clock=clock, **kwargs))
        return made[-1]

    yield make
    for known in made:
        await known.close()


async def kids(keys: Awaitable[tuple[Any, ...]]) -> list[str | None]:
    return [key.kid for key in await keys]


# --- when, and how often ---


async def test_the_first_who_asks_fetches_and_the_others_do_not(publisher: Publisher, make: Make) -> None:
    known = make()
    assert [await kids(known.keys()) for _ in range(5)] == [["first"]] * 5
    assert publisher.fetches == 1
    head = publisher.heads[0].lower()
    assert head.startswith(b"get /keys?tenant=sesame http/1.1\r\n")
    assert b"\r\naccept-encoding: identity\r\n" in head


async def test_all_who_wait_share_one_fetch(publisher: Publisher, make: Make) -> None:
    known = make()
    publisher.gate.clear()
    asking = [asyncio.ensure_future(kids(ask())) for ask in (known.keys, known.newer) * 50]
    await publisher.asked.acquire()
    publisher.gate.set()
    assert await asyncio.gather(*asking) == [["first"]] * 100
    assert publisher.fetches == 1


async def test_one_who_gives_up_takes_nothing_from_the_others(publisher: Publisher, make: Make) -> None:
    known = make()
    publisher.gate.clear()
    first, second = (asyncio.ensure_future(kids(known.keys())) for _ in range(2))
    await publisher.asked.acquire()
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    publisher.gate.set()
    assert await second == ["first"]
    assert publisher.fetches == 1


async def test_it_is_looked_at_again_once_in_a_window(publisher: Publisher, make: Make, clock: Clock) -> None:
    known = make()
    await known.keys()
    publisher.body = jwks(SECOND)
    clock.now += WINDOW_S - 1
    assert [await kids(known.newer()) for _ in range(100)] == [["first"]] * 100
    assert publisher.fetches == 1
    clock.now += 1
    # what is gone from the document is gone here
    assert [await kids(known.newer()) for _ in range(100)] == [["second"]] * 100
    assert publisher.fetches == 2


async def test_a_look_that_fails_counts_for_the_window_too(publisher: Publisher, make: Make, clock: Clock) -> None:
    known = make()
    await known.keys()
    publisher.status = b"500 Oops"
    clock.now += WINDOW_S
    for step_s in (0, WINDOW_S - 1):
        clock.now += step_s
        for _ in range(100):
            with pytest.raises(Unavailable):  # what is asked for may have been published since
                await known.newer()
            assert await kids(known.keys()) == ["first"]
    assert publisher.fetches == 2


async def test_without_keys_it_is_asked_again_each_few_seconds(publisher: Publisher, make: Make, clock: Clock) -> None:
    known = make()
    publisher.status = b"503 Later"
    for _ in range(3):
        with pytest.raises(Unavailable, match="keys of the tokens' issuer can't be had now") as caught:
            await known.keys()
        assert caught.value.retry_after_s == RETRY_S
    assert publisher.fetches == 1
    publisher.status = b"200 OK"
    clock.now += RETRY_S
    assert await kids(known.keys()) == ["first"]
    assert publisher.fetches == 2


async def test_old_keys_count_for_a_day(publisher: Publisher, make: Make, clock: Clock) -> None:
    known = make()
    await known.keys()
    publisher.status = b"500 Oops"
    clock.now += STALE_S - 1
    assert await kids(known.keys()) == ["first"]
    assert publisher.fetches == 1
    clock.now += 1
    with pytest.raises(Unavailable):
        await known.keys()
    assert publisher.fetches == 2


async def test_they_are_kept_fresh(publisher: Publisher, make: Make, clock: Clock) -> None:
    pauses: list[float] = []
    resume, paused = asyncio.Semaphore(0), asyncio.Semaphore(0)

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)
        paused.release()
        await resume.acquire()
        clock.now += seconds

    known = make(sleep=sleep)
    running = asyncio.ensure_future(known.run())
    for status in (b"200 OK", b"500 Oops", b"500 Oops", b"200 OK", b"500 Oops"):
        await paused.acquire()
        publisher.status = status
        resume.release()
    await paused.acquire()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert pauses == [0, REFRESH_S, WINDOW_S, WINDOW_S, REFRESH_S, WINDOW_S]
    assert publisher.fetches == 5
    assert await kids(known.keys()) == ["first"]


async def test_whoever_is_there_before_the_first_answer_waits_for_it(publisher: Publisher, make: Make) -> None:
    known = make()
    publisher.gate.clear()
    running = asyncio.ensure_future(known.run())
    await publisher.asked.acquire()
    asking = asyncio.ensure_future(kids(known.keys()))
    publisher.gate.set()
    assert await asking == ["first"]
    assert publisher.fetches == 1
    running.cancel()


async def test_closing_ends_a_fetch_and_tells_who_waits(publisher: Publisher, make: Make, clock: Clock) -> None:
    known = make()
    publisher.gate.clear()
    asking = asyncio.ensure_future(known.keys())
    await publisher.asked.acquire()
    await known.close()
    with pytest.raises(Unavailable):
        await asking
    await known.close()
    await known.run()
    clock.now += WINDOW_S
    with pytest.raises(Unavailable):
        await known.newer()
    assert publisher.fetches == 1


async def test_closed_it_gives_out_no_keys(publisher: Publisher, make: Make) -> None:
    known = make()
    await known.keys()
    await known.close()
    with pytest.raises(Unavailable):
        await known.keys()


async def test_closed_before_it_began(publisher: Publisher, make: Make) -> None:
    known = make()
    asking = asyncio.ensure_future(known.keys())
    await asyncio.sleep(0)  # one turn: it has started the fetch, which has not begun
    await known.close()
    with pytest.raises(Unavailable):
        await asking


# --- what is taken of an answer ---


@pytest.mark.parametrize(
    ("status", "headers", "body", "reason"),
    [
        (b"302 Found", b"Location: /elsewhere\r\n", jwks(FIRST), "it has status 302, it must be 200"),
        (b"204 No Content", b"", b"", "it has status 204, it must be 200"),
        (b"404 sesame", b"", jwks(FIRST), "it has status 404, it must be 200"),
        (b"200 OK", b"", b"", "it is not a JWKS"),
        (b"200 OK", b"", b"<html>sesame", "it is not a JWKS"),
        (b"200 OK", b"", b'{"keys": {"kid": "sesame"}}', "it is not a JWKS"),
        (b"200 OK", b"", json.dumps([FIRST]).encode(), "it is not a JWKS"),
        (b"200 OK", b"", b'{"keys": ' + b"[" * 100_000, "it is not a JWKS"),
        (b"200 OK", b"", b'{"keys": ["\xff"]}', "it is not a JWKS"),
        (b"200 OK", b"", jwks(FIRST) + b" " * MAX_BYTES, "it has more than 262144 bytes"),
        (b"200 OK", b"", jwks(*[FIRST] * 101), "it has 101 keys, limit is 100"),
        (b"200 OK", b"Content-Encoding: gzip\r\n", gzip.compress(jwks(FIRST)), "it is not a JWKS"),
        (b"200 OK", b"Content-Length: sesame\r\n", jwks(FIRST), "RemoteProtocolError"),
        (b"sesame", b"", b"", "RemoteProtocolError"),
    ],
)
async def test_what_is_no_document_changes_nothing(
    publisher: Publisher,
    make: Make,
    clock: Clock,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
    status: bytes,
    headers: bytes,
    body: bytes,
    reason: str,
) -> None:
    known = make()
    await known.keys()
    publisher.status, publisher.headers, publisher.body = status, headers, body
    clock.now += WINDOW_S
    with pytest.raises(Unavailable):
        await known.newer()
    assert await kids(known.keys()) == ["first"]
    assert publisher.fetches == 2
    logged = capsys.readouterr().out + "".join(r.getMessage() for r in caplog.records if r.name == "clearsync.auth")
    assert reason in logged
    assert "sesame" not in logged


async def test_an_endless_answer_is_left(publisher: Publisher, make: Make) -> None:
    publisher.endless = True
    with pytest.raises(Unavailable):
        await make(timeout_s=30).keys()


async def test_a_silent_issuer_is_left(publisher: Publisher, make: Make) -> None:
    publisher.gate.clear()
    with pytest.raises(Unavailable):
        await make(timeout_s=0.05).keys()
    assert publisher.fetches == 1


async def test_an_issuer_that_is_not_there(clock: Clock) -> None:
    async with publishing() as publisher:
        pass
    known = Jwks(publisher.url, ALGORITHMS, clock=clock)
    with pytest.raises(Unavailable):
        await known.keys()
    await known.close()


async def test_no_proxy_of_the_environment(publisher: Publisher, make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    async with publishing() as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        monkeypatch.setenv("ALL_PROXY", proxy.url)
        monkeypatch.delenv("NO_PROXY", raising=False)
        monkeypatch.delenv("no_proxy", raising=False)
        assert await kids(make().keys()) == ["first"]
    assert proxy.fetches == 0


async def test_what_else_is_in_a_document_is_left_out(publisher: Publisher, make: Make) -> None:
    known = Jwks(publisher.url, ("HS256", "ES256"))
    private = {**jwk(KEY, "ES256", kid="private"), "d": "AQAB"}
    secret = jwk(b"s" * 32, "HS256", kid="secret")
    publisher.body = jwks(private, secret, FIRST, jwk(KEY, "ES256", kid="enc", use="enc"), "nonsense", None)
    assert await kids(known.keys()) == ["first"]
    await known.close()


async def test_a_document_without_keys_is_the_end_of_all(publisher: Publisher, make: Make, clock: Clock) -> None:
    known = make()
    await known.keys()
    publisher.body = jwks()
    clock.now += WINDOW_S
    assert await known.newer() == ()
    assert await known.keys() == ()
