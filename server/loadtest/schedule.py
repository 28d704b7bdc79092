"""When posts are due. Pure: time is passed in."""

from __future__ import annotations

from typing import Final

TICK_S: Final = 0.002
"""What a timer of an event loop may be late by itself: it counts in ms."""


class Schedule:
    """`rate` posts a second from `start` on, at even distances, whatever becomes of them."""

    def __init__(self, rate: float, start: float) -> None:
        self._each_s = 1 / rate
        self._start = start
        self._taken = 0

    @property
    def next_at(self) -> float:
        """When the next is due."""
        return self._start + self._taken * self._each_s

    def take(self, now: float, *, waited: bool) -> float:
        """The next one: from when on its latency counts.

        That is when it was due, or the time a request waits for a stalled server would not be seen (coordinated
        omission). But where none `waited` for a publisher, and it is late by no more than a timer may be, that is the
        generator's own doing and counts from `now`.
        """
        due = self.next_at
        self._taken += 1
        return due if waited or now - due > TICK_S else max(now, due)

    def overdue(self, end: float) -> int:
        """How many were due before `end` and not taken, those left out that only the timer had not come to."""
        return max(0, -int(-(end - TICK_S - self._start) // self._each_s) - self._taken)
