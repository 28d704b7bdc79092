"""`application/x-www-form-urlencoded`, bound as ASP.NET Core binds a form to the vendor's request.

1. Names match in any casing. ``NotificationEvents[0].Type`` and jQuery's ``NotificationEvents[0][Type]`` are the same.
2. Indices count from 0, and the first that is missing ends the list: of ``[0]`` and ``[2]`` only ``[0]`` is bound, in
   whatever order the fields come.
3. Where there are fields ``NotificationEvents.index``, their values are the indices, any text, in that order; what has
   another index is not bound.
4. ``NotificationEvents=`` is the empty list. An empty value is null, and blanks around a value are not part of it.
5. Unlike there, what is likely to lose an event is refused: a field that is given twice (the first would count), a
   value for the list itself (it would be empty), and a name that begins like an event's and goes on otherwise.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final
from urllib.parse import unquote_to_bytes

from server.api.formats.charsets import BOM, UTF_8, is_ascii_based, text_of
from server.api.formats.meaning import EVENTS, SINGLE_PROPERTIES, Shape, add_property, check_not_empty
from server.errors import InvalidEvents, TooLarge
from server.events import MAX_EVENTS

MAX_FIELDS: Final = 4 * MAX_EVENTS
"""An event has two, and one more with an index of its own."""

_FIELD: Final = re.compile(
    rf"{EVENTS}(?:(?P<whole>\[\])?|(?P<dot>\.index)|\[(?P<index>[^\[\]]+)\](?:\.([^.\[\]]+)|\[([^.\[\]]+)\])?)",
    re.IGNORECASE | re.ASCII,
)
_OURS: Final = re.compile(rf"{EVENTS}[.\[]", re.IGNORECASE | re.ASCII)


def read(body: bytes, codec: str | None, shape: Shape) -> object:
    """The request as the object that JSON would make of it. The charset is that of the bytes that percent signs stand
    for, UTF-8 where none was given. `TooLarge` over `MAX_FIELDS`."""
    codec = codec or UTF_8
    if not is_ascii_based(codec):
        body, codec = text_of(body, codec).encode(), UTF_8
    body = body.removeprefix(BOM)
    check_not_empty(body, shape)
    if body.count(b"&") >= MAX_FIELDS:
        raise TooLarge(f"form has {body.count(b'&') + 1} fields, limit is {MAX_FIELDS}")
    if shape is Shape.BATCH:
        return _batch(_fields(body, codec))
    request: dict[str, object] = {}
    for name, value in _fields(body, codec):
        if name.lower() in SINGLE_PROPERTIES:
            add_property(request, name, value or None)
    return request


def _fields(body: bytes, codec: str) -> Iterator[tuple[str, str]]:
    for field in body.split(b"&"):
        name, _, value = field.replace(b"+", b" ").partition(b"=")
        if name:
            yield text_of(unquote_to_bytes(name), codec), text_of(unquote_to_bytes(value), codec).strip()


def _batch(fields: Iterator[tuple[str, str]]) -> dict[str, object]:
    whole: dict[str, object] = {}
    indices: list[str] = []
    events: dict[str, object] = {}
    for name, value in fields:
        match = _FIELD.fullmatch(name)
        if match is None:
            if _OURS.match(name):
                raise InvalidEvents(f"field is {name[:60]!r}, it must be {EVENTS}[0].Type or the like")
        elif match["index"] is not None:
            _add(events, match["index"], match[4] or match[5], value)
        elif match["dot"]:
            indices.append(value.lower())
        else:
            add_property(whole, name.removesuffix("[]"), value or [])
    if not (events or indices):
        return whole
    if whole:
        raise InvalidEvents(f"{EVENTS} is given as a value and as events")
    return {EVENTS: _bound(events, indices)}


def _add(events: dict[str, object], index: str, name: str | None, value: str) -> None:
    """One field of an event; without `name` a value in the event's place, which the meaning of a batch refuses."""
    event = events.setdefault(index.lower(), {})
    if name and isinstance(event, dict):
        add_property(event, name, value or None, f"{EVENTS}[{index[:20]}]: ")
    else:
        events[index.lower()] = value


def _bound(events: dict[str, object], indices: list[str]) -> list[object]:
    if indices:
        return [events.get(index) for index in indices]
    bound: list[object] = []
    while (index := str(len(bound))) in events:
        bound.append(events[index])
    return bound
