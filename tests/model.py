"""Oracle for the two store scripts: the same rules in plain Python, with the clock passed in."""

from __future__ import annotations

from collections.abc import Iterable

from server.session import Handled

SLACK_MS = 5000


class ModelStore:
    """One agent's handled state. `entries` holds member → score, `floor` is None before the key is made."""

    def __init__(self, cap: int, retention_ms: int, store_id: str = "a") -> None:
        self.cap = cap
        self.retention_ms = retention_ms
        self.store_id = store_id
        self.entries: dict[bytes, int] = {}
        self.floor: int | None = None

    @property
    def seq(self) -> int:
        """The highest score, -1 before the key is made."""
        return -1 if self.floor is None else max([self.floor, *self.entries.values()])

    def record(self, now: int, members: Iterable[bytes]) -> tuple[int, int]:
        """(the position before, the position after)."""
        prev = max(self.seq, 0)
        seq = max(prev + 1, now)
        self.floor = seq - 1 if self.floor is None else self.floor
        self.entries |= dict.fromkeys(members, seq)
        ordered = self.ordered()
        drop = max(len(ordered) - self.cap, sum(score <= now - self.retention_ms for _, score in ordered))
        if drop > 0:
            self.floor = max(self.floor, ordered[drop - 1][1])
            self.entries = dict(ordered[drop:])
        return prev, seq

    def again(self, position: int, least: int, members: Iterable[bytes]) -> tuple[int, int] | None:
        """As the script that records a batch again: (the position before, the position after), None: nothing lost.

        `least`: the position that it gets at least.
        """
        members = list(members)
        if all(self.entries.get(m, -1) >= position for m in members):
            return None
        prev = max(self.seq, 0)
        self.floor = seq = max(prev + 1, least)
        self.entries |= dict.fromkeys(members, seq)
        self.entries = dict(self.ordered()[-self.cap :])
        return prev, seq

    def read(self, now: int, position: int | None, floor: int = -1, page: int = 500) -> Handled:
        """As the read script answers, where a page has `page` events."""
        if self.floor is None:
            self.floor = now
        seq = self.seq
        if position is None:
            return Handled(self.store_id, seq, self.floor, False, now, [])
        reset = position > seq or floor < self.floor > position
        if seq < position <= max(now, seq) + SLACK_MS:
            seq = self.floor = position
        above = -1 if reset else position
        scores = sorted(score for score in self.entries.values() if score > above)
        page_end = _page_end(scores, page)
        entries = [(m, s) for m, s in self.ordered() if above < s <= (seq if page_end is None else page_end)]
        return Handled(self.store_id, seq, self.floor, reset, now, entries, None if page_end == seq else page_end)

    def ordered(self) -> list[tuple[bytes, int]]:
        """Ascending by score, then by member, as a sorted set is."""
        return sorted(self.entries.items(), key=lambda entry: (entry[1], entry[0]))

    def copy(self) -> ModelStore:
        """For a store that forgets its newest batches."""
        other = ModelStore(self.cap, self.retention_ms, self.store_id)
        other.entries, other.floor = dict(self.entries), self.floor
        return other


def _page_end(scores: list[int], page: int) -> int | None:
    """Where a page of these ends: before the score that does not fit, or after it where it is the first."""
    if len(scores) <= page:
        return None
    return max([score for score in scores[:page] if score < scores[page]], default=scores[page])
