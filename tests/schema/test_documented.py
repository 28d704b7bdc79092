"""What docs/protocol.md says may be sent fits the description, so that who checks by it refuses none of that; and what
it says is refused fits only where a schema can't say why."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any, Final, NamedTuple
from urllib.parse import parse_qsl, urlsplit

import pytest
from jsonschema import Draft202012Validator

from server.api.bodies import decoder_for
from server.api.formats import xml_body
from server.api.formats.json_patch import MAX_OPERATIONS
from server.api.formats.meaning import Shape
from server.api.openapi import description
from server.errors import Refused
from server.events import INT32_MAX, INT32_MIN, Event, EventType
from server.wire import HANDLED_ONE_PATH, HANDLED_PATH
from tests.schema.documents import mistakes
from tests.schema.leniency import FORM, PATCH

DESCRIPTION: Final = description("", "1")
PROTOCOL: Final = (Path(__file__).parents[2] / "docs" / "protocol.md").read_text(encoding="utf-8")
JSON: Final = "application/json"
PATHS: Final = {Shape.BATCH: HANDLED_PATH, Shape.SINGLE: HANDLED_ONE_PATH}
EVENT: Final = {"Type": "NewTicket", "Id": 12}


class Sent(NamedTuple):
    """One request of a document."""

    shape: Shape
    media: str
    body: str


def curls() -> list[Sent]:
    """Every POST that the protocol shows as a command."""
    found = []
    for block in re.findall(r"^```\n(.*?)^```$", PROTOCOL, re.MULTILINE | re.DOTALL):
        for command in re.split(r"^(?=curl )", block.replace("\\\n", " "), flags=re.MULTILINE):
            words = shlex.split(command) if command.startswith("curl ") else []
            if "-d" not in words:
                continue
            [path] = [urlsplit(word).path for word in words if word.startswith("http://")]
            [shape] = [shape for shape, known in PATHS.items() if known == path]
            medias = [word.partition(": ")[2] for word in words if word.startswith("Content-Type:")]
            found.append(Sent(shape, medias[0] if medias else FORM, words[words.index("-d") + 1]))
    return found


def patches() -> list[Sent]:
    """Every JSON patch that the protocol shows."""
    blocks = re.findall(r"^```json\n(\[.*?)^```$", PROTOCOL, re.MULTILINE | re.DOTALL)
    return [Sent(Shape.BATCH, PATCH, block) for block in blocks]


def fits(sent: Sent) -> bool:
    """By the description, of the object that a gateway makes of the bytes."""
    value: Any
    if sent.media == FORM:
        value = {}
        for name, text in parse_qsl(sent.body, keep_blank_values=True):
            value[name] = [*value[name], text] if name in value else [text]
        value = {name: texts if len(texts) > 1 else texts[0] for name, texts in value.items()}
    elif sent.media in ("application/xml", "text/xml"):
        value = xml_body.read(sent.body.encode(), None, sent.shape)
    else:
        value = json.loads(sent.body)
    given = DESCRIPTION["paths"][PATHS[sent.shape]]["post"]["requestBody"]["content"][sent.media]["schema"]["$ref"]
    return not mistakes(DESCRIPTION, given, value)


def taken(sent: Sent) -> bool:
    """By the server."""
    try:
        decoder_for(sent.media.encode(), sent.shape)(sent.body.encode())
    except Refused:
        return False
    return True


def batch(events: object, media: str = JSON) -> Sent:
    return Sent(Shape.BATCH, media, json.dumps({"NotificationEvents": events}))


def patch(*operations: object) -> Sent:
    return Sent(Shape.BATCH, PATCH, json.dumps(operations))


def test_the_examples_are_found() -> None:
    shown = curls()
    assert {JSON, "application/xml", FORM} == {sent.media for sent in shown}
    assert {sent.shape for sent in shown} == set(Shape)
    assert len(patches()) == 1


@pytest.mark.parametrize("sent", curls() + patches(), ids=lambda sent: sent.media)
def test_an_example_fits_and_is_taken(sent: Sent) -> None:
    assert fits(sent)
    assert taken(sent)


ADD: Final = {"op": "add", "path": "/NotificationEvents", "value": []}
NEXT: Final = {"op": "add", "path": "/NotificationEvents/-", "value": EVENT}


@pytest.mark.parametrize(
    "sent",
    [
        batch([]),
        batch(None),
        batch(None, "application/merge-patch+json"),
        batch([EVENT], PATCH),
        batch([{"type": "newticket", "ID": 12, "new": {}}]),
        Sent(Shape.BATCH, JSON, '{"notificationEvents":[{"type":"NewTicket","id":12}],"other":1}'),
        *[batch([{"Type": kind, "Id": 1}]) for kind in (0, 11, "0", "11", "007", "-0", "QUOTEAPPROVALDENIED")],
        *[batch([{"Type": 1, "Id": each}]) for each in (0, -1, INT32_MIN, INT32_MAX, "0", "-7", "0012", "2147483647")],
        Sent(Shape.SINGLE, JSON, '{"NotificationEventType":"1","Id":"12"}'),
        Sent(Shape.SINGLE, "text/json", '{"notificationEventType":1,"id":12}'),
        Sent(Shape.SINGLE, PATCH, '{"NotificationEventType":"NewTicket","Id":12}'),
        patch({"op": "add", "path": "", "value": {"NotificationEvents": None}}),
        patch(ADD, NEXT, {"op": "test", "path": "/NotificationEvents/0/Id", "value": 12}),
        patch(ADD, NEXT, {"op": "copy", "from": "/NotificationEvents/0", "path": "/NotificationEvents/-"}),
        patch(ADD, NEXT, {"op": "remove", "path": "/NotificationEvents/0"}),
        patch(ADD, {"op": "add", "path": "/a~1b~0", "value": 1}, {"op": "move", "from": "/a~1b~0", "path": "/c"}),
        patch(ADD, {"op": "replace", "path": "/NotificationEvents", "value": [EVENT]}),
        patch(*[ADD] * MAX_OPERATIONS),
        Sent(Shape.BATCH, FORM, "NotificationEvents[0][Type]=1&NotificationEvents%5B0%5D%5BId%5D=12"),
        Sent(Shape.BATCH, FORM, "notificationevents[0].type=newticket&notificationevents[0].ID=+12+"),
        Sent(
            Shape.BATCH,
            FORM,
            "&".join(f"NotificationEvents[{i}].Type=1&NotificationEvents[{i}].Id=1" for i in range(3)),
        ),
        Sent(Shape.BATCH, FORM, "NotificationEvents.index=a&NotificationEvents[a].Type=1&NotificationEvents[a].Id=2"),
        Sent(
            Shape.BATCH,
            FORM,
            "NotificationEvents.index=a&NotificationEvents.index=b&"
            + "&".join(f"NotificationEvents[{i}].Type=1&NotificationEvents[{i}].Id=2" for i in "ab"),
        ),
        Sent(Shape.BATCH, FORM, "NotificationEvents="),
        Sent(Shape.BATCH, FORM, "NotificationEvents[]=+&other=1"),
        Sent(Shape.SINGLE, FORM, "notificationEventType=+NewTicket&id=12+&other="),
        Sent(
            Shape.BATCH, "text/xml", "<notificationsHandledRequest><notificationevents/></notificationsHandledRequest>"
        ),
        Sent(
            Shape.BATCH,
            "text/xml",
            "<NotificationsHandledRequest xmlns:i='i'><NotificationEvents i:nil='true'/></NotificationsHandledRequest>",
        ),
    ],
    ids=lambda sent: f"{sent.media} {sent.body[:80]}",
)
def test_what_is_taken_fits(sent: Sent) -> None:
    assert taken(sent)
    assert fits(sent)


@pytest.mark.parametrize(
    "sent",
    [
        Sent(Shape.BATCH, JSON, "{}"),
        Sent(Shape.BATCH, JSON, "null"),
        Sent(Shape.BATCH, JSON, '{"Events":[]}'),
        batch({}),
        batch([EVENT] * 1001),
        *[batch([{"Type": kind, "Id": 1}]) for kind in (None, 12, -1, "12", "-1", "Ticket", "NewTicket ", "", True)],
        *[batch([{"Type": 1, "Id": each}]) for each in (None, 1.5, "1.0", "", " 1", "2147483648", "-2147483649", True)],
        *[batch([each]) for each in ({"Type": 1}, {"Id": 1}, None, "NewTicket")],
        Sent(Shape.SINGLE, JSON, '{"NotificationEventType":"NewTicket"}'),
        Sent(Shape.SINGLE, JSON, '{"NotificationEventType":null,"Id":12}'),
        patch(),
        patch(*[ADD] * (MAX_OPERATIONS + 1)),
        *[
            patch(each)
            for each in ({"op": "Add", "path": "", "value": 1}, {"op": "add", "path": "/a"}, {"op": "remove"})
        ],
        *[patch(ADD, {**NEXT, "path": path}) for path in ("a", "/~", "/~2", "/a" * 17)],
        Sent(Shape.BATCH, FORM, "other=1"),
        Sent(Shape.BATCH, FORM, "NotificationEvents=1"),
        Sent(Shape.SINGLE, FORM, "NotificationEventType=NewTicket"),
        Sent(Shape.SINGLE, "text/xml", "<NotificationHandledRequest><Id>1</Id></NotificationHandledRequest>"),
    ],
    ids=lambda sent: f"{sent.media} {sent.body[:80]}",
)
def test_what_is_refused_does_not_fit(sent: Sent) -> None:
    assert not taken(sent)
    assert not fits(sent)


@pytest.mark.parametrize(("name", "parsed"), [("GivenType", 0), ("GivenId", 1)])
def test_digits_fit_where_they_are_taken(name: str, parsed: int) -> None:
    """At every step of the bounds, with and without leading zeros: the patterns are made of the numbers."""
    choices = DESCRIPTION["components"]["schemas"][name]["anyOf"]
    digits_fit = Draft202012Validator({"anyOf": [each for each in choices if each.get("type") == "string"]}).is_valid
    near = {limit + step for limit in (INT32_MIN, INT32_MAX, 0, len(EventType)) for step in range(-12, 13)}
    near |= {sign * (10**power + step) for sign in (1, -1) for power in range(12) for step in (-1, 0, 1)}
    near |= {INT32_MAX // 10**power * 10**power + step for power in range(10) for step in (-1, 0, 10**power)}
    for number in near:
        width = len(str(abs(number)))
        for zeros in (0, 1, 20 - width, 21 - width):
            for sign in ("", "-"):
                digits = sign + "0" * zeros + str(abs(number))
                try:
                    good = bool(Event.parse(*(digits if place == parsed else 1 for place in (0, 1))))
                except Refused:
                    good = False
                assert digits_fit(digits) is good, digits


def test_a_ticket_is_asked_for_as_documented() -> None:
    """By the query or by a header: neither alone can be required."""
    operation = DESCRIPTION["paths"]["/api/v1/sync/ticket"]["post"]
    assert {(each["in"], each["name"], each["required"]) for each in operation["parameters"]} == {
        ("query", "device", False),
        ("header", "X-Device-Id", False),
    }
