"""What supervisor and worker say to each other: one JSON object a line, on a socket pair made for the two.

Its end is the third message: a worker whose supervisor has gone has nothing to live for.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Final

import msgspec

from server.metrics import Sample
from server.settings import Settings


class Start(msgspec.Struct, frozen=True):
    """The first line to a worker. It carries credentials, so it goes neither by arguments nor by environment."""

    settings: Settings
    store_url: str
    worker: int


class Stop(msgspec.Struct, frozen=True, tag="stop", tag_field="do"):
    """Look not ready and serve on for `grace_s` seconds, then send the sessions away over `drain_s`, then end."""

    drain_s: float
    grace_s: float = 0.0


class Hurry(msgspec.Struct, frozen=True, tag="hurry", tag_field="do"):
    """End now, with nothing of grace or drain that may be left."""


class Reload(msgspec.Struct, frozen=True, tag="reload", tag_field="do"):
    """Read the users file and the TLS files again."""


class Measure(msgspec.Struct, frozen=True, tag="measure", tag_field="do"):
    """Answer with `Figures`, by the loop that serves: no answer means that it is stuck."""


class Overview(msgspec.Struct, frozen=True, tag="overview", tag_field="do"):
    """The answer to `Ask`: what `overview.overview` says, as it goes to who asked the worker."""

    body: msgspec.Raw


Order = Stop | Hurry | Reload | Measure | Overview


class Report(msgspec.Struct, frozen=True, tag="report", tag_field="say"):
    """A worker's line: whether it serves, or why it gives up and with which exit code."""

    ready: bool = False
    failed: str = ""
    exit_code: int = 0


class Figures(msgspec.Struct, frozen=True, tag="figures", tag_field="say"):
    """A worker's answer to `Measure`."""

    samples: list[Sample]


class Ask(msgspec.Struct, frozen=True, tag="ask", tag_field="say"):
    """Somebody asks this worker for the figures of all of them; one question at a time, answered by `Overview`."""


Answer = Report | Figures | Ask

start_of: Final = msgspec.json.Decoder(Start).decode
order_of: Final = msgspec.json.Decoder[Order](Order).decode
answer_of: Final = msgspec.json.Decoder[Answer](Answer).decode


def line(message: Start | Order | Answer) -> bytes:
    """The message as it goes over the socket."""
    return msgspec.json.encode(message) + b"\n"


def lines(control: socket.socket) -> Iterator[bytes]:
    """The peer's lines as they come, blocking, until it closes, is killed, or this end is shut down.

    Without a buffered file around the socket: one that a thread waits on can't be closed by another.
    """
    unfinished = b""
    while received := _receive(control):
        *whole, unfinished = (unfinished + received).split(b"\n")
        yield from whole


def _receive(control: socket.socket) -> bytes:
    """What came, nothing at the end. A peer that was killed with something of ours unread is a reset, not an end."""
    try:
        return control.recv(65_536)
    except ConnectionError:
        return b""
