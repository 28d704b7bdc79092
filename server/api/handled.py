"""POST …/Agents/Pocket/NotificationsHandled: a batch of events is recorded, and then answered 204.

`read_head` and the decoders are the whole rule set and do no I/O; `NotificationsHandled` is their shell, a plain ASGI
callable, so that Starlette adds no request and response objects.
"""

from __future__ import annotations

import asyncio
import time
from typing import Final

from starlette.types import Receive, Send
from starlette.types import Scope as AsgiScope

from server.api.bodies import Decoder, Shape, decoder_for
from server.api.callers import Callers
from server.api.encodings import inflate
from server.api.head import read_head
from server.broker.base import Broker
from server.errors import TooLarge, Unavailable
from server.events import AgentId, Batch
from server.metrics import Metrics

LIGHT_BYTES: Final = 2048
LIGHT_JSON_BYTES: Final = 32_768
"""A body of so many bytes takes about a millisecond at the most, whatever is in it."""
LONG_BODY_S: Final = 1.0
REQUEST_COST_S: Final = 0.001
"""What one request may cost, for a rate that counts requests; reading more is counted as more of them."""
_NO_CONTENT: Final = ({"type": "http.response.start", "status": 204, "headers": ()}, {"type": "http.response.body"})


def too_large(limit: int) -> TooLarge:
    """A body over `limit` bytes."""
    return TooLarge(f"body has more than {limit} bytes, which is the limit", unread=True)


class ClientGone(Exception):
    """The caller hung up before its request was whole; there is nobody to answer."""


async def read_body(receive: Receive, length: int | None, limit: int) -> bytes:
    """The whole body, counted as it arrives. `TooLarge` over `limit` bytes, at once where the head says so."""
    if length is not None and length > limit:
        raise too_large(limit)
    message = await receive()
    body: bytes = message.get("body", b"")
    while message.get("more_body") and message["type"] == "http.request":
        if len(body) > limit:
            raise too_large(limit)
        message = await receive()
        body += message.get("body", b"")
    if message["type"] == "http.disconnect":
        raise ClientGone
    if len(body) > limit:
        raise too_large(limit)
    return body


class NotificationsHandled:
    """The ASGI shell. Raises `ClearsyncError`, which the application answers in the vendor's shape."""

    def __init__(
        self, callers: Callers, broker: Broker, metrics: Metrics, *, max_body_bytes: int, max_in_flight: int
    ) -> None:
        self._callers = callers
        self._broker = broker
        self._metrics = metrics
        self._max_body = max_body_bytes
        self._max_in_flight = max_in_flight
        self._in_flight = 0
        self._decoding = asyncio.Lock()

    async def __call__(self, scope: AsgiScope, receive: Receive, send: Send) -> None:
        await self.serve(Shape.BATCH, scope, receive, send)

    async def serve(self, shape: Shape, scope: AsgiScope, receive: Receive, send: Send) -> None:
        """One request whose body has this shape."""
        if self._in_flight >= self._max_in_flight:
            raise Unavailable(f"{self._max_in_flight} requests are under way, try again")
        self._in_flight += 1
        try:
            await self._record(shape, scope, receive, send)
        except ClientGone:
            pass
        finally:
            self._in_flight -= 1

    async def _record(self, shape: Shape, scope: AsgiScope, receive: Receive, send: Send) -> None:
        head = read_head(scope["headers"], self._callers.cookie)
        caller, agent = await self._callers.reporter(scope, head)
        decode: Decoder = decoder_for(head.content_type, shape)
        began = time.monotonic()
        body = await read_body(receive, head.length, self._max_body)
        if time.monotonic() - began > LONG_BODY_S:  # the credentials may have been taken back meanwhile
            caller, agent = await self._callers.reporter(scope, head)
        light = LIGHT_JSON_BYTES if head.content_type.startswith(b"application/json") else LIGHT_BYTES
        if head.encoding or len(body) > light:
            batch = await self._heavy(decode, body, head.encoding, caller)
        else:
            batch = decode(body)
        if batch:
            await self._broker.record(agent, batch, head.device)
            self._metrics.batches_recorded_total += 1
        for message in _NO_CONTENT:
            await send(message)

    async def _heavy(self, decode: Decoder, body: bytes, encoding: bytes, caller: AgentId) -> Batch:
        """A body that may take long to read: one at a time, with a turn of the loop for others in between, and at the
        expense of its agent. 187 kB of JSON patch can be made to take 50 ms, and to be 1 kB on its way."""
        async with self._decoding:
            await asyncio.sleep(0)
            began = time.perf_counter()
            try:
                return decode(inflate(body, encoding, self._max_body) if encoding else body)
            finally:
                self._callers.charge(caller, int((time.perf_counter() - began) / REQUEST_COST_S))


class NotificationHandled:
    """POST …/Agents/Pocket/NotificationHandled: the vendor's form for one event, on the same path inside."""

    def __init__(self, several: NotificationsHandled) -> None:
        self._several = several

    async def __call__(self, scope: AsgiScope, receive: Receive, send: Send) -> None:
        await self._several.serve(Shape.SINGLE, scope, receive, send)
