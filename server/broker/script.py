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
        self.call(
            link, lambda reply: settle(future, reply if isinstance(reply, Unavailable) else convert(reply)), *args
        )
        return future

    def call(self, link: Link, done: Callable[[Any], None], *args: bytes | str | int) -> None:
        """The same without a future: `done` gets the reply, or the `Unavailable`."""
        self.call_packed(link, done, hiredis.pack_command((b"EVALSHA", self.sha, 1, *args)))  # type: ignore[arg-type]  # declared for one argument

    def call_packed(self, link: Link, done: Callable[[Any], None], command: bytes) -> None:
        """The same for a command that is RESP already."""
        link.send_packed(_Call(link, self, done, command), command)

    def load(self, link: Link) -> None:
        """Give it to the store, ahead of whatever is sent after this; once, however many have missed it."""
        if not self._loading:
            self._loading = True
            link.send(self._loaded, b"SCRIPT", b"LOAD", self.source)

    def _loaded(self, reply: Any) -> None:
        self._loading = False


class _Call:
    """One EVALSHA under way; where the store does not know the script, it is loaded and the call sent again, once."""

    __slots__ = ("_command", "_done", "_link", "_script")

    def __init__(self, link: Link, script: Script, done: Callable[[Any], None], command: bytes) -> None:
        self._link = link
        self._script: Script | None = script
        self._done = done
        self._command = command

    def __call__(self, reply: Any) -> None:
        if not isinstance(reply, Exception):
            self._done(reply)
        elif self._script is not None and isinstance(reply, hiredis.ReplyError) and str(reply).startswith("NOSCRIPT"):
            self._script.load(self._link)
            self._script = None
            self._link.send_packed(self, self._command)
        else:
            self._done(unavailable(reply))
            if str(reply).startswith(NOT_A_MASTER):
                self._link.abort()  # the next one may lead to the master; this one never will


def settle(future: asyncio.Future[Any], result: Any) -> None:
    """The result of a call, an `Unavailable` among them, into a future."""
    if future.done():  # the caller gave up
        return
    if isinstance(result, Unavailable):
        future.set_exception(result)
    else:
        future.set_result(result)


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
