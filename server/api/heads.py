"""What heads of requests said that came before: a caller sends the same one again and again."""

from __future__ import annotations

import hashlib
import os
from collections import OrderedDict
from typing import Final, NamedTuple

from server.api.bodies import Decoder
from server.auth.address import Forwarded
from server.events import DeviceId

MOST: Final = 10_000
"""Heads that are remembered, about 500 bytes each; the one that came first goes first. Where a proxy gives each request
a head of its own (`X-Request-Id`, `traceparent`), nothing is found, and 1.9 µs are lost."""
MOST_BYTES: Final = 2048
"""Of one; what a caller puts into a longer one is not kept."""
_END: Final = b"\r\n\r\n"


class Reading(NamedTuple):
    """What the head of a short request says.

    `credentials`: by what the authenticator knows them. `forwarded`: what says where it comes from, names and values.
    `agent`: X-Agent-Id as it came. `accept`: the headers that say what a refusal is to look like. `length`: bytes of
    the body.
    """

    credentials: bytes
    forwarded: Forwarded
    tenant: str | None
    agent: bytes | None
    device: DeviceId | None
    accept: tuple[tuple[bytes, bytes], ...]
    decode: Decoder
    length: int


class Heads:
    """By a keyed hash of the head: no credentials are kept, and nobody can make two that are alike. 1 µs a `find`."""

    def __init__(self, most: int = MOST) -> None:
        self._readings: OrderedDict[bytes, Reading] = OrderedDict()
        self._most = most
        self._keyed = hashlib.blake2b(key=os.urandom(32), digest_size=16)

    def find(self, data: bytes) -> tuple[Reading, int] | None:
        """What the head says that `data` begins with, and where it ends. None where it is not known, or something else
        than its body follows it."""
        end = data.find(_END) + 4
        keyed = self._keyed.copy()
        keyed.update(data[:end])
        reading = self._readings.get(keyed.digest())
        return None if reading is None or len(data) - end != reading.length else (reading, end)

    def put(self, data: bytes, reading: Reading) -> None:
        """A parser has read `data` as one request, its first, whose head says this."""
        end = len(data) - reading.length
        if end > MOST_BYTES or data.find(_END) + 4 != end:
            return  # or lines that end otherwise than in RFC 9112, 2.2
        keyed = self._keyed.copy()
        keyed.update(data[:end])
        self._readings[keyed.digest()] = reading
        if len(self._readings) > self._most:
            self._readings.popitem(last=False)
