"""One device's session as a state machine. Pure: no event loop, no store; what happens is told to it.

                      read, and nothing came meanwhile
      ┌─────────┐ ───────────────────────────────► ┌──────┐
    ─►│ JOINING │                                  │ LIVE │
      └─────────┘ ◄─────────────────────────────── └──────┘
        ▲     │          the channel has a gap         │
 resume │     │ pause                            pause │          any ─► CLOSED
        │     ▼                                        │
      ┌─────────┐ ◄────────────────────────────────────┘
      │ LAGGING │
      └─────────┘

Rules, each guarding against a loss:

1. `seq` is the position up to which everything has been written to this session. It moves only by frames that were
   written, and by a read that says there is nothing more.
2. A JOINING session is sent no live clear: the read from its `seq`, made after the channel was subscribed, finds all.
3. It turns LIVE only where the channel has not moved past what was read, and where the read was asked for after the
   channel was last subscribed (what was announced between an earlier read and that is lost); else it reads again.
4. A LIVE session skips what is ≤ its `seq`. The origin of a batch gets an empty clear with the cursor instead, so that
   its next catch-up does not replay its own.
5. Where the channel does not continue (`prev` is not its last), the events are handed over with the cursor unmoved,
   and the session is JOINING again: between `seq` and here something is missing.
6. A transport that says pause makes the session LAGGING: it is skipped, nothing is kept for it. Resumed, it is JOINING:
   it reads from its `seq`. What is waiting for a slow device is in the store, not in this process. One that paused
   in what followed a reset is not reset again for being below the same `floor`: it would never get through.
7. `welcome` is the first frame, once.
8. CLOSED is final; whatever comes after is ignored.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum
from typing import Final, NamedTuple, Protocol

from server import wire
from server.events import Cursor, DeviceId, Seq
from server.wire import CloseCode, Frame


class Announcement(NamedTuple):
    """One message of an agent's channel: a batch was recorded at `seq`, and the position before it was `prev`."""

    prev: int
    seq: int
    time_us: int
    origin: bytes
    events: bytes

    @classmethod
    def parse(cls, message: bytes) -> Announcement:
        """``prev seq t origin events``, as the record script publishes it; ValueError for anything else: the events go
        to devices as they stand. 0.2 µs for two of them, 1.5 µs for twenty."""
        prev, seq, time_us, origin, events = message.split(b" ", 4)
        wire.check_events(events)
        return cls(int(prev), int(seq), int(time_us), origin, events)


class Handled(NamedTuple):
    """What the store retains for one agent after a position, a page of it: the answer to a read.

    `seq` is the agent's position. `reset`: the position that was read from was below the floor, of another store, or
    ahead of the store: history is gone. `entries` are (member, score), ascending by score, and no score is split.
    `page_end`: where this page ends, None where nothing follows it. Whoever has written a page stands at its end as a
    device does that paused there (rule 6): the next read goes on from there, and does not reset it for the same floor.
    """

    store: str
    seq: int
    floor: int
    reset: bool
    now: int
    entries: list[tuple[bytes, int]]
    page_end: int | None = None

    @property
    def position(self) -> int:
        """Where somebody stands to whom all of this was written."""
        return self.seq if self.page_end is None else self.page_end

    @property
    def reset_seq(self) -> int:
        """The position of a `reset` frame: just before all that is retained, so that a cut behind it loses nothing."""
        return min(self.position, self.entries[0][1] - 1) if self.entries else self.position

    def covers(self, position: int, floor: int) -> bool:
        """Whether a read from `position`, above the one that this was made from, would have found nothing else, for a
        reader that was reset for `floor`."""
        return position <= self.position and (self.floor <= position or self.floor <= floor)

    def after(self, position: int) -> Handled:
        """What that read would have found."""
        return self._replace(reset=False, entries=[entry for entry in self.entries if entry[1] > position])

    def frames(self) -> Iterator[Frame]:
        """The frames of this read, in order."""
        if self.reset:
            yield wire.reset(self.store, self.reset_seq, self.floor)
        if self.entries:
            yield wire.clear(self.store, self.position, wire.handled_at(self.entries), at=self.entries[-1][1])


class Sink(Protocol):
    """A session's way out. `write` may call `Session.pause` before it returns."""

    def write(self, frame: Frame) -> None: ...

    def close(self, code: CloseCode, reason: str) -> None: ...


class State(Enum):
    """Where a session stands; see the picture above."""

    JOINING = 1
    LIVE = 2
    LAGGING = 3
    CLOSED = 4


_LIVE: Final = State.LIVE  # found faster so, for each session of each clear


