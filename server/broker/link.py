"""One connection to the store, for the path of a clear: RESP3 by hiredis, gathered writes, replies in order.

1. What a loop tick sends goes out as one write; but at once where the store has nothing to do, and `GATHERED` at a time
   where it has not much: it works while we do.
2. Replies come in the order of requests. A request whose caller gave up stays in the queue with a callback that does
   nothing; taken out, every later reply would be another request's.
3. A confirmation of (S)SUBSCRIBE is matched to the very request it answers; one that nobody asked for is reported: the
   subscription changed by itself, so something may have been missed.
4. A request without an answer for longer than the timeout means that the connection is of no use: `expire` aborts it,
   and every request that waits is told. What they asked happened whole or not at all.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any, Final, cast

import hiredis

from server.errors import Unavailable

Callback = Callable[[Any], None]
_Request = tuple[Callback, tuple[bytes, bytes] | None, float]
GATHERED: Final = 4
"""Requests that go out at once; fewer when the loop has gone round."""
MANY: Final = 64
"""Where more wait for answers the store has enough to do: what comes on top goes out when the loop has gone round."""
_NOTHING: Final = object()


class LinkLost(Unavailable):
    """The connection ended before the answer came."""


class Link(asyncio.Protocol):
    """`on_message(channel, payload)` gets what is published, `on_unasked(kind, channel)` an unasked confirmation;
    `on_read()` is called when all that came at once has been handed over.

    A `listening` link is sent SSUBSCRIBE, SUNSUBSCRIBE and PING only: every array that it receives is a push (also from
    a server that writes pushes as RESP2 arrays).
    """

    def __init__(
        self,
        *,
        listening: bool = False,
        on_message: Callable[[bytes, bytes], None] | None = None,
        on_unasked: Callable[[bytes, bytes], None] | None = None,
        on_read: Callable[[], None] | None = None,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._reader = hiredis.Reader(notEnoughData=_NOTHING)
        self._waiting: deque[_Request] = deque()
        self._suspect: _Request | None = None
        self._out: list[bytes] = []
        self._transport: asyncio.Transport | None = None
        self._listening = listening
        self._on_message = on_message
        self._on_unasked = on_unasked
        self._on_read = on_read
        self.lost: asyncio.Future[None] = self._loop.create_future()

    @property
    def alive(self) -> bool:
        return self._transport is not None

    # what is asked

    def send(self, callback: Callback, *args: bytes | str | int, confirms: tuple[bytes, bytes] | None = None) -> None:
        """Ask; `callback` gets the reply, an error object among them, or `LinkLost`. Never called before this returns.

        `confirms`: (kind, channel) of the push that answers a subscription.
        """
        self.send_packed(callback, hiredis.pack_command(args), confirms)  # type: ignore[arg-type]  # declared for one argument

    def send_packed(self, callback: Callback, command: bytes, confirms: tuple[bytes, bytes] | None = None) -> None:
        """The same for a command that is RESP already."""
        if self._transport is None:
            self._loop.call_soon(callback, LinkLost())
            return
        idle = not self._waiting
        self._out.append(command)
        self._waiting.append((callback, confirms, self._loop.time()))
        if idle or (len(self._out) >= GATHERED and len(self._waiting) <= MANY):
            self._flush()
        elif len(self._out) == 1:
            self._loop.call_soon(self._flush)

    def command(self, *args: bytes | str | int) -> asyncio.Future[Any]:
        """Ask and await the reply; an error reply and a lost link are raised."""
        future: asyncio.Future[Any] = self._loop.create_future()

        def settle(reply: Any) -> None:
            if future.done():  # the caller gave up
                return
            if isinstance(reply, Exception):
                future.set_exception(reply)
            else:
                future.set_result(reply)

        self.send(settle, *args)
        return future

    def _flush(self) -> None:
        if self._transport is not None and self._out:
            self._transport.write(b"".join(self._out))
        self._out.clear()

    def expire(self, timeout_s: float) -> None:
        """Abort the link where its oldest request has waited longer than `timeout_s` at two calls in a row.

        Two, because after a stall of our own the answer may be in the socket, unread.
        """
        oldest = self._waiting[0] if self._waiting else None
        if oldest is None or self._loop.time() - oldest[2] <= timeout_s:
            self._suspect = None
        elif self._suspect is oldest:
            self.abort()
        else:
            self._suspect = oldest

    def abort(self) -> None:
        """End it now; everybody who waits gets `LinkLost`. Idempotent."""
        if self._transport is not None:
            self._transport.abort()
            self._ended()

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's do not inherit it

    def data_received(self, data: bytes) -> None:
        self._reader.feed(data)
        try:
            while (reply := self._reader.gets()) is not _NOTHING:
                if isinstance(reply, list) and (self._listening or type(reply) is hiredis.PushNotification):
                    self._pushed(reply)
                else:
                    self._answer(reply, None)
        except hiredis.ProtocolError:
            self.abort()
        if self._on_read is not None:
            self._on_read()

    def connection_lost(self, exc: Exception | None) -> None:
        self._ended()

    def _pushed(self, push: list[Any]) -> None:
        kind = push[0]
        if kind == b"smessage":
            if self._on_message is not None:
                self._on_message(push[1], push[2])
        elif kind in (b"ssubscribe", b"sunsubscribe"):
            confirmed = (kind, push[1])
            if self._waiting and self._waiting[0][1] == confirmed:
                self._answer(None, confirmed)
            elif self._on_unasked is not None:
                self._on_unasked(kind, push[1])

    def _answer(self, reply: Any, confirmed: tuple[bytes, bytes] | None) -> None:
        if not self._waiting or (
            confirmed is None and self._waiting[0][1] and not isinstance(reply, hiredis.ReplyError)
        ):
            self.abort()  # an answer that nobody asked for: from here on all would be shifted
            return
        self._waiting.popleft()[0](reply)

    def _ended(self) -> None:
        self._transport = None
        self._out.clear()
        waiting, self._waiting = self._waiting, deque()
        for callback, _, _ in waiting:
            callback(LinkLost())
        if not self.lost.done():
            self.lost.set_result(None)
