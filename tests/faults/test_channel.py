"""What an agent's channel says twice, too late, not at all, or wrongly: devices see clears, and end with the truth."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from typing import Any, Final

import pytest
from websockets.exceptions import ConnectionClosed

from server.session import Announcement
from tests.faults.announcer import Announcer, announcing
from tests.faults.conftest import until
from tests.gateway.devices import Caller, Device, Ledger, Pair, caller, seq_of, session, snapshot, tickets
from tests.running import Running, serving

pytestmark = pytest.mark.faults

A, B, C = tickets([1, 2, 3])
SENTINEL: Final[Pair] = ("QuoteApprovalDenied", 1)
FORGED: Final[Pair] = ("Unknown", 666)
GARBAGE: Final = (b"", b"x", b"1 2 3 -", b"a b c - []", b"1.5 2.5 3 - []", b"\xff\xfe", b" " * 50, b"0" * 100_000)
EVENTS: Final = (b"oops", b"[", b'{"a":1}', b'[{"Type":"NewTicket"}]', b"[7]", b"\xff\xfe", b'[{"Type":1,"Id":2}]')
"""What is no array of events, behind a head that is one."""
OPERATIONS: Final = 200
_numbers = itertools.count(1)


@pytest.fixture
def user() -> str:
    """An agent that no other test knows."""
    return f"agent-{next(_numbers)}"


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A server of the module's own where anybody signs in."""
    with serving("--dev", folder=tmp_path_factory.mktemp("serve")) as running:
        yield running


@pytest.fixture
def channel(running: Running, user: str) -> Iterator[Announcer]:
    """The agent's."""
    with announcing(running, user) as announcer:
        yield announcer


# --- what is promised of any device's frames ---


def check_frames(frames: Iterable[dict[str, Any]]) -> None:
    """Nothing but clears after a welcome, and cursors that never go back."""
    assert {frame["type"] for frame in frames} <= {"welcome", "clear"}
    cursors = [seq_of(frame["cursor"]) for frame in frames]
    assert cursors == sorted(cursors), "a cursor went back"


def lacking(truth: Mapping[Pair, int], *ledgers: Mapping[Pair, int]) -> dict[Pair, int]:
    """What of `truth` no ledger has, or as of an earlier time only."""
    return {pair: at for pair, at in truth.items() if all(ledger.get(pair, 0) < at for ledger in ledgers)}


async def check_cursors(
    running: Running, user: str, frames: Iterable[dict[str, Any]], truth: Mapping[Pair, int]
) -> None:
    """No cursor skips what was not delivered: what came with and before it, and a session from it, are everything."""
    before = Ledger()
    seen: set[str] = set()
    for frame in frames:
        before.apply(frame)
        if before.cursor not in seen:
            seen.add(before.cursor)
            after = Ledger()
            async with session(running, user, "second", before.cursor, ledger=after) as second:
                with suppress(TimeoutError):
                    async with asyncio.timeout(3):
                        while lacking(truth, before.cleared, after.cleared):
                            await second.receive()
            assert not lacking(truth, before.cleared, after.cleared), f"skipped by {frame}"
            assert after.resets == 0


async def check_live(post: Caller, phone: Device, channel: Announcer) -> None:
    """Nobody reads the state for ever: soon a batch costs the store the script that records it, and no other."""
    for attempt in range(20):
        before, pairs = channel.scripts(), [("QuoteApprovalDenied", 1000 + 3 * attempt + n) for n in range(3)]
        for pair in pairs:
            await post.handled(pair)
            await phone.until_cleared(pair)
        if channel.scripts() == before + len(pairs):
            return
    raise AssertionError("its sessions do not become live again")


async def check_all(running: Running, user: str, channel: Announcer, post: Caller, phone: Device, *extra: Pair) -> None:
    """After one more batch the device has exactly what is handled, and `extra`; and all its frames were as promised."""
    await post.handled(SENTINEL)
    truth = await snapshot(running, user)
    await phone.until(lambda: not lacking(truth, phone.ledger.cleared))
    last = ("QuoteApprovalDenied", 2)
    await post.handled(last)  # by now the channel goes on as ever, and nothing odd is on its way
    (frame,) = await phone.until_cleared(last)
    assert frame["cursor"] == phone.cursor
    await check_live(post, phone, channel)
    truth = await snapshot(running, user)
    assert phone.ledger.cleared == truth | {pair: phone.ledger.cleared[pair] for pair in extra}
    check_frames(phone.frames)
    await check_cursors(running, user, phone.frames, truth)


# --- one thing at a time ---


