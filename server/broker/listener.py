"""The link that listens, and whom it tells. Subscriptions outlive it: the next link asks for all of them again."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final

import hiredis

from server import logs
from server.broker.base import Control, Subscriber
from server.broker.endpoint import Endpoint
from server.broker.link import Link, LinkLost
from server.broker.probe import Probe
from server.broker.script import ignore
from server.broker.upkeep import pulse
from server.errors import StoreError, Unavailable
from server.events import AgentId
from server.metrics import Metrics
from server.session import Announcement

SUBSCRIBE_SLICE: Final = 1000

_log = logs.get("clearsync.store")


class Listener:
    """Tells each subscriber `confirmed` after every (re)subscription, since something may have been missed before it,
    and `announced` for every message; `control` alike of the one channel that is always listened to. `on_change` is
    called when `ready` may have changed."""

    def __init__(
        self,
        endpoint: Endpoint,
        name: str,
        channel: Callable[[AgentId], bytes],
        timeout_s: float,
        store: Callable[[Link], Awaitable[bool]],
        on_change: Callable[[], None],
        control_channel: bytes,
        control: Control,
        probe: Probe,
        metrics: Metrics,
    ) -> None:
        """`store(link)` says whether the link leads to the store that commands go to."""
        self._endpoint = endpoint
        self._name = name
        self._channel = channel
        self._timeout_s = timeout_s
        self._is_our_store = store
        self._on_change = on_change
        self._control_channel = control_channel
        self._control = control
        self._probe = probe
        self._metrics = metrics
        self._lives = 0
        self._subscribers: dict[bytes, Subscriber] = {}
        self._heard: dict[bytes, list[Announcement]] = {}  # in what is being read; empty between reads
        self._link: Link | None = None
        self._subscribed = False

    @property
    def ready(self) -> bool:
        """The link is alive, and every subscription, that of the control channel too, has been asked for on it."""
        return self._link is not None and self._link.alive and self._subscribed

    async def live(self) -> None:
        """One link, until it is lost."""
        async with asyncio.timeout(self._timeout_s):
            link = await self._endpoint.connect(self._make, self._name)
            try:
                if not await self._is_our_store(link):
                    raise Unavailable("the listener met another store than commands do")
                await self._hear_first(link)
            except BaseException:
                link.abort()
                raise
        self._link = link
        self._metrics.listener_rebuilds_total += self._lives > 0
        self._lives += 1
        try:
            async with asyncio.TaskGroup() as tasks:
                beat = tasks.create_task(pulse(link, self._timeout_s, lambda: link.send(ignore, "PING")))
                probing = tasks.create_task(self._probe_until_deaf(link))
                if await self._resubscribe(link):
                    self._subscribed = True
                    _log.info("store connected", link=self._name, channels=len(self._subscribers))
                    self._on_change()
                await beat
                probing.cancel()
        finally:
            self._subscribed = False
            self._link = None
            link.abort()
            self._on_change()

    def drop(self) -> None:
        """Connect anew: commands have met another store."""
        if self._link is not None:
            self._link.abort()

    def _make(self) -> Link:
        return Link(listening=True, on_message=self._announced, on_unasked=self._unasked, on_read=self._hand_over)

    async def _probe_until_deaf(self, link: Link) -> None:
        await self._probe.run(lambda: self._metrics.announcements_total)
        link.abort()

    async def _hear_first(self, link: Link) -> None:
        """Before all others, and only then is the link of use: a worker that is ready hears of every revocation."""
        await self._hear(link, self._control_channel)
        self._control.missed()
        await self._hear(link, self._probe.channel)

    async def _hear(self, link: Link, channel: bytes) -> None:
        confirmed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def settled(reply: Any) -> None:
            if confirmed.done():  # it took too long
                return
            if isinstance(reply, Exception):
                confirmed.set_exception(reply)
            else:
                confirmed.set_result(None)

        link.send(settled, b"SSUBSCRIBE", channel, confirms=(b"ssubscribe", channel))
        try:
            await confirmed
        except hiredis.ReplyError as problem:
            if str(problem).startswith("NOPERM"):
                raise StoreError(
                    f"the store refuses us the channel {channel.decode()} (NOPERM), check the rights of its user"
                ) from None
            raise

    async def _resubscribe(self, link: Link) -> bool:
        """All channels again, a slice at a time so that live traffic gets its turns. False where the link was lost."""
        subscribers = list(self._subscribers.items())
        for start in range(0, len(subscribers), SUBSCRIBE_SLICE):
            for channel, subscriber in subscribers[start : start + SUBSCRIBE_SLICE]:
                if self._subscribers.get(channel) is subscriber:
                    self._ask(link, channel, subscriber)
            try:
                await link.command("PING")  # answered after the confirmations
            except LinkLost:
                return False
            except hiredis.ReplyError:
                link.abort()  # a store that is loading lets us subscribe, and refuses to answer
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
                self._hand_over()
                subscriber.confirmed()

        link.send(settled, b"SSUBSCRIBE", channel, confirms=(b"ssubscribe", channel))

    def subscribe(self, subscriber: Subscriber) -> None:
        channel = self._channel(subscriber.agent)
        self._subscribers[channel] = subscriber
        if self._link is not None:
            self._ask(self._link, channel, subscriber)

    def unsubscribe(self, subscriber: Subscriber) -> None:
        channel = self._channel(subscriber.agent)
        if self._subscribers.get(channel) is subscriber:
            del self._subscribers[channel]
            if self._link is not None:
                self._link.send(ignore, b"SUNSUBSCRIBE", channel, confirms=(b"sunsubscribe", channel))

    def _announced(self, channel: bytes, payload: bytes) -> None:
        self._metrics.announcements_total += 1
        subscriber = self._subscribers.get(channel)
        if subscriber is None:
            if channel == self._control_channel:
                self._control.told(payload)
            elif channel == self._probe.channel:
                self._probe.heard(payload)
            return  # or unsubscribed meanwhile
        try:
            message = Announcement.parse(payload)
        except ValueError:
            _log.error("not an announcement", length=len(payload))
            self._hand_over()
            subscriber.missed()  # whatever it was, the state says what is true
        else:
            self._heard.setdefault(channel, []).append(message)

    def _hand_over(self) -> None:
        """What was announced at once, to each subscriber at once: one write to each of its devices."""
        if self._heard:
            heard, self._heard = self._heard, {}
            for channel, messages in heard.items():
                if (subscriber := self._subscribers.get(channel)) is not None:
                    subscriber.announced(messages)

    def _unasked(self, kind: bytes, channel: bytes) -> None:
        """The subscription changed by itself (a slot moved, a server-side reset): a gap."""
        if channel == self._control_channel:
            self._control_moved(kind)
            return  # where the probe's moves, the next probe sees to it
        self._hand_over()
        subscriber = self._subscribers.get(channel)
        if subscriber is None:
            return
        if kind == b"sunsubscribe" and self._link is not None:
            self._ask(self._link, channel, subscriber)
        else:
            subscriber.missed()

    def _control_moved(self, kind: bytes) -> None:
        if kind == b"sunsubscribe":
            self.drop()  # the next link asks again, and nothing is ready until then
        else:
            self._control.missed()
