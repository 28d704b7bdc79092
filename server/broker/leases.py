"""How many sessions an agent has across all workers and servers of a store: each holds a lease there.

1. A lease ends `LEASE_S` after it was last renewed, by the store's clock. The leases of a worker that is killed count
   until then: its devices, which return at once, may be refused for up to a minute.
2. What is held is renewed once in `RENEW_S`, so that two renewals in a row may be lost. Agents are dealt to slots by
   their hash, a slot is renewed each `TICK_S`.
3. A session that lives is not ended for a lease that was lost: a renewal makes it anew, over the limit if need be. A
   new link may lead to a store that lost them all, so then all slots are due, `CATCH_UP` of them a tick.
4. What was released is never renewed. A release that can't be told to the store is not kept: the lease ends by itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import Callable
from itertools import chain, count
from typing import Final, NoReturn

from server.broker.keys import sessions_key
from server.broker.link import Link
from server.broker.script import Script, ignore
from server.errors import Unavailable
from server.events import AgentId

LEASE_S: Final = 60.0
RENEW_S: Final = 20.0
TICK_S: Final = 0.25
CATCH_UP: Final = 4
TAKERS: Final = 128
"""Leases that are being asked for at one time: after a restart ten thousand devices come at once."""
AT_ONCE: Final = 1000
"""Leases of an agent in one call: Lua takes some 8,000 arguments, and the store serves nobody meanwhile."""
_SLOTS: Final = round(RENEW_S / TICK_S)
_FIRST_GROUP: Final = 4
_WHATEVER_THERE_IS: Final = -1


class Lease:
    """One session's, held until it is released."""

    __slots__ = ("agent", "held", "number")

    def __init__(self, agent: AgentId, number: int, held: bool) -> None:
        self.agent = agent
        self.number = number
        self.held = held


class Leases:
    """The leases of one worker, some 150 bytes each.

    `run` renews them: 18,000 of 6,000 agents cost a worker 60 ms and the store 40 ms in each interval, the loop no more
    than 4 ms at a time (measured, on a unix socket).
    """

    def __init__(self, link: Callable[[], Link], prefix: str, limit: int, *, lease_s: float = LEASE_S) -> None:
        """`link` gives the link that commands go to now, or raises `Unavailable`. At most `limit` leases an agent, 0 is
        no limit."""
        self._link = link
        self._prefix = prefix
        self.limit = limit
        self._lease_ms = round(lease_s * 1000)
        self._script = Script("lease.lua")
        self._nonce = secrets.token_hex(8)
        self._numbers = count()
        self._slots: list[dict[AgentId, list[Lease]]] = [{} for _ in range(_SLOTS)]
        self._due: dict[int, None] = {}
        self._turned = 0
        self._met: Link | None = None
        self._takers = asyncio.Semaphore(TAKERS)

    def __len__(self) -> int:
        return sum(len(leases) for slot in self._slots for leases in slot.values())

    async def take(self, agent: AgentId) -> Lease | None:
        """A lease, or None where the agent has as many as it may.

        Raises `Unavailable`; a lease that was made all the same ends by itself. Where the caller gives up it is
        released.
        """
        lease = Lease(agent, next(self._numbers), held=self.limit > 0)
        if not lease.held:
            return lease
        asked = await self._ask_in_turn(lease)
        try:
            granted = await asyncio.shield(asked)
        except asyncio.CancelledError:
            # behind the answer: where the store does not know the script, it is sent once more
            asked.add_done_callback(lambda done: self._give_back(lease))
            raise
        if not granted:
            return None
        self._slots[hash(agent) % _SLOTS].setdefault(agent, []).append(lease)
        return lease

    async def _ask_in_turn(self, lease: Lease) -> asyncio.Future[bool]:
        """Behind those who were here before. The place is given back with the answer, also where nobody waits for it
        any more: it is the store that is spared."""
        await self._takers.acquire()
        try:
            asked = self._ask(self._meet(), [lease], self.limit)
        except BaseException:
            self._takers.release()
            raise
        asked.add_done_callback(lambda done: self._takers.release())
        return asked

    def release(self, lease: Lease) -> None:
        """Its place is free, at once where the store answers. Idempotent."""
        if not lease.held:
            return
        lease.held = False
        slot = self._slots[hash(lease.agent) % _SLOTS]
        leases = slot[lease.agent]
        leases.remove(lease)
        if not leases:
            del slot[lease.agent]
        self._give_back(lease)

    async def run(self) -> NoReturn:
        """Renew what is held, until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            await self.turn(loop.time())
            await asyncio.sleep(TICK_S)

    async def turn(self, now: float) -> None:
        """Renew what is due by `now`, the loop's time. Survives `Unavailable`: the next link makes everything due."""
        self._fall_due(int(now / TICK_S))
        try:
            link = self._meet()
        except Unavailable:
            return
        for slot in list(self._due)[:CATCH_UP]:
            del self._due[slot]
            await self._renew(link, self._slots[slot])

    def _meet(self) -> Link:
        """The link to ask on; a new one leads to a store that may know neither the script nor the leases."""
        link = self._link()
        if link is not self._met:
            self._met, self._due = link, dict.fromkeys(range(_SLOTS))
            self._script.load(link)
        return link

    def _fall_due(self, tick: int) -> None:
        for passed in range(max(self._turned, tick - _SLOTS) + 1, tick + 1):
            self._due[passed % _SLOTS] = None
        self._turned = tick

    async def _renew(self, link: Link, slot: dict[AgentId, list[Lease]]) -> None:
        """In groups that double. One that is refused as a whole is the last: a store that is full need not be asked,
        nor the log told, once for every agent."""
        calls = [held[i : i + AT_ONCE] for held in slot.values() for i in range(0, len(held), AT_ONCE)]
        start, size = 0, _FIRST_GROUP
        while start < len(calls):
            group = [held for call in calls[start : start + size] if (held := [lease for lease in call if lease.held])]
            asked = [self._ask(link, held, _WHATEVER_THERE_IS) for held in group]
            answers = await asyncio.gather(*asked, return_exceptions=True)
            for lease in chain.from_iterable(group):
                if not lease.held:  # released meanwhile: the script may have been sent again behind that
                    self._give_back(lease)
            if group and all(isinstance(answer, Unavailable) for answer in answers):
                return
            start, size = start + size, 2 * size

    def _ask(self, link: Link, leases: list[Lease], limit: int) -> asyncio.Future[bool]:
        key, members = sessions_key(self._prefix, leases[0].agent), map(self._member, leases)
        return self._script.run(link, bool, key, self._lease_ms, limit, *members)

    def _give_back(self, lease: Lease) -> None:
        with contextlib.suppress(Unavailable):
            self._link().send(ignore, b"ZREM", sessions_key(self._prefix, lease.agent), self._member(lease))

    def _member(self, lease: Lease) -> str:
        return f"{self._nonce}-{lease.number:x}"
