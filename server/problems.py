"""How a refusal looks on the wire: the vendor's error shape, for HTTP answers and refused handshakes alike."""

from __future__ import annotations

import html
import http
import re
from collections.abc import Iterable
from typing import Final

import msgspec

from server.errors import ClearsyncError, Refused, Unavailable

JSON: Final = "application/json; charset=utf-8"
XML: Final = "application/xml; charset=utf-8"

_NOT_IN_XML: Final = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def problem_body(error: ClearsyncError, media: str = JSON) -> bytes:
    """The vendor's error shape, in JSON or, for a `media` that ends in ``xml``, in XML."""
    kind = Unavailable if isinstance(error, Unavailable) else type(error)  # which part of us failed is not told
    shape = {
        "Error": True,
        "ErrorType": kind.__name__,
        "ErrorMessage": str(error),
        "ErrorSource": "clearsync",
    }
    return _xml(shape) if media.partition(";")[0].endswith("xml") else msgspec.json.encode(shape)


def problem_response(error: Refused | Unavailable, headers: Iterable[tuple[bytes, bytes]] = ()) -> bytes:
    """A whole HTTP/1.1 response that refuses and closes, for connections that no application serves; JSON, since who
    asks for what may not have been read."""
    body = problem_body(error)
    lines = [b"HTTP/1.1 %d %b" % (error.status, http.HTTPStatus(error.status).phrase.encode())]
    lines += [b"%b: %b" % header for header in headers]
    lines += [f"{name}: {value}".encode("latin-1") for name, value in error.headers if name != "Connection"]
    lines += [f"Content-Type: {JSON}".encode(), b"Content-Length: %d" % len(body), b"Connection: close"]
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


def _xml(shape: dict[str, object]) -> bytes:
    """One element for each, in a root of the vendor's name for it. What XML can't say becomes U+FFFD."""
    elements = "".join(f"<{name}>{_text(value)}</{name}>" for name, value in shape.items())
    return f'<?xml version="1.0" encoding="utf-8"?><ErrorResult>{elements}</ErrorResult>'.encode()


def _text(value: object) -> str:
    text = str(value).lower() if isinstance(value, bool) else str(value)
    return html.escape(_NOT_IN_XML.sub("\ufffd", text), quote=False).replace("\r", "&#13;")
