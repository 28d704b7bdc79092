"""The broker on Redis or Valkey: one link for commands, one that listens, each rebuilt when it is lost.

A lost listener means that something may have been missed: after every (re)subscription the owner of the channel is
told `confirmed` and reads the state. Another store id means another history: `on_store` is called before anything is
read from it. `on_change` is called whenever `ready` may have changed.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
import secrets
import time
from collections.abc import Callable, Sequence
from functools import partial
from importlib.resources import files
from typing import Any, Final

import hiredis

from server import logs
from server.broker.base import Subscriber
from server.broker.endpoint import Endpoint
from server.broker.link import Link, LinkLost
from server.errors import StoreError, Unavailable
from server.events import AgentId, Batch, DeviceId
from server.session import Announcement, Handled

FUTURE_SLACK_MS: Final = 5000
"""A position further ahead of the store's clock than this is none that the store gave (a corrected clock)."""
_EXPIRE_EVERY_S: Final = 0.1
_PULSE_EVERY_S: Final = 1.0
_BACKOFF_S: Final = (0.05, 2.0)
_SUBSCRIBE_SLICE: Final = 1000

_log = logs.get("clearsync.store")


class _Script:
    """A script of ours; its SHA-1 is how the store names it."""

    def __init__(self, name: str) -> None:
        self.source = (files("server.broker") / "scripts" / name).read_bytes()
        self.sha = hashlib.sha1(self.source, usedforsecurity=False).hexdigest().encode()
        self._loading = False

    def run(self, link: Link, convert: Callable[[Any], Any], *args: bytes | str | int) -> asyncio.Future[Any]:
        """EVALSHA with one key; the future holds the converted reply, or raises `Unavailable`."""
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        command = (b"EVALSHA", self.sha, 1, *args)
        link.send(_Call(link, self, future, convert, command), *command)
        return future

    def load(self, link: Link) -> None:
        """Give it to the store, ahead of whatever is sent after this; once, however many have missed it."""
        if not self._loading:
            self._loading = True
            link.send(self._loaded, b"SCRIPT", b"LOAD", self.source)

    def _loaded(self, reply: Any) -> None:
        self._loading = False


class _Call:
    """One EVALSHA under way; where the store does not know the script, it is loaded and the call sent again, once."""

    __slots__ = ("_args", "_convert", "_future", "_link", "_script")

    def __init__(
        self,
        link: Link,
        script: _Script,
        future: asyncio.Future[Any],
        convert: Callable[[Any], Any],
        args: tuple[bytes | str | int, ...],
    ) -> None:
        self._link = link
        self._script: _Script | None = script
        self._future = future
        self._convert = convert
        self._args = args

    def __call__(self, reply: Any) -> None:
        if isinstance(reply, hiredis.ReplyError) and self._script is not None and str(reply).startswith("NOSCRIPT"):
            self._script.load(self._link)
            self._script = None
            self._link.send(self, *self._args)
        elif self._future.done():  # the caller gave up
            pass
        elif isinstance(reply, Exception):
            self._future.set_exception(_unavailable(reply))
        else:
            self._future.set_result(self._convert(reply))


def _ignore(reply: Any) -> None:
    """A reply that nobody waits for."""


