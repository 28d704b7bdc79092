"""The rate: a burst, then so many a second, for each key by itself, in bounded memory; and the same without keys."""

from __future__ import annotations

import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.limits import Pace, Rate, pace

MONTHS_S = 3e7
"""A monotonic clock's reading after a year: its float is good for 4 ns."""


class Bucket:
    """The oracle: a token bucket in whole numbers, counted in eighths of the interval of one token."""

    def __init__(self, burst: int) -> None:
        self._full = 8 * burst
        self._tokens = self._full
        self._seen = 0

    def _fill(self, now: int) -> None:
        self._tokens = min(self._full, self._tokens + now - self._seen)
        self._seen = now

    def room(self, now: int) -> int:
        self._fill(now)
        return max(0, self._tokens // 8)

    def wait(self, now: int) -> int:
        self._fill(now)
        return max(0, 8 - self._tokens)

    def charge(self, now: int) -> None:
        self._fill(now)
        self._tokens -= 8


steps = st.lists(st.tuples(st.sampled_from(["a", "b"]), st.integers(0, 40), st.sampled_from("tttc")), max_size=60)


@given(
    per_s=st.sampled_from([0.1, 10 / 60, 1.0, 3.0, 200.0, 997.0]),
    burst=st.integers(1, 12),
    start=st.sampled_from([0.0, 1.7, 86_400.1, MONTHS_S]),
    steps=steps,
)
def test_it_is_a_token_bucket_for_each_key(
    per_s: float, burst: int, start: float, steps: list[tuple[str, int, str]]
) -> None:
    rate, buckets, at = Rate(per_s, burst), {"a": Bucket(burst), "b": Bucket(burst)}, 0
    for key, eighths, what in steps:
        at += eighths
        now, bucket = start + at / 8 / per_s, buckets[key]
        assert rate.room(key, now) == bucket.room(at)
        due = pytest.approx(bucket.wait(at) / 8 / per_s, abs=1e-3 / per_s)
        assert rate.wait(key, now) == due
        allowed = bucket.wait(at) == 0
        if what == "c":
            rate.charge(key, now)
            bucket.charge(at)
        else:
            assert rate.take(key, now) == due
            if allowed:
                bucket.charge(at)
        assert (rate.room(key, now) == 0) is (rate.wait(key, now) > 0.0)


def test_a_burst_and_then_the_rate() -> None:
    rate = Rate(200, 1000)
    assert [rate.take("a", 10.0) for _ in range(1000)] == [0.0] * 1000
    assert rate.take("a", 10.0) == pytest.approx(0.005)
    taken = sum(rate.take("a", 10.0 + tick / 1000) == 0.0 for tick in range(1, 10_001))
    assert taken == 2000


@pytest.mark.parametrize("start", [0.0, 12_345.678, MONTHS_S])
def test_a_burst_is_whole_on_a_clock_that_counts_months(start: float) -> None:
    rate = Rate(200, 1000)
    assert sum(rate.take("a", start) == 0.0 for _ in range(2000)) == 1000


@given(
    per_s=st.floats(0.01, 1000),
    burst=st.integers(1, 50),
    now=st.floats(0, MONTHS_S),
    over=st.integers(1, 5),
)
def test_who_waits_as_long_as_he_was_told_may(per_s: float, burst: int, now: float, over: int) -> None:
    rate = Rate(per_s, burst)
    for _ in range(burst - 1 + over):
        rate.charge("a", now)
    wait = rate.wait("a", now)
    assert rate.room("a", now) == 0
    assert wait == pytest.approx(over / per_s, rel=0.01, abs=1e-6)
    assert rate.take("a", now + wait / 2) > 0.0
    assert rate.take("a", now + wait) == 0.0


def test_who_is_refused_takes_nothing() -> None:
    rate = Rate(1, 1)
    assert rate.take("a", 0.0) == 0.0
    assert {rate.take("a", 0.5) for _ in range(100)} == {0.5}
    assert rate.take("a", 1.0) == 0.0


def test_what_is_charged_beyond_the_rate_is_waited_for() -> None:
    rate = Rate(1, 2)
    for _ in range(10):
        rate.charge("a", 0.0)
    assert rate.wait("a", 0.0) == pytest.approx(9.0)


def test_a_busy_key_takes_nothing_from_another() -> None:
    rate = Rate(10, 5)
    quiet = 0
    for tick in range(1000):
        now = tick / 100
        for _ in range(20):
            rate.take("busy", now)
        if tick % 10 == 0:
            quiet += rate.take("quiet", now) == 0.0
    assert quiet == 100


# --- clocks ---


def test_a_long_sleep_gives_one_burst() -> None:
    rate = Rate(10, 5)
    rate.take("a", 0.0)
    assert sum(rate.take("a", MONTHS_S) == 0.0 for _ in range(100)) == 5


@given(jumps=st.lists(st.floats(-1000, 1000), max_size=30))
def test_a_clock_that_jumps_gives_no_more_than_the_way_forward(jumps: list[float]) -> None:
    rate, now, furthest, taken = Rate(1, 3), 5000.0, 5000.0, 0
    for jump in [0.0, *jumps]:
        now = max(0.0, now + jump)
        furthest = max(furthest, now)
        while rate.take("a", now) == 0.0:
            taken += 1
    assert taken <= 3 + furthest - 5000.0 + 1
    assert rate.wait("a", furthest + 1.0) == 0.0, "whoever waits until the clock is back where it was, may"


# --- memory ---


def test_a_million_keys_stay_in_bounds() -> None:
    rate = Rate(0.001, 1, keys=1000)
    for number in range(1_000_000):
        rate.charge(f"{number}", 1.0)
    assert len(rate) == 1000
    assert rate.wait("999999", 1.0) > 0.0
    assert rate.wait("999000", 1.0) > 0.0, "it is the oldest that are forgotten"
    assert rate.wait("998999", 1.0) == 0.0


def test_a_key_costs_little() -> None:
    rate, keys = Rate(0.001, 1, keys=5000), [f"{number}" for number in range(20_000)]
    tracemalloc.start()
    try:
        for key in keys:
            rate.charge(key, 1.0)
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept / len(rate) < 300


def test_who_takes_again_is_not_the_oldest() -> None:
    rate = Rate(0.001, 2, keys=2)
    for key in ("a", "b", "a", "c"):
        rate.take(key, 1.0)
    assert rate.wait("a", 1.0) > 0.0
    assert rate.room("b", 1.0) == 2


def test_those_who_have_paid_go_as_others_come() -> None:
    rate = Rate(1, 1)
    for number in range(1000):
        rate.take(f"old {number}", 0.0)
    for number in range(1000):
        rate.take(f"new {number}", 10.0)
    assert len(rate) == 1000


def test_who_has_not_paid_is_kept() -> None:
    rate = Rate(1, 10)
    for number in range(100):
        rate.take(f"{number}", 0.0)
    rate.take("new", 0.5)
    assert len(rate) == 101


# without keys


def paid_for(pace: Pace, frames: int, paid: float, now: float) -> tuple[float, list[int]]:
    """What is paid after so many at once, and how many bursts each was beyond."""
    beyond = []
    for _ in range(frames):
        paid = pace.charged(paid, now)
        beyond.append(pace.bursts(paid, now))
    return paid, beyond


@pytest.mark.parametrize("now", [0.0, 1000.0, MONTHS_S])
@pytest.mark.parametrize(("per_s", "burst"), [(20.0, 200), (1.0, 1), (3.0, 7)])
def test_a_pace_counts_the_bursts_beyond_what_may_be(now: float, per_s: float, burst: int) -> None:
    _, beyond = paid_for(Pace(per_s, burst), 3 * burst, 0.0, now)
    assert beyond == [0] * burst + [1] * burst + [2] * burst


def test_a_pace_lets_as_many_again_as_time_has_passed() -> None:
    limit = Pace(20, 200)
    paid, _ = paid_for(limit, 200, 0.0, 50.0)
    paid, beyond = paid_for(limit, 21, paid, 51.0)
    assert beyond == [0] * 20 + [1]
    assert paid_for(limit, 200, paid, 100.0)[1] == [0] * 200


def test_no_pace_is_no_limit() -> None:
    assert pace(0, 200) is None
    assert isinstance(pace(20, 200), Pace)
