"""One load, from the first connection to the last clear."""

from __future__ import annotations

import asyncio
import random
import secrets
import time
from collections.abc import Callable, Sequence
from typing import Final

from server.client import ClientError, ServerUnavailable
from server.loadtest.device import Device
from server.loadtest.figures import Figures, Latency
from server.loadtest.ledger import IDS, Ledger
from server.loadtest.load import Load
from server.loadtest.posting import Posting
from server.loadtest.process import allow_files, calm_memory
from server.loadtest.publisher import Publisher
from server.loadtest.requests import Requests
from server.loadtest.target import CONNECT_S, Target

WINDOW: Final = 64
"""Devices that connect at a time."""
TELL_S: Final = 0.25
OPENING_S: Final = 300.0
"""For all devices together."""
LEAVE_S: Final = 2.0
"""For the server to end the connections that we have left."""
INTERRUPTED: Final = "interrupted"

Tell = Callable[[Figures], None]


async def run_load(load: Load, progress: Tell | None = None, stop: asyncio.Event | None = None) -> Figures:
    """What the server makes of `load`. What is posted is recorded there, for those agents, as any other event.

    `progress` is told the figures so far, four times a second. `stop`, once set, ends it early and in order: posts
    under way and their clears are waited for, and `ended` says so.

    Raises `ServerUnavailable` where the server can't be reached or lets no device in, `CredentialsRefused`,
    `AccessRefused`, `RequestRefused` or `UntrustedServer` where it refuses anybody for good, `BadRequest` where this
    process may not have so many connections.
    """
    allow_files(len(load.logins) * load.devices + load.publishers)
    return await _Run(load, await Target.of(load.url).found()).whole(progress, stop)


