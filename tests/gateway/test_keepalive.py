"""The wheel of pings, and how late it comes, with the time passed in."""

from __future__ import annotations

import asyncio
import time
from collections import Counter

import pytest

from server.gateway.keepalive import LAG_LINE_S, LAG_S, LONG_LAG_S, TICK_S, Lag, Wheel
from server.metrics import Metrics
from tests.running import wait_until


class Member:
    """Notes when it was asked what."""

    def __init__(self) -> None:
        self.pings: list[float] = []
        self.overdues: list[float] = []

    def ping(self, now: float) -> None:
        self.pings.append(now)

    def overdue(self, now: float) -> None:
        self.overdues.append(now)


def turned(wheel: Wheel, ticks: int, start: int = 0) -> None:
    """So many ticks, each at its time."""
    for tick in range(start, start + ticks):
        wheel.turn(tick * TICK_S)


@pytest.mark.parametrize(("interval_s", "timeout_s"), [(25, 10), (1, 0.5), (25, 24.9), (2, 0.01), (0.5, 0.25)])
def test_each_member_is_pinged_once_an_interval_and_asked_a_timeout_later(interval_s: float, timeout_s: float) -> None:
    wheel = Wheel(interval_s, timeout_s)
    members = [Member() for _ in range(250)]
    for member in members:
        wheel.add(member)
    slots = round(interval_s / TICK_S)
    turned(wheel, slots * 4)
    wait = max(1, min(slots - 1, round(timeout_s / TICK_S))) * TICK_S
    for member in members:
        assert len(member.pings) == 4
        gaps = {b - a for a, b in zip(member.pings, member.pings[1:], strict=False)}
        assert gaps == {slots * TICK_S}
        asked = [at for at in member.overdues if at > member.pings[0]]
        assert asked == [at + wait for at in member.pings if at + wait < slots * 4 * TICK_S]


def test_members_are_dealt_evenly_so_that_no_tick_has_many() -> None:
    wheel = Wheel(25, 10)
    members = [Member() for _ in range(1000)]
    for member in members:
        wheel.add(member)
    turned(wheel, 100)
    a_tick = Counter(at for member in members for at in member.pings)
    assert len(a_tick) == 100
    assert set(a_tick.values()) == {10}


def test_a_member_is_asked_only_after_its_first_ping_or_before_it_was_ever_pinged() -> None:
    """`overdue` may come first, within the first interval: a member has to take a new connection for heard."""
    wheel = Wheel(1, 0.5)
    member = Member()
    wheel.add(member)
    turned(wheel, 4)
    assert len(member.pings) == len(member.overdues) == 1


def test_a_member_that_left_is_not_turned_any_more() -> None:
    wheel = Wheel(1, 0.5)
    member, other = Member(), Member()
    slot = wheel.add(member)
    wheel.add(other)
    wheel.discard(member, slot)
    wheel.discard(member, slot)
    turned(wheel, 8)
    assert member.pings == member.overdues == []
    assert len(other.pings) == 2


def test_a_member_may_leave_while_it_is_turned() -> None:
    wheel = Wheel(0.5, 0.25)
    slots: dict[Member, int] = {}

    class Leaving(Member):
        def ping(self, now: float) -> None:
            super().ping(now)
            wheel.discard(self, slots[self])

        def overdue(self, now: float) -> None:
            super().overdue(now)
            wheel.discard(self, slots[self])

    members = [Leaving() for _ in range(50)]
    slots.update((member, wheel.add(member)) for member in members)
    turned(wheel, 8)
    assert all(len(member.pings) + len(member.overdues) == 1 for member in members)


def test_the_shortest_interval_is_two_ticks() -> None:
    """Anything less, and a ping and the question for its answer would be one."""
    wheel = Wheel(0.01, 0.01)
    member = Member()
    wheel.add(member)
    turned(wheel, 8)
    assert len(member.pings) == 4
    assert not set(member.pings) & set(member.overdues)


# how late it comes


def noted(lag: Lag, metrics: Metrics, *ticks: tuple[float, float]) -> float:
    """What the metrics say after these (when, how late)."""
    for now, late_s in ticks:
        lag.note(now, late_s)
    return metrics.loop_lag_seconds


def test_the_lag_is_the_longest_of_the_last_seconds() -> None:
    metrics = Metrics()
    lag = Lag(metrics)
    assert noted(lag, metrics, (100.0, 0.01), (100.3, 0.4), (100.6, 0.02)) == 0.4
    assert noted(lag, metrics, (100.0 + 2 * LAG_S - 0.1, 0.1)) == 0.4
    assert noted(lag, metrics, (100.0 + 3 * LAG_S, 0.05)) == 0.1
    assert noted(lag, metrics, (100.0 + 9 * LAG_S, 0.01)) == 0.01


@pytest.mark.parametrize("start", [0.0, 100.0])
def test_a_long_lag_is_said_once_a_minute(start: float, capsys: pytest.CaptureFixture[str]) -> None:
    lag = Lag(Metrics())
    for tick in range(100):
        lag.note(start + tick, LONG_LAG_S)
    assert not said(capsys)
    for tick in range(round(LAG_LINE_S) + 1):
        lag.note(start + 100 + tick, LONG_LAG_S + 0.1)
    assert said(capsys) == 2


def said(capsys: pytest.CaptureFixture[str]) -> int:
    """Lines in the log about a late loop."""
    out = capsys.readouterr()
    return (out.out + out.err).count("the loop was late")


def hold_up(seconds: float) -> None:
    """Nobody else gets a turn."""
    time.sleep(seconds)


async def test_a_loop_that_is_held_up_is_seen_by_the_wheel() -> None:
    metrics = Metrics()
    running = asyncio.ensure_future(Wheel(25, 10, metrics).run())
    try:
        await asyncio.sleep(0)
        hold_up(TICK_S + 0.3)
        await asyncio.to_thread(wait_until, lambda: metrics.loop_lag_seconds >= 0.25)
    finally:
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
