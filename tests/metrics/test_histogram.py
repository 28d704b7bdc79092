"""Observations in buckets, by an oracle that looks at each of them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.metrics import Histogram

BOUNDS = (0.0, 1.0, 2.5, 10.0)


def counts(values: list[int]) -> list[int]:
    """How many are at most each bound, and above the last."""
    found = [0] * (len(BOUNDS) + 1)
    for value in values:
        found[next((i for i, bound in enumerate(BOUNDS) if value <= bound), len(BOUNDS))] += 1
    return found


@given(st.lists(st.integers(0, 30), max_size=30))
def test_each_observation_is_in_its_bucket(values: list[int]) -> None:
    histogram = Histogram(BOUNDS)
    for value in values:
        histogram.add(value)
    assert histogram.counts == counts(values)
    assert histogram.sum == sum(values)


@given(st.lists(st.integers(0, 40), max_size=40).map(sorted), st.integers(0, 45), st.integers(0, 3))
def test_ages_are_as_if_each_was_looked_at(times: list[int], now: int, weight: int) -> None:
    histogram = Histogram(BOUNDS)
    histogram.add_ages([(b"x", at) for at in times], now, weight)
    ages = [max(0, now - at) for at in times] * weight
    assert histogram.counts == counts(ages)
    assert histogram.sum == sum(ages)


def test_buckets_are_cumulative_and_in_the_unit() -> None:
    histogram = Histogram((0.001, 1.0, 86_400.0), 1000)
    for milliseconds in (1, 2, 1000, 1001):
        histogram.add(milliseconds)
    assert list(histogram.cumulative()) == [("0.001", 1), ("1", 3), ("86400", 4), ("+Inf", 4)]
    assert histogram.sum / histogram.scale == pytest.approx(2.004)
