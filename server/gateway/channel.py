"""One agent in this worker: its sessions, the fan-out to them, and where its channel stands."""

from __future__ import annotations

from typing import TYPE_CHECKING

from server import wire
from server.events import AgentId
from server.session import Announcement, Handled, Session, State

if TYPE_CHECKING:
    from server.gateway.hub import Hub


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

    def announced(self, message: Announcement) -> None:
        """A batch was recorded: to all live sessions, at once. Encoded once."""
        prev, seq, _, origin, events = message
        if prev != self.last:
            self._hub.gap(self, message)
            return
        self.last = seq
        store = self._hub.store_id
        frame = wire.clear(store, seq, events)
        written = 0
        for session in self.sessions:
            mine = session.origin == origin
            if session.announce(seq, wire.clear(store, seq, b"[]") if mine else frame) and not mine:
                written += 1
        self._hub.metrics.clears_total += written

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
