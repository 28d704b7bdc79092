"""`application/json`, `text/json` and `application/merge-patch+json`.

A merge patch (RFC 7396) applied to an empty request is the plain request: objects are merged into nothing, arrays are
taken as they are. Only a `null` would differ, since a patch says "remove" by it. Here it means what it means in the
plain request, no events, as it does in the vendor's stack; so one reader serves all three.
"""

from __future__ import annotations

from typing import Annotated, Final

import msgspec

from server.api.formats.charsets import BOM, UTF_8, text_of
from server.api.formats.meaning import Shape, batch_of, check_not_empty
from server.errors import BadRequest
from server.events import INT32_MAX, INT32_MIN, TYPE_BY_NAME, Batch, Event, check_count


class _Event(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    Type: str
    Id: Annotated[int, msgspec.Meta(ge=INT32_MIN, le=INT32_MAX)]


class _Request(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    NotificationEvents: list[_Event]


_exact: Final = msgspec.json.Decoder(_Request).decode
_any: Final = msgspec.json.Decoder()


def json_batch(body: bytes) -> Batch:
    """A batch from UTF-8. The exact form of the vendor's sample is decoded straight into slots (1 µs for one event);
    whatever is not that (other casings, numbers as digits, unknown properties, mistakes) is read again by `read`."""
    body = body.removeprefix(BOM)
    try:
        events = _exact(body).NotificationEvents
        if len(events) == 1:
            return Batch.of_one(TYPE_BY_NAME[events[0].Type], events[0].Id)
        pairs = [Event(TYPE_BY_NAME[event.Type], event.Id) for event in events]
    except (msgspec.DecodeError, KeyError, UnicodeDecodeError, RecursionError):
        return batch_of(_value(body, Shape.BATCH))
    check_count(len(pairs))
    return Batch(pairs)


def read(body: bytes, codec: str | None, shape: Shape) -> object:
    """The value that the JSON says; UTF-8 where no charset was given (RFC 8259, 8.1). `BadRequest` for what is none.
    Of a name that an object has twice the last one counts, as in most readers of JSON."""
    if codec not in (None, UTF_8):
        body = text_of(body, codec).encode()
    return _value(body.removeprefix(BOM), shape)


def _value(body: bytes, shape: Shape) -> object:
    check_not_empty(body, shape)
    try:
        value: object = _any.decode(body)
    except RecursionError:
        raise BadRequest("body is nested too deeply") from None
    except UnicodeDecodeError:
        raise BadRequest("body is not UTF-8") from None
    except msgspec.DecodeError as problem:
        raise BadRequest(f"body is not JSON: {problem}") from None
    return value
