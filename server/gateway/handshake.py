"""The head of an upgrade: what it asks for, and the answer. Every path comes here, so the path is ours to read too."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Self
from urllib.parse import unquote

from websockets.datastructures import Headers
from websockets.exceptions import InvalidHandshake, InvalidHeaderValue
from websockets.http11 import Request
from websockets.server import ServerProtocol
from websockets.typing import Subprotocol

from server.errors import HeadersTooLarge, NotFound
from server.events import Cursor, DeviceId
from server.gateway.door import not_a_handshake
from server.wire import SUBPROTOCOL, SYNC_PATH, sync_query

MAX_HEADERS: Final = 128
MAX_LINE_BYTES: Final = 8192
"""As `websockets` bounds them, of which the first is more than any browser sends."""
_quiet = logging.getLogger("clearsync.websockets")


def request_of(method: str, target: bytes, headers: Sequence[tuple[bytes, bytes]]) -> Request:
    """As `websockets` would have read it. `HeadersTooLarge`, `BadRequest` for a body, or a target that is not ASCII."""
    if len(headers) > MAX_HEADERS:
        raise HeadersTooLarge(f"request head: more than {MAX_HEADERS} headers")
    if len(target) > MAX_LINE_BYTES or any(len(name) + len(value) > MAX_LINE_BYTES for name, value in headers):
        raise HeadersTooLarge(f"request head: a line has more than {MAX_LINE_BYTES} bytes")
    if any(name == b"transfer-encoding" or (name == b"content-length" and value != b"0") for name, value in headers):
        raise not_a_handshake(400, ValueError("it has a body"))
    read = Headers()
    try:
        for name, value in headers:
            read[name.decode("ascii")] = value.decode("latin-1")
        return Request(target.decode("ascii"), read, method)
    except (UnicodeDecodeError, InvalidHeaderValue) as problem:
        raise not_a_handshake(400, problem) from None


def _subprotocol(_: ServerProtocol, offered: Any) -> Subprotocol | None:
    return Subprotocol(SUBPROTOCOL) if SUBPROTOCOL in offered else None


_judge: Final = ServerProtocol(subprotocols=[Subprotocol(SUBPROTOCOL)], select_subprotocol=_subprotocol, logger=_quiet)
"""For all: it keeps nothing of a request but what is wrong with it."""


def accepted(request: Request, more: Iterable[tuple[bytes, bytes]]) -> bytes:
    """The answer that opens a websocket, with `more` headers; put together here, in a third of the time. Raises the
    refusal of what is no proper handshake."""
    try:
        key, _, protocol = _judge.process_request(request)
    except InvalidHandshake:
        _judge.handshake_exc = None
        status = _judge.accept(request).status_code
        raise not_a_handshake(status, _judge.handshake_exc) from None
    lines = [b"HTTP/1.1 101 Switching Protocols", *[b"%b: %b" % header for header in more]]
    lines += [b"Upgrade: websocket", b"Connection: Upgrade", b"Sec-WebSocket-Accept: %b" % key.encode()]
    if protocol is not None:
        lines.append(b"Sec-WebSocket-Protocol: %b" % protocol.encode())
    return b"\r\n".join(lines) + b"\r\n\r\n"


@dataclass(frozen=True, slots=True)
class SyncRequest:
    """``GET …/api/v1/sync?device=<id>&cursor=<cursor>&ticket=<ticket>``. `tenant` is the path's, where it names one."""

    tenant: str | None
    device: DeviceId
    cursor: Cursor | None
    ticket: str | None

    @classmethod
    def parse(cls, target: str, base_path: str) -> Self:
        """`NotFound` for another path, `BadRequest` for a malformed device or cursor."""
        path, _, query = target.partition("?")
        tenant = tenant_of(path, base_path)
        return cls(tenant, *sync_query(query))

    def resumed(self, cursor: Cursor) -> Self:
        """The same, from `cursor`."""
        return replace(self, cursor=cursor)


def tenant_of(path: str, base_path: str) -> str | None:
    """The tenant that stands before ``/api/v1/sync``, None where none does; `NotFound` for another path."""
    if path.startswith(base_path) and path.endswith(SYNC_PATH):
        tenant = path[len(base_path) : -len(SYNC_PATH)]
        if not tenant:
            return None
        if tenant.startswith("/") and tenant.count("/") == 1 and len(tenant) > 1:
            return unquote(tenant[1:])
    raise NotFound("no such path")
