"""What was answered 204 a moment ago, kept for a store that comes back without it.

A failover to a replica that was behind, or a power loss, takes the last moments of a store. Callers were told that
those batches are recorded; so whoever told them records them again.

1. A batch is kept from its acknowledgement on. It goes with the first pulse, one a second, of a store that still
   answers `keep_s` later, and with which all that was kept has been compared: while it is away, or refuses, nothing
   goes for its age.
2. On a new connection, and where another store is met, every kept batch is compared with the store, the oldest first.
   The first slice is on its way before anybody else's request, so that devices find what they had.
3. What is lost is recorded at the position it had, so that devices that saw it stand where the store does; at the next
   one where others were recorded since. But only if it was in the store until the connection before this one: since
   then, positions may have been given out without it, and a device at one of them would never be sent it. Such a batch
   gets a position of the present. (Found by the simulation in tests/gateway/test_hub.py, which does all of this.)
4. What was dropped for the agent's limit looks like what was lost, and a store can't tell the two apart. It takes its
   place again: more than a limit of events within `keep_s` and a new connection make devices begin anew, and lose
   nothing. (To leave it out loses a device in 5 of 9,000 histories of the simulation.)
5. What was recorded again is kept anew, for the store that comes back next.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Final

import msgspec

from server import logs
from server.broker.link import Link
from server.broker.script import Script
from server.errors import Unavailable
from server.events import AgentId, Batch
from server.metrics import Metrics

MOST_BYTES: Final = 48 * 1024 * 1024
"""Kept at most; past it the oldest goes. 20,000 batches of one event a second for 6 s."""
_BYTES_EACH: Final = 300
_BYTES_AN_EVENT: Final = 100
"""About what is kept here (measured)."""
SLICE: Final = 500
"""Batches, or twice as many events, compared at once: some milliseconds of the store's time, in which it serves
nobody else."""
_log = logs.get("clearsync.store")


class Acknowledged(msgspec.Struct, gc=False, eq=False):  # 60,000 of them; in no circle, so no collector need look
    """A batch that was answered 204: when (loop time), whose, where, what, by whom; and in which life of the
    connection it was last known to be in the store."""

    at: float
    life: int
    agent: AgentId
    position: int
    batch: Batch
    origin: bytes
    cost: int
    erased: bool = False


class Again:
    """The last `keep_s` seconds of what this worker acknowledged, and up to one more; 0 keeps nothing."""

    def __init__(
        self,
        key: Callable[[AgentId], bytes],
        *,
        keep_s: float,
        cap: int,
        retention_ms: int,
        metrics: Metrics,
        most: int = MOST_BYTES,
    ) -> None:
        self.script: Final = Script("again.lua")
        self._key = key
        self._keep_s = keep_s
        self._cap = cap
        self._retention_ms = retention_ms
        self._metrics = metrics
        self._most = most
        self._life = 0
        self._compared = False
        self._kept: deque[Acknowledged] = deque()
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._kept)

    def keep(self, now: float, agent: AgentId, position: int, batch: Batch, origin: bytes) -> None:
        """The store has acknowledged it."""
        if self._keep_s > 0:
            cost = _BYTES_EACH + _BYTES_AN_EVENT * len(batch.members)
            self._kept.append(Acknowledged(now, self._life, agent, position, batch, origin, cost))
            self._bytes += cost
            if self._bytes > self._most:
                self.prune(now)

    def prune(self, now: float) -> None:
        """The store answers at `now`: what is older than `keep_s` is its own to keep, if it has been compared."""
        kept, oldest = self._kept, now - self._keep_s if self._compared else -math.inf
        while kept and (kept[0].at < oldest or self._bytes > self._most):
            self._bytes -= kept.popleft().cost

    def forget(self, tag: str) -> None:
        """The agent was erased on purpose."""
        for kept in self._kept:
            kept.erased |= kept.agent.tag == tag  # it may be about to be compared
        self._kept = deque(kept for kept in self._kept if not kept.erased)
        self._bytes = sum(kept.cost for kept in self._kept)

    async def compare(self, link: Link) -> bool:
        """Record again what the store behind `link` has lost. False where it refused some of it, or went."""
        self._life += 1
        self._compared, restored = False, 0
        for group in _slices(list(self._kept)):
            asked = {kept: self._ask(link, kept) for kept in group if not kept.erased}
            answers = await asyncio.gather(*asked.values(), return_exceptions=True)
            restored += sum(map(self._note, asked, answers))
            if refused := [answer for answer in answers if isinstance(answer, BaseException)]:
                _say(restored)
                if not isinstance(refused[0], Unavailable):
                    raise refused[0]
                return False
        _say(restored)
        self._compared = True
        return True

    def _ask(self, link: Link, kept: Acknowledged) -> asyncio.Future[int]:
        """Sent at once: the new position, 0 where it was not lost."""
        key, own = self._key(kept.agent), int(kept.life == self._life - 1)
        limits = (self._cap, self._retention_ms)
        batch = kept.batch
        said: tuple[bytes | int, ...] = (key, kept.origin, int(time.time() * 1e6), batch.json, *batch.members)
        return self.script.run(link, int, key, kept.position, own, *limits, *said)

    def _note(self, kept: Acknowledged, position: int | BaseException) -> bool:
        """Whether it was lost, and is recorded again."""
        if isinstance(position, BaseException):
            return False
        kept.life = self._life
        if position:
            kept.at, kept.position = asyncio.get_running_loop().time(), position
            self._metrics.recorded_again_total += 1
        return position > 0


def _slices(kept: Iterable[Acknowledged]) -> Iterator[list[Acknowledged]]:
    """Of about the same work."""
    group, events = list[Acknowledged](), 0
    for each in kept:
        group.append(each)
        events += len(each.batch)
        if len(group) >= SLICE or events >= 2 * SLICE:
            yield group
            group, events = [], 0
    if group:
        yield group


def _say(restored: int) -> None:
    if restored:
        _log.error("the store had lost acknowledged batches, recorded again", batches=restored)
