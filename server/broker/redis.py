"""The broker on Redis or Valkey: one link for commands, one that listens, each rebuilt when it is lost.

Another store id means another history: `on_store` is called before anything is read from it. `on_change` is called
whenever `ready` may have changed.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from bisect import bisect_left
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final

import hiredis

from server import logs, wire
from server.broker.again import Again
from server.broker.base import Control, Done, NoControl, Subscriber
from server.broker.endpoint import Endpoint
from server.broker.keys import agent_key, control_channel
from server.broker.link import Link, LinkLost
from server.broker.listener import Listener
from server.broker.probe import Probe
from server.broker.recording import Recording
from server.broker.script import NOT_A_MASTER, Script, settle, unavailable
from server.broker.upkeep import PULSE_EVERY_S, keep, pulse
from server.broker.vault import RedisVault
from server.errors import StoreError, Unavailable
from server.events import NO_ORIGIN, STORE_ID, AgentId, Batch, DeviceId
from server.metrics import Metrics
from server.session import Handled

FUTURE_SLACK_MS: Final = 5000
"""A position further ahead of the store's clock than this is none that the store gave (a corrected clock)."""
_COMMANDS: Final = "clearsync-commands"
_LISTENER: Final = "clearsync-listener"

_log = logs.get("clearsync.store")


