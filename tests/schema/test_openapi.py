"""The description itself: it is OpenAPI, whole, true of the code's constants, and served cheaply."""

from __future__ import annotations

import json
from typing import Any, Final

import pytest
import schemathesis
from jsonschema import Draft202012Validator
from starlette.types import Message

from server import __version__, wire
from server.api.openapi import OPENAPI_PATH, OpenApi, description
from server.api.problems import InternalError, Problem
from server.auth.websession import xsrf_token
from server.errors import (
    BadRequest,
    ClearsyncError,
    Forbidden,
    HeadersTooLarge,
    InvalidEvents,
    MethodNotAllowed,
    NotFound,
    RequestTimeout,
    TooLarge,
    TooManyRequests,
    Unauthenticated,
    Unavailable,
    UnsupportedMedia,
)
from server.events import MAX_EVENTS, Cursor, Event, EventType, Seq, device_id
from tests.schema.documents import mistakes, part, references

DESCRIPTION: Final = description("", __version__)
OPERATIONS: Final = {
    (method, path): operation
    for path, item in DESCRIPTION["paths"].items()
    for method, operation in item.items()
    if method != "parameters"
}


def schema(name: str) -> str:
    return f"#/components/schemas/{name}"


def test_it_is_openapi() -> None:
    schemathesis.openapi.from_dict(json.loads(json.dumps(DESCRIPTION))).validate()
    for each in DESCRIPTION["components"]["schemas"].values():
        Draft202012Validator.check_schema(each)


def test_every_reference_leads_somewhere_and_every_component_is_used() -> None:
    found = set(references(DESCRIPTION))
    for reference in found:
        part(DESCRIPTION, reference)
    for kind in ("schemas", "responses"):
        assert {f"#/components/{kind}/{name}" for name in DESCRIPTION["components"][kind]} <= found
    schemes = {name for o in OPERATIONS.values() for choice in o.get("security", []) for name in choice}
    assert schemes == set(DESCRIPTION["components"]["securitySchemes"])


def test_operation_ids_are_unique() -> None:
    ids = [operation["operationId"] for operation in OPERATIONS.values()]
    assert len(set(ids)) == len(ids)


def test_every_path_is_there_and_those_of_an_agent_under_its_tenant_too() -> None:
    agents = {
        ("post", wire.HANDLED_PATH),
        ("post", wire.HANDLED_ONE_PATH),
        ("get", wire.SYNC_PATH),
        ("post", wire.TICKET_PATH),
        ("get", wire.OVERVIEW_PATH),
        ("post", wire.SESSION_PATH),
        ("delete", wire.SESSION_PATH),
    }
    of_tenant = {(method, f"/{{tenant}}{path}") for method, path in agents}
    open_to_all = {("get", path) for path in ("/live", "/ready", "/version", OPENAPI_PATH)}
    assert set(OPERATIONS) == agents | of_tenant | open_to_all
    assert {key for key, operation in OPERATIONS.items() if "security" not in operation} == open_to_all


def test_it_is_described_behind_its_base_path() -> None:
    assert description("", "1")["servers"] == [{"url": "/"}]
    moved = description("/clear", "1")
    assert moved["servers"] == [{"url": "/clear"}]
    assert moved["paths"] == DESCRIPTION["paths"]


def test_the_cookie_is_named_as_it_is_set() -> None:
    names = [
        description("", "1", secure_cookies=secure)["components"]["securitySchemes"]["webSession"]["name"]
        for secure in (True, False)
    ]
    assert names == ["__Host-clearsync", "clearsync"]


# what goes over the wire, by the code that makes it


