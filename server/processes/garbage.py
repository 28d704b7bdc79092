"""When a worker looks for cyclic garbage, and how long that may hold its loop.

A collection stops the loop for as long as there are objects to look at, and Python would look at all of them again and
again while connections come. What is no longer needed goes by its count of references; a collection is for what refers
to itself in a circle.

1. What is there when the worker has started stays, and is not looked at again (`gc.freeze`).
2. New objects are looked at twice, in collections of bounded size.
3. All objects are looked at only where a leak could hide: where memory has doubled since the last time (a worker that
   fills with connections does so a few times), and after a while, at first `FIRST_LOOK_S`. That time doubles as long as
   nothing is found, up to `LONGEST_S`. So a path that leaks cycles makes a worker twice as large and some 100 MB
   more, not larger without end.

The thresholds are meant as CPython 3.11 to 3.13 read them. 3.14 looks at a part of all objects each time: there rule 2
bounds that part, and rule 3 is an addition.
"""

from __future__ import annotations

import asyncio
import gc
import sys
import time
from typing import Any, Final

from server import logs
from server.metrics import Metrics

YOUNG: Final = 5000
"""Containers more than there were that begin a collection of the new ones."""
MIDDLE: Final = 5
"""Collections of the new ones that begin one of those that outlived them."""
NEVER: Final = 2**31 - 1
LOOK_S: Final = 5.0
GROWTH: Final = 1_000_000
"""Blocks of memory (some 100 bytes each) that may come on top of twice what there was."""
FIRST_LOOK_S: Final = 600.0
LONGEST_S: Final = 86_400.0
FOUND: Final = 1000
"""Objects in cycles; fewer are no leak."""

_log = logs.get("clearsync.worker")


class Policy:
    """The collector of this process, as a worker wants it, from `start` to `stop`. Belongs to the running loop."""

    def __init__(self, metrics: Metrics, growth: int = GROWTH) -> None:
        self._metrics = metrics
        self._growth = growth
        self._loop = asyncio.get_running_loop()
        self._before: tuple[int, int, int] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._began = self._longest = self._longest_before = 0.0
        self._blocks = 0
        self._wait_s = FIRST_LOOK_S
        self._due = 0.0

    def start(self) -> None:
        """What there is now stays. Idempotent."""
        if self._before is None:
            self._before = gc.get_threshold()
            gc.callbacks.append(self._collected)
            gc.set_threshold(YOUNG, MIDDLE, NEVER)
            gc.collect()
            gc.freeze()
            self._blocks, self._due = sys.getallocatedblocks(), self._loop.time() + self._wait_s
            self._timer = self._loop.call_later(LOOK_S, self._look)

    def stop(self) -> None:
        """As it was before. Idempotent."""
        if self._before is not None and self._timer is not None:
            self._timer.cancel()
            gc.callbacks.remove(self._collected)
            gc.set_threshold(*self._before)
            gc.unfreeze()
            self._before = None

    def _look(self) -> None:
        self._timer = self._loop.call_later(LOOK_S, self._look)
        self._longest_before, self._longest = self._longest, 0.0
        self._note(0.0)
        self.look(self._loop.time())

    def look(self, now: float) -> None:
        """Collect all where it is time, or where memory has doubled."""
        if now >= self._due or sys.getallocatedblocks() > 2 * self._blocks + self._growth:
            timed, before, found = now >= self._due, sys.getallocatedblocks(), gc.collect()
            self._blocks = sys.getallocatedblocks()
            # what falls when a generator in a circle is closed is not counted as found
            if (found := max(found, before - self._blocks)) >= FOUND:
                self._wait_s = FIRST_LOOK_S
                _log.warning("cyclic garbage", objects=found)
            elif timed:
                self._wait_s = min(2 * self._wait_s, LONGEST_S)
            self._due = now + self._wait_s
        else:
            self._blocks = min(self._blocks, sys.getallocatedblocks())  # what has gone may not come back unseen

    def _collected(self, phase: str, info: dict[str, Any]) -> None:
        if phase == "start":
            self._began = time.perf_counter()
        else:
            self._note(time.perf_counter() - self._began)

    def _note(self, pause_s: float) -> None:
        self._longest = max(self._longest, pause_s)
        self._metrics.gc_pause_seconds = max(self._longest_before, self._longest)