class RedisBroker:
    """Implements `Broker`. `run` owns both links; nothing works before `start` has returned."""

    def __init__(
        self,
        endpoint: Endpoint,
        *,
        prefix: str,
        max_events: int,
        retention_days: int,
        timeout_s: float,
        on_store: Callable[[], None],
        on_change: Callable[[], None],
        control: Control | None = None,
        probe_interval_s: float = 0.0,
        record_again_s: float = 0.0,
        metrics: Metrics | None = None,
    ) -> None:
        self._endpoint = endpoint
        self._prefix = prefix
        self._cap = max_events
        self._retention_ms = retention_days * 86_400_000
        self._timeout_s = timeout_s
        self._on_store = on_store
        self._on_change = on_change
        self._commands: Link | None = None
        self._metrics = metrics = metrics or Metrics()
        self._lives = 0
        self._again = Again(
            self._key, keep_s=record_again_s, cap=max_events, retention_ms=self._retention_ms, metrics=metrics
        )
        self._another_store = asyncio.Event()
        self._listener = Listener(
            endpoint,
            _LISTENER,
            self._key,
            timeout_s,
            self._is_our_store,
            self._changed,
            control_channel(prefix),
            control or NoControl(),
            Probe(prefix, self.command_link, probe_interval_s, metrics),
            metrics,
        )
        self.vault = RedisVault(self.command_link, prefix)
        """What authentication keeps in the store; it goes by the same link as commands."""
        self._up = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._started: asyncio.Future[None] = self._loop.create_future()
        self._offset_ms = 0.0
        self._record, self._read = Script("record.lua"), Script("read.lua")
        self._recording = Recording(self._record, max_events, self._retention_ms)
        self._store_key = f"{prefix}:store"
        self._no_write = ("SET", f"{prefix}:pulse", "", "XX")
        """Refused where a write would be (full, read-only, its disk is), and writes nothing: there is no such key."""
        self._store_id = ""
        self._refuses = ""

    # lifecycle

    async def start(self, within_s: float) -> None:
        """Return once both links work; `StoreError` where that can't be had, or not in time. `run` must be running."""
        try:
            async with asyncio.timeout(within_s):
                await self._started
        except TimeoutError:
            where = self._endpoint.path or f"{self._endpoint.host}:{self._endpoint.port}"
            raise StoreError(f"the store at {where} does not answer, check store.url") from None

    async def run(self) -> None:
        """Keep both links until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(keep(_COMMANDS, self._live, self._unusable))
            tasks.create_task(keep(_LISTENER, self._listen, self._unusable))

    def _changed(self) -> None:
        """A link came or went, or the store takes writes or takes none."""
        if self.usable and not self._started.done():
            self._started.set_result(None)
        self._on_change()

    def _unusable(self, problem: StoreError) -> None:
        if not self._started.done():
            self._started.set_exception(problem)

    # commands

    async def _live(self) -> None:
        async with asyncio.timeout(self._timeout_s):
            link = await self._endpoint.connect(Link, _COMMANDS)
            try:
                scripts = [s.source for s in (self._record, self._read, self._again.script)]
                await asyncio.gather(*[link.command("SCRIPT", "LOAD", source) for source in scripts])
                await self._learn_store(link)
                self._told_time(asyncio.get_running_loop().time(), await link.command("TIME"))
                await self._try_writing(link)
            except BaseException:
                link.abort()
                raise
        try:
            async with asyncio.TaskGroup() as tasks:
                comparing = tasks.create_task(self._compare(link))
                await asyncio.sleep(0)  # what was lost is on its way before anybody asks
                self._commands = link
                self._metrics.commands_rebuilds_total += self._lives > 0
                self._lives += 1
                self._up.set()
                self._changed()
                _log.info("store connected", link=_COMMANDS, store=self._store_id)
                await pulse(link, self._timeout_s, lambda: self._ask(link))
                comparing.cancel()
        finally:
            self._commands = None
            self._up.clear()
            link.abort()
            self._changed()

    async def _compare(self, link: Link) -> None:
        """What was acknowledged against the store: now, where it turns out to be another, and until it takes it all."""
        while True:
            self._another_store.clear()
            whole = await self._again.compare(link)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(None if whole else PULSE_EVERY_S):
                    await self._another_store.wait()

    def _ask(self, link: Link) -> None:
        """Once a second: the store's clock, and whether it takes writes."""
        link.send(partial(self._pulsed, asyncio.get_running_loop().time()), "TIME")
        link.send(partial(self._told_writable, link), *self._no_write)

    async def _try_writing(self, link: Link) -> None:
        """A store that takes no writes is of use for reads; but not one that never will, as it is a replica."""
        try:
            self._told_writable(link, await link.command(*self._no_write))
        except hiredis.ReplyError as problem:
            self._told_writable(link, problem)
            if str(problem).startswith(NOT_A_MASTER):
                raise

    def _told_writable(self, link: Link, reply: Any) -> None:
        if isinstance(reply, LinkLost):
            return
        refuses = str(reply).partition(" ")[0] if isinstance(reply, hiredis.ReplyError) else ""
        if refuses.startswith(NOT_A_MASTER):
            link.abort()  # the next one may lead to the master
        if refuses != self._refuses:
            self._refuses = refuses
            if refuses:
                _log.error("store takes no writes", error=refuses)
            else:
                _log.info("store takes writes again")
            self._changed()

    async def _learn_store(self, link: Link) -> None:
        """The id of its history, made where there is none yet. A store that is full can be read all the same."""
        found = await link.command("GET", self._store_key)
        if found is None:
            made = secrets.token_hex(4)
            found = await link.command("SET", self._store_key, made, "NX", "GET") or made.encode()
        store_id = bytes(found).decode("latin-1")
        if not STORE_ID.fullmatch(store_id):
            raise StoreError(f"{self._store_key} in the store is no store id, is store.prefix another program's?")
        if store_id != self._store_id:
            before, self._store_id = self._store_id, store_id
            self._on_store()
            if before:
                _log.warning("another store", before=before, now=store_id)
                self._another_store.set()
                self._listener.drop()

    async def _is_our_store(self, link: Link) -> bool:
        """Whether `link` leads where commands go: their names may have come to lead to different stores."""
        return bool(await link.command("GET", self._store_key) == self._store_id.encode())

    def _told_time(self, sent: float, reply: Any) -> None:
        """The store's clock against ours (loop time). As of the sending: a slow answer makes deadlines late."""
        if isinstance(reply, list):
            self._offset_ms = int(reply[0]) * 1000 + int(reply[1]) / 1000 - sent * 1000

    def _pulsed(self, sent: float, reply: Any) -> None:
        self._told_time(sent, reply)
        if isinstance(reply, list):
            self._again.prune(sent)

    def _key(self, agent: AgentId) -> bytes:
        return agent_key(self._prefix, agent)

    def command_link(self) -> Link:
        """Where commands go now, for those who have some of their own; `Unavailable` where there is none."""
        if self._commands is None or not self._commands.alive:
            raise Unavailable()
        return self._commands

    async def available(self) -> None:
        await self._up.wait()

    @property
    def store_id(self) -> str:
        return self._store_id

    @property
    def usable(self) -> bool:
        return self._commands is not None and self._commands.alive and self._listener.ready

    @property
    def ready(self) -> bool:
        return self.usable and not self._refuses

    def record(self, agent: AgentId, batch: Batch, origin: DeviceId | None) -> asyncio.Future[int]:
        recorded: asyncio.Future[int] = self._loop.create_future()
        self.submit(agent, batch, origin, partial(settle, recorded))
        return recorded

    def submit(self, agent: AgentId, batch: Batch, origin: DeviceId | None, done: Done) -> None:
        link, key = self.command_link(), self._key(agent)
        # not the loop's time, which is of when it woke up, and may count milliseconds
        now, by = time.monotonic(), (origin or NO_ORIGIN).encode()
        deadline = int((now + self._timeout_s) * 1000 + self._offset_ms)
        command = self._recording.packed(key, deadline, by, time.time_ns() // 1000, batch)
        self._record.call_packed(link, partial(self._acknowledged, now, agent, batch, by, done), command)

    def _acknowledged(
        self, asked: float, agent: AgentId, batch: Batch, origin: bytes, done: Done, reply: bytes | Unavailable
    ) -> None:
        if isinstance(reply, Unavailable):
            done(reply)
            return
        metrics, took = self._metrics, time.monotonic() - asked
        trips = metrics.store_round_trip_seconds
        trips.counts[bisect_left(trips.tops, took)] += 1  # its `add`, without the call
        trips.sum += took
        metrics.batches_recorded_total += 1
        metrics.events_recorded_total += len(batch.members)
        position = int(reply)
        self._again.keep(asked, agent, position, batch, origin)
        done(position)

    def forget(self, tag: str) -> None:
        """An agent was erased: nothing of it is to come back."""
        self._again.forget(tag)

    async def read(self, agent: AgentId, position: int | None, floor: int = -1) -> Handled:
        link, store = self.command_link(), self._store_id
        where = b"" if position is None else b"%d" % position
        limits = (FUTURE_SLACK_MS, self._retention_ms, floor, wire.PAGE_EVENTS)
        seq, lowest, reset, now, page_end, found = await self._read.run(link, list, self._key(agent), where, *limits)
        entries = list(zip(found[::2], map(int, map(float, found[1::2])), strict=True))
        end = None if page_end is None else int(page_end)
        return Handled(store, int(seq), int(lowest), bool(int(reset)), int(now), entries, end)

    async def check(self, agent: AgentId, members: Sequence[bytes]) -> list[tuple[bytes, int]]:
        try:
            scores = await self.command_link().command("ZMSCORE", self._key(agent), *members)
        except hiredis.ReplyError as problem:
            raise unavailable(problem) from None
        return [(m, int(float(s))) for m, s in zip(members, scores, strict=True) if s is not None]

    async def latest(self, agents: Sequence[AgentId]) -> list[int | None]:
        link = self.command_link()
        try:
            await self._learn_store(link)
        except hiredis.ReplyError as problem:
            raise unavailable(problem) from None
        present = (b"", FUTURE_SLACK_MS, self._retention_ms, -1)
        asked = [self._read.run(link, _seq, self._key(agent), *present) for agent in agents]
        replies = await asyncio.gather(*asked, return_exceptions=True)
        for reply in replies:
            if isinstance(reply, LinkLost):
                raise reply
        return [None if isinstance(reply, BaseException) else reply for reply in replies]

    # listening

    async def _listen(self) -> None:
        await self._up.wait()  # it is commands that say which store is ours
        await self._listener.live()

    def subscribe(self, subscriber: Subscriber) -> None:
        self._listener.subscribe(subscriber)

    def unsubscribe(self, subscriber: Subscriber) -> None:
        self._listener.unsubscribe(subscriber)


def _seq(reply: Any) -> int:
    return int(reply[0])