@pytest.mark.parametrize(
    "error",
    [
        BadRequest("x"),
        InvalidEvents("x"),
        Unauthenticated("x"),
        Forbidden("x"),
        NotFound("x"),
        MethodNotAllowed("x", "GET"),
        RequestTimeout("x"),
        TooLarge("x"),
        UnsupportedMedia("x"),
        TooManyRequests("x", 0.5),
        HeadersTooLarge("x"),
        InternalError("x"),
        Unavailable(),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_a_refusal_is_as_described(error: ClearsyncError) -> None:
    expected = getattr(error, "status", 500)
    described = DESCRIPTION["components"]["responses"][str(expected)]
    for accept in ("application/json", "application/xml"):
        status, headers, body = await answer(Problem(error), accept=accept)
        assert status == expected
        assert headers["content-type"].split(";")[0] == accept
        assert accept in described["content"]
        assert {name.lower() for name in described.get("headers", {})} <= set(headers)
        if accept == "application/json":
            assert not mistakes(DESCRIPTION, schema("Problem"), json.loads(body))


def test_the_token_of_a_session_fits() -> None:
    value = {"expires": 28800, "xsrf": xsrf_token(b"secret")}
    assert not mistakes(DESCRIPTION, schema("Session"), value)
    assert mistakes(DESCRIPTION, schema("Session"), {"expires": 28800})


def test_a_type_is_sent_by_its_name_alone() -> None:
    """Though it is taken in other ways."""
    event = {"Type": "NewTicket", "Id": 1, "At": 1795456363957}
    assert not mistakes(DESCRIPTION, schema("HandledEvent"), event)
    for other in ({"Type": "newticket"}, {"Type": 1}, {"Id": "1"}):
        assert mistakes(DESCRIPTION, schema("HandledEvent"), event | other)


def test_every_operation_says_what_any_may_answer() -> None:
    for operation in OPERATIONS.values():
        assert {"404", "405", "408", "431", "500"} <= set(operation["responses"])


def test_a_snapshot_fits() -> None:
    entries = [(Event(kind, -1).member, 1795456363957) for kind in EventType]
    value = json.loads(wire.snapshot(Cursor("k3x9", Seq(1795456363957)), reset=False, parts=[wire.joined(entries)]))
    assert not mistakes(DESCRIPTION, schema("Snapshot"), value)
    assert mistakes(DESCRIPTION, schema("Snapshot"), {**value, "cursor": "0"})


@pytest.mark.parametrize(
    ("text", "good"),
    [
        *[(good, True) for good in ("a", "-a", "A.b_c~d:e-f", "x" * 64, "--")],
        *[(bad, False) for bad in ("", "-", "x" * 65, "a b", "é")],
    ],
)
def test_a_device_id_fits_where_it_is_taken(text: str, good: bool) -> None:
    [pattern] = {
        each["schema"]["pattern"]
        for operation in OPERATIONS.values()
        for each in operation.get("parameters", [])
        if each["name"] in ("device", "X-Device-Id")
    }
    assert Draft202012Validator({"pattern": pattern}).is_valid(text) is good
    try:
        taken = bool(device_id(text))
    except BadRequest:
        taken = False
    assert taken is good


@pytest.mark.parametrize(
    ("text", "good"),
    [("", True), ("0", True), ("k3x9-17", True), ("k3x9", False), ("1", False), ("K-1", False), ("k-", False)],
)
def test_a_cursor_fits_where_it_is_taken(text: str, good: bool) -> None:
    [cursor] = [each for each in OPERATIONS["get", wire.SYNC_PATH]["parameters"] if each["name"] == "cursor"]
    assert Draft202012Validator(cursor["schema"]).is_valid(text) is good
    try:
        wire.sync_query(f"device=a&cursor={text}")
        taken = True
    except BadRequest:
        taken = False
    assert taken is good


def test_a_batch_has_as_many_events_as_are_taken() -> None:
    event = {"Type": "NewTicket", "Id": 1}
    assert not mistakes(DESCRIPTION, schema("NotificationEvents"), [event] * MAX_EVENTS)
    assert mistakes(DESCRIPTION, schema("NotificationEvents"), [event] * (MAX_EVENTS + 1))


# how it is served


async def answer(app: Any, method: str = "GET", **headers: str) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body of an ASGI application's answer."""
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    async def receive() -> Message:
        return {"type": "http.request"}

    raw = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    await app({"type": "http", "method": method, "path": OPENAPI_PATH, "headers": raw}, receive, send)
    got = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
    return sent[0]["status"], got, b"".join(message.get("body", b"") for message in sent[1:])


async def test_it_is_served_as_it_is() -> None:
    status, headers, body = await answer(OpenApi("/clear", "1", secure_cookies=False))
    assert status == 200
    assert json.loads(body) == description("/clear", "1", secure_cookies=False)
    assert headers["content-type"] == "application/json; charset=utf-8"
    assert headers["content-length"] == str(len(body))
    assert headers["cache-control"] == "no-cache"


async def test_asked_again_it_is_not_sent_again() -> None:
    app = OpenApi("", "1")
    _, headers, _ = await answer(app)
    tag = headers["etag"]
    for asked in (tag, f"W/{tag}", f'"other", {tag}', "*"):
        status, again, body = await answer(app, if_none_match=asked)
        assert (status, again["etag"], body) == (304, tag, b"")
    _, other, _ = await answer(OpenApi("", "2"))
    assert other["etag"] != tag
    status, _, body = await answer(app, if_none_match=other["etag"])
    assert (status, bool(body)) == (200, True)
