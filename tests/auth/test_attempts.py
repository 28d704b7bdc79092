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


class Queue:
    """Attempts from one address, by name: who has a place, in the order in which they got it."""

    def __init__(self, limit: Attempts) -> None:
        self._limit = limit
        self._verdicts: dict[str, asyncio.Future[None]] = {}
        self._changed = asyncio.Event()
        self.people: dict[str, asyncio.Task[None]] = {}
        self.entered: list[str] = []

    async def come(self, *names: str) -> None:
        """They come, one behind the other, and get as far as they get."""
        for name in names:
            self.people[name] = asyncio.ensure_future(self._sign_in(name))
        await asyncio.sleep(0)

    async def _sign_in(self, name: str) -> None:
        async with self._limit.attempt(HERE):
            self.entered.append(name)
            self._verdicts[name] = asyncio.get_running_loop().create_future()
            self._changed.set()
            await self._verdicts[name]

    def end(self, name: str, *, well: bool = True) -> None:
        """The verdict on one who has a place; it is acted on at the loop's next turn."""
        if well:
            self._verdicts[name].set_result(None)
        else:
            self._verdicts[name].set_exception(Unauthenticated("wrong"))

    async def until(self, *names: str) -> None:
        """Exactly these have had a place, in this order."""
        async with asyncio.timeout(2):
            while len(self.entered) < len(names):
                self._changed.clear()
                await self._changed.wait()
        assert self.entered == list(names)

    async def finish(self) -> list[BaseException | None]:
        """All sign in who can, and how everybody ended."""
        async with asyncio.timeout(2):
            while waiting := [task for task in self.people.values() if not task.done()]:
                for verdict in self._verdicts.values():
                    if not verdict.done():
                        verdict.set_result(None)
                self._changed.clear()
                changed = asyncio.ensure_future(self._changed.wait())
                await asyncio.wait((*waiting, changed), return_when=asyncio.FIRST_COMPLETED)
                changed.cancel()
        return await asyncio.gather(*self.people.values(), return_exceptions=True)


def nothing_is_left(limit: Attempts) -> bool:
    return not limit._waiting and not limit._under_way and limit._waiting_count == 0


async def one_place(limit: Attempts) -> Queue:
    """Nine of ten failures are used up, `first` has the place that is left."""
    for _ in range(9):
        await fail(limit)
    queue = Queue(limit)
    await queue.come("first")
    return queue


async def test_who_comes_first_is_served_first_and_nobody_overtakes(limit: Attempts, clock: Clock) -> None:
    queue = await one_place(limit)
    await queue.come("a", "b", "c")
    clock.now += 6  # a second place, of which nobody was told
    await queue.come("newcomer")
    assert queue.entered == ["first"]
    queue.end("first")
    await queue.until("first", "a", "b")
    queue.end("b")
    await queue.until("first", "a", "b", "c")
    queue.end("a")
    await queue.until("first", "a", "b", "c", "newcomer")
    assert await queue.finish() == [None] * 5
    assert nothing_is_left(limit)


async def test_as_room_grows_more_try_at_once(limit: Attempts, clock: Clock) -> None:
    queue = await one_place(limit)
    names = [str(number) for number in range(20)]
    await queue.come(*names)
    clock.now += 24
    queue.end("first")
    await queue.until("first", *names[:5])
    clock.now += 24
    queue.end("0")
    await queue.until("first", *names[:10])
    assert await queue.finish() == [None] * 21
    assert nothing_is_left(limit)


async def test_as_room_shrinks_fewer_do(limit: Attempts) -> None:
    queue = Queue(limit)
    names = [str(number) for number in range(14)]
    await queue.come(*names)
    assert queue.entered == names[:10]
    for name in names[:3]:
        queue.end(name, well=False)
    for name in names[3:6]:
        queue.end(name)
    await queue.until(*names[:13])  # seven places are left: four are still taken, three come
    assert [type(end) for end in await queue.finish()] == [Unauthenticated] * 3 + [type(None)] * 11
    assert nothing_is_left(limit)


async def test_who_waits_too_long_is_told_to_come_again(limit: Attempts, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attempts, "LONGEST_WAIT_S", 0.01)
    queue = await one_place(limit)
    await queue.come("a", "b")
    with pytest.raises(Unavailable, match="too many are waiting") as caught:
        async with asyncio.timeout(2):
            await queue.people["a"]
    assert caught.value.retry_after_s == 5
    assert [type(end) for end in await queue.finish()] == [type(None), Unavailable, Unavailable]
    assert queue.entered == ["first"]
    assert nothing_is_left(limit)


async def test_who_gave_up_is_passed_over(limit: Attempts) -> None:
    queue = await one_place(limit)
    await queue.come("a", "b")
    queue.people["a"].cancel()
    queue.end("first")
    await queue.until("first", "b")
    assert [type(end) for end in await queue.finish()] == [type(None), asyncio.CancelledError, type(None)]
    assert nothing_is_left(limit)


def cancel_once_told(limit: Attempts, queue: Queue, name: str) -> list[bool]:
    """Call it right behind `end`: the first in the queue is cancelled when it has its answer and is not awake yet.
    Whether that was the moment stands in the list."""
    (waiting,) = limit._waiting.values()
    answer, moments = waiting[0], list[bool]()

    def cancel() -> None:
        moments.append(answer.done() and name not in queue.entered)
        queue.people[name].cancel()

    asyncio.get_running_loop().call_soon(cancel)
    return moments


async def test_a_place_handed_to_one_who_is_cancelled_at_that_moment_is_given_on(limit: Attempts) -> None:
    queue = await one_place(limit)
    await queue.come("a", "b")
    queue.end("first")
    moments = cancel_once_told(limit, queue, "a")
    await queue.until("first", "b")
    assert moments == [True]
    assert [type(end) for end in await queue.finish()] == [type(None), asyncio.CancelledError, type(None)]
    assert nothing_is_left(limit)


async def test_one_who_is_refused_and_cancelled_at_one_moment_is_cancelled(limit: Attempts) -> None:
    queue = await one_place(limit)
    await queue.come("a", "b")
    queue.end("first", well=False)
    moments = cancel_once_told(limit, queue, "a")
    kinds = [type(end) for end in await queue.finish()]
    assert moments == [True]
    assert kinds == [Unauthenticated, asyncio.CancelledError, TooManyRequests]
    assert nothing_is_left(limit)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("2001:db8::1", "2001:db8::2"),
        ("2001:db8::", "2001:db8:0:ff:ffff:ffff:ffff:ffff"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("not an address", "not an address"),
    ],
)
async def test_what_counts_as_one_address(limit: Attempts, one: str, other: str) -> None:
    for _ in range(10):
        await fail(limit, one)
    await refused(limit, other)


@pytest.mark.parametrize(
    ("one", "other"), [("2001:db8::1", "2001:db8:0:100::1"), ("192.0.2.1", "192.0.2.2"), ("", "x")]
)
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
