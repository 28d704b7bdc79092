"""The circuit breaker, by its rules; time is a number."""

from __future__ import annotations

from typing import Any

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import LogCapture

from server.auth import breaker as module
from server.auth.breaker import FAILURES, FIRST_PAUSE_S, LONGEST_PAUSE_S, TRIAL_S, Attempt, Breaker, State


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> Any:
    capture = LogCapture()
    monkeypatch.setattr(module, "_log", structlog.wrap_logger(None, processors=[capture]))
    return capture.entries


def evenly() -> float:
    return 0.5


def begun(breaker: Breaker, now: float) -> Attempt:
    attempt = breaker.begin(now)
    assert attempt is not None
    return attempt


def fail(breaker: Breaker, now: float, times: int = 1) -> None:
    for _ in range(times):
        breaker.failed(begun(breaker, now), now)


def opened(now: float = 0.0) -> Breaker:
    breaker = Breaker("it", chance=evenly)
    fail(breaker, now, FAILURES)
    return breaker


def test_it_opens_after_so_many_in_a_row() -> None:
    breaker = Breaker("it", chance=evenly)
    fail(breaker, 0, FAILURES - 1)
    assert (breaker.state, breaker.wait(0)) == (State.CLOSED, 0)
    fail(breaker, 100)
    assert (breaker.state, breaker.wait(100)) == (State.OPEN, FIRST_PAUSE_S)


def test_one_success_begins_the_row_anew() -> None:
    breaker = Breaker("it", chance=evenly)
    fail(breaker, 0, FAILURES - 1)
    breaker.succeeded(begun(breaker, 0))
    fail(breaker, 0, FAILURES - 1)
    assert breaker.state is State.CLOSED


def test_one_that_was_dropped_is_neither() -> None:
    breaker = Breaker("it", chance=evenly)
    fail(breaker, 0, FAILURES - 1)
    breaker.dropped(begun(breaker, 0))
    assert breaker.wait(0) == 0
    fail(breaker, 0)
    assert breaker.state is State.OPEN


def test_open_it_lets_none_go_until_the_pause_is_over() -> None:
    breaker = opened()
    assert breaker.begin(FIRST_PAUSE_S - 0.001) is None
    assert breaker.wait(FIRST_PAUSE_S - 1) == 1
    assert breaker.wait(FIRST_PAUSE_S) == 0
    assert breaker.begin(FIRST_PAUSE_S) is not None


def test_then_one_trial_goes_at_a_time() -> None:
    breaker = opened()
    trial = begun(breaker, 10)
    assert breaker.state is State.TRYING
    assert breaker.begin(10) is None
    assert breaker.wait(1000) == TRIAL_S
    breaker.succeeded(trial)
    assert (breaker.state, breaker.wait(10)) == (State.CLOSED, 0)
    begun(breaker, 10)
    begun(breaker, 10)


def test_a_trial_that_fails_doubles_the_pause_up_to_the_longest() -> None:
    breaker, now, pauses = opened(), 0.0, []
    for _ in range(6):
        pauses.append(breaker.wait(now))
        now += pauses[-1]
        fail(breaker, now)
    assert pauses == [5, 10, 20, 40, LONGEST_PAUSE_S, LONGEST_PAUSE_S]


def test_a_trial_that_succeeds_makes_the_next_pause_short_again_and_the_row_whole() -> None:
    breaker = opened()
    fail(breaker, 10)
    breaker.succeeded(begun(breaker, 100))
    fail(breaker, 200, FAILURES - 1)
    assert breaker.state is State.CLOSED
    fail(breaker, 200)
    assert breaker.wait(200) == FIRST_PAUSE_S


def test_a_trial_that_was_dropped_is_the_next_ones() -> None:
    breaker = opened()
    breaker.dropped(begun(breaker, 10))
    assert breaker.wait(10) == 0
    breaker.succeeded(begun(breaker, 10))
    assert breaker.state is State.CLOSED


def test_what_began_before_a_change_does_not_count() -> None:
    breaker = Breaker("it", chance=evenly)
    early = [begun(breaker, 0) for _ in range(4)]
    fail(breaker, 0, FAILURES)
    breaker.succeeded(early[0])
    breaker.failed(early[1], 3)
    assert (breaker.state, breaker.wait(3)) == (State.OPEN, 2)
    trial = begun(breaker, 5)
    breaker.succeeded(early[2])
    breaker.failed(early[3], 5)
    breaker.dropped(early[3])
    assert breaker.state is State.TRYING
    breaker.failed(trial, 5)
    breaker.succeeded(trial)
    assert (breaker.state, breaker.wait(5)) == (State.OPEN, 10)


@pytest.mark.parametrize(("chance", "pause_s"), [(0.0, 4.0), (0.25, 4.5), (1.0, 6.0)])
def test_a_pause_varies_by_a_fifth(chance: float, pause_s: float) -> None:
    breaker = Breaker("it", chance=lambda: chance)
    fail(breaker, 0, FAILURES)
    assert breaker.wait(0) == pytest.approx(pause_s)


def test_workers_do_not_come_back_in_step() -> None:
    pauses = set()
    for _ in range(20):
        breaker = Breaker("it")
        fail(breaker, 0, FAILURES)
        pauses.add(breaker.wait(0))
    assert len(pauses) > 10
    assert 4 <= min(pauses) < max(pauses) <= 6


def test_each_change_is_told_once(said: list[dict[str, object]]) -> None:
    breaker = opened()
    for now in (1, 2, 3):
        assert breaker.begin(now) is None
    fail(breaker, 10)
    breaker.succeeded(begun(breaker, 100))
    breaker.succeeded(begun(breaker, 100))
    opens = {"event": "breaker open, it does not answer", "log_level": "warning", "of": "it"}
    assert said == [
        opens | {"failures": 5, "pause_s": 5},
        opens | {"failures": 6, "pause_s": 10},
        {"event": "breaker closed, it answers again", "log_level": "info", "of": "it"},
    ]


@given(
    st.lists(st.tuples(st.sampled_from(["begin", "succeeded", "failed", "dropped"]), st.integers(0, 7)), max_size=80)
)
def test_in_any_history_one_trial_is_under_way_at_most(history: list[tuple[str, int]]) -> None:
    breaker, now = Breaker("it", chance=evenly), 0.0
    under_way: list[tuple[Attempt, bool]] = []
    for what, number in history:
        if what == "begin":
            now += number
            free, closed = breaker.wait(now) == 0, breaker.state is State.CLOSED
            attempt = breaker.begin(now)
            assert (attempt is not None) == free
            if attempt is not None:
                under_way.append((attempt, not closed))
        elif under_way:
            attempt, _ = under_way.pop(number % len(under_way))
            if what == "failed":
                breaker.failed(attempt, now)
            else:
                getattr(breaker, what)(attempt)
        trials = sum(trial for _, trial in under_way)
        assert trials == (breaker.state is State.TRYING)
        assert 0 <= breaker.wait(now) <= LONGEST_PAUSE_S
