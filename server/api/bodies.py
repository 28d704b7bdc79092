"""Request bodies to batches: one decoder a content type, behind one table."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Final

import msgspec

from server.errors import BadRequest, InvalidEvents, UnsupportedMedia
from server.events import (
    ABSENT,
    INT32_MAX,
    INT32_MIN,
    TYPE_BY_NAME,
    Batch,
    Event,
    check_count,
    parse_batch,
    property_of,
)

EVENTS: Final = "NotificationEvents"


class _Event(msgspec.Struct, forbid_unknown_fields=True):
    Type: str
    Id: Annotated[int, msgspec.Meta(ge=INT32_MIN, le=INT32_MAX)]


class _Request(msgspec.Struct, forbid_unknown_fields=True):
    NotificationEvents: list[_Event]


_exact = msgspec.json.Decoder(_Request)
_any = msgspec.json.Decoder()


def json_batch(body: bytes) -> Batch:
    """A batch from JSON. The exact form of the vendor's sample is decoded straight into slots; whatever is not that
    (other casings, numbers as digits, unknown properties, mistakes) is read again by the rules of `parse_batch`."""
    body = body.removeprefix(b"\xef\xbb\xbf")
    try:
        events = _exact.decode(body).NotificationEvents
        pairs = [Event(TYPE_BY_NAME[event.Type], event.Id) for event in events]
    except (msgspec.DecodeError, KeyError, UnicodeDecodeError, RecursionError):
        return batch_of(_loose(body))
    check_count(len(pairs))
    return Batch(pairs)


def _loose(body: bytes) -> object:
    if not body.strip():
        raise BadRequest("body is empty, it must be an object with NotificationEvents")
    try:
        value: object = _any.decode(body)
    except RecursionError:
        raise BadRequest("body is nested too deeply") from None
    except UnicodeDecodeError:
        raise BadRequest("body is not UTF-8") from None
    except msgspec.DecodeError as problem:
        raise BadRequest(f"body is not JSON: {problem}") from None
    return value


def batch_of(request: object) -> Batch:
    """The meaning of a decoded request, the same in every format: absent is a mistake, empty and null are no events."""
    if not isinstance(request, dict):
        raise BadRequest("body must be an object with NotificationEvents")
    events = property_of(request, EVENTS)
    if events is ABSENT:
        raise InvalidEvents("NotificationEvents is missing")
    if events is None:
        return Batch(())
    if not isinstance(events, list):
        raise InvalidEvents("NotificationEvents must be an array")
    return parse_batch(events)


Decoder = Callable[[bytes], Batch]
_DECODERS: Final[dict[str, Decoder]] = {"application/json": json_batch, "text/json": json_batch}
_CHARSETS: Final = frozenset(("utf-8", "utf8", "us-ascii"))
_KNOWN: dict[bytes, Decoder] = {}  # header values as they came; bounded, since callers choose them
_MOST_KNOWN: Final = 64


def decoder_for(content_type: bytes) -> Decoder:
    """The decoder for a ``Content-Type`` header; `UnsupportedMedia` for a type or charset that is not served."""
    known = _KNOWN.get(content_type)
    if known is None:
        known = _find(content_type.decode("latin-1"))
        if len(_KNOWN) < _MOST_KNOWN:
            _KNOWN[content_type] = known
    return known


def _find(content_type: str) -> Decoder:
    media, *parameters = [part.strip() for part in content_type.split(";")]
    decoder = _DECODERS.get(media.lower())
    if decoder is None:
        said = f"Content-Type is {media!r}" if media else "Content-Type is missing"
        raise UnsupportedMedia(f"{said[:100]}, it must be one of {', '.join(_DECODERS)}")
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        charset = value.strip().strip('"').lower()
        if name.strip().lower() == "charset" and charset not in _CHARSETS:
            raise UnsupportedMedia(f"charset is {charset[:40]!r}, it must be utf-8")
    return decoder
