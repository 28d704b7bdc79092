"""Percentiles out of buckets, against a sorted list."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.loadtest.figures import Latency
from server.loadtest.histogram import LONGEST_US, Histogram

MICROSECONDS = st.integers(0, LONGEST_US)
WORST = 1 / 64


def _of(times_us: list[int]) -> Histogram:
    histogram = Histogram()
    for us in times_us:
        histogram.record((us + 0.5) / 1e6)  # the half, because 3 µs in seconds may be a little less than 3 µs
    return histogram


@given(st.lists(MICROSECONDS | st.integers(0, 5000), min_size=1), st.sampled_from((0.0, 0.5, 0.9, 0.99, 0.999, 1.0)))
def test_a_percentile_is_the_true_one_or_little_more(times: list[int], share: float) -> None:
    true = sorted(times)[max(1, math.ceil(share * len(times))) - 1]
    histogram = _of(times)
    assert true <= histogram.percentile(share) <= true * (1 + WORST)
    assert (histogram.count, histogram.max_us, histogram.percentile(1.0)) == (len(times), max(times), max(times))


def test_each_time_alone_is_found_again() -> None:
    for us in (*range(130), *(2**n + d for n in range(7, 32) for d in (-1, 0, 1)), LONGEST_US):
        assert _of([us, LONGEST_US]).percentile(0.5) - us in range(int(us * WORST) + 1), us


def test_up_to_128_microseconds_it_is_exact() -> None:
    histogram = _of(list(range(129)))
    assert [histogram.percentile((us + 1) / 129) for us in range(128)] == list(range(128))


def test_without_any_all_is_zero() -> None:
    assert Histogram().percentile(0.5) == 0
    assert Latency.of(Histogram()) == Latency()


def test_what_no_latency_can_be_counts_as_the_nearest_that_can() -> None:
    histogram = Histogram()
    histogram.record(-1.0)
    assert (histogram.count, histogram.max_us) == (1, 0)
    histogram.record(1e9)
    assert histogram.percentile(1.0) == LONGEST_US


def test_a_latency_is_in_milliseconds() -> None:
    latency = Latency.of(_of([100] * 98 + [40_000, 50_000]))
    assert (latency.p50, latency.p90, latency.max) == (0.1, 0.1, 50.0)
    assert latency.p99 == pytest.approx(40, rel=WORST)
    assert latency.p999 == 50.0