class Session:
    """One live connection of a device. `cursor` is what the device came with, None for 'from now on'; `expires_at` when
    its credentials end (Unix time in seconds, None is never), which its owner sees to. `sent` counts the frames that it
    was sent, `lagged` how often it paused."""

    __slots__ = (
        *("_cursor", "_sink", "_welcomed", "device", "expires_at", "floor", "origin", "seq", "state"),
        *("caught", "lagged", "sent", "transport"),
    )

    def __init__(self, device: DeviceId, cursor: Cursor | None, sink: Sink, transport: str = "websocket") -> None:
        self.device = device
        self.origin = device.encode()
        self.seq: Seq | None = None
        self.floor = -1
        self.state = State.JOINING
        self.transport = transport
        self.sent = self.lagged = 0
        self.caught = 0
        """Events of the catch-up that it is in."""
        self.expires_at: float | None = None
        self._cursor = cursor
        self._sink: Sink | None = sink
        self._welcomed = False

    def position(self, store: str) -> Seq | None:
        """Where its next read starts, in the store `store`; None: at the present."""
        return self.seq if self.seq is not None else wire.position(self._cursor, store)

    def welcome(self, read: Handled, ping_s: float, wall_s: float = 0.0) -> None:
        """The first frame, once: the position before catch-up, the device's own where it sent one (rule 7). `wall_s`:
        the present, as `expires_at` counts."""
        if self._welcomed or self.state is not State.JOINING:
            return
        self._welcomed = True
        start = self.position(read.store)
        self.seq = Seq(read.seq) if start is None else start
        expires_s = None if self.expires_at is None else self.expires_at - wall_s
        self._write(wire.welcome(self._cursor or Cursor(read.store, self.seq), read.now, ping_s, expires_s))
        self._cursor = None

    def push(self, frame: Frame) -> bool:
        """A frame of a catch-up. False where no further frame of this read may follow: a session that paused in the
        middle has to read again, or it would skip what was left out meanwhile (rule 6)."""
        if self.state is not State.JOINING:
            return False
        self.seq = Seq(frame.seq)
        self.floor = max(self.floor, frame.floor)
        self._write(frame)
        return self._is(State.JOINING)

    def caught_up(self, read: Handled, *, live: bool) -> None:
        """All of `read` is written. `live`: it was the last page, and the channel has not moved on since, nor been
        subscribed again (rule 3)."""
        if self.state is State.JOINING:
            self.seq = Seq(read.position)
            if live:
                self.state = State.LIVE

    def announce(self, seq: int, frame: Frame, count: int = 1) -> bool:
        """A live clear that continues the channel (rule 4), or `count` of them, of which `seq` is the first. True
        where all of it was written, else nothing was."""
        if self.state is _LIVE and self._sink is not None and seq > (self.seq or 0):
            self.seq = frame.seq
            self.sent += count
            self._sink.write(frame)
            return True
        return False

    def gap(self, store: str, message: Announcement | None = None) -> None:
        """The channel does not continue (rule 5); `message` is what came instead, if anything did."""
        if self.state is not State.LIVE or self.seq is None:
            return
        self.state = State.JOINING
        if message is not None and message.seq > self.seq and message.origin != self.origin:
            self._write(wire.clear(store, self.seq, message.events, at=message.seq))

    def forget(self) -> None:
        """Another store: every position of the old one is void, the next read is from the beginning."""
        if self.seq is not None:
            self.seq, self.floor = Seq(0), -1
            self.gap("")

    def answer(self, frame: Frame) -> None:
        """An answer to a frame of the device; it moves no position."""
        if self.state is not State.CLOSED:
            self._write(frame)

    def pause(self) -> bool:
        """The transport is full (rule 6). True where it was not before."""
        if self.state is State.CLOSED or self.state is State.LAGGING:
            return False
        self.state = State.LAGGING
        self.lagged += 1
        return True

    def resume(self) -> bool:
        """The transport has room again. True where a read is due."""
        if self.state is State.LAGGING:
            self.state = State.JOINING
            return True
        return False

    def close(self, code: CloseCode, reason: str = "") -> None:
        """End it from our side; idempotent."""
        if self.state is not State.CLOSED:
            self.state = State.CLOSED
            if self._sink is not None:
                self._sink.close(code, reason)

    def closed(self) -> None:
        """The connection is gone. The way out is let go of: it refers to this session, and a circle would keep both."""
        self.state = State.CLOSED
        self._sink = None

    def _is(self, state: State) -> bool:
        return self.state is state  # a write may have changed it

    def _write(self, frame: Frame) -> None:
        if self._sink is not None:
            self.sent += 1
            self._sink.write(frame)
