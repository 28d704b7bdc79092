"""Which clears are still to come: every post, and every device that has not been told all of it.

A post has a slot, and its events the `Id`s of that slot: made up, of type `Unknown`, in the upper half of what an int32
can be, and all of ten digits. Pure: time is passed in.
"""

from __future__ import annotations

from collections import Counter
from typing import Final

from server.events import INT32_MAX, EventType
from server.loadtest.histogram import Histogram

TYPE: Final = EventType.Unknown.name
FIRST_ID: Final = 2**30
IDS: Final = INT32_MAX + 1 - FIRST_ID
LATE_S: Final = 0.020


class _Sent:
    """`left`: for each device of the agent, the events it was not told yet, a bit each."""

    __slots__ = ("acknowledged", "agent", "answered", "awaited", "due", "left")

    def __init__(self, agent: int, due: float, left: list[int], awaited: int) -> None:
        self.agent = agent
        self.due = due
        self.left = left
        self.awaited = awaited
        self.answered = False
        self.acknowledged = False


class Ledger:
    """For so many `agents` with so many `devices` and `events` a post; `start` is the first slot, so that the `Id`s of
    two runs differ. The attributes are counts, as `Figures` has them."""

    def __init__(self, agents: int, devices: int, events: int, start: int = 0) -> None:
        self.answers = Counter[int]()
        self.clears = self.expected = self.missing = self.twice = self.strayed = self.foreign = 0
        self.held = 0
        """Clears that have not come, of all posts that may have been recorded: what the memory depends on."""
        self.late = 0
        self.post_latency = Histogram()
        self.clear_latency = Histogram()
        self._slots = IDS // events
        self._start = start % self._slots
        self._made = 0
        self._events = events
        self._whole = (1 << events) - 1
        self._open = [[0] * devices for _ in range(agents)]
        self._count = [0] * agents
        self._sent: dict[int, _Sent] = {}

    def opened(self, agent: int, device: int) -> None:
        """This device is told from now on. Before anything is `sent`, and once: one that comes back lacks nothing."""
        self._open[agent][device] = self._whole
        self._count[agent] += 1

    def sent(self, agent: int, due: float) -> int:
        """A post, due at `due`: its slot, whose first `Id` is `first_id`'s."""
        slot = (self._start + self._made) % self._slots
        self._made += 1
        awaited = self._count[agent]
        self._sent[slot] = _Sent(agent, due, self._open[agent].copy(), awaited)
        self.held += awaited
        return slot

    def first_id(self, slot: int) -> int:
        """The others follow it."""
        return FIRST_ID + slot * self._events

    def answered(self, slot: int, status: int, now: float) -> None:
        """204 is recorded, other answers below 500 are not, and what is left (0: no answer) nobody knows."""
        self.answers[status] += 1
        sent = self._sent[slot]
        sent.answered = True
        if status == 204:
            self.post_latency.record(now - sent.due)
            sent.acknowledged = True
            self.expected += self._count[sent.agent]
            self.missing += sent.awaited
        if not sent.awaited or (status != 204 and 0 < status < 500):
            del self._sent[slot]
            self.held -= sent.awaited

    def arrived(self, agent: int, device: int, ids: list[int], now: float) -> None:
        """Events that one clear told a device."""
        first = ids[0]
        slot, offset = divmod(first - FIRST_ID, self._events)
        if offset == 0 and ids == list(range(first, first + self._events)):
            self._told(agent, device, slot, self._whole, now)
            return
        for id_ in ids:
            slot, offset = divmod(id_ - FIRST_ID, self._events)
            self._told(agent, device, slot, 1 << offset, now)

    def _told(self, agent: int, device: int, slot: int, bits: int, now: float) -> None:
        sent = self._sent.get(slot)
        if sent is None:
            if 0 <= slot < self._slots and (slot - self._start) % self._slots < self._made:
                self.twice += bits.bit_count()
            else:
                self.foreign += bits.bit_count()
        elif sent.agent != agent:
            self.strayed += bits.bit_count()
        else:
            before = sent.left[device]
            self.twice += (bits & ~before).bit_count()
            after = sent.left[device] = before & ~bits
            if before and not after:
                self._cleared(slot, sent, now)

    def _cleared(self, slot: int, sent: _Sent, now: float) -> None:
        """A device has all of it."""
        latency = now - sent.due
        self.clear_latency.record(latency)
        self.late += latency > LATE_S
        self.clears += 1
        self.held -= 1
        sent.awaited -= 1
        self.missing -= sent.acknowledged
        if sent.answered and not sent.awaited:
            del self._sent[slot]
