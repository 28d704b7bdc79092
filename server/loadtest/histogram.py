"""Latencies, counted in buckets: bounded memory whatever their number."""

from __future__ import annotations

import math
from typing import Final

_BITS: Final = 7
_EXACT: Final = 1 << _BITS
_HALF: Final = _EXACT >> 1
LONGEST_US: Final = (1 << 32) - 1
"""71 minutes; what is longer counts as this."""


class Histogram:
    """Counts times in microseconds. Up to 128 µs each has a bucket; above, each doubling is divided into 64, so what
    `percentile` says is the true value or up to 1.6 % more. `max_us` is exact."""

    __slots__ = ("_counts", "count", "max_us")

    def __init__(self) -> None:
        self.count = 0
        self.max_us = 0
        self._counts = [0] * (_index(LONGEST_US) + 1)

    def record(self, seconds: float) -> None:
        """One more; a negative time is 0. 0.4 µs."""
        us = min(LONGEST_US, max(0, int(seconds * 1e6)))
        self.count += 1
        if us > self.max_us:
            self.max_us = us
        self._counts[_index(us)] += 1

    def percentile(self, share: float) -> int:
        """The least time in µs that `share` (0 to 1) of all do not exceed, as the upper end of its bucket; 0 without
        any."""
        wanted = max(1, math.ceil(share * self.count))
        seen = 0
        for index, count in enumerate(self._counts):
            seen += count
            if seen >= wanted:
                return min(_upper(index), self.max_us)
        return 0


def _index(us: int) -> int:
    if us < _EXACT:
        return us
    shift = us.bit_length() - _BITS
    return (shift << (_BITS - 1)) + (us >> shift)


def _upper(index: int) -> int:
    """The longest time of a bucket."""
    if index < _EXACT:
        return index
    shift = (index >> (_BITS - 1)) - 1
    return (((index & (_HALF - 1)) + _HALF + 1) << shift) - 1
