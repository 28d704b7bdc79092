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
from server.api.bounds import UNREAD_BYTES, InFlight
from server.api.callers import Callers
from server.api.encodings import inflate
from server.api.head import Head, read_head
from server.broker.base import Broker
from server.errors import Refused, TooLarge, TooManyRequests, Unavailable
from server.events import AgentId, Batch, DeviceId
from server.metrics import Metrics

LIGHT_BYTES: Final = 2048
LIGHT_JSON_BYTES: Final = 32_768
"""A body of so many bytes takes about a millisecond at the most, whatever is in it."""
LONG_BODY_S: Final = 1.0
LONG_SIGN_IN_S: Final = 0.1
"""Over it, signing in counts as part of the time in which a request is answered."""
LEAST_RECORD_S: Final = 0.25
"""What is left for the record at least: a store that is well takes a hundredth of it."""
REQUEST_COST_S: Final = 0.001
"""What one request may cost, for a rate that counts requests; reading more is counted as more of them."""


def light_bytes(content_type: bytes) -> int:
    """Up to so many bytes a body of this ``Content-Type`` is read where it is."""
    return LIGHT_JSON_BYTES if content_type.startswith(b"application/json") else LIGHT_BYTES


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


def _outcome(problem: BaseException) -> str:
    """What the figures call the end of a request that raised this (`metrics.POSTS`)."""
    if isinstance(problem, TooManyRequests):
        return "limited"
    if isinstance(problem, Refused):
        return "refused"
    if isinstance(problem, Unavailable):
        return "unavailable"
    return "gone" if isinstance(problem, ClientGone | asyncio.CancelledError) else "failed"


class NotificationsHandled:
    """The ASGI shell. Raises `ClearsyncError`, which the application answers in the vendor's shape."""

    def __init__(
        self,
        callers: Callers,
        broker: Broker,
        metrics: Metrics,
        in_flight: InFlight,
        *,
        max_body_bytes: int,
        store_timeout_s: float,
    ) -> None:
        self._callers = callers
        self._broker = broker
        self._metrics = metrics
        self._max_body = max_body_bytes
        self._in_flight = in_flight
        self._store_timeout_s = store_timeout_s
        self._decoding = asyncio.Lock()

    async def __call__(self, scope: AsgiScope, receive: Receive, send: Send) -> None:
        await self.serve(Shape.BATCH, scope, receive, send)

    async def serve(self, shape: Shape, scope: AsgiScope, receive: Receive, send: Send) -> None:
        """One request whose body has this shape; it counts by how it ends."""
        try:
            recorded = await self._serve(shape, scope, receive, send)
        except BaseException as problem:
            self._metrics.posts_total[_outcome(problem),] += 1
            if not isinstance(problem, ClientGone):
                raise
        else:
            self._metrics.posts_total["recorded" if recorded else "empty",] += 1

    async def _serve(self, shape: Shape, scope: AsgiScope, receive: Receive, send: Send) -> bool:
        """Whether there was anything to record."""
        head = read_head(scope["headers"], self._callers.cookie)
        # a chunked body may come to be as long as any
        size = head.length if head.length is not None and head.length < self._max_body else self._max_body
        held = size if size < UNREAD_BYTES else UNREAD_BYTES  # nobody reads more of it before the caller is known
        self._in_flight.enter(held)
        try:
            began = time.monotonic()
            reporter = await self._callers.reporter(scope, head)
            signing_in_s = time.monotonic() - began
            if size > held:
                self._in_flight.hold(size - held)
                held = size
            recorded = await self._record(shape, head, reporter, signing_in_s, scope, receive)
            await send({"type": "http.response.start", "status": 204, "headers": []})  # guards add to it
            await send({"type": "http.response.body"})
        finally:
            self._in_flight.leave(held)
        return recorded

    async def _record(
        self,
        shape: Shape,
        head: Head,
        reporter: tuple[AgentId, AgentId],
        signing_in_s: float,
        scope: AsgiScope,
        receive: Receive,
    ) -> bool:
        decode: Decoder = decoder_for(head.content_type, shape)
        began = time.monotonic()
        body = await read_body(receive, head.length, self._max_body)
        if (now := time.monotonic()) - began > LONG_BODY_S:  # the credentials may have been taken back meanwhile
            reporter = await self._callers.reporter(scope, head)
            signing_in_s = time.monotonic() - now
        caller, agent = reporter
        if head.encoding or len(body) > light_bytes(head.content_type):
            batch = await self._heavy(decode, body, head.encoding, caller)
        else:
            batch = decode(body)
        if batch:
            if signing_in_s > LONG_SIGN_IN_S:
                await self._record_within(self._store_timeout_s - signing_in_s, agent, batch, head.device)
            else:
                await self._broker.record(agent, batch, head.device)
        return bool(batch)

    async def _record_within(self, left_s: float, agent: AgentId, batch: Batch, device: DeviceId | None) -> None:
        """What signing in has left of the time in which a POST is answered."""
        try:
            async with asyncio.timeout(max(LEAST_RECORD_S, left_s)):
                await self._broker.record(agent, batch, device)
        except TimeoutError:
            raise Unavailable() from None

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
