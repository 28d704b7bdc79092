"""What goes into requests and comes out in answers, as JSON schemas for `openapi`; names and bounds are the code's own.

1. What goes in is no narrower than docs/protocol.md: who checks requests by this must not refuse what we would take.
   Where a schema can't say the rule (a name given twice, what a patch makes, which fields of a form belong together)
   it is wider, by the last choice of an `anyOf`; what fits one before it is always taken.
2. What comes out is as narrow as it is: types by the vendor's names, ids as numbers.
"""

from __future__ import annotations

from typing import Any, Final

from server.api.formats.json_patch import MAX_DEPTH, MAX_OPERATIONS
from server.events import INT32_MAX, INT32_MIN, MAX_EVENTS, EventType

Schema = dict[str, Any]

TYPES: Final = [each.name for each in EventType]
INT32: Final[Schema] = {"type": "integer", "format": "int32", "minimum": INT32_MIN, "maximum": INT32_MAX}
DEVICE: Final = "^([A-Za-z0-9._~:][A-Za-z0-9._~:-]{0,63}|-[A-Za-z0-9._~:-]{1,63})$"
AGENT: Final = "^[ -~]*[!-~][ -~]*$"
CURSOR: Final = "^(0|[a-z0-9]{1,32}-[0-9]{1,16})?$"
GIVEN_CURSOR: Final = "^[a-z0-9]{1,32}-[0-9]{1,16}$"
_POINTER: Final[Schema] = {"type": "string", "pattern": f"^(/([^/~]|~[01])*){{0,{MAX_DEPTH}}}$"}
_TEXT: Final[Schema] = {"type": ["string", "integer"]}
_TIME: Final[Schema] = {"type": "integer", "format": "int64", "description": "Milliseconds since 1970."}


def ref(name: str, kind: str = "schemas") -> Schema:
    """A reference to a component of the description."""
    return {"$ref": f"#/components/{kind}/{name}"}


def _object(properties: Schema, **more: Any) -> Schema:
    """An object with all of `properties`; others are ignored."""
    return {"type": "object", "required": list(properties), "properties": properties, **more}


def _in_any_case(name: str) -> str:
    """The pattern of a name, without its ends. Patterns of JSON schemas (ECMA-262) have no flag for it."""
    return "".join(f"[{letter.upper()}{letter.lower()}]" for letter in name)


def _up_to(limit: int) -> str:
    """The pattern of 0 to `limit` (two digits or more) in at most 20 digits, leading zeros among them."""
    digits = str(limit)
    width = len(digits)
    less = [f"{digits[:i]}[0-{int(d) - 1}][0-9]{{{width - 1 - i}}}" for i, d in enumerate(digits) if d != "0"]
    return f"([0-9]{{1,{width - 1}}}|0{{0,{20 - width}}}({'|'.join([*less, digits])}))"


def _named(pattern: str) -> Schema:
    """That at least one property has such a name: it is not so that all have another."""
    return {"not": {"propertyNames": {"not": {"pattern": pattern}}}}


def _given(properties: Schema, **more: Any) -> Schema:
    """A caller's object with all of `properties`, each named in any case; others are ignored."""
    patterns = {f"^{_in_any_case(name)}$": value for name, value in properties.items()}
    return {
        "type": "object",
        "properties": properties,
        "patternProperties": patterns,
        "anyOf": [{"required": list(properties)}, {"allOf": [_named(pattern) for pattern in patterns]}],
        **more,
    }


def _patch(name: str, **values: Schema) -> Schema:
    """A JSON patch that adds these members to an empty request, the request `name` itself, or any other patch."""
    steps = [
        _object({"op": {"const": "add"}, "path": {"const": f"/{name}"}, "value": value})
        for name, value in values.items()
    ]
    return {
        "description": "A JSON patch (RFC 6902) that makes the request of an empty one, or the request itself.",
        "anyOf": [
            {"type": "array", "prefixItems": steps, "minItems": len(steps), "maxItems": len(steps)},
            ref(name),
            {"type": "array", "items": ref("PatchOperation"), "minItems": 1, "maxItems": MAX_OPERATIONS},
        ],
    }


def _form_of_a_batch() -> Schema:
    """Names with an index, as ASP.NET binds them. Two events show the pattern; a schema can't count."""
    names = [(f"NotificationEvents[{index}].Type", f"NotificationEvents[{index}].Id") for index in range(2)]
    events: Schema = {}
    for kind, number in names:
        events |= {kind: ref("GivenType"), number: ref("GivenId")}
    both = {one: [other] for pair in names for one, other in (pair, pair[::-1])}
    some = {"type": "object", "properties": events, "required": list(names[0]), "dependentRequired": both}
    none = _object({"NotificationEvents": {"const": "", "description": "No events."}}, additionalProperties=False)
    return {"anyOf": [some, none, _any_form_of_a_batch()]}