def _unavailable(problem: Exception) -> Unavailable:
    """What a caller is told; the store's own words stay in the log, by their first word."""
    if isinstance(problem, Unavailable):
        return problem
    _log.warning("store refused", error=str(problem).partition(" ")[0])
    return Unavailable()


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
        on_store: Callable[[str], None],
        on_change: Callable[[], None],
    ) -> None:
        self._endpoint = endpoint
        self._prefix = prefix
        self._cap = max_events
        self._retention_ms = retention_days * 86_400_000
        self._timeout_s = timeout_s
        self._on_store = on_store
        self._on_change = on_change
        self._subscribers: dict[bytes, Subscriber] = {}
        self._commands: Link | None = None
        self._listener: Link | None = None
        self._up = asyncio.Event()
        self._started: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._listening = False
        self._offset_ms = 0.0
        self._record, self._read = _Script("record.lua"), _Script("read.lua")
        self._store_id = ""

    # lifecycle

    async def start(self, within_s: float) -> None:
        """Return once both links work; `StoreError` where that can't be had, or not in time. `run` must be running."""
        try:
            async with asyncio.timeout(within_s):
                await self._started
        except TimeoutError:
            where = self._endpoint.path or f"{self._endpoint.host}:{self._endpoint.port}"
            raise StoreError(f"the store at {where} does not answer, check store.url") from None

    def _changed(self) -> None:
        """A link came or went."""
        if self.ready and not self._started.done():
            self._started.set_result(None)
        self._on_change()

    async def run(self) -> None:
        """Keep both links until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._keep("clearsync-commands", self._commanding))
            tasks.create_task(self._keep("clearsync-listener", self._listen))

    async def _keep(self, name: str, serve: Callable[[str], Any]) -> None:
        """Run `serve` (connect, use, return once lost) again and again, with full-jitter backoff."""
        failures = 0
        while True:
            began = time.monotonic()
            try:
                await serve(name)
            except StoreError as problem:
                if not self._started.done():
                    self._started.set_exception(problem)
                _log.error("store unusable", link=name, error=str(problem))
            except (OSError, Unavailable, TimeoutError, hiredis.HiredisError) as problem:
                _log.warning("store unreachable", link=name, error=type(problem).__name__)
            failures = 0 if time.monotonic() - began > _BACKOFF_S[1] else failures + 1
            first, longest = _BACKOFF_S
            await asyncio.sleep(random.uniform(0, min(longest, first * 2**failures)))

    async def _pulse(self, link: Link, *request: str, on_reply: Callable[[float, Any], None]) -> None:
        """Until `link` is lost: ask once a second, so that an idle link shows it is alive, and abort a silent one."""
        loop = asyncio.get_running_loop()
        due = loop.time()
        while not link.lost.done():
            if loop.time() >= due:
                due = loop.time() + _PULSE_EVERY_S
                link.send(partial(on_reply, loop.time()), *request)
            link.expire(self._timeout_s)
            await asyncio.wait((link.lost,), timeout=_EXPIRE_EVERY_S)

    # commands

    async def _commanding(self, name: str) -> None:
        async with asyncio.timeout(self._timeout_s):
            link = await self._endpoint.connect(Link, name)
            try:
                for script in (self._record, self._read):
                    await link.command("SCRIPT", "LOAD", script.source)
                await self._learn_store(link)
                self._told_time(asyncio.get_running_loop().time(), await link.command("TIME"))
            except BaseException:
                link.abort()
                raise
        self._commands = link
        self._up.set()
        self._changed()
        _log.info("store connected", link=name, store=self._store_id)
        try:
            await self._pulse(link, "TIME", on_reply=self._told_time)
        finally:
            self._commands = None
            self._up.clear()
            link.abort()
            self._changed()
        _log.warning("store connection lost", link=name)

    async def _learn_store(self, link: Link) -> None:
        """The id of this store's history, made where there is none yet."""
        key, made = f"{self._prefix}:store", secrets.token_hex(4)
        found = await link.command("SET", key, made, "NX", "GET")
        store_id = made if found is None else bytes(found).decode()
        if store_id != self._store_id:
            if self._store_id:
                _log.warning("another store", before=self._store_id, now=store_id)
            self._store_id = store_id
            self._on_store(store_id)

    def _told_time(self, sent: float, reply: Any) -> None:
        """The store's clock against ours (loop time). As of the sending: a slow answer makes deadlines late."""
        if isinstance(reply, list):
            self._offset_ms = int(reply[0]) * 1000 + int(reply[1]) / 1000 - sent * 1000

    def _key(self, agent: AgentId) -> bytes:
        return f"{self._prefix}:{{{agent.tag}}}".encode()

    def _command_link(self) -> Link:
        if self._commands is None or not self._commands.alive:
            raise Unavailable()
        return self._commands

    async def available(self) -> None:
        await self._up.wait()

    @property
    def store_id(self) -> str:
        return self._store_id

    @property
    def ready(self) -> bool:
        commands, listener = self._commands, self._listener
        up = commands is not None and commands.alive and listener is not None and listener.alive
        return up and self._listening

    def record(self, agent: AgentId, batch: Batch, origin: DeviceId | None) -> asyncio.Future[int]:
        link, key = self._command_link(), self._key(agent)
        now = asyncio.get_running_loop().time() * 1000 + self._offset_ms
        deadline = int(now + self._timeout_s * 1000)
        said = (key, origin or b"-", int(time.time() * 1e6), batch.json, *batch.members)
        return self._record.run(link, int, key, self._cap, self._retention_ms, deadline, *said)

    async def read(self, agent: AgentId, position: int | None) -> Handled:
        link, store = self._command_link(), self._store_id
        where = b"" if position is None else b"%d" % position
        reply = await self._read.run(link, list, self._key(agent), where, FUTURE_SLACK_MS, self._retention_ms)
        seq, floor, reset, now, *rest = reply
        entries = [(member, int(float(score))) for member, score in zip(rest[::2], rest[1::2], strict=True)]
        return Handled(store, int(seq), int(floor), bool(int(reset)), int(now), entries)

    async def check(self, agent: AgentId, members: Sequence[bytes]) -> list[tuple[bytes, int]]:
        try:
            scores = await self._command_link().command("ZMSCORE", self._key(agent), *members)
        except hiredis.ReplyError as problem:
            raise _unavailable(problem) from None
        return [(m, int(float(s))) for m, s in zip(members, scores, strict=True) if s is not None]

    async def latest(self, agents: Sequence[AgentId]) -> list[int]:
        link = self._command_link()
        try:
            await self._learn_store(link)
        except hiredis.ReplyError as problem:
            raise _unavailable(problem) from None
        asked = [link.command("ZRANGE", self._key(a), 0, 0, "REV", "WITHSCORES") for a in agents]
        replies = await asyncio.gather(*asked, return_exceptions=True)
        for reply in replies:
            if isinstance(reply, Exception):
                raise _unavailable(reply) from None
        return [_score(reply) for reply in replies]

    # listening

    async def _listen(self, name: str) -> None:
        def make() -> Link:
            return Link(listening=True, on_message=self._announced, on_unasked=self._unasked)

        async with asyncio.timeout(self._timeout_s):
            link = await self._endpoint.connect(make, name)
        self._listener = link
        try:
            async with asyncio.TaskGroup() as tasks:
                pulse = tasks.create_task(self._pulse(link, "PING", on_reply=lambda sent, reply: None))
                if await self._resubscribe(link):
                    self._listening = True
                    self._changed()
                    _log.info("store connected", link=name, channels=len(self._subscribers))
                await pulse
        finally:
            self._listening = False
            self._listener = None
            link.abort()
            self._changed()
        _log.warning("store connection lost", link=name)

    async def _resubscribe(self, link: Link) -> bool:
        """All channels again, a slice at a time so that live traffic gets its turns. False where the link was lost."""
        subscribers = list(self._subscribers.items())
        for start in range(0, len(subscribers), _SUBSCRIBE_SLICE):
            for channel, subscriber in subscribers[start : start + _SUBSCRIBE_SLICE]:
                if self._subscribers.get(channel) is subscriber:
                    self._ask(link, channel, subscriber)
            try:
                await link.command("PING")  # answered after the confirmations
            except (LinkLost, hiredis.ReplyError):
                return False
        return link.alive

    def _ask(self, link: Link, channel: bytes, subscriber: Subscriber) -> None:
        def settled(reply: Any) -> None:
            if isinstance(reply, LinkLost):
                return  # asked again on the next link
            if isinstance(reply, Exception):
                _log.error("store refuses to subscribe", error=str(reply).partition(" ")[0])
                link.abort()
            elif self._subscribers.get(channel) is subscriber:
                subscriber.confirmed()

        link.send(settled, b"SSUBSCRIBE", channel, confirms=(b"ssubscribe", channel))

    def subscribe(self, subscriber: Subscriber) -> None:
        channel = self._key(subscriber.agent)
        self._subscribers[channel] = subscriber
        if self._listener is not None:
            self._ask(self._listener, channel, subscriber)

    def unsubscribe(self, subscriber: Subscriber) -> None:
        channel = self._key(subscriber.agent)
        if self._subscribers.get(channel) is subscriber:
            del self._subscribers[channel]
            if self._listener is not None:
                self._listener.send(_ignore, b"SUNSUBSCRIBE", channel, confirms=(b"sunsubscribe", channel))

    def _announced(self, channel: bytes, payload: bytes) -> None:
        subscriber = self._subscribers.get(channel)
        if subscriber is None:
            return  # unsubscribed meanwhile
        try:
            message = Announcement.parse(payload)
        except ValueError:
            _log.error("not an announcement", length=len(payload))
            subscriber.confirmed()  # whatever it was, the state says what is true
        else:
            subscriber.announced(message)

    def _unasked(self, kind: bytes, channel: bytes) -> None:
        """The subscription changed by itself (a slot moved, a server-side reset): a gap."""
        subscriber = self._subscribers.get(channel)
        if subscriber is None:
            return
        if kind == b"sunsubscribe" and self._listener is not None:
            self._ask(self._listener, channel, subscriber)
        else:
            subscriber.confirmed()


def _score(reply: Any) -> int:
    """The score in a reply WITHSCORES of one member, in RESP3's nested form or RESP2's flat one; -1 for none."""
    if not reply:
        return -1
    return int(float(reply[0][1] if isinstance(reply[0], list) else reply[1]))
