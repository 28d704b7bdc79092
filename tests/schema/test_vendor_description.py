"""What a caller written for the vendor's API relies on, as facts of the vendor's description: ours keeps them.

The facts are written down here (two requests, one event, seven content types, 204), not its text.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

import pytest

from server.api.bodies import decoder_for
from server.api.formats.meaning import Shape
from server.api.openapi import description
from server.client import Client
from server.events import Event, EventType
from server.wire import HANDLED_ONE_PATH, HANDLED_PATH
from tests.schema.documents import mistakes, part

INT32: Final = {"type": "integer", "format": "int32", "minimum": -(2**31), "maximum": 2**31 - 1}
TYPE: Final = {
    "type": "string",
    "enum": [
        "Unknown",
        "NewTicket",
        "AppointmentInvitation",
        "AppointmentMoved",
        "AppointmentCancelled",
        "NewTicketMessage",
        "TicketActivated",
        "TicketEscalated",
        "QuoteApprovalRequest",
        "QuoteApprovalApproved",
        "QuoteApprovalDenied",
        "AppointmentDeclined",
    ],
}
VENDOR: Final[dict[str, Any]] = {
    "definitions": {
        "NotificationEvent": {"type": "object", "properties": {"Type": TYPE, "Id": INT32}},
        "NotificationsHandledRequest": {
            "type": "object",
            "properties": {
                "NotificationEvents": {"type": "array", "items": {"$ref": "#/definitions/NotificationEvent"}}
            },
        },
        "NotificationHandledRequest": {"type": "object", "properties": {"NotificationEventType": TYPE, "Id": INT32}},
    },
}
CONSUMES: Final = [
    "application/json",
    "text/json",
    "application/xml",
    "text/xml",
    "application/x-www-form-urlencoded",
    "application/json-patch+json",
    "application/merge-patch+json",
]
OURS: Final = description("", "0")
OPERATIONS: Final = {
    "/api/v1/Agents/Pocket/NotificationsHandled": "NotificationsHandledRequest",
    "/api/v1/Agents/Pocket/NotificationHandled": "NotificationHandledRequest",
}


def shape_of(document: Any, schema: Any) -> Any:
    """What of a schema decides which values fit, with references followed: `required` and lengths are ours alone. Of
    values that may be said in several ways the first is the vendor's, and null is ours."""
    if "$ref" in schema:
        return shape_of(document, part(document, schema["$ref"]))
    if "anyOf" in schema and "properties" not in schema:
        return shape_of(document, schema["anyOf"][0])
    kept = {key: schema[key] for key in ("type", "format", "enum", "minimum", "maximum") if key in schema}
    if kept.get("type") == ["array", "null"]:
        kept["type"] = "array"
    if "properties" in schema:
        kept["properties"] = {name: shape_of(document, each) for name, each in schema["properties"].items()}
    if "items" in schema:
        kept["items"] = shape_of(document, schema["items"])
    return kept


def operation(path: str) -> Any:
    return OURS["paths"][path]["post"]


def test_the_paths_are_the_vendors() -> None:
    assert set(OPERATIONS) == {HANDLED_PATH, HANDLED_ONE_PATH} < set(OURS["paths"])


@pytest.mark.parametrize(("path", "request_name"), OPERATIONS.items())
def test_a_request_has_the_vendors_shape(path: str, request_name: str) -> None:
    [ours] = {
        content["schema"]["$ref"]
        for media, content in operation(path)["requestBody"]["content"].items()
        if media in ("application/json", "text/json", "application/xml", "text/xml", "application/merge-patch+json")
    }
    assert shape_of(OURS, part(OURS, ours)) == shape_of(VENDOR, VENDOR["definitions"][request_name])


@pytest.mark.parametrize("path", OPERATIONS)
def test_an_operation_takes_and_answers_what_the_vendors_does(path: str) -> None:
    described = operation(path)
    assert list(described["requestBody"]["content"]) == CONSUMES
    assert "content" not in described["responses"]["204"]
    assert [status for status in described["responses"] if status < "400"] == ["204"]
    parameters = {(each["in"], each["name"]): each["required"] for each in described["parameters"]}
    assert parameters[("query", "$select")] is False
    assert not any(parameters.values()), "the vendor requires none, so nor may we"
    headers = {scheme.get("name") for scheme in OURS["components"]["securitySchemes"].values()}
    assert {"Authorization", "SO-AppToken", "X-XSRF-TOKEN"} <= headers


@pytest.mark.parametrize("media", CONSUMES)
@pytest.mark.parametrize("shape", Shape)
def test_every_content_type_of_the_vendors_is_decoded(media: str, shape: Shape) -> None:
    decoder_for(media.encode(), shape)


@pytest.fixture
def recorder() -> Iterator[tuple[str, list[tuple[str, str, bytes]]]]:
    """A server that answers 204, and the requests it was sent: path, content type, body."""
    requests: list[tuple[str, str, bytes]] = []

    class Recorder(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            requests.append((self.path, self.headers["Content-Type"], body))
            self.send_response(204)
            self.end_headers()

        def log_message(self, format: str, *arguments: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Recorder) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", requests
        server.shutdown()
        thread.join()


async def test_what_our_client_sends_would_be_taken_by_the_vendors(
    recorder: tuple[str, list[tuple[str, str, bytes]]],
) -> None:
    url, requests = recorder
    batches = [[Event(kind, number) for kind in EventType for number in (-(2**31), 0, 2**31 - 1)], []]
    async with Client(url, user="ada", password="any") as client:
        for batch in batches:
            await client.handled(batch)
    assert len(requests) == len(batches)
    for path, media, body in requests:
        assert media in operation(path)["requestBody"]["content"]
        assert not mistakes(VENDOR, f"#/definitions/{OPERATIONS[path]}", json.loads(body))
        assert not mistakes(OURS, f"#/components/schemas/{OPERATIONS[path]}", json.loads(body))


@pytest.mark.parametrize(
    "wrong",
    [{"Type": "Nothing", "Id": 1}, {"Type": "NewTicket", "Id": 2**31}, {"Type": "NewTicket", "Id": "1.0"}, "NewTicket"],
    ids=str,
)
def test_the_facts_can_be_broken(wrong: object) -> None:
    """Or the tests above would hold of anything."""
    for document, schemas in ((VENDOR, "definitions"), (OURS, "components/schemas")):
        assert mistakes(document, f"#/{schemas}/NotificationsHandledRequest", {"NotificationEvents": [wrong]})