def _any_form_of_a_batch() -> Schema:
    """Any index, both styles of brackets, indices of the caller's own, names in any case."""
    whole = _in_any_case("NotificationEvents")
    fields: Schema = {
        rf"^{whole}(\[\])?$": {"type": "string", "pattern": r"^\s*$"},
        rf"^{whole}\.{_in_any_case('index')}$": {"anyOf": [_TEXT, {"type": "array", "items": _TEXT}]},
    }
    for name in map(_in_any_case, ("Type", "Id")):
        fields[rf"^{whole}\[[^\[\]]+\](\.{name}|\[{name}\])$"] = _TEXT
    return {"type": "object", "patternProperties": fields, **_named("|".join(fields))}


def _form_of_one() -> Schema:
    """The request, and with blanks around its values, which do not count in a form."""
    return {"anyOf": [ref("NotificationHandledRequest"), _given({"NotificationEventType": _TEXT, "Id": _TEXT})]}


SCHEMAS: Final[dict[str, Schema]] = {
    "NotificationEventType": {"type": "string", "enum": TYPES},
    "GivenType": {
        "description": "The name, in any case, or the number, as a number or as digits.",
        "anyOf": [
            ref("NotificationEventType"),
            {"type": "string", "pattern": f"^({'|'.join(map(_in_any_case, TYPES))})$"},
            {"type": "integer", "minimum": min(EventType), "maximum": max(EventType)},
            {"type": "string", "pattern": f"^({_up_to(max(EventType))}|-0{{1,20}})$"},
        ],
    },
    "GivenId": {
        "description": "The entity, not the notification: a number, or its digits.",
        "anyOf": [INT32, {"type": "string", "pattern": f"^({_up_to(INT32_MAX)}|-{_up_to(-INT32_MIN)})$"}],
    },
    "NotificationEvent": _given(
        {"Type": ref("GivenType"), "Id": ref("GivenId")},
        description="What was handled. Names of properties count in any case, and once.",
        xml={"name": "NotificationEvent"},
    ),
    "NotificationEvents": {
        "type": ["array", "null"],
        "items": ref("NotificationEvent"),
        "maxItems": MAX_EVENTS,
        "xml": {"name": "NotificationEvents", "wrapped": True},
    },
    "NotificationsHandledRequest": _given(
        {"NotificationEvents": ref("NotificationEvents")},
        description="A batch. Empty, or null, is no events.",
        xml={"name": "NotificationsHandledRequest"},
    ),
    "NotificationsHandledPatch": _patch("NotificationsHandledRequest", NotificationEvents=ref("NotificationEvents")),
    "NotificationsHandledForm": _form_of_a_batch(),
    "NotificationHandledRequest": _given(
        {"NotificationEventType": ref("GivenType"), "Id": ref("GivenId")},
        xml={"name": "NotificationHandledRequest"},
    ),
    "NotificationHandledPatch": _patch(
        "NotificationHandledRequest", NotificationEventType=ref("GivenType"), Id=ref("GivenId")
    ),
    "NotificationHandledForm": _form_of_one(),
    "PatchOperation": {
        "anyOf": [
            _object({"op": {"enum": ["add", "replace", "test"]}, "path": _POINTER, "value": {}}),
            _object({"op": {"const": "remove"}, "path": _POINTER}),
            _object({"op": {"enum": ["copy", "move"]}, "from": _POINTER, "path": _POINTER}),
        ]
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
        {
            "expires": {"type": "integer", "minimum": 1, "description": "Seconds until it ends, at the latest."},
            "xsrf": {"type": "string", "pattern": "^[0-9a-f]{64}$", "description": "What X-XSRF-TOKEN must be."},
        }
    ),
    "Overview": _object(
        {
            "now": _TIME,
            "version": {"type": "string"},
            "ready": {"type": "boolean", "description": "Whether all workers are."},
            "workers": {"type": "array", "items": ref("WorkerFigures")},
        }
    ),
    "WorkerFigures": _object(
        {
            "worker": {"type": "integer", "minimum": 0},
            "ready": {"type": "boolean"},
            "figures": {
                "type": ["array", "null"],
                "items": ref("Figure"),
                "description": "null: the worker did not answer.",
            },
        }
    ),
    "Figure": _object(
        {
            "name": {"type": "string", "description": "As on /metrics, without `clearsync_` before it."},
            "labels": {"type": "object", "additionalProperties": {"type": "string"}},
            "value": {"type": "number"},
        }
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
