"""The two ways `clearsync listen` shows frames: lines for programs, and a screen for people."""

from __future__ import annotations

import json
from datetime import datetime
from itertools import groupby
from typing import BinaryIO, Final, TextIO

from server.client import Clear, HandledEvent, Problem, Received, Reset, Welcome
from server.client.retry import printable

SHOWN_EVENTS: Final = 10
"""Of one clear on the screen; the rest is counted. `--json` has all."""


class Lines:
    """One frame a line, exactly as received, flushed at once; the state of the connection goes to stderr."""

    def __init__(self, out: BinaryIO, err: TextIO, *, terminal: bool = False) -> None:
        """`terminal`: what one would obey is written as JSON escapes, which say the same."""
        self._out = out
        self._err = err
        self._terminal = terminal

    def frame(self, received: Received) -> None:
        """Raises BrokenPipeError where nobody reads any more."""
        text = received.text
        if self._terminal:
            text = "".join(c if c.isprintable() else json.dumps(c)[1:-1] for c in text)
        self._out.write(text.encode() + b"\n")
        self._out.flush()

    def retrying(self, reason: str, wait_s: float) -> None:
        """Why there is no connection, and when the next try is."""
        self.note(f"{reason}, reconnecting in {wait_s:.1f} s")

    def note(self, text: str) -> None:
        """Anything else worth knowing."""
        print(printable(f"clearsync: {text}"), file=self._err, flush=True)


class Screen:
    """A line for what was handled at one time: that time, local, and the events. The state of the connection is dim."""

    def __init__(self, out: TextIO, title: str, *, color: bool) -> None:
        self._out = out
        self._title = title
        self._color = color
        self._told_away = False

    def frame(self, received: Received) -> None:
        """Show what matters to a person; frames that don't are not shown."""
        match received.frame:
            case Welcome():
                self._told_away = False
                self.note(f"connected: {self._title}")
            case Reset():
                self.note("reset: what was missed is not known any more; an app fetches its list again here")
            case Clear(events=()):
                pass  # what this device handled itself
            case Clear() as clear:
                if clear.events[0].at is not None and not self._told_away:
                    self._told_away = True
                    self.note("catching up with what was handled meanwhile")
                for time, events in groupby(clear.events, lambda event: _time(clear.until(event))):
                    self._line(f"{time}  {_events(tuple(events))}")
            case Problem(message=message):
                self.note(f"error: {message}")

    def retrying(self, reason: str, wait_s: float) -> None:
        """Why there is no connection, and when the next try is."""
        self.note(f"{reason}, reconnecting in {wait_s:.1f} s")

    def note(self, text: str) -> None:
        """About the connection, not about events."""
        self._line(text, dim=True)

    def _line(self, text: str, *, dim: bool = False) -> None:
        text = printable(text)
        print(f"\x1b[2m{text}\x1b[0m" if dim and self._color else text, file=self._out, flush=True)


def _time(milliseconds: int) -> str:
    when = datetime.fromtimestamp(milliseconds / 1000).astimezone()
    return f"{when:%H:%M:%S}" if when.date() == datetime.now().astimezone().date() else f"{when:%Y-%m-%d %H:%M:%S}"


def _events(events: tuple[HandledEvent, ...]) -> str:
    shown = ", ".join(f"{event.type} {event.id}" for event in events[:SHOWN_EVENTS])
    more = len(events) - SHOWN_EVENTS
    return f"{shown} and {more} more" if more > 0 else shown
