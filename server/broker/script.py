"""Our scripts in the store: called by their hash, given to a store that does not know them."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Callable
from importlib.resources import files
from typing import Any, Final

import hiredis

from server import logs
from server.broker.link import Link
from server.errors import Unavailable
from server.limits import Rate

NOT_A_MASTER: Final = ("READONLY", "MASTERDOWN")
_log = logs.get("clearsync.store")
_lines = Rate(1.0, 10)
"""Lines about one kind of refusal: a store that is full refuses everybody."""


class Script:
    """A script of ours; its SHA-1 is how the store names it."""

    def __init__(self, name: str) -> None:
        self.source = (files("server.broker") / "scripts" / name).read_bytes()
        self.sha = hashlib.sha1(self.source, usedforsecurity=False).hexdigest().encode()
        self._loading = False

    def run(self, link: Link, convert: Callable[[Any], Any], *args: bytes | str | int) -> asyncio.Future[Any]:
        """EVALSHA with one key; the future holds the converted reply, or raises `Unavailable`."""
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        command = (b"EVALSHA", self.sha, 1, *args)
        link.send(_Call(link, self, future, convert, command), *command)
        return future

    def load(self, link: Link) -> None:
        """Give it to the store, ahead of whatever is sent after this; once, however many have missed it."""
        if not self._loading:
            self._loading = True
            link.send(self._loaded, b"SCRIPT", b"LOAD", self.source)

    def _loaded(self, reply: Any) -> None:
        self._loading = False


class _Call:
    """One EVALSHA under way; where the store does not know the script, it is loaded and the call sent again, once."""

    __slots__ = ("_args", "_convert", "_future", "_link", "_script")

    def __init__(
        self,
        link: Link,
        script: Script,
        future: asyncio.Future[Any],
        convert: Callable[[Any], Any],
        args: tuple[bytes | str | int, ...],
    ) -> None:
        self._link = link
        self._script: Script | None = script
        self._future = future
        self._convert = convert
        self._args = args

    def __call__(self, reply: Any) -> None:
        if isinstance(reply, hiredis.ReplyError) and self._script is not None and str(reply).startswith("NOSCRIPT"):
            self._script.load(self._link)
            self._script = None
            self._link.send(self, *self._args)
        elif self._future.done():  # the caller gave up
            pass
        elif isinstance(reply, Exception):
            self._future.set_exception(unavailable(reply))
            if str(reply).startswith(NOT_A_MASTER):
                self._link.abort()  # the next one may lead to the master; this one never will
        else:
            self._future.set_result(self._convert(reply))


def ignore(reply: Any) -> None:
    """A reply that nobody waits for."""


def unavailable(problem: Exception) -> Unavailable:
    """What a caller is told; the store's own words stay in the log, by their first word."""
    if isinstance(problem, Unavailable):
        return problem
    kind = str(problem).partition(" ")[0]
    if not _lines.take(kind, time.monotonic()):
        _log.warning("store refused", error=kind)
    return Unavailable()
