"""What was cleared lately, and which notifications it answers for."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from server.client import Clear, HandledEvent
from server.client.clock import ServerClock
from server.client.tombstones import Tombstones

PAIR = ("NewTicket", 12)


def cleared(at: int, *ids: int, own: int | None = None) -> Clear:
    return Clear("a-1", at, tuple(HandledEvent("NewTicket", i, own) for i in ids or (12,)))


def test_a_notification_that_is_not_later_is_dismissed_as_often_as_it_comes() -> None:
    tombstones = Tombstones()
    assert not tombstones.dismiss(PAIR, 5, 100)
    tombstones.add(cleared(50), 100)
    assert [tombstones.dismiss(PAIR, time, 100) for time in (49, 50, 50)] == [True] * 3
    assert not tombstones.dismiss(("NewTicket", 13), 5, 100)
    assert not tombstones.dismiss(("NewTicketMessage", 12), 5, 100)


def test_a_later_notification_is_shown_and_takes_the_tombstone_away() -> None:
    tombstones = Tombstones()
    tombstones.add(cleared(50), 100)
    assert not tombstones.dismiss(PAIR, 51, 100)
    assert len(tombstones) == 0
    assert not tombstones.dismiss(PAIR, 50, 100)


def test_an_events_own_time_counts_and_the_latest_of_all() -> None:
    tombstones = Tombstones()
    tombstones.add(cleared(50, own=40), 100)
    assert not Tombstones().dismiss(PAIR, 45, 100)
    tombstones.add(cleared(90, own=30), 100)
    assert tombstones.dismiss(PAIR, 40, 100)
    assert not tombstones.dismiss(PAIR, 41, 100)


def test_it_is_forgotten_by_its_age_since_it_came() -> None:
    tombstones = Tombstones(max_age_s=1)
    tombstones.add(cleared(50), 1000)
    assert tombstones.dismiss(PAIR, 50, 2000)
    assert not tombstones.dismiss(PAIR, 50, 2001)
    assert len(tombstones) == 0


@given(st.lists(st.lists(st.integers(0, 9), max_size=9), max_size=20), st.integers(1, 5))
def test_there_are_never_more_than_so_many_and_the_newest_stay(clears: list[list[int]], most: int) -> None:
    tombstones = Tombstones(max_count=most)
    came: list[int] = []
    for ids in clears:
        tombstones.add(Clear("a-1", 50, tuple(HandledEvent("NewTicket", i) for i in ids)), 100)
        came = [i for i in came if i not in ids] + list(dict.fromkeys(reversed(ids)))[::-1]
    assert [i for i in range(10) if tombstones.dismiss(("NewTicket", i), 50, 100)] == sorted(came[-most:])


def test_the_servers_clock_goes_on_from_what_it_was_told() -> None:
    seconds = [7.0]
    clock = ServerClock(lambda: seconds[0])
    assert clock.now() > 1_600_000_000_000
    clock.set(1000)
    seconds[0] += 2.5
    assert clock.now() == 3500
