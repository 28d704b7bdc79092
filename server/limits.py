"""How often: a rate by key, in bounded memory, and one for somebody who keeps the memory himself."""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

KEYS: Final = 100_000
_FEW: Final = 1000
"""Keys that are kept without looking whether they have paid: most callers are among the last ones."""
_SLACK: Final = 1e-3
"""Of one interval: what the additions of a whole burst may lose to rounding, with a clock that counts months."""


class Rate:
    """`per_s` a second for each key, `burst` of them at once after a pause. Both over 0. 0.2 to 0.6 µs a `take`.

    What is kept of a key is the time at which it will have paid for all that it took (GCRA, the leaky bucket as a
    meter), about 180 bytes beside the key. Those that have paid go when new ones come. Over `keys` the one that took
    longest ago is forgotten: it is the likeliest to have paid.

    `now` is monotonic, in seconds. Where it goes back, a key waits longer by that much and nobody gets more.
    """

    def __init__(self, per_s: float, burst: int, keys: int = KEYS) -> None:
        self._each_s = 1 / per_s
        self._ahead_s = (burst - 1) * self._each_s
        self._slack_s = self._each_s * _SLACK
        self._keys = keys
        self._paid: OrderedDict[str, float] = OrderedDict()

    def take(self, key: str, now: float) -> float:
        """0 where `key` may; else nothing is taken, and so many seconds later it may."""
        wait = self.wait(key, now)
        if wait == 0.0:
            self.charge(key, now)
        return wait

    def wait(self, key: str, now: float) -> float:
        """What `take` would say."""
        wait = self._paid.get(key, now) - now - self._ahead_s
        return wait if wait > self._slack_s else 0.0

    def room(self, key: str, now: float) -> int:
        """How many `take`s in a row would succeed now."""
        ahead = max(0.0, self._paid.get(key, now) - now)
        return max(0, int((self._ahead_s + self._slack_s - ahead) / self._each_s + 1))

    def charge(self, key: str, now: float) -> None:
        """Take one, whether it may or not. What is taken beyond the rate is waited for in full."""
        paid = self._paid
        before = paid.get(key)
        if before is None:
            paid[key] = now + self._each_s
            if len(paid) > min(_FEW, self._keys):
                self._forget(now)
        else:
            paid[key] = max(before, now) + self._each_s
            paid.move_to_end(key)

    def _forget(self, now: float) -> None:
        """Two for one that came, at most, so that the sweep is spread; over the bound one in any case."""
        paid = self._paid
        for _ in range(2):
            oldest = next(iter(paid))
            if len(paid) <= self._keys and paid[oldest] > now:
                break
            del paid[oldest]

    def __len__(self) -> int:
        return len(self._paid)


class Pace:
    """`per_s` a second, `burst` of them at once after a pause, as `Rate` counts. Both over 0. What is kept is one float
    of whoever is counted: when all that it took will be paid, 0.0 at first."""

    __slots__ = ("_burst_s", "_each_s", "_slack_s")

    def __init__(self, per_s: float, burst: int) -> None:
        self._each_s = 1 / per_s
        self._burst_s = burst * self._each_s
        self._slack_s = self._each_s * _SLACK

    def charged(self, paid: float, now: float) -> float:
        """`paid` with one more."""
        return max(paid, now) + self._each_s

    def bursts(self, paid: float, now: float) -> int:
        """How many whole bursts have been gone beyond: 0 is within the rate."""
        return max(0, int((paid - now - self._slack_s) / self._burst_s))


def pace(per_s: float, burst: int) -> Pace | None:
    """The `Pace` of settings, where 0 is no limit."""
    return Pace(per_s, burst) if per_s else None
