"""What supervisor and worker say to each other: one JSON object a line, on a socket pair made for the two.

Its end is the third message: a worker whose supervisor has gone has nothing to live for.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Final

import msgspec

from server.settings import Settings


class Start(msgspec.Struct, frozen=True):
    """The first line to a worker. It carries credentials, so it goes neither by arguments nor by environment."""

    settings: Settings
    store_url: str
    worker: int


class Stop(msgspec.Struct, frozen=True, tag="stop", tag_field="do"):
    """Send the sessions away over `drain_s` seconds, then end. Again, with less, to hurry."""

    drain_s: float


class Reload(msgspec.Struct, frozen=True, tag="reload", tag_field="do"):
    """Read the users file and the TLS files again."""


Order = Stop | Reload


class Report(msgspec.Struct, frozen=True):
    """A worker's line: whether it serves, or why it gives up and with which exit code."""

    ready: bool = False
    failed: str = ""
    exit_code: int = 0


start_of: Final = msgspec.json.Decoder(Start).decode
order_of: Final = msgspec.json.Decoder(Order).decode
report_of: Final = msgspec.json.Decoder(Report).decode


def line(message: Start | Order | Report) -> bytes:
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
