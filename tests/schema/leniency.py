"""Where the description is wider than the rule, since a schema can't say it: which requests are such."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final
from urllib.parse import unquote

from server.errors import BadRequest
from server.events import AgentId
from tests.schema.documents import mistakes, part

FORM: Final = "application/x-www-form-urlencoded"
PATCH: Final = "application/json-patch+json"
_NAMES: Final = {name.lower(): name for name in ("NotificationEvents", "NotificationEventType", "Type", "Id")}


def records_in(body: object) -> Iterator[dict[str, Any]]:
    """The objects of a request, itself among them."""
    if isinstance(body, dict):
        yield body
        body = list(body.values())
    if isinstance(body, list):
        for each in body:
            yield from records_in(each)


def names_in(body: object) -> Iterator[list[str]]:
    """Of each object the names that are our properties', in any case."""
    for record in records_in(body):
        yield [name for name in record if name.lower() in _NAMES]


def has_a_float(body: object) -> bool:
    """Where a `Type` or an `Id` stands, in a request, a form, or a patch that makes one."""
    return any(
        isinstance(value, float) and name.lower().endswith(("type", "id", "type]", "id]", "value"))
        for record in records_in(body)
        for name, value in record.items()
    )


def says_a_name_twice(body: object) -> bool:
    """In two casings."""
    return any(len({name.lower() for name in names}) < len(names) for names in names_in(body))


def is_the_same_in_xml(body: object) -> bool:
    """Whether schemathesis writes it as it is meant: it finds how by the exact name, and null is `xsi:nil`."""
    exact = all(_NAMES[name.lower()] == name for names in names_in(body) for name in names)
    return exact and all(record.get("NotificationEvents", 0) is not None for record in records_in(body))


def fits_the_last_choice_only(document: Any, reference: str, body: object) -> bool:
    """Of the schema at `reference`, which has an `anyOf`."""
    sure = range(len(part(document, reference)["anyOf"]) - 1)
    return all(mistakes(document, f"{reference}/anyOf/{choice}", body) for choice in sure)


def is_name(header: str, tenant: str) -> bool:
    """Whether an agent can be called so."""
    try:
        return bool(AgentId.of(tenant, unquote(header.strip(), errors="strict")))
    except (BadRequest, UnicodeDecodeError):
        return False
