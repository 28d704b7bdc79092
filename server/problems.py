"""How a refusal looks on the wire: the vendor's error shape, for HTTP answers and refused handshakes alike."""

from __future__ import annotations

import http
from collections.abc import Iterable

import msgspec

from server.errors import ClearsyncError, Refused, Unavailable

JSON = "application/json; charset=utf-8"


def problem_body(error: ClearsyncError) -> bytes:
    """The vendor's error shape."""
    kind = Unavailable if isinstance(error, Unavailable) else type(error)  # which part of us failed is not told
    shape = {
        "Error": True,
        "ErrorType": kind.__name__,
        "ErrorMessage": str(error),
        "ErrorSource": "clearsync",
    }
    return msgspec.json.encode(shape)


def problem_response(error: Refused | Unavailable, headers: Iterable[tuple[bytes, bytes]] = ()) -> bytes:
    """A whole HTTP/1.1 response that refuses and closes, for connections that no application serves."""
    body = problem_body(error)
    lines = [b"HTTP/1.1 %d %b" % (error.status, http.HTTPStatus(error.status).phrase.encode())]
    lines += [b"%b: %b" % header for header in headers]
    lines += [f"{name}: {value}".encode("latin-1") for name, value in error.headers if name != "Connection"]
    lines += [f"Content-Type: {JSON}".encode(), b"Content-Length: %d" % len(body), b"Connection: close"]
    return b"\r\n".join(lines) + b"\r\n\r\n" + body
