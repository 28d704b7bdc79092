"""Requests written in each format that is served, and what becomes of them."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Final
from urllib.parse import quote_plus
from xml.sax.saxutils import escape

from server.api.bodies import Shape, decoder_for
from server.errors import BadRequest, ClearsyncError

Request = dict[str, Any]
Writer = Callable[[Request, Shape], bytes]

JSON: Final = "application/json"
XML: Final = "application/xml"
FORM: Final = "application/x-www-form-urlencoded"
PATCH: Final = "application/json-patch+json"
MERGE: Final = "application/merge-patch+json"
XSI: Final = "http://www.w3.org/2001/XMLSchema-instance"


class NotExpressible(Exception):
    """The format has no way to say this."""


def as_json(request: Request, shape: Shape) -> bytes:
    """The plain request."""
    return json.dumps(request).encode()


def as_xml(request: Request, shape: Shape) -> bytes:
    """The data contract."""
    inner = "".join(_element(name, value) for name, value in request.items())
    return f'<{shape.value} xmlns:xsi="{XSI}">{inner}</{shape.value}>'.encode()


def _element(name: str, value: Any) -> str:
    if value is None:
        return f'<{name} xsi:nil="true"/>'
    if isinstance(value, list):
        inner = "".join(_element("NotificationEvent", each) for each in value)
    elif isinstance(value, dict):
        inner = "".join(_element(*pair) for pair in value.items())
    else:
        inner = escape(str(value))
    return f"<{name}>{inner}</{name}>"


def as_form(request: Request, shape: Shape) -> bytes:
    """With dots, as ASP.NET writes it."""
    fields: list[tuple[str, Any]] = []
    for name, value in request.items():
        if isinstance(value, list) and value:
            for index, event in enumerate(value):
                if not isinstance(event, dict) or not event:
                    raise NotExpressible
                fields += [(f"{name}[{index}].{key}", each) for key, each in event.items()]
        elif value is None and shape is Shape.BATCH:
            raise NotExpressible
        else:
            fields.append((name, "" if value == [] else value))
    if not fields:
        raise NotExpressible
    return "&".join(f"{quote_plus(name)}={quote_plus(_text(value))}" for name, value in fields).encode()


def _text(value: Any) -> str:
    if isinstance(value, list | dict):
        raise NotExpressible
    return "" if value is None else str(value)


def as_patch(request: Request, shape: Shape) -> bytes:
    """One operation a property."""
    return json.dumps([{"op": "add", "path": f"/{name}", "value": value} for name, value in request.items()]).encode()


WRITERS: Final[dict[str, Writer]] = {
    "application/json": as_json,
    "text/json": as_json,
    "application/xml": as_xml,
    "text/xml": as_xml,
    "application/x-www-form-urlencoded": as_form,
    "application/json-patch+json": as_patch,
    "application/merge-patch+json": as_json,
}
"""By content type: all that the vendor's page names."""

TICKET: Final = {"Type": "NewTicket", "Id": 12}
CANCELLED: Final = {"Type": "AppointmentCancelled", "Id": 699}
Outcome = list[tuple[str, int]] | tuple[type[ClearsyncError], str]
"""The events, or the error and its message."""


def decoded(content_type: str, body: bytes, shape: Shape = Shape.BATCH) -> Outcome:
    """What becomes of a body."""
    try:
        batch = decoder_for(content_type.encode(), shape)(body)
    except ClearsyncError as error:
        message = str(error)
        assert len(message) <= 512
        assert message.isprintable()
        return type(error), message
    return [(event.type.name, event.id) for event in batch.events()]


def refusal(content_type: str, body: bytes, kind: type[ClearsyncError] = BadRequest, shape: Shape = Shape.BATCH) -> str:
    """The message of a body that is refused."""
    outcome = decoded(content_type, body, shape)
    assert isinstance(outcome, tuple), outcome
    assert outcome[0] is kind, outcome
    return outcome[1]


def events(*each: Any) -> Request:
    """The plain request with these events."""
    return {"NotificationEvents": list(each)}


def add(path: str, value: Any) -> Request:
    """An operation of a JSON patch."""
    return {"op": "add", "path": path, "value": value}


def xml(inner: str, root: str = "NotificationsHandledRequest", attributes: str = "") -> bytes:
    """A request whose elements are given."""
    return f"<{root} {attributes}>{inner}</{root}>".encode()
