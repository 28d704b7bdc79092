"""The sessions of this worker, by agent, and everything that reads the state on their behalf.

A channel stands for one agent here: its sessions, and `last`, the highest position that was announced. Live clears fan
out synchronously. Whatever else can be (a join, a gap, a subscription that came back, a device that drained) is one
thing: some sessions are JOINING, the channel is queued, and a reader reads on from where they stand, page by page.
A read is made only while the channel is subscribed: what comes after the read is then announced.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import OrderedDict, deque
from collections.abc import Iterable, Iterator
from typing import Final

from server import logs
from server.broker.base import Broker
from server.errors import Unavailable
from server.events import AgentId
from server.gateway.channel import Channel
from server.gateway.standing import highest, lowest, served
from server.metrics import TRANSPORTS, Metrics, ended_as
from server.session import Announcement, Handled, Session, State
from server.wire import CloseCode

READERS: Final = 64
"""Reads under way at once: bounds what a reconnect of all agents asks of the store."""
LINGER_S: Final = 5.0
"""How long a channel without sessions stays subscribed: a device that reconnects finds it."""
SWEEP_S: Final = 60.0
_SWEEP_STEPS: Final = 60
_RETRY_S: Final = 0.5
_WHOLE_READS: Final = 3
"""To the end of what there is, before other channels have their turn."""
_PAGES: Final = 4
"""For those furthest behind, before the ones least behind have theirs."""
_SLICE: Final = 100
"""Sessions that are written to, or channels that are unsubscribed, before others have the loop."""

_log = logs.get("clearsync.gateway")


class Hub:
    """All channels of this worker. `run` owns the readers and the sweep."""

    def __init__(self, metrics: Metrics, *, ping_s: float) -> None:
        self.metrics = metrics
        self.by_transport = dict.fromkeys(TRANSPORTS, 0)
        """How many sessions there are, by what carries them."""
        self.draining = False
        """Sessions are being sent away; one that came now would be sent away again."""
        self._broker: Broker | None = None
        self._ping_s = ping_s
        self._channels: dict[str, Channel] = {}  # by the agent's tag
        self._empty: OrderedDict[str, Channel] = OrderedDict()  # longest first
        self._lagging: set[Session] = set()
        self._queue: asyncio.Queue[Channel] = asyncio.Queue()  # bounded: a channel is in it at most once

    def attach(self, broker: Broker) -> None:
        """The broker, made after the hub since it reports to it."""
        self._broker = broker

    # sessions come and go

    def join(self, agent: AgentId, session: Session) -> None:
        """From here on `session` is kept in sync; its `welcome` follows the first read."""
        channel = self._channels.get(agent.tag)
        if channel is None:
            channel = self._channels[agent.tag] = Channel(agent, self)
            self.broker.subscribe(channel)
        self._empty.pop(agent.tag, None)
        channel.sessions.append(session)
        self.by_transport[session.transport] += 1
        self.metrics.sessions_begun_total[session.transport,] += 1
        self.enqueue(channel)

    def leave(self, agent: AgentId, session: Session, code: int = 1006) -> None:
        """The connection is gone; `code` is how it ended."""
        session.closed()
        self._lagging.discard(session)
        channel = self._channels.get(agent.tag)
        if channel is None or session not in channel.sessions:
            return
        channel.sessions.remove(session)
        self.by_transport[session.transport] -= 1
        self.metrics.sessions_ended_total[session.transport, ended_as(code)] += 1
        if not channel.sessions:
            channel.empty_since = asyncio.get_running_loop().time()
            self._empty[agent.tag] = channel

    def paused(self, session: Session) -> None:
        """The session's transport is full."""
        if session.pause():
            self._lagging.add(session)
            self.metrics.lagged_total += 1

    def resumed(self, agent: AgentId, session: Session) -> None:
        """The session's transport has room again."""
        self._lagging.discard(session)
        channel = self._channels.get(agent.tag)
        if session.resume() and channel is not None:
            self.enqueue(channel)

    @property
    def session_count(self) -> int:
        """Devices that are connected to this worker."""
        return sum(self.by_transport.values())

    @property
    def channel_count(self) -> int:
        """Agents with a channel here; one stays for a moment after its last session."""
        return len(self._channels)

    @property
    def lagging_count(self) -> int:
        """Sessions that wait until their device has read."""
        return len(self._lagging)

    def sessions(self) -> Iterator[Session]:
        """All of them, at this moment."""
        for channel in list(self._channels.values()):
            yield from list(channel.sessions)

    def forget(self, tag: str) -> None:
        """All of an agent was erased: its devices begin anew."""
        channel = self._channels.get(tag)
        for session in list(channel.sessions) if channel is not None else ():
            session.close(CloseCode.CREDENTIALS_EXPIRED, "this agent was forgotten")

    async def drain(self, over_s: float) -> None:
        """Close every session with 1012, in slices over `over_s`, so that the devices do not return all at once."""
        self.draining = True
        waiting = deque(self.sessions())
        ticks = max(1, int(over_s / 0.1))
        slice_size = -(-len(waiting) // ticks)
        while waiting:
            for _ in range(min(slice_size, len(waiting))):
                waiting.popleft().close(CloseCode.RESTART, "restart")
            if waiting:
                await asyncio.sleep(over_s / ticks)
        for session in self.sessions():
            session.close(CloseCode.RESTART, "restart")

    # what the broker reports

    @property
    def broker(self) -> Broker:
        assert self._broker is not None, "attach comes first"
        return self._broker

    def gap(self, channel: Channel, message: Announcement) -> None:
        """The channel does not continue: hand the events over, and read what is between (session rule 5)."""
        if 0 <= channel.last < message.seq:  # else a read was faster than the announcement
            self.metrics.gaps_total += 1
        channel.last = max(channel.last, message.seq)
        for session in channel.sessions:
            session.gap(self.store_id, message)
        self.enqueue(channel)

    @property
    def store_id(self) -> str:
        """The id of the store that positions are of."""
        return self.broker.store_id

    def store_changed(self) -> None:
        """Another store than before, or the first: every position is void, every device is reset."""
        self.metrics.stores_total += 1
        for channel in self._channels.values():
            channel.last = -1
            for session in channel.sessions:
                session.forget()
            self.enqueue(channel)

    # readers

    def enqueue(self, channel: Channel) -> None:
        """Have the channel's JOINING sessions read; now, or once it is subscribed."""
        if not channel.queued and channel.subscribed and channel.sessions:
            channel.queued = True
            self._queue.put_nowait(channel)

    async def run(self) -> None:
        """Readers, sweep and the unsubscribing of empty channels, until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for _ in range(READERS):
                tasks.create_task(self._read_queued())
            tasks.create_task(self._sweep())
            tasks.create_task(self._release())

    async def _read_queued(self) -> None:
        while True:
            channel = await self._queue.get()
            try:
                again = await self._read(channel)
            except Unavailable:
                again = True
                await self.broker.available()
                await asyncio.sleep(random.uniform(0, _RETRY_S))  # it may be up and still refuse
            except Exception:
                _log.exception("reading failed", agent=str(channel.agent))
                again = False
                for session in [s for s in channel.sessions if s.state is State.JOINING]:
                    session.close(CloseCode.INTERNAL_ERROR, "internal error")
            channel.queued = False
            if again or channel.joining():
                self.enqueue(channel)

    async def _read(self, channel: Channel) -> bool:
        """Bring the channel's JOINING sessions to the present. True where some have to wait for another turn."""
        whole = pages = 0
        while whole < _WHOLE_READS:
            store, groups = self.store_id, channel.joining()
            if not groups:
                return False
            asked = (channel.subscriptions, channel.last)
            least = pages >= _PAGES
            first = highest(groups) if least else lowest(groups)
            read = await self.broker.read(channel.agent, *first)
            pages = 0 if least or read.page_end is None else pages + 1
            for sessions, part in [(groups[first], read)] if least else served(groups, first, read):
                if part is not read:
                    await asyncio.sleep(0)
                if not read.store == store == self.store_id:
                    break  # the positions are the old one's
                took = await self._deliver(sessions, part)
                if part.page_end is None:
                    channel.settle(took, part, *asked)
                else:
                    for session in took:
                        session.caught_up(part, live=False)
            whole += read.page_end is None
        return True  # moved on all the time: others first

    async def _deliver(self, sessions: list[Session], read: Handled) -> list[Session]:
        """Write all of `read`; those that took it all. A session gets its frames at once, none after a pause."""
        self.metrics.catch_ups_total += len(sessions) if read.page_end is None else 0
        self.metrics.resets_total += len(sessions) if read.reset else 0
        frames, took = list(read.frames()), list[Session]()
        for number, session in enumerate(sessions):
            if number and number % _SLICE == 0:
                await asyncio.sleep(0)
                if read.store != self.store_id:
                    return []
            session.welcome(read, self._ping_s, time.time())
            if all(session.push(frame) for frame in frames):
                took.append(session)
        reached = [session for session in sessions if session.seq == read.position] if read.entries else took
        self._count(reached, read)
        return took

    def _count(self, sessions: list[Session], read: Handled) -> None:
        """They were written the events of `read`."""
        if read.entries:
            self.metrics.late_clears.add_ages(read.entries, int(time.time() * 1000), len(sessions))
        for session in sessions:
            session.caught += len(read.entries)
            if read.page_end is None:
                self.metrics.catch_up_events.add(session.caught)
                session.caught = 0

    # sweep and release

    async def _sweep(self) -> None:
        """Once a minute, spread out: is any agent here behind the store? The last message before a silence has no
        successor that would show its loss."""
        loop = asyncio.get_running_loop()
        step, due = 0, loop.time()
        while True:
            due += SWEEP_S / _SWEEP_STEPS
            await asyncio.sleep(max(0.0, due - loop.time()))
            step = (step + 1) % _SWEEP_STEPS
            try:
                await self.sweep(list(self._channels.values())[step::_SWEEP_STEPS])
            except Unavailable:
                pass  # the reconnect compares everybody
            except Exception:
                _log.exception("sweep failed")

    async def sweep(self, channels: Iterable[Channel], settle_s: float = 0.5) -> None:
        """Compare `channels` with the store, and read again those that missed something.

        A store that knows less than was announced before it was asked went back. One that knows more may have its
        announcement on the way: that has `settle_s` to come.
        """
        asked = [(c, c.last) for c in channels if c.subscribed and c.sessions and c.last >= 0]
        latest = await self.broker.latest([c.agent for c, _ in asked])
        differ = [(c, last, seq) for (c, last), seq in zip(asked, latest, strict=True) if seq not in (None, last)]
        if any(seq > last for _, last, seq in differ):
            await asyncio.sleep(settle_s)
        for channel, last, seq in differ:
            if seq < last or channel.last < seq:
                _log.warning("missed a clear", agent=str(channel.agent))
                self.metrics.clears_found_by_sweep_total += 1
                channel.missed()
                channel.last = seq

    async def _release(self) -> None:
        more = False
        while True:
            await asyncio.sleep(0 if more else LINGER_S / 5)
            more = self.release(asyncio.get_running_loop().time())

    def release(self, now: float) -> bool:
        """Unsubscribe the channels that have been empty for a few seconds, `_SLICE` of them; True where that was not
        all."""
        for _ in range(_SLICE):
            tag, channel = next(iter(self._empty.items()), ("", None))
            if channel is None or now - channel.empty_since < LINGER_S:
                return False
            del self._empty[tag]
            del self._channels[tag]
            channel.subscribed = False
            self.broker.unsubscribe(channel)
        return True
