"""Descriptions as the tests read them: parts by reference, and values judged by the schemas in them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from jsonschema import Draft202012Validator
from referencing import Registry
from referencing.jsonschema import DRAFT202012

_HERE: Final = "description:"


def references(value: object) -> Iterator[str]:
    """Every `$ref` in a document."""
    if isinstance(value, dict):
        if isinstance(value.get("$ref"), str):
            yield value["$ref"]
        value = list(value.values())
    if isinstance(value, list):
        for each in value:
            yield from references(each)


def part(document: Any, reference: str) -> Any:
    """What a reference within the document points to; KeyError where that is nothing."""
    assert reference.startswith("#/"), f"{reference} leaves the document"
    for step in reference[2:].split("/"):
        name = step.replace("~1", "/").replace("~0", "~")
        document = document[int(name) if isinstance(document, list) else name]
    return document


def mistakes(document: Any, reference: str, value: object) -> list[str]:
    """What is wrong with a value by the schema at `reference`; nothing where it fits."""
    assert isinstance(part(document, reference), dict)
    registry: Registry[Any] = Registry().with_resource(_HERE, DRAFT202012.create_resource(document))
    judge = Draft202012Validator({"$ref": _HERE + reference}, registry=registry)
    return [error.message for error in judge.iter_errors(value)]