async def test_an_announcement_that_comes_twice(running: Running, user: str, channel: Announcer) -> None:
    async with session(running, user) as phone, caller(running, user) as post:
        a = channel.record(A)
        channel.say(a)
        channel.say(a)
        b = channel.record(B)
        channel.say(b)
        channel.say(a)
        await check_all(running, user, channel, post, phone)


async def test_announcements_in_reverse_order(running: Running, user: str, channel: Announcer) -> None:
    async with session(running, user) as phone, caller(running, user) as post:
        said = [channel.record(pair) for pair in (A, B, C)]
        for message in reversed(said):
            channel.say(message)
        await check_all(running, user, channel, post, phone)


async def test_a_late_announcement_of_what_was_handled_again(running: Running, user: str, channel: Announcer) -> None:
    """The cursor and the time of the pair stay those of the later one."""
    async with session(running, user) as phone, caller(running, user) as post:
        a, again = channel.record(A, B), channel.record(A)
        channel.say(again)
        await phone.until_cleared(B)
        channel.say(a)
        await check_all(running, user, channel, post, phone)


@pytest.mark.parametrize("missing", [1, 2, 5])
async def test_what_was_not_announced_comes_with_the_next_one(
    running: Running, user: str, channel: Announcer, missing: int
) -> None:
    async with session(running, user) as phone, caller(running, user) as post:
        await post.handled(A)
        for number in range(100, 100 + missing):
            channel.record(("NewTicket", number))
        await post.handled(B)
        await phone.until(lambda: phone.ledger.cleared.keys() == {A, B, *tickets(range(100, 100 + missing))})
        await check_all(running, user, channel, post, phone)


@pytest.mark.parametrize("prev", [-1, 0, 1, 10**15], ids=str)
async def test_an_announcement_with_a_foreign_prev(running: Running, user: str, channel: Announcer, prev: int) -> None:
    async with session(running, user) as phone, caller(running, user) as post:
        await post.handled(A)
        channel.record(B)
        channel.say(channel.record(C)._replace(prev=prev))
        await phone.until(lambda: phone.ledger.cleared.keys() == {A, B, C})
        await check_all(running, user, channel, post, phone)


@pytest.mark.parametrize("garbage", GARBAGE, ids=[f"{text[:12]!r}" for text in GARBAGE])
async def test_garbage_is_a_reason_to_look_into_the_state(
    running: Running, user: str, channel: Announcer, garbage: bytes
) -> None:
    """It may have been anything: what was not announced before it comes without another announcement."""
    async with session(running, user) as phone, caller(running, user) as post:
        await post.handled(A)
        channel.record(B)
        channel.say(garbage)
        await phone.until_cleared(B)
        await check_all(running, user, channel, post, phone)


@pytest.mark.parametrize("events", EVENTS, ids=[f"{text[:12]!r}" for text in EVENTS])
async def test_events_that_are_none_reach_no_device(
    running: Running, user: str, channel: Announcer, events: bytes
) -> None:
    """They would be handed on as they stand."""
    async with session(running, user) as phone, caller(running, user) as post:
        await post.handled(A)
        channel.say(channel.record(B)._replace(events=events))
        await phone.until_cleared(B)
        await check_all(running, user, channel, post, phone)


@pytest.mark.parametrize("ahead", [-1_000_000, 0, 1, 1000, 10**12], ids=str)
async def test_an_announcement_of_what_is_not_in_the_state(
    running: Running, user: str, channel: Announcer, ahead: int
) -> None:
    """Of a position behind the state's, at it, or ahead of it: devices see a clear of what it says, or nothing."""
    async with session(running, user) as phone, caller(running, user) as post:
        await post.handled(A)
        await phone.until_cleared(A)
        before = phone.cursor
        channel.say(forged(channel.position() + ahead))
        if ahead > 0:
            (frame,) = await phone.until_cleared(FORGED)
            assert frame["cursor"] == before, "a cursor at what the store does not know is one beyond what is missed"
        await check_all(running, user, channel, post, phone, *([FORGED] if FORGED in phone.ledger.cleared else ()))


def forged(seq: int) -> Announcement:
    """Something that was never recorded."""
    return Announcement(7, seq, 0, b"-", b'[{"Type":"%b","Id":%d}]' % (FORGED[0].encode(), FORGED[1]))


# --- all of it ---


