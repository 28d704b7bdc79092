"""docs/asyncapi.yaml says what `server.wire` does: its own frames fit, and nothing of it is left out."""

from __future__ import annotations

import inspect
import json
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from server import wire
from server.auth.websession import cookie_name
from server.events import INT32_MAX, INT32_MIN, MAX_EVENTS, Cursor, Event, EventType, Seq
from server.wire import CloseCode, ErrorCode, Frame
from tests.schema.documents import mistakes, part, references

DOCUMENT: Final[Any] = yaml.safe_load(
    (Path(__file__).parents[2] / "docs" / "asyncapi.yaml").read_text(encoding="utf-8")
)
MESSAGES: Final[dict[str, Any]] = DOCUMENT["components"]["messages"]
HERE: Final = Cursor("k3x9", Seq(1795456363957))
EVENTS: Final = [Event(kind, number) for kind in EventType for number in (INT32_MIN, 0, INT32_MAX)]
ENTRIES: Final = [(event.member, 1795456363957 + index // 5) for index, event in enumerate(EVENTS)]
CODES: Final = [code for name, code in vars(ErrorCode).items() if name.isupper()]
FRAMES: Final[list[Frame]] = [
    wire.welcome(HERE, 1795460000123, 25.0),
    wire.welcome(HERE, 1795460000123, 0.2, 3599.9),
    wire.welcome(HERE, 1795460000123, 25.0, -1.0),
    wire.clear("k3x9", 1795460012345, b"[]"),
    wire.clear("k3x9", 1795460012345, b"[%b}]" % EVENTS[0].json),
    wire.clear("k3x9", 1795460012345, wire.handled_at(ENTRIES), at=ENTRIES[-1][1]),
    wire.reset("k3x9", 0),
    wire.recorded("7"),
    wire.recorded(None),
    wire.checked("é" * wire.MAX_REF, ENTRIES),
    wire.checked(None, []),
    wire.refreshed("9", 3599.9),
    wire.refreshed(None, None),
    wire.pong(),
    *(wire.close(code, "why") for code in CloseCode),
    *(wire.error(ref, code, "why") for ref in ("7", None) for code in CODES),
]


def sent() -> set[str]:
    """The types of frames that the functions of `wire` make."""
    makers = {name for name, made in vars(wire).items() if inspect.isfunction(made)}
    return {name for name in makers if inspect.signature(vars(wire)[name]).return_annotation == "Frame"}


def one_way(operation: str) -> list[str]:
    """The messages of an operation."""
    return [each["$ref"].rsplit("/", 1)[1] for each in DOCUMENT["operations"][operation]["messages"]]


def payload(kind: str) -> str:
    return f"#/components/messages/{kind}/payload"


def test_every_reference_leads_somewhere() -> None:
    assert DOCUMENT["asyncapi"] == "3.0.0"
    found = set(references(DOCUMENT))
    assert len(found) > 20
    for reference in found:
        part(DOCUMENT, reference)


def test_every_message_is_on_the_channel_and_goes_one_way() -> None:
    assert set(DOCUMENT["channels"]["sync"]["messages"]) == set(MESSAGES)
    assert sorted(one_way("toDevice") + one_way("fromDevice")) == sorted(MESSAGES)


def test_what_the_server_sends_is_there() -> None:
    assert set(one_way("toDevice")) == sent() == {json.loads(frame.json)["type"] for frame in FRAMES}


@pytest.mark.parametrize("frame", FRAMES, ids=lambda frame: json.loads(frame.json)["type"])
def test_a_frame_of_the_server_fits(frame: Frame) -> None:
    value = json.loads(frame.json)
    assert not mistakes(DOCUMENT, payload(value["type"]), value)
    assert not mistakes(DOCUMENT, payload(value["type"]), {**value, "new": {"a": 1}}), "more may come"


@pytest.mark.parametrize("frame", FRAMES, ids=lambda frame: json.loads(frame.json)["type"])
def test_a_frame_without_one_of_its_fields_does_not_fit(frame: Frame) -> None:
    """So that a schema that takes everything is found out."""
    value = json.loads(frame.json)
    for name in value.keys() - {"ref", "expires"}:
        less = {key: content for key, content in value.items() if key != name}
        assert mistakes(DOCUMENT, payload(value["type"]), less), name
    for name in value:
        assert mistakes(DOCUMENT, payload(value["type"]), {**value, name: [[]]}), name


def test_only_an_answer_to_check_always_has_the_time_of_each_event() -> None:
    [timeless] = json.loads(b"[%b}]" % EVENTS[0].json)
    clear, checked = json.loads(FRAMES[3].json), json.loads(wire.checked(None, []).json)
    assert not mistakes(DOCUMENT, payload("clear"), {**clear, "events": [timeless]})
    assert mistakes(DOCUMENT, payload("checked"), {**checked, "events": [timeless]})


@pytest.mark.parametrize("kind", MESSAGES)
def test_an_example_fits_its_own_message_and_no_other(kind: str) -> None:
    assert MESSAGES[kind]["examples"]
    for example in MESSAGES[kind]["examples"]:
        for other in MESSAGES:
            assert bool(mistakes(DOCUMENT, payload(other), example["payload"])) == (other != kind), other


def test_what_a_device_sends_is_read_as_it_is_described() -> None:
    known = set(wire.DeviceFrame.__struct_fields__)
    for kind in one_way("fromDevice"):
        assert set(MESSAGES[kind]["payload"]["properties"]) <= known
        for example in MESSAGES[kind]["examples"]:
            assert wire.decode(json.dumps(example["payload"]).encode()).type == kind


def test_every_close_code_and_error_code_is_named() -> None:
    described = DOCUMENT["channels"]["sync"]["x-close-codes"]
    assert [(each["code"], each["name"], each["reconnect"]) for each in described] == [
        (int(code), code.name, code.reconnect) for code in CloseCode
    ]
    codes = MESSAGES["error"]["payload"]["properties"]["code"]["enum"]
    assert sorted(codes) == sorted(CODES)


def test_names_and_bounds_are_those_of_the_code() -> None:
    channel = DOCUMENT["channels"]["sync"]
    assert channel["address"] == wire.SYNC_PATH
    headers = channel["bindings"]["ws"]["headers"]["properties"]
    assert headers["Sec-WebSocket-Protocol"]["examples"] == [wire.SUBPROTOCOL]
    assert set(headers) == {"Authorization", "SO-AppToken", "Cookie", "Origin", "Sec-WebSocket-Protocol"}
    cookie = DOCUMENT["components"]["securitySchemes"]["webSession"]
    assert cookie["name"] == cookie_name(secure=True)
    assert cookie["description"].endswith(f"--dev the name is {cookie_name(secure=False)}.")
    query = channel["bindings"]["ws"]["query"]
    assert (set(query["properties"]), query["required"]) == (set(wire.SyncQuery._fields), ["device"])
    schemas = DOCUMENT["components"]["schemas"]
    event = schemas["Event"]["properties"]
    assert event["Type"]["enum"] == [kind.name for kind in EventType]
    assert (event["Id"]["minimum"], event["Id"]["maximum"]) == (INT32_MIN, INT32_MAX)
    assert (schemas["Events"]["maxItems"], schemas["Ref"]["maxLength"]) == (MAX_EVENTS, wire.MAX_REF)
