"""What a device receives, as values: the other end of `wire`, for clients. Pure.

Field names are ours, the wire's are the vendor's (`Type`, `Id`, `At`). A type stays a string here, because a server
newer than this client may know one more.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import msgspec


class HandledEvent(msgspec.Struct, frozen=True, rename="pascal"):
    """An event that was handled; `at` (ms, the server's clock) is absent where the frame's own time counts."""

    type: str
    id: int
    at: int | None = None


class Welcome(msgspec.Struct, frozen=True, tag_field="type", tag="welcome"):
    """Always first. `now`: the server's clock in ms; `ping`: after so many seconds without a frame, ask; `expires`:
    so many seconds from now the credentials end, None = never."""

    cursor: str
    now: int
    ping: float
    expires: float | None = None


class Clear(msgspec.Struct, frozen=True, tag_field="type", tag="clear"):
    """Dismiss these. No events: only the position moved, as for what this device itself handled."""

    cursor: str
    at: int
    events: tuple[HandledEvent, ...]

    def until(self, event: HandledEvent) -> int:
        """A notification of this pair goes away if its own time (ms, the server's clock) is not after this.

        A later one is new: the same pair comes again, with the next message of the same ticket for example.
        """
        return self.at if event.at is None else event.at

    def dated(self) -> Clear:
        """The same, with the time in every event."""
        events = tuple([HandledEvent(event.type, event.id, self.until(event)) for event in self.events])
        return Clear(self.cursor, self.at, events)


class Reset(msgspec.Struct, frozen=True, tag_field="type", tag="reset"):
    """What was missed is not known any more: fetch the list from the CRM. What is retained follows as clears."""

    cursor: str


class Recorded(msgspec.Struct, frozen=True, tag_field="type", tag="recorded"):
    """A `handled` frame of this device was recorded. It says nothing about the position."""

    ref: str | None = None


class Checked(msgspec.Struct, frozen=True, tag_field="type", tag="checked"):
    """Those of the events asked about that are handled, each with its time."""

    events: tuple[HandledEvent, ...]
    ref: str | None = None


class Refreshed(msgspec.Struct, frozen=True, tag_field="type", tag="refreshed"):
    """New credentials of this device were taken; `expires` as in `Welcome`."""

    expires: float | None = None
    ref: str | None = None


class Pong(msgspec.Struct, frozen=True, tag_field="type", tag="pong"):
    """The answer to a `ping`."""


class Problem(msgspec.Struct, frozen=True, tag_field="type", tag="error"):
    """A frame of this device was refused; the connection goes on."""

    code: str
    message: str
    ref: str | None = None


class Other(msgspec.Struct, frozen=True):
    """A frame of a type that this client does not know: to be ignored."""

    type: str


Frame = Welcome | Clear | Reset | Recorded | Checked | Refreshed | Pong | Problem | Other


class Received(NamedTuple):
    """One frame: as a value, and as it came."""

    frame: Frame
    text: str


class Unreadable(ValueError):
    """Not a frame of this protocol. What it said is lost, so nothing after it may be trusted to be complete."""


_decoder = msgspec.json.Decoder(Welcome | Clear | Reset | Recorded | Checked | Refreshed | Pong | Problem)
_other = msgspec.json.Decoder(Other)
_KNOWN: Final = frozenset(("welcome", "clear", "reset", "recorded", "checked", "refreshed", "pong", "error"))


def read(text: str | bytes) -> Received:
    """A frame from what a websocket gave. Unknown fields are ignored, an unknown type is `Other`; else `Unreadable`."""
    if isinstance(text, bytes):
        raise Unreadable("a binary frame came, frames are text")
    try:
        return Received(_decoder.decode(text), text)
    except (msgspec.DecodeError, RecursionError) as problem:
        other = _unknown(text)
        if other is None:
            raise Unreadable(f"a frame can't be read ({problem}): {text[:100]!r}") from None
        return Received(other, text)


def _unknown(text: str) -> Other | None:
    try:
        other = _other.decode(text)
    except (msgspec.DecodeError, RecursionError):
        return None
    return None if other.type in _KNOWN else other