class Reader:
    """A device that reads all the time, and comes back with its cursor when it is told to leave."""

    def __init__(self, running: Running, user: str, name: str) -> None:
        self.name = name
        self.frames: list[dict[str, Any]] = []
        self.ledger = Ledger()
        self.told = self.ended = 0
        self._where = (running, user, name)
        self._device: Device | None = None
        self._over = False

    async def run(self) -> None:
        """Until `leave` for good."""
        while not self._over:
            async with session(*self._where, self.ledger.cursor or None, ledger=self.ledger) as device:
                self._device = device
                with suppress(ConnectionClosed):
                    while True:
                        await device.receive()
                self.frames += device.frames
            self.ended += 1

    async def here(self) -> None:
        """Wait until it is connected."""
        await until(lambda: self._device, what=f"{self.name} is connected")

    async def leave(self, *, for_good: bool = False) -> None:
        """Go away; it comes back, except for good."""
        await self.here()
        device, self._device = self._device, None
        assert device is not None
        self._over, self.told = for_good, self.told + 1
        await device.connection.close()


class Mix:
    """Random things on the channel of one agent. What is handled is true in any case; who hears of it is chance."""

    def __init__(self, seed: int, channel: Announcer, post: Caller, tablet: Reader) -> None:
        self._chance = random.Random(seed)
        self._channel = channel
        self._post = post
        self._tablet = tablet
        self._held: list[Announcement] = []
        self._said: list[Announcement] = []
        self.own: set[Pair] = set()
        """Handled by the tablet last, which so need not be told."""

    async def run(self, operations: int) -> None:
        """So many of them."""
        acts = (self.post, self.hold, self.say, self.say, self.repeat, self.reverse, self.drop, self.lie)
        for _ in range(operations):
            act = self._chance.choice((*acts, self.post, self.hold, self.garbage, self.forge, self.cut))
            await act()
            if self._chance.random() < 0.3:
                await asyncio.sleep(0.002)  # devices get their turn

    def _batch(self) -> tuple[str | None, list[Pair]]:
        origin = self._chance.choice((None, "elsewhere", self._tablet.name))
        pairs = tickets(self._chance.sample(range(80), self._chance.choice((1, 1, 2, 6))))
        self.own = self.own | {*pairs} if origin == self._tablet.name else self.own - {*pairs}
        return origin, pairs

    async def post(self) -> None:
        origin, pairs = self._batch()
        await self._post.handled(*pairs, device=origin)

    async def hold(self) -> None:
        origin, pairs = self._batch()
        self._held.append(self._channel.record(*pairs, origin=origin or "-"))

    async def say(self) -> None:
        if self._held:
            self._said.append(self._held.pop(self._chance.randrange(len(self._held))))
            self._channel.say(self._said[-1])

    async def repeat(self) -> None:
        if self._said:
            self._channel.say(self._chance.choice(self._said[-5:]))

    async def reverse(self) -> None:
        await self.hold()
        await self.hold()
        for message in reversed(self._held[-2:]):
            self._channel.say(message)

    async def drop(self) -> None:
        if self._held:
            self._held.pop(0)

    async def lie(self) -> None:
        await self.hold()
        self._channel.say(self._held.pop()._replace(prev=self._chance.choice((-1, 0, 1, 10**15))))

    async def garbage(self) -> None:
        self._channel.say(self._chance.choice(GARBAGE))

    async def forge(self) -> None:
        self._channel.say(forged(self._channel.position() + self._chance.choice((-1000, 0, 1, 50, 10**12))))

    async def cut(self) -> None:
        await self._tablet.leave()
        await self._tablet.here()


@pytest.mark.parametrize("seed", [4, 20, 1971], ids="seed-{}".format)
async def test_all_of_it_in_any_order(running: Running, user: str, channel: Announcer, seed: int) -> None:
    phone, tablet = (Reader(running, user, name) for name in ("phone", "tablet"))
    async with caller(running, user) as post, asyncio.TaskGroup() as tasks:
        for reader in (phone, tablet):
            tasks.create_task(reader.run())
            await reader.here()
        mix = Mix(seed, channel, post, tablet)
        await mix.run(OPERATIONS)
        await post.handled(SENTINEL)
        truth = await snapshot(running, user)
        owed = {pair: at for pair, at in truth.items() if pair not in mix.own}
        await until(lambda: not lacking(truth, phone.ledger.cleared), what="the phone has everything")
        await until(lambda: not lacking(owed, tablet.ledger.cleared), what="the tablet has everything that is owed")
        for reader in (phone, tablet):
            await reader.leave(for_good=True)
    assert {pair: at for pair, at in phone.ledger.cleared.items() if pair != FORGED} == truth
    assert {*tablet.ledger.cleared} <= {*truth, FORGED}
    for reader, all_of_it in ((phone, truth), (tablet, owed)):
        assert reader.ended == reader.told, "the server ended no session"
        check_frames(reader.frames)
        await check_cursors(running, user, reader.frames, all_of_it)
