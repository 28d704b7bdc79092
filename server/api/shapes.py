"""What goes into requests and comes out in answers, as JSON schemas for `openapi`; names and bounds are the code's own.

The request shapes are what the vendor's description promises, and no more: what else is taken (names in any case, types
as numbers, ids as digits) is leniency, told in prose.
"""

from __future__ import annotations

from typing import Any, Final

from server.events import INT32_MAX, INT32_MIN, MAX_EVENTS, EventType

Schema = dict[str, Any]

TYPES: Final = [each.name for each in EventType]
INT32: Final[Schema] = {"type": "integer", "format": "int32", "minimum": INT32_MIN, "maximum": INT32_MAX}
DEVICE: Final = "^([A-Za-z0-9._~:][A-Za-z0-9._~:-]{0,63}|-[A-Za-z0-9._~:-]{1,63})$"
AGENT: Final = "^[ -~]*[!-~][ -~]*$"
CURSOR: Final = "^(0|[a-z0-9]{1,32}-[0-9]{1,16})?$"
GIVEN_CURSOR: Final = "^[a-z0-9]{1,32}-[0-9]{1,16}$"
_TIME: Final[Schema] = {"type": "integer", "format": "int64", "description": "Milliseconds since 1970."}


def ref(name: str, kind: str = "schemas") -> Schema:
    """A reference to a component of the description."""
    return {"$ref": f"#/components/{kind}/{name}"}


def _object(properties: Schema, **more: Any) -> Schema:
    """An object with all of `properties`; others are ignored."""
    return {"type": "object", "required": list(properties), "properties": properties, **more}


def _patch(**values: Schema) -> Schema:
    """The JSON patch (RFC 6902) that adds these members to an empty request."""
    steps = [
        _object({"op": {"const": "add"}, "path": {"const": f"/{name}"}, "value": value})
        for name, value in values.items()
    ]
    return {"type": "array", "prefixItems": steps, "minItems": len(steps), "maxItems": len(steps)}


def _form_of_a_batch() -> Schema:
    """Names with an index, as ASP.NET binds them. Two events show the pattern; a schema can't count."""
    names = [(f"NotificationEvents[{index}].Type", f"NotificationEvents[{index}].Id") for index in range(2)]
    events: Schema = {}
    for kind, number in names:
        events |= {kind: ref("NotificationEventType"), number: INT32}
    both = {one: [other] for pair in names for one, other in (pair, pair[::-1])}
    some = {"type": "object", "properties": events, "required": list(names[0]), "dependentRequired": both}
    none = _object({"NotificationEvents": {"const": "", "description": "No events."}}, additionalProperties=False)
    return {"oneOf": [some, none]}


SCHEMAS: Final[dict[str, Schema]] = {
    "NotificationEventType": {"type": "string", "enum": TYPES},
    "NotificationEvent": _object(
        {"Type": ref("NotificationEventType"), "Id": {**INT32, "description": "The entity, not the notification."}},
        description="What was handled. Names of properties and types count in any case.",
        xml={"name": "NotificationEvent"},
    ),
    "NotificationEvents": {
        "type": "array",
        "items": ref("NotificationEvent"),
        "maxItems": MAX_EVENTS,
        "xml": {"name": "NotificationEvents", "wrapped": True},
    },
    "NotificationsHandledRequest": _object(
        {"NotificationEvents": ref("NotificationEvents")},
        description="A batch. Empty, or null, is no events.",
        xml={"name": "NotificationsHandledRequest"},
    ),
    "NotificationsHandledPatch": {
        "description": "A JSON patch that makes the request of an empty one, or the request itself.",
        "oneOf": [_patch(NotificationEvents=ref("NotificationEvents")), ref("NotificationsHandledRequest")],
    },
    "NotificationsHandledForm": _form_of_a_batch(),
    "NotificationHandledRequest": _object(
        {"NotificationEventType": ref("NotificationEventType"), "Id": INT32},
        xml={"name": "NotificationHandledRequest"},
    ),
    "NotificationHandledPatch": {
        "description": "A JSON patch that makes the request of an empty one, or the request itself.",
        "oneOf": [
            _patch(NotificationEventType=ref("NotificationEventType"), Id=INT32),
            ref("NotificationHandledRequest"),
        ],
    },
    "Snapshot": _object(
        {
            "cursor": {"type": "string", "pattern": GIVEN_CURSOR},
            "reset": {"type": "boolean", "description": "Fetch the list from the CRM first, then apply the events."},
            "events": {"type": "array", "items": ref("HandledEvent")},
        },
        description="What was handled after the cursor of the request.",
    ),
    "HandledEvent": _object({"Type": ref("NotificationEventType"), "Id": INT32, "At": _TIME}),
    "Ticket": _object(
        {
            "ticket": {"type": "string", "minLength": 1},
            "expires": {"type": "integer", "minimum": 1, "description": "Seconds for which it waits to be used, once."},
        },
    ),
    "Session": _object(
        {"expires": {"type": "integer", "minimum": 1, "description": "Seconds until it ends, at the latest."}}
    ),
    "Live": _object({"live": {"const": True}}),
    "Ready": _object({"ready": {"type": "boolean"}}),
    "Version": _object({"name": {"const": "clearsync"}, "version": {"type": "string"}}),
    "Problem": _object(
        {
            "Error": {"const": True},
            "ErrorType": {"type": "string", "description": "The same for the same kind of mistake."},
            "ErrorMessage": {"type": "string", "description": "For the developer of the client."},
            "ErrorSource": {"type": "string"},
        },
        description="An answer that is an error, in the vendor's shape.",
        xml={"name": "ErrorResult"},
    ),
}
