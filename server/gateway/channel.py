"""One agent in this worker: its sessions, the fan-out to them, and where its channel stands."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from server import wire
from server.events import AgentId
from server.session import Announcement, Handled, Session, State

if TYPE_CHECKING:
    from server.gateway.hub import Hub

RUN_BYTES: Final = 16_384
"""Of what goes out as one write, or one clear that is longer; a quarter of what makes a session lag."""
_FRAME_BYTES: Final = 100
"""Of a clear, besides its events."""


class Channel:
    """One agent's sessions in this worker; a `Subscriber` of the broker."""

    __slots__ = ("_hub", "agent", "empty_since", "last", "queued", "sessions", "subscribed", "subscriptions")

    def __init__(self, agent: AgentId, hub: Hub) -> None:
        self.agent = agent
        self.sessions: list[Session] = []
        self.last = -1
        self.subscribed = False
        self.subscriptions = 0
        self.queued = False
        self.empty_since = 0.0
        self._hub = hub

    def announced(self, messages: Sequence[Announcement]) -> None:
        """Batches were recorded: to all live sessions, at once; what came at once is one write to each."""
        run: list[Announcement] = []
        size = 0
        for message in messages:
            size += len(message.events) + _FRAME_BYTES
            if message.prev != self.last or size > RUN_BYTES:
                self._fan_out(run)
                run, size = [], len(message.events) + _FRAME_BYTES
            if message.prev == self.last:
                self.last = message.seq
                run.append(message)
            else:
                self._hub.gap(self, message)
        self._fan_out(run)

    def _fan_out(self, run: list[Announcement]) -> None:
        """Messages that continue the channel. Each is encoded once."""
        if not run:
            return
        store, first, count = self._hub.store_id, run[0].seq, len(run)
        frames = [wire.clear(store, seq, events) for _, seq, _, _, events in run]
        whole = frames[0] if count == 1 else wire.Frames(frames)
        origins = {message.origin for message in run}
        written = 0
        for session in self.sessions:
            if session.origin not in origins and session.announce(first, whole, count):
                written += count
            else:
                written += self._one_by_one(session, run, frames)
        if written:
            metrics, now_us = self._hub.metrics, time.time_ns() // 1000
            metrics.clears_total += written
            for message in run:
                metrics.cleared(now_us - message.time_us)

    def _one_by_one(self, session: Session, run: list[Announcement], frames: list[wire.Frame]) -> int:
        """To a session that is not sent all of them as they are; how many clears were written."""
        written = 0
        for message, frame in zip(run, frames, strict=True):
            mine = session.origin == message.origin
            if mine:
                frame = wire.clear(self._hub.store_id, message.seq, b"[]")
            if session.announce(message.seq, frame) and not mine:
                written += 1
        return written

    def confirmed(self) -> None:
        """Subscribed, at first or again: what was announced before may have been missed."""
        self.subscribed = True
        self.missed()

    def missed(self) -> None:
        """Read again what the live sessions have; a read that is under way does not count."""
        self.subscriptions += 1
        for session in self.sessions:
            session.gap(self._hub.store_id)
        self._hub.enqueue(self)

    def settle(self, sessions: list[Session], read: Handled, subscriptions: int, last: int) -> None:
        """`sessions` have taken all of `read`, asked for when the channel stood at `subscriptions` and `last`.

        Where every live session stands at the read's position, so does the channel; one that does not is about to be
        sent what is announced up to there. A store that knows less than was announced before it was asked went back:
        from here on its own count holds, and the sessions read once more.
        """
        current = subscriptions == self.subscriptions
        live = current and self.last <= read.seq
        for session in sessions:
            session.caught_up(read, live=live)
        if current and read.seq > self.last:
            if not any(s.state is State.LIVE and (s.seq or 0) < read.seq for s in self.sessions):
                self.last = read.seq
        elif read.seq < last:
            self.last = read.seq

    def joining(self) -> dict[tuple[int | None, int], list[Session]]:
        """The sessions that wait for a read, by the position they stand at and the floor they have been reset for."""
        groups: dict[tuple[int | None, int], list[Session]] = {}
        for session in self.sessions:
            if session.state is State.JOINING:
                standing = (session.position(self._hub.store_id), session.floor)
                groups.setdefault(standing, []).append(session)
        return groups
