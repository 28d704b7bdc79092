"""Failed sign-ins, counted by address: a guesser is stopped, an office behind one address is not.

1. An attempt is let in only while every attempt under way could fail and still be within the limit. Whoever comes
   beyond that waits for one of them to end, so that many good sign-ins at once (an office after a restart) are slowed
   down and not refused, and many bad ones at once are no way around the limit.
2. Once the failures have used up the limit, all who wait and all who come are refused until the next is due.
3. Only failures are kept: one that succeeds, or can't be judged, costs nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from typing import Final

from server.errors import Refused, TooManyRequests, Unavailable
from server.limits import KEYS, Rate

WAITING: Final = 1000
"""Attempts that may wait in this worker, all addresses together."""


class Attempts:
    """At most `per_minute` failures a minute from an address. Belongs to one event loop. `clock`: monotonic seconds."""

    def __init__(self, per_minute: int, *, keys: int = KEYS, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate = Rate(per_minute / 60, per_minute, keys)
        self._under_way: dict[str, int] = {}
        self._waiting: dict[str, deque[asyncio.Future[None]]] = {}
        self._waiting_count = 0
        self._clock = clock

    @contextlib.asynccontextmanager
    async def attempt(self, address: str) -> AsyncIterator[None]:
        """One sign-in from `address`; it failed where the body raises `Refused`.

        Raises `TooManyRequests` where the address has failed too often, `Unavailable` where too many wait.
        """
        key = _network(address)
        await self._begin(key)
        try:
            yield
        except Refused:
            self._rate.charge(key, self._clock())
            raise
        finally:
            self._end(key)

    async def _begin(self, key: str) -> None:
        while (room := self._rate.room(key, self._clock())) <= self._under_way.get(key, 0):
            if room == 0:
                raise TooManyRequests("too many failed sign-ins from here", self._rate.wait(key, self._clock()))
            await self._turn(key)
        self._under_way[key] = self._under_way.get(key, 0) + 1

    async def _turn(self, key: str) -> None:
        """Wait until an attempt of the same address ends."""
        if self._waiting_count >= WAITING:
            raise Unavailable("too many are waiting to sign in, try again", retry_after_s=5)
        woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        waiting = self._waiting.setdefault(key, deque())
        waiting.append(woken)
        self._waiting_count += 1
        try:
            await woken
        except asyncio.CancelledError:
            if woken.cancelled():
                with contextlib.suppress(ValueError):  # taken out already by one that ended
                    waiting.remove(woken)
            else:
                self._wake(key)  # its turn is another's
            raise
        finally:
            self._waiting_count -= 1

    def _end(self, key: str) -> None:
        left = self._under_way.pop(key) - 1
        if left:
            self._under_way[key] = left
        self._wake(key)

    def _wake(self, key: str) -> None:
        """One who waits; all of them where nothing is left to wait for."""
        waiting = self._waiting.get(key)
        while waiting:
            woken = waiting.popleft()
            if not woken.done():
                woken.set_result(None)
                if self._rate.room(key, self._clock()):
                    break
        if not waiting:
            self._waiting.pop(key, None)


def _network(address: str) -> str:
    """What counts as one address: an IPv6 host chooses among 2⁶⁴, so its /64."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    if parsed.version == 4:
        return address
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.ip_network((int(parsed) >> 64 << 64, 64)))
