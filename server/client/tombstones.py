"""What was cleared lately: a clear can arrive before its notification. Pure: the time is passed in.

1. A tombstone has the latest time at which its pair was handled. It answers for notifications that are not later.
2. A later notification is a new one, and takes its pair's tombstone away.
3. They are forgotten by age since they came, and the oldest where there are too many: a notification that comes after
   that is shown.
"""

from __future__ import annotations

from typing import Final

from server.client.frames import Clear

MAX_AGE_S: Final = 600.0
MAX_COUNT: Final = 5000
"""Ten pages of a catch-up, about a megabyte."""

Pair = tuple[str, int]


class Tombstones:
    """By pair, in the order in which they came. Times are milliseconds by the server's clock."""

    def __init__(self, max_age_s: float = MAX_AGE_S, max_count: int = MAX_COUNT) -> None:
        self._max_age_ms = max_age_s * 1000
        self._max_count = max_count
        self._at: dict[Pair, tuple[int, int]] = {}

    def __len__(self) -> int:
        return len(self._at)

    def add(self, clear: Clear, now: int) -> None:
        """The events of a clear that came `now`."""
        for event in clear.events:
            pair, at = (event.type, event.id), clear.until(event)
            before, _ = self._at.pop(pair, (at, 0))
            self._at[pair] = max(at, before), now
        self._forget(now)

    def dismiss(self, pair: Pair, time: int, now: int) -> bool:
        """Whether a notification of `pair`, with this time of its own, was handled already (rules 1 and 2)."""
        self._forget(now)
        at, _ = self._at.get(pair, (None, 0))
        if at is None:
            return False
        if time > at:
            del self._at[pair]
        return time <= at

    def _forget(self, now: int) -> None:
        while self._at:
            pair, (_, came) = next(iter(self._at.items()))
            if len(self._at) <= self._max_count and now - came <= self._max_age_ms:
                return
            del self._at[pair]
