"""When posts are due, and from when on their latency counts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.loadtest.schedule import TICK_S, Schedule

START = 1000.0


def test_they_are_due_at_even_distances_whatever_becomes_of_them() -> None:
    schedule = Schedule(4, START)
    due = []
    for now in (START, START + 9, START + 9, START + 9):
        due.append(schedule.next_at)
        schedule.take(now, waited=True)
    assert due == [START, START + 0.25, START + 0.5, START + 0.75]


@pytest.mark.parametrize(
    ("late", "waited", "counts_from"),
    [
        (0.0, False, 0.0),
        (TICK_S / 2, False, TICK_S / 2),  # the timer's doing
        (TICK_S / 2, True, 0.0),
        (TICK_S * 2, False, 0.0),
        (TICK_S * 2, True, 0.0),
        (-TICK_S / 2, False, 0.0),
    ],
)
def test_a_post_that_had_to_wait_counts_from_when_it_was_due(late: float, waited: bool, counts_from: float) -> None:
    assert Schedule(1, START).take(START + late, waited=waited) == START + counts_from


@given(st.integers(1, 100_000), st.floats(0, 100), st.integers(0, 50))
def test_overdue_are_those_before_the_end_that_nobody_took(rate: int, seconds: float, taken: int) -> None:
    schedule = Schedule(rate, START)
    for _ in range(taken):
        schedule.take(START, waited=True)
    count = schedule.overdue(START + seconds)
    exact = (seconds - TICK_S) * rate - taken
    assert count == pytest.approx(max(0.0, exact + 0.5), abs=0.51 + 1e-6 * rate)


def test_what_only_the_timer_had_not_come_to_is_not_overdue() -> None:
    schedule = Schedule(1024, START)  # a power of two, so that all of it is exact
    schedule.take(START, waited=False)
    assert schedule.overdue(START + 1 / 1024 + TICK_S / 2) == 0
    assert schedule.overdue(START + 1 / 1024 + TICK_S * 1.25) == 1
