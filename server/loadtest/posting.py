"""Which publisher posts what, and when."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final, Protocol

from server.client import ClientError
from server.client.retry import judge_status
from server.loadtest.ledger import Ledger
from server.loadtest.publisher import Publisher
from server.loadtest.requests import Requests
from server.loadtest.schedule import Schedule

MAX_HELD: Final = 1_000_000
"""Clears that may be awaited, about 100 bytes each at worst. A server so far behind has been measured."""


class Owner(Protocol):
    """Who wants to know how posts fare."""

    def idle(self) -> None:
        """One more publisher waits for work."""

    def told(self) -> None:
        """A post was answered."""

    def declined(self, said: str) -> None:
        """The server did not record one."""

    def failed(self, error: ClientError) -> None:
        """All posts would be refused."""

    def end(self, why: str) -> None:
        """It makes no sense to go on."""


class Posting:
    """Hands posts to publishers from `start` to `stop`: to each that is idle, or with a `rate` when they are due."""

    def __init__(
        self, requests: Sequence[Requests], ledger: Ledger, owner: Owner, *, rate: float, random: Callable[[], float]
    ) -> None:
        self._requests = requests
        self._ledger = ledger
        self._owner = owner
        self._rate = rate
        self._random = random
        self._idle = deque[Publisher]()
        self._schedule: Schedule | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._running = False
        self._end = 0.0
        self.under_way = 0
        """Posts without an answer."""

    @property
    def connected(self) -> int:
        """Publishers that wait for work."""
        return len(self._idle)

    def unsent(self, now: float) -> int:
        """Posts that were due and found no publisher free."""
        return self._schedule.overdue(now if self._running else self._end) if self._schedule else 0

    def start(self) -> None:
        """From now on."""
        now = time.monotonic()
        self._running = True
        if self._rate:
            self._schedule = Schedule(self._rate, now)
            self._tick()
        else:
            for _ in range(len(self._idle)):
                self._send(self._idle.popleft(), time.monotonic())

    def stop(self) -> None:
        """No more; what is under way is answered still. Idempotent."""
        if self._running:
            self._running = False
            self._end = time.monotonic()
        if self._timer is not None:
            self._timer.cancel()

    # what publishers call

    def idle(self, publisher: Publisher) -> None:
        if not self._running:
            self._idle.append(publisher)
            self._owner.idle()
        elif self._schedule is None:
            self._send(publisher, time.monotonic())
        elif self._schedule.next_at <= (now := time.monotonic()) and not self._idle:
            self._send(publisher, self._schedule.take(now, waited=True))
        else:
            self._idle.append(publisher)
            self._wake()

    def gone(self, publisher: Publisher) -> None:
        if publisher in self._idle:
            self._idle.remove(publisher)

    def answered(self, slot: int, status: int, body: bytes, now: float) -> None:
        self.under_way -= 1
        self._ledger.answered(slot, status, now)
        if status == 0:
            self._owner.declined("a connection ended before the answer to a post")
        elif status != 204:
            try:
                self._owner.declined(judge_status(status, body, None).reason)
            except ClientError as error:
                self._owner.failed(error)
        self._owner.told()

    def failed(self, error: ClientError) -> None:
        self._owner.failed(error)

    def _tick(self) -> None:
        self._timer = None
        schedule = self._schedule
        assert schedule is not None
        while self._running and self._idle and schedule.next_at <= (now := time.monotonic()):
            self._send(self._idle.popleft(), schedule.take(now, waited=False))
        self._wake()

    def _wake(self) -> None:
        """Have the timer set where there is somebody to send what is due next."""
        if self._running and self._idle and self._timer is None and self._schedule is not None:
            wait_s = max(0.0, self._schedule.next_at - time.monotonic())
            self._timer = asyncio.get_running_loop().call_later(wait_s, self._tick)

    def _send(self, publisher: Publisher, due: float) -> None:
        if self._ledger.held > MAX_HELD:
            self._owner.end(f"the server is more than {MAX_HELD} clears behind")
            self.stop()
            return
        agent = int(self._random() * len(self._requests))
        slot = self._ledger.sent(agent, due)
        self.under_way += 1
        publisher.post(slot, self._requests[agent].post(self._ledger.first_id(slot)))