class _Run:
    """The state of one load; what devices and publishers report to."""

    def __init__(self, load: Load, target: Target) -> None:
        self._load = load
        self._target = target
        self._ledger = Ledger(len(load.logins), load.devices, load.events, secrets.randbelow(IDS))
        self._random = random.Random().random
        requests = [Requests(target.url, login, load.events) for login in load.logins]
        self._posting = Posting(requests, self._ledger, self, rate=load.rate, random=self._random)
        self._devices = self._made(requests)
        self._failure: ClientError | None = None
        self._opened = self._refused = self._reconnects = 0
        self._said = self._ended = ""
        self._opening_began = time.monotonic()
        self._began = self._connect_s = self._seconds = self._cpu_began = self._cpu = 0.0
        self._in_time: tuple[int, int] | None = None
        """Posts and clears until posting ended."""
        self._reached: Callable[[], bool] | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._draining = False

    def _made(self, requests: Sequence[Requests]) -> list[Device]:
        run = secrets.token_hex(3)  # no device of another run, which may be going on
        return [
            Device(
                *(self._target, requests[agent], self._ledger, self),
                agent=agent,
                number=number,
                name=f"bench-{run}-{number}",
                random=self._random,
            )
            for number in range(self._load.devices)
            for agent in range(len(requests))
        ]

    async def whole(self, progress: Tell | None, stop: asyncio.Event | None) -> Figures:
        """All of it."""
        async with asyncio.TaskGroup() as tasks:
            window = asyncio.Semaphore(WINDOW)
            devices = [tasks.create_task(device.run(window)) for device in self._devices]
            others = [tasks.create_task(each) for each in (self._tell(progress), self._interrupt(stop))]
            try:
                await self._open()
                if self._opened and not self._ended:
                    others += await self._publishers(tasks)
                if self._opened and not self._ended:
                    await self._post()
                figures = self.figures()  # before we leave: how connections end from here on is our doing
                leaving = [task for task, device in zip(devices, self._devices, strict=True) if device.leave()]
                if leaving:
                    await asyncio.wait(leaving, timeout=LEAVE_S)
            finally:
                for task in (*devices, *others):
                    task.cancel()
        if self._failure is not None:
            raise self._failure
        if not self._opened and not self._ended:
            raise ServerUnavailable(f"no device was let in: {self._said}")
        return figures

    async def _open(self) -> None:
        await self._until(lambda: bool(self._ended) or self._all_tried(), OPENING_S)
        self._connect_s = time.monotonic() - self._opening_began
        if not self._all_tried():
            self.end(f"not all devices were in after {OPENING_S:g} s")

    def _all_tried(self) -> bool:
        return self._opened + self._refused == len(self._devices)

    async def _publishers(self, tasks: asyncio.TaskGroup) -> list[asyncio.Task[None]]:
        """Connected, as many as there can be soon."""
        wanted, posting = self._load.publishers, self._posting
        publishers = [Publisher(self._target, posting, self._random) for _ in range(wanted)]
        running = [tasks.create_task(publisher.run()) for publisher in publishers]
        await self._until(lambda: bool(self._ended) or posting.connected == wanted, CONNECT_S)
        if posting.connected < wanted and not self._ended:
            self._note(f"only {posting.connected} of {wanted} publishers were connected after {CONNECT_S:g} s")
        return running

    async def _post(self) -> None:
        with calm_memory():
            self._began, self._cpu_began = time.monotonic(), time.process_time()
            self._posting.start()
            await self._until(lambda: bool(self._ended), self._load.seconds)
            self._posting.stop()
            self._measure(time.monotonic())
            self._in_time = self._ledger.answers[204], self._ledger.clears
            self._draining = True
            await self._until(self._drained, self._load.drain_s)
        if self._posting.under_way:
            self._ledger.answers[0] += self._posting.under_way
            self._note(f"no answer to a post within {self._load.drain_s:g} s after the end")

    def _drained(self) -> bool:
        return self._failure is not None or not (self._posting.under_way or self._ledger.missing)

    async def _until(self, reached: Callable[[], bool], seconds: float) -> None:
        """Until something that is reported makes it so, or the time has passed."""
        self._reached = reached
        self._waiter = asyncio.get_running_loop().create_future()
        self._look()
        try:
            async with asyncio.timeout(seconds):
                await self._waiter
        except TimeoutError:
            pass
        finally:
            self._reached = None

    def _look(self) -> None:
        if self._reached is not None and self._waiter is not None and not self._waiter.done() and self._reached():
            self._waiter.set_result(None)

    async def _tell(self, progress: Tell | None) -> None:
        while progress is not None:
            await asyncio.sleep(TELL_S)
            progress(self.figures())

    async def _interrupt(self, stop: asyncio.Event | None) -> None:
        if stop is not None:
            await stop.wait()
            self.end(INTERRUPTED)

    # what devices and publishers call

    def opened(self) -> None:
        self._opened += 1
        self._look()

    def refused(self, said: str) -> None:
        self._refused += 1
        self._note(said)
        self._look()

    def lost(self) -> None:
        self._reconnects += 1

    def declined(self, said: str) -> None:
        self._note(said)

    def idle(self) -> None:
        self._look()

    def told(self) -> None:
        if self._draining:
            self._look()

    def failed(self, error: ClientError) -> None:
        self._failure = self._failure or error
        self.end(str(error))

    def end(self, why: str) -> None:
        self._ended = self._ended or why
        self._look()

    def _note(self, said: str) -> None:
        self._said = self._said or said

    def _measure(self, now: float) -> None:
        self._seconds = now - self._began
        self._cpu = (time.process_time() - self._cpu_began) / max(self._seconds, 1e-9)

    def figures(self) -> Figures:
        """So far."""
        now, ledger = time.monotonic(), self._ledger
        if self._began and self._in_time is None:
            self._measure(now)
        posts, clears = self._in_time or (ledger.answers[204], ledger.clears)
        seconds = self._seconds or 1.0
        return Figures(
            seconds=self._seconds,
            opened=self._opened,
            refused=self._refused,
            connects_per_s=self._opened / (self._connect_s or now - self._opening_began),
            posts=ledger.answers[204],
            bad={status: count for status, count in sorted(ledger.answers.items()) if status != 204 and count},
            unsent=self._posting.unsent(now),
            posts_per_s=posts / seconds,
            clears=ledger.clears,
            clears_per_s=clears / seconds,
            expected=ledger.expected,
            missing=ledger.missing,
            twice=ledger.twice,
            strayed=ledger.strayed,
            foreign=ledger.foreign,
            reconnects=self._reconnects,
            post_ms=Latency.of(ledger.post_latency),
            clear_ms=Latency.of(ledger.clear_latency),
            over_20ms=ledger.late,
            cpu=self._cpu,
            said=self._said,
            ended=self._ended,
        )
