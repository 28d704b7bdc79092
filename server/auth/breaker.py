"""A circuit breaker: who fails again and again is left alone for a while. No I/O, the time is passed in.

1. CLOSED: every attempt may go. `FAILURES` in a row open it; one success begins the row anew.
2. OPEN: none may go for a pause of `FIRST_PAUSE_S`, ±20 % so that workers do not come back in step.
3. TRYING: the pause is over and one attempt is under way, the trial. If it succeeds the breaker is CLOSED, if it fails
   it is OPEN for twice as long, up to `LONGEST_PAUSE_S`. Dropped, it is the next one's turn.
4. What comes of an attempt that began before the last change says nothing about now: it does not count.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from enum import Enum
from typing import Final, NewType

from server import logs

FAILURES: Final = 5
FIRST_PAUSE_S: Final = 5.0
LONGEST_PAUSE_S: Final = 60.0
JITTER: Final = 0.2
TRIAL_S: Final = 1.0
"""What whoever comes during a trial is told to wait: how long it takes is not known."""

Attempt = NewType("Attempt", int)
"""One that was let go: the number of the changes before it."""

_log = logs.get("clearsync.auth")


class State(Enum):
    """See the rules above."""

    CLOSED = "closed"
    OPEN = "open"
    TRYING = "trying"


class Breaker:
    """`name` is whose it is, for the log. Times are seconds of one monotonic clock; `chance` is uniform in [0, 1)."""

    def __init__(self, name: str, *, chance: Callable[[], float] = random.random) -> None:
        self.state = State.CLOSED
        self._name = name
        self._chance = chance
        self._changes = 0
        self._failures = 0
        self._pause_s = FIRST_PAUSE_S
        self._over_at = 0.0

    def wait(self, now: float) -> float:
        """Seconds after which an attempt may go, 0 where `begin` would let it."""
        if self.state is State.OPEN:
            return max(0.0, self._over_at - now)
        return TRIAL_S if self.state is State.TRYING else 0.0

    def begin(self, now: float) -> Attempt | None:
        """Let an attempt go; None where it may not. Each one let go ends in `succeeded`, `failed` or `dropped`."""
        if self.wait(now) > 0:
            return None
        if self.state is State.OPEN:
            self._change(State.TRYING)
        return Attempt(self._changes)

    def succeeded(self, attempt: Attempt) -> None:
        """It answered."""
        if attempt != self._changes:
            return
        self._failures = 0
        if self.state is State.TRYING:
            self._pause_s = FIRST_PAUSE_S
            self._change(State.CLOSED)
            _log.info("breaker closed, it answers again", of=self._name)

    def failed(self, attempt: Attempt, now: float) -> None:
        """It gave no answer, or none of use."""
        if attempt != self._changes:
            return
        self._failures += 1
        if self.state is State.TRYING:
            self._pause_s = min(2 * self._pause_s, LONGEST_PAUSE_S)
        elif self._failures < FAILURES:
            return
        pause_s = self._pause_s * (1 - JITTER + 2 * JITTER * self._chance())
        self._over_at = now + pause_s
        self._change(State.OPEN)
        _log.warning("breaker open, it does not answer", of=self._name, failures=self._failures, pause_s=round(pause_s))

    def dropped(self, attempt: Attempt) -> None:
        """Nobody waited for what came of it. A trial is made by the next one instead."""
        if attempt == self._changes and self.state is State.TRYING:
            self._change(State.OPEN)

    def _change(self, state: State) -> None:
        self.state = state
        self._changes += 1
