"""POST …/Agents/Pocket/NotificationsHandled: a batch of events is recorded, and then answered 204.

`read_head` and `decode` are the whole rule set and do no I/O; `NotificationsHandled` is their shell, a plain ASGI
callable, so that Starlette adds no request and response objects.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple

from starlette.types import Receive, Send
from starlette.types import Scope as AsgiScope

from server.api.bodies import Decoder, decoder_for
from server.auth.admission import identify
from server.auth.principal import Authenticator, Scope
from server.broker.base import Broker
from server.errors import BadRequest, TooLarge, Unavailable, UnsupportedMedia
from server.events import DeviceId, device_id
from server.metrics import Metrics

_NO_CONTENT: Final = ({"type": "http.response.start", "status": 204, "headers": ()}, {"type": "http.response.body"})


class Head(NamedTuple):
    """What the headers of a request say. `length` is None where the body is chunked."""

    authorization: bytes | None
    content_type: bytes
    device: DeviceId | None
    length: int | None


def read_head(headers: Iterable[tuple[bytes, bytes]]) -> Head:
    """One scan of the headers (names in lower case). `BadRequest` for a malformed device id or two sets of
    credentials, `UnsupportedMedia` for an encoded body."""
    authorization = device = length = None
    content_type = b""
    for name, value in headers:
        if name == b"authorization":
            if authorization is not None:
                raise BadRequest("Authorization is given twice")
            authorization = value
        elif name == b"content-type":
            content_type = value
        elif name == b"x-device-id":
            device = device_id(value.decode("latin-1"))
        elif name == b"content-length":
            length = int(value)
        elif name == b"content-encoding" and value.lower() != b"identity":
            raise UnsupportedMedia(f"Content-Encoding is {value.decode('latin-1')[:40]!r}, none is served")
    return Head(authorization, content_type, device, length)


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
        self,
        authenticator: Authenticator,
        broker: Broker,
        metrics: Metrics,
        *,
        max_body_bytes: int,
        max_in_flight: int,
    ) -> None:
        self._authenticator = authenticator
        self._broker = broker
        self._metrics = metrics
        self._max_body = max_body_bytes
        self._max_in_flight = max_in_flight
        self._in_flight = 0

    async def __call__(self, scope: AsgiScope, receive: Receive, send: Send) -> None:
        if self._in_flight >= self._max_in_flight:
            raise Unavailable(f"{self._max_in_flight} requests are under way, try again")
        self._in_flight += 1
        try:
            await self._serve(scope, receive, send)
        except ClientGone:
            pass
        finally:
            self._in_flight -= 1

    async def _serve(self, scope: AsgiScope, receive: Receive, send: Send) -> None:
        head = read_head(scope["headers"])
        tenant = scope["path_params"].get("tenant")
        principal = await identify(self._authenticator, head.authorization, Scope.HANDLED_WRITE, tenant)
        decode: Decoder = decoder_for(head.content_type)
        batch = decode(await read_body(receive, head.length, self._max_body))
        if batch:
            await self._broker.record(principal.agent, batch, head.device)
            self._metrics.batches_recorded_total += 1
        for message in _NO_CONTENT:
            await send(message)
