"""Failed sign-ins, counted by address: a guesser is stopped, an office behind one address is not.

1. An attempt is let in only while every attempt under way could fail and still be within the limit. Whoever comes
   beyond that waits his turn, so that many good sign-ins at once (an office after a restart) are slowed down and not
   refused, and many bad ones at once are no way around the limit.
2. Once the failures have used up the limit, all who wait and all who come are refused until the next is due.
3. Only failures are kept: one that succeeds, or can't be judged, costs nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from typing import Final

from server import logs
from server.auth.address import network_of
from server.errors import Refused, TooManyRequests, Unavailable
from server.limits import KEYS, Rate

_log = logs.get("clearsync.auth")

WAITING: Final = 5000
"""Attempts that may wait in this worker, all addresses together; of one address `WAITING_HERE`."""
WAITING_HERE: Final = 1000
LONGEST_WAIT_S: Final = 30.0


class Attempts:
    """At most `per_minute` failures a minute from an address. Belongs to one event loop. `clock`: monotonic seconds."""

    def __init__(self, per_minute: int, *, keys: int = KEYS, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate = Rate(per_minute / 60, per_minute, keys)
        self._repeats = Rate(per_minute / 60, max(1, per_minute - 1), keys)
        self._under_way: dict[str, int] = {}
        self._waiting: dict[str, deque[asyncio.Future[None]]] = {}
        self._waiting_count = 0
        self._clock = clock

    @contextlib.asynccontextmanager
    async def attempt(self, address: str) -> AsyncIterator[None]:
        """One sign-in from `address`; it failed where the body raises `Refused`.

        Raises `TooManyRequests` where the address has failed too often, `Unavailable` where too many wait.
        """
        key = network_of(address)
        await self._begin(key)
        try:
            yield
        except Refused:
            self._rate.charge(key, self._clock())
            if not self._rate.room(key, self._clock()):
                _log.warning("too many failed sign-ins, more are refused", address=address)
            raise
        finally:
            self._end(key)

    def repeat(self, address: str, digest: bytes) -> None:
        """Credentials that failed not long ago came again; `digest` tells them from others.

        `TooManyRequests` where that is too often. It is not the address that pays: whoever repeats does not guess.
        """
        wait_s = self._repeats.take(f"{network_of(address)} {digest.hex()}", self._clock())
        if wait_s:
            raise TooManyRequests("these credentials were refused here, and are sent again and again", wait_s)

    async def _begin(self, key: str) -> None:
        """Take a place, or wait for one behind those who wait already."""
        if not self._waiting.get(key) and self._rate.room(key, self._clock()) > self._under_way.get(key, 0):
            self._under_way[key] = self._under_way.get(key, 0) + 1
            return
        if refusal := self._refusal(key):
            raise refusal
        if self._waiting_count >= WAITING or len(self._waiting.get(key, ())) >= WAITING_HERE:
            raise Unavailable("too many are waiting to sign in, try again", retry_after_s=5)
        place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(key, deque()).append(place)
        self._waiting_count += 1
        try:
            async with asyncio.timeout(LONGEST_WAIT_S):
                await place
        except (TimeoutError, asyncio.CancelledError) as gone:
            if place.done() and not place.cancelled() and place.exception() is None:
                self._end(key)  # it has just been handed over
            if isinstance(gone, TimeoutError):
                raise Unavailable("too many are waiting to sign in, try again", retry_after_s=5) from None
            raise
        finally:
            self._waiting_count -= 1

    def _end(self, key: str) -> None:
        left = self._under_way.pop(key) - 1
        if left:
            self._under_way[key] = left
        self._hand_over(key)

    def _hand_over(self, key: str) -> None:
        """The places that are free, to those who wait; where nothing is left to wait for, they are told."""
        waiting = self._waiting.get(key)
        refusal = self._refusal(key)
        free = self._rate.room(key, self._clock()) - self._under_way.get(key, 0)
        while waiting and (refusal or free > 0):
            place = waiting.popleft()
            if place.done():  # who gave up
                continue
            if refusal:
                place.set_exception(refusal)
            else:
                free -= 1
                self._under_way[key] = self._under_way.get(key, 0) + 1
                place.set_result(None)
        if not waiting:
            self._waiting.pop(key, None)

    def _refusal(self, key: str) -> TooManyRequests | None:
        wait_s = self._rate.wait(key, self._clock())
        return TooManyRequests("too many failed sign-ins from here", wait_s) if wait_s else None
