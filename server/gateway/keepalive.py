"""Pings for all connections from one wheel, whose ticks also tell how late the loop is.

A tick handles one slot: a plain sweep over 18,000 connections stalls the loop for 0.3 s (measured), a timer a
connection costs memory. Connections are dealt to the slots in turn, so that a reconnect storm is spread over a whole
interval.
"""

from __future__ import annotations

import asyncio
import math
from typing import Final, Protocol

from server import logs
from server.metrics import Metrics

TICK_S: Final = 0.25
LAG_S: Final = 5.0
"""The lag that is shown is the longest of so many seconds, and of as many before them."""
LONG_LAG_S: Final = 1.0
"""Over it the log says so, once in `LAG_LINE_S`."""
LAG_LINE_S: Final = 60.0
_log = logs.get("clearsync.gateway")


class Pinged(Protocol):
    """What the wheel turns: times are the loop's, in seconds."""

    def ping(self, now: float) -> None:
        """Once an interval."""

    def overdue(self, now: float) -> None:
        """`timeout_s` after each `ping`: end the connection if nothing has been heard since."""


class Lag:
    """How late the loop comes to its work, as `Metrics.loop_lag_seconds` shows it. Times are the loop's, in seconds."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._before = self._longest = 0.0
        self._began = self._silent_until = -math.inf

    def note(self, now: float, late_s: float) -> None:
        """What was due `late_s` ago is done now."""
        passed = now - self._began
        if passed >= LAG_S:
            self._before = self._longest if passed < 2 * LAG_S else 0.0
            self._began, self._longest = now, 0.0
        self._longest = max(self._longest, late_s)
        self._metrics.loop_lag_seconds = max(self._before, self._longest)
        if late_s > LONG_LAG_S and now >= self._silent_until:
            self._silent_until = now + LAG_LINE_S
            _log.warning("the loop was late, is this worker overloaded?", seconds=round(late_s, 2))


class Wheel:
    """Pings each member once in `interval_s`, and asks `timeout_s` later whether it is overdue."""

    def __init__(self, interval_s: float, timeout_s: float, metrics: Metrics | None = None) -> None:
        self._lag = Lag(metrics or Metrics())
        self._slots: list[set[Pinged]] = [set() for _ in range(max(2, round(interval_s / TICK_S)))]
        self._wait = max(1, min(len(self._slots) - 1, round(timeout_s / TICK_S)))
        self._now = 0
        self._next = 0

    def add(self, member: Pinged) -> int:
        """The slot it was dealt, for `discard`."""
        self._next = (self._next + 1) % len(self._slots)
        self._slots[self._next].add(member)
        return self._next

    def discard(self, member: Pinged, slot: int) -> None:
        """Idempotent."""
        self._slots[slot].discard(member)

    def turn(self, now: float) -> None:
        """One tick."""
        self._now = (self._now + 1) % len(self._slots)
        for member in list(self._slots[self._now - self._wait]):
            member.overdue(now)
        for member in list(self._slots[self._now]):
            member.ping(now)

    async def run(self) -> None:
        """Until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + TICK_S
            await asyncio.sleep(TICK_S)
            now = loop.time()
            self._lag.note(now, max(0.0, now - due))
            try:
                self.turn(now)
            except Exception:  # of one member; the others are asked at their next turn
                _log.exception("keepalive failed")
