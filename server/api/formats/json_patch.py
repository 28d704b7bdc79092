"""`application/json-patch+json` (RFC 6902), applied to an empty request.

1. An array is a patch. An object is the plain request: it is what the vendor's own client would send under this type.
2. A few bytes of `copy` double a document, and so do the next few. What copies make is counted together, in values and
   characters; so are the values of the patch itself, its operations, and how deep paths and values go.
3. The first operation that fails ends the patch, and nothing of it is recorded (RFC 6902, 5).
"""

from __future__ import annotations

from typing import Any, Final

from jsonpatch import JsonPatch, JsonPatchException, JsonPatchTestFailed
from jsonpointer import JsonPointer, JsonPointerException

from server.api.formats import json_body
from server.api.formats.meaning import Shape
from server.errors import BadRequest, TooLarge
from server.events import MAX_EVENTS

MAX_OPERATIONS: Final = 2 * MAX_EVENTS
"""An event is one operation; the rest is room for the array itself, tests and second thoughts. 10 µs each."""
MAX_VALUES: Final = 20 * MAX_EVENTS
"""An operation that adds an event has six: itself, `op`, `path`, `value`, `Type`, `Id`."""
MAX_COPIED: Final = 32 * MAX_EVENTS
"""Values and characters that all `copy` of a patch may make."""
MAX_DEPTH: Final = 16
MAX_STEPS: Final = 8 * MAX_EVENTS
"""In all paths together; an event takes two, and each costs a microsecond."""

_OPERATIONS: Final = frozenset(JsonPatch.operations)
_POINTERS: Final = {"copy": ("from", "path"), "move": ("from", "path")}


def read(body: bytes, codec: str | None, shape: Shape) -> object:
    """The request that the patch makes of ``{}``. `BadRequest` names the operation that is none or fails, `TooLarge`
    the bound that the patch goes over."""
    request = json_body.read(body, codec, shape)
    return _applied(request) if isinstance(request, list) else request


def _applied(patch: list[Any]) -> object:
    if len(patch) > MAX_OPERATIONS:
        raise TooLarge(f"patch has {len(patch)} operations, limit is {MAX_OPERATIONS}")
    if _weight(patch, MAX_VALUES, of_text=0) > MAX_VALUES:
        raise TooLarge(f"patch has more than {MAX_VALUES} values, which is the limit")
    request: object = {}
    copied = steps = 0
    for index, operation in enumerate(patch):
        try:
            steps += _check(operation)
            if steps > MAX_STEPS:
                raise TooLarge(f"patch has more than {MAX_STEPS} steps in its paths, which is the limit")
            copied += _copied(operation, request, MAX_COPIED - copied)
            request = JsonPatch([operation]).apply(request, in_place=True)
        except JsonPatchTestFailed:
            raise BadRequest(f"operation {index}: the test failed") from None
        except (JsonPatchException, JsonPointerException):
            raise BadRequest(f"operation {index}: {_paths(operation)} can't be applied to the request") from None
        except RecursionError:  # moved into one another again and again, and then shown by the library
            raise BadRequest(f"operation {index}: the request is nested too deeply") from None
        except BadRequest as error:
            raise BadRequest(f"operation {index}: {error}") from None
    return request


def _check(operation: Any) -> int:
    """An object with a known `op` and paths that are not too deep; the steps of these. The library checks the rest."""
    steps = 0
    if not isinstance(operation, dict):
        raise BadRequest("it must be an object with op and path")
    name = operation.get("op")
    if not isinstance(name, str) or name not in _OPERATIONS:
        raise BadRequest(f"op must be one of {', '.join(sorted(_OPERATIONS))}")
    for key in _POINTERS.get(name, ("path",)):
        path = operation.get(key)
        if not isinstance(path, str):
            raise BadRequest(f"{key} must be a string")
        if path.count("/") > MAX_DEPTH:
            raise BadRequest(f"{key} has {path.count('/')} steps, limit is {MAX_DEPTH}")
        steps += path.count("/")
    if name in ("add", "replace", "test") and "value" not in operation:
        raise BadRequest(f"{name} must have a value")
    return steps


def _copied(operation: Any, request: object, left: int) -> int:
    """What a `copy` is about to make; `TooLarge` over `left`."""
    if operation["op"] != "copy":
        return 0
    weight = _weight(JsonPointer(operation["from"]).resolve(request), left)
    if weight > left:
        raise TooLarge(f"patch copies more than {MAX_COPIED} values and characters, which is the limit")
    return weight


def _weight(value: object, limit: int, of_text: int = 1) -> int:
    """The values in a value, and the characters of its texts times `of_text`; counted no further than `limit`, so that
    asking costs no more than is allowed. `BadRequest` for one that is nested too deeply."""
    weight, depth, level = 0, 0, [value]
    while level and weight <= limit:
        if depth > MAX_DEPTH:
            raise BadRequest("body is nested too deeply")
        weight += len(level)
        below: list[object] = []
        for item in level:
            if isinstance(item, dict):
                below += item.values()
                weight += of_text * sum(map(len, item))
            elif isinstance(item, list):
                below += item
            elif isinstance(item, str):
                weight += of_text * len(item)
            if weight + len(below) > limit:
                return weight + len(below)
        level, depth = below, depth + 1
    return weight


def _paths(operation: Any) -> str:
    return " ".join(f"{key} {operation[key][:60]!r}" for key in ("from", "path") if isinstance(operation.get(key), str))
