"""Content-Encoding: bodies that come compressed, inflated within the same limit as those that do not."""

from __future__ import annotations

import zlib
from typing import Final

from server.errors import BadRequest, TooLarge, UnsupportedMedia

SERVED: Final = "gzip, deflate, identity"
MAX_MEMBERS: Final = 16
"""Of one gzip body; each may be as short as 20 bytes, and costs a decoder."""

_GZIP: Final = 16 + zlib.MAX_WBITS


def inflate(body: bytes, encoding: bytes, limit: int) -> bytes:
    """The body as it was before the one coding that the ``Content-Encoding`` header names.

    `deflate` is zlib's format (RFC 9110, 8.4.1.2) or, since clients send it, the bare one. Raises `UnsupportedMedia`
    for any other coding and for several, `BadRequest` for a body that is damaged, cut off or has more after its end,
    `TooLarge` where it would be more than `limit` bytes; no more than these are ever inflated.
    """
    coding = encoding.strip().lower()
    if coding in (b"", b"identity"):
        return body
    if coding in (b"gzip", b"x-gzip"):
        return _members(body, limit)
    if coding == b"deflate":
        inflated, rest = _inflated(body, zlib.MAX_WBITS if _is_zlib(body) else -zlib.MAX_WBITS, "deflate", limit)
        if rest:
            raise BadRequest(f"body has {len(rest)} bytes after the end of its deflate data")
        return inflated
    error = UnsupportedMedia(f"Content-Encoding is {encoding.decode('latin-1')[:40]!r}, it must be one of {SERVED}")
    error.headers = (("Accept-Encoding", SERVED),)  # RFC 9110, 12.5.3
    raise error


def _members(body: bytes, limit: int) -> bytes:
    """gzip is one member or several, one after the other (RFC 1952, 2.2)."""
    inflated, rest = _inflated(body, _GZIP, "gzip", limit)
    count = 1
    while rest:
        count += 1
        if count > MAX_MEMBERS:
            raise BadRequest(f"body has more than {MAX_MEMBERS} gzip members, which is the limit")
        member, rest = _inflated(rest, _GZIP, "gzip", limit, len(inflated))
        inflated += member
    return inflated


def _inflated(data: bytes, window: int, coding: str, limit: int, before: int = 0) -> tuple[bytes, bytes]:
    """What the first stream in `data` holds, and what comes after it."""
    stream = zlib.decompressobj(window)
    try:
        inflated = stream.decompress(data, limit - before + 1)  # never 0, which would mean no limit
    except zlib.error as problem:
        raise BadRequest(f"body is not {coding}: {problem}") from None
    if before + len(inflated) > limit:
        raise TooLarge(f"body has more than {limit} bytes when inflated, which is the limit")
    if not stream.eof:
        raise BadRequest(f"body is {coding} that is cut off")
    return inflated, stream.unused_data


def _is_zlib(body: bytes) -> bool:
    """Whether it begins with zlib's header (RFC 1950, 2.2)."""
    return len(body) >= 2 and body[0] & 0x0F == 8 and int.from_bytes(body[:2], "big") % 31 == 0
