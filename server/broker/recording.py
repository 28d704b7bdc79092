"""The command that records a batch, as RESP: put together, since most of it never changes. 1.0 µs, packed 1.4 µs."""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from server.broker.script import Script
from server.events import Batch

_OF_US: Final = 11
"""Parts of the command besides the members."""


class Recording:
    """Calls of `record.lua`, which says what its arguments are."""

    def __init__(self, script: Script, cap: int, retention_ms: int) -> None:
        self._head = b"".join(_bulk(part) for part in (b"EVALSHA", script.sha, b"1"))
        self._limits = b"".join(_bulk(b"%d" % limit) for limit in (cap, retention_ms))

    def packed(self, key: bytes, deadline_ms: int, origin: bytes, time_us: int, batch: Batch) -> bytes:
        """One call; the channel is called as the key is."""
        members, deadline, at, named = batch.members, b"%d" % deadline_ms, b"%d" % time_us, _known_bulk(key)
        return b"*%d\r\n%b%b%b$%d\r\n%b\r\n%b$%d\r\n%b\r\n$%d\r\n%b\r\n$%d\r\n%b\r\n%b" % (
            *(_OF_US + len(members), self._head, named, self._limits),
            *(len(deadline), deadline, named, len(origin), origin, len(at), at, len(batch.json), batch.json),
            _bulk(members[0]) if len(members) == 1 else b"".join(map(_bulk, members)),
        )


@lru_cache(maxsize=10_000)
def _known_bulk(part: bytes) -> bytes:
    return _bulk(part)


def _bulk(part: bytes) -> bytes:
    return b"$%d\r\n%b\r\n" % (len(part), part)
