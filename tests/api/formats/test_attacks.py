"""Bodies that are made to exhaust us: refused, in little memory."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import pytest

from server.api.formats import json_patch, xml_body
from server.errors import BadRequest, ClearsyncError, InvalidEvents, TooLarge
from tests.api.written import (
    FORM,
    JSON,
    PATCH,
    XML,
    Request,
    add,
    refusal,
    xml,
)

BODY_BYTES: Final = 262_144


@dataclass(frozen=True)
class Attack:
    """A body of at most 256 KiB, what becomes of it, and how much memory that may take at most.

    `most` is three times what was measured, in bytes that Python and expat held at one time.
    """

    name: str
    content_type: str
    body: Callable[[], bytes]
    kind: type[ClearsyncError]
    says: str
    most: int


MB: Final = 1_000_000
LAUGHS: Final = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 10))
DOCTYPE: Final = "<!DOCTYPE NotificationsHandledRequest [%s]>"


def doctype(inside: str, text: str) -> Callable[[], bytes]:
    return lambda: (DOCTYPE % inside).encode() + xml(f"<x>{text}</x>")


def full(start: bytes, unit: bytes, end: bytes = b"") -> Callable[[], bytes]:
    """As much of `unit` as a body can hold."""
    return lambda: start + unit * ((BODY_BYTES - len(start) - len(end)) // len(unit)) + end


def names(count: int, start: bytes, each: bytes, end: bytes = b"") -> Callable[[], bytes]:
    """Each one another."""
    return lambda: start + b"".join(each % n for n in range(count)) + end


def compact(*operations: Any) -> bytes:
    return json.dumps(operations, separators=(",", ":")).encode()


def deeper(*last: Request) -> Callable[[], bytes]:
    """Two objects that are moved into each other by turns, a thousand times."""
    turns = [
        [add("/b", {}), {"op": "move", "from": "/a", "path": "/b/a"}],
        [add("/a", {}), {"op": "move", "from": "/b", "path": "/a/b"}],
    ]
    return lambda: compact(add("/a", {}), *(step for n in range(990) for step in turns[n % 2]), *last)


def copies(value: Any, source: str, path: str, times: int, *last: Request) -> Callable[[], bytes]:
    """A value and so many copies of it."""
    return lambda: compact(add("/x", value), *[{"op": "copy", "from": source, "path": path}] * times, *last)


def nested(around: bytes) -> Callable[[], bytes]:
    """With 100 arrays in one another inside."""
    return lambda: around % (b"[" * 100 + b"]" * 100)


TEST: Final = {"op": "test", "path": "", "value": 0}
ROOT: Final = b"<NotificationsHandledRequest>"
DEEP: Final = "body is nested too deeply"
COPIES: Final = f"patch copies more than {json_patch.MAX_COPIED} values and characters, which is the limit"
ELEMENTS: Final = f"body has more than {xml_body.MAX_ELEMENTS} elements, which is the limit"
NO_DTD: Final = "body has a document type, which is not allowed"

ATTACKS: Final = [
    Attack("billion laughs", XML, doctype(f'<!ENTITY l0 "ha">{LAUGHS}', "&l9;"), BadRequest, NO_DTD, MB),
    Attack(
        "quadratic blow-up", XML, doctype(f'<!ENTITY a "{"x" * 100_000}">', "&a;" * 40_000), BadRequest, NO_DTD, 3 * MB
    ),
    Attack("external entity", XML, doctype('<!ENTITY a SYSTEM "file:///etc/passwd">', "&a;"), BadRequest, NO_DTD, MB),
    Attack(
        "parameter entity", XML, doctype('<!ENTITY % a SYSTEM "http://127.0.0.1:9/"> %a;', ""), BadRequest, NO_DTD, MB
    ),
    Attack(
        "external subset", XML, lambda: b'<!DOCTYPE a SYSTEM "http://127.0.0.1:9/">' + xml(""), BadRequest, NO_DTD, MB
    ),
    Attack("100 elements deep", XML, lambda: xml("<x>" * 100 + "</x>" * 100), BadRequest, DEEP, MB),
    Attack("100,000 elements deep", XML, full(ROOT, b"<a>"), BadRequest, DEEP, 3 * MB),
    Attack("many elements", XML, full(ROOT, b"<a/>"), TooLarge, ELEMENTS, 9 * MB),
    Attack("many names", XML, names(20_000, ROOT, b"<a%d/>"), TooLarge, ELEMENTS, 12 * MB),
    Attack(
        "many attributes",
        XML,
        names(18_000, ROOT[:-1], b" a%d=''", b"/>"),
        InvalidEvents,
        "NotificationEvents is",
        15 * MB,
    ),
    Attack(
        "a long namespace",
        XML,
        names(9_000, ROOT[:-1] + b" xmlns='%b'>" % (b"u" * 150_000), b"<a%d/>", b"</NotificationsHandledRequest>"),
        InvalidEvents,
        "NotificationEvents is missing",
        12 * MB,
    ),
    Attack(
        "many events", XML, full(ROOT + b"<NotificationEvents>", b"<NotificationEvent/>"), TooLarge, ELEMENTS, 9 * MB
    ),
    Attack("a long text", XML, full(ROOT, b"x&#10;"), BadRequest, "body is not XML: no element found", 6 * MB),
    Attack("UTF-16", XML, lambda: full(ROOT, b"<a/>")().decode().encode("utf-16"), TooLarge, ELEMENTS, 12 * MB),
    Attack(
        "100 arrays deep",
        JSON,
        nested(b'{"NotificationEvents":[{"Type":1,"Id":%b}]}'),
        InvalidEvents,
        "NotificationEvents[0]: Id is an array",
        MB,
    ),
    Attack("100,000 arrays deep", JSON, full(b'{"x":', b"["), BadRequest, DEEP, MB),
    Attack("many arrays", JSON, full(b'{"NotificationEvents":[[]', b",[]", b"]}"), TooLarge, "batch has 8737", 24 * MB),
    Attack("many fields", FORM, full(b"", b"&a=b"), TooLarge, "form has 65537 fields, limit is 4000", MB),
    Attack("many signs", FORM, full(b"", b"&"), TooLarge, "form has 262145 fields, limit is 4000", MB),
    Attack(
        "many indices",
        FORM,
        lambda: b"&".join([b"NotificationEvents.index=a"] * 4_000),
        TooLarge,
        "batch has 4000",
        3 * MB,
    ),
    Attack("many percent signs", FORM, full(b"x=", b"%41"), InvalidEvents, "NotificationEvents is missing", 60 * MB),
    Attack("many brackets", FORM, full(b"NotificationEvents", b"[0]"), InvalidEvents, "field is 'Not", 3 * MB),
    Attack(
        "many operations",
        PATCH,
        full(b"[0", b",0", b"]"),
        TooLarge,
        "patch has 131071 operations, limit is 2000",
        6 * MB,
    ),
    Attack(
        "many values",
        PATCH,
        full(b'[{"op":"add","path":"/x","value":[0', b",[]", b"]}]"),
        TooLarge,
        "patch has more than 20000 values",
        24 * MB,
    ),
    Attack("100 arrays deep in a patch", PATCH, nested(b'[{"op":"add","path":"/x","value":%b}]'), BadRequest, DEEP, MB),
    Attack(
        "a path of 100", PATCH, lambda: compact(add("/x" * 100, 1)), BadRequest, "operation 0: path has 100 steps", MB
    ),
    Attack("copies of itself", PATCH, copies(["y"], "/x", "/x/-", 60), TooLarge, COPIES, 4 * MB),
    Attack("many small copies", PATCH, copies([1] * 30, "/x", "/y", 1_990), TooLarge, COPIES, 4 * MB),
    Attack("copies of the whole", PATCH, copies(1, "", "/x", 60), BadRequest, "operation 1", 3 * MB),
    Attack("copies of a long text", PATCH, copies("y" * 200_000, "/x", "/y", 900), TooLarge, COPIES, 3 * MB),
    Attack("copies of a long name", PATCH, copies({"y" * 200_000: 1}, "/x", "/y", 900), TooLarge, COPIES, 3 * MB),
    Attack(
        "copies, and then a test",
        PATCH,
        copies(["\U000e0001" * 3_000], "/x/0", "/x/-", 9, TEST),
        BadRequest,
        "operation 10: the test failed",
        6 * MB,
    ),
    Attack("moves into one another", PATCH, deeper(), InvalidEvents, "NotificationEvents is missing", 6 * MB),
    Attack("moves, and then a test", PATCH, deeper(TEST), BadRequest, "operation 1981: the request is nested", 6 * MB),
    Attack(
        "moves, and then a copy",
        PATCH,
        deeper({"op": "copy", "from": "", "path": "/x"}),
        BadRequest,
        "operation 1981: body is nested",
        6 * MB,
    ),
    Attack(
        "moves, and then a mistake",
        PATCH,
        deeper({"op": "remove", "path": "/x/y"}),
        BadRequest,
        "operation 1981: the request is nested",
        6 * MB,
    ),
]


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.name)
def test_an_attack_is_refused_in_little_memory(attack: Attack) -> None:
    body = attack.body()
    assert len(body) <= 2 * BODY_BYTES
    tracemalloc.start()
    try:
        message = refusal(attack.content_type, body, attack.kind)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert message.startswith(attack.says)
    assert peak < attack.most, f"{peak / MB:.2f} MB"
