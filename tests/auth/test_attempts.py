"""Failed sign-ins by address: counted, bounded, and no hindrance to those who sign in properly."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import pytest

from server.auth import attempts
from server.auth.attempts import Attempts
from server.errors import TooManyRequests, Unauthenticated, Unavailable

HERE = "192.0.2.1"


@dataclass
class Clock:
    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def limit(clock: Clock) -> Attempts:
    return Attempts(10, clock=clock)


async def fail(limit: Attempts, address: str = HERE) -> None:
    with pytest.raises(Unauthenticated):
        async with limit.attempt(address):
            raise Unauthenticated("wrong")


async def succeed(limit: Attempts, address: str = HERE) -> None:
    async with limit.attempt(address):
        pass


async def refused(limit: Attempts, address: str = HERE) -> str:
    with pytest.raises(TooManyRequests) as caught:
        await succeed(limit, address)
    return dict(caught.value.headers)["Retry-After"]


async def test_the_eleventh_failure_of_a_minute_is_not_tried(limit: Attempts, clock: Clock) -> None:
    for _ in range(10):
        await fail(limit)
    assert await refused(limit) == "6"
    await succeed(limit, "192.0.2.2")
    clock.now += 6
    await fail(limit)
    assert await refused(limit) == "6"
    clock.now += 60
    for _ in range(10):
        await fail(limit)
    await refused(limit)


async def test_success_and_unavailability_cost_nothing(limit: Attempts) -> None:
    for _ in range(100):
        await succeed(limit)
        with pytest.raises(Unavailable):
            async with limit.attempt(HERE):
                raise Unavailable
    for _ in range(10):
        await fail(limit)
    await refused(limit)


class Office:
    """Attempts from one address that are under way until they are told how to end."""

    def __init__(self, limit: Attempts, count: int) -> None:
        self.trying: asyncio.Queue[asyncio.Future[None]] = asyncio.Queue()
        self.under_way = self.most = 0
        self.people = [asyncio.ensure_future(self._sign_in(limit)) for _ in range(count)]

    async def _sign_in(self, limit: Attempts) -> None:
        async with limit.attempt(HERE):
            self.under_way += 1
            self.most = max(self.most, self.under_way)
            verdict: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self.trying.put_nowait(verdict)
            try:
                await verdict
            finally:
                self.under_way -= 1


async def test_an_office_that_signs_in_at_once_waits_and_is_not_refused(limit: Attempts) -> None:
    office = Office(limit, 300)
    for _ in range(300):
        (await office.trying.get()).set_result(None)
    await asyncio.gather(*office.people)
    assert office.most == 10


async def test_guesses_made_at_once_are_no_way_around(limit: Attempts) -> None:
    office = Office(limit, 300)
    for _ in range(10):
        (await office.trying.get()).set_exception(Unauthenticated("wrong"))
    ends = await asyncio.gather(*office.people, return_exceptions=True)
    assert office.trying.empty()
    assert [type(end) for end in ends].count(Unauthenticated) == 10
    assert [type(end) for end in ends].count(TooManyRequests) == 290
    assert not limit._waiting
    assert not limit._under_way


async def test_one_who_gives_up_gives_the_turn_on(limit: Attempts) -> None:
    office = Office(limit, 13)
    first = [await office.trying.get() for _ in range(10)]
    office.people[10].cancel()  # while it waits
    first[0].set_result(None)
    office.people[11].cancel()  # when it has just been woken, or is about to be
    for verdict in first[1:]:
        verdict.set_result(None)
    (await office.trying.get()).set_result(None)
    ends = await asyncio.gather(*office.people, return_exceptions=True)
    assert sum(isinstance(end, asyncio.CancelledError) for end in ends) == 2
    assert not limit._waiting
    assert not limit._under_way
    assert limit._waiting_count == 0


async def test_those_who_wait_are_bounded(limit: Attempts, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attempts, "WAITING", 5)
    office = Office(limit, 15)
    verdicts = [await office.trying.get() for _ in range(10)]
    with pytest.raises(Unavailable, match="too many are waiting"):
        await succeed(limit)
    for verdict in verdicts:
        verdict.set_result(None)
    for _ in range(5):
        (await office.trying.get()).set_result(None)
    await asyncio.gather(*office.people)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("2001:db8::1", "2001:db8::2"),
        ("2001:db8::", "2001:db8:0:0:ffff:ffff:ffff:ffff"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("not an address", "not an address"),
    ],
)
async def test_what_counts_as_one_address(limit: Attempts, one: str, other: str) -> None:
    for _ in range(10):
        await fail(limit, one)
    await refused(limit, other)


@pytest.mark.parametrize(("one", "other"), [("2001:db8::1", "2001:db8:0:1::1"), ("192.0.2.1", "192.0.2.2"), ("", "x")])
async def test_what_does_not(limit: Attempts, one: str, other: str) -> None:
    for _ in range(10):
        await fail(limit, one)
    await succeed(limit, other)


async def test_memory_is_bounded(clock: Clock) -> None:
    limit = Attempts(10, keys=100, clock=clock)
    for number in range(1000):
        await fail(limit, f"10.0.{number // 256}.{number % 256}")
    assert len(limit._rate) == 100
    assert not limit._under_way
