"""The seven content types: one meaning in all of them."""

from __future__ import annotations

from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.api.bodies import Shape, decoder_for
from server.errors import InvalidEvents, TooLarge
from server.events import INT32_MAX, INT32_MIN, Batch, Event, EventType
from tests.api.written import (
    CANCELLED,
    FORM,
    TICKET,
    WRITERS,
    NotExpressible,
    Outcome,
    Request,
    decoded,
    events,
    refusal,
)

# one meaning


def invalid(message: str) -> Outcome:
    return InvalidEvents, message


def of_event(message: str) -> Outcome:
    return invalid(f"NotificationEvents[1]: {message}")


def bad_type(said: str, name: str = "Type") -> str:
    return f'{name} is "{said}", it must be one of {", ".join(t.name for t in EventType)} or 0 to 11'


def bad_id(said: str) -> str:
    return f'Id is "{said}", it must be a whole number from {INT32_MIN} to {INT32_MAX}'


BATCHES: Final[dict[str, tuple[Request, Outcome]]] = {
    "the vendor's sample": (events(CANCELLED, CANCELLED), [("AppointmentCancelled", 699)]),
    "empty": (events(), []),
    "null": ({"NotificationEvents": None}, []),
    "absent": ({"Other": "x"}, invalid("NotificationEvents is missing")),
    "one": (events(TICKET), [("NewTicket", 12)]),
    "1,000": (
        events(*({"Type": "NewTicket", "Id": n} for n in range(1_000))),
        [("NewTicket", n) for n in range(1_000)],
    ),
    "1,001": (events(*[TICKET] * 1_001), (TooLarge, "batch has 1001 events, limit is 1000")),
    "duplicates": (events(TICKET, CANCELLED, TICKET), [("NewTicket", 12), ("AppointmentCancelled", 699)]),
    "digits": (events({"Type": "4", "Id": "699"}), [("AppointmentCancelled", 699)]),
    "leading zeros": (events({"Type": "04", "Id": "0000699"}), [("AppointmentCancelled", 699)]),
    "the ends of int32": (
        events({"Type": "Unknown", "Id": INT32_MIN}, {"Type": "AppointmentDeclined", "Id": INT32_MAX}),
        [("Unknown", INT32_MIN), ("AppointmentDeclined", INT32_MAX)],
    ),
    "other casings": ({"notificationEVENTS": [{"iD": 12, "tYPE": "newTICKET"}]}, [("NewTicket", 12)]),
    "unknown properties": (
        {"Other": "x", "NotificationEvents": [{"Id": 12, "Time": "y", "Type": "NewTicket"}], "More": ""},
        [("NewTicket", 12)],
    ),
    "a name of no type": (events(TICKET, {"Type": "NewTickets", "Id": 1}), of_event(bad_type("NewTickets"))),
    "a number of no type": (events(TICKET, {"Type": "12", "Id": 1}), of_event(bad_type("12").replace('"', ""))),
    "an Id past int32": (
        events(TICKET, {"Type": "Unknown", "Id": "2147483648"}),
        of_event(bad_id("2147483648").replace('"', "")),
    ),
    "an Id with a point": (events(TICKET, {"Type": "Unknown", "Id": "1.0"}), of_event(bad_id("1.0"))),
    "an Id that is a name": (events(TICKET, {"Type": "Unknown", "Id": "x"}), of_event(bad_id("x"))),
    "no Type": (events(TICKET, {"Id": 1}), of_event("Type is missing or null")),
    "no Id": (events(TICKET, {"Type": "Unknown"}), of_event("Id is missing or null")),
    "a null Type": (events(TICKET, {"Type": None, "Id": 1}), of_event("Type is missing or null")),
    "a null Id": (events(TICKET, {"Type": "Unknown", "Id": None}), of_event("Id is missing or null")),
    "an event without properties": (events(TICKET, {}), of_event("Type is missing or null")),
    "a null event": (events(TICKET, None), of_event("it is null, it must be an object with Type and Id")),
    "Type in two casings": (
        events(TICKET, {"Type": "NewTicket", "Id": 1, "type": "NewTicket"}),
        of_event("Type is given 2 times, as Type and type"),
    ),
    "Id in two casings": (
        events(TICKET, {"ID": 1, "Type": "NewTicket", "Id": 1}),
        of_event("Id is given 2 times, as ID and Id"),
    ),
    "a value for the list": ({"NotificationEvents": "x"}, invalid("NotificationEvents must be an array")),
}
SINGLES: Final[dict[str, tuple[Request, Outcome]]] = {
    "one": ({"NotificationEventType": "NewTicket", "Id": 12}, [("NewTicket", 12)]),
    "digits": ({"NotificationEventType": "4", "Id": "699"}, [("AppointmentCancelled", 699)]),
    "other casings": ({"iD": -1, "notificationEVENTtype": "unknown"}, [("Unknown", -1)]),
    "unknown properties": ({"Id": 12, "Type": "x", "NotificationEventType": 1, "Other": "y"}, [("NewTicket", 12)]),
    "absent": ({"Other": "x"}, invalid("NotificationEventType is missing or null")),
    "no type": ({"Id": 1}, invalid("NotificationEventType is missing or null")),
    "no Id": ({"NotificationEventType": "NewTicket"}, invalid("Id is missing or null")),
    "a null type": ({"NotificationEventType": None, "Id": 1}, invalid("NotificationEventType is missing or null")),
    "a null Id": ({"NotificationEventType": "NewTicket", "Id": None}, invalid("Id is missing or null")),
    "a name of no type": (
        {"NotificationEventType": "NewTickets", "Id": 1},
        invalid(bad_type("NewTickets", "NotificationEventType")),
    ),
    "an Id that is a name": ({"NotificationEventType": "NewTicket", "Id": "Type x"}, invalid(bad_id("Type x"))),
    "the plural's property": (events(TICKET), invalid("NotificationEventType is missing or null")),
    "Id in two casings": (
        {"NotificationEventType": "NewTicket", "Id": 1, "ID": 1},
        invalid("Id is given 2 times, as Id and ID"),
    ),
    "type in two casings": (
        {"NotificationEventType": "NewTicket", "NotificationeventType": "NewTicket", "Id": 1},
        invalid("NotificationEventType is given 2 times, as NotificationEventType and NotificationeventType"),
    ),
}
CASES: Final = [
    pytest.param(shape, request, outcome, id=f"{shape.name} {name}")
    for shape, cases in ((Shape.BATCH, BATCHES), (Shape.SINGLE, SINGLES))
    for name, (request, outcome) in cases.items()
]


@pytest.mark.parametrize(("shape", "request_", "outcome"), CASES)
@pytest.mark.parametrize("content_type", WRITERS)
def test_a_request_means_the_same_in_every_format(
    content_type: str, shape: Shape, request_: Request, outcome: Outcome
) -> None:
    try:
        body = WRITERS[content_type](request_, shape)
    except NotExpressible:
        assert content_type == FORM, "only a form has no word for null"
        return
    assert decoded(content_type, body, shape) == outcome


@pytest.mark.parametrize("content_type", WRITERS)
@pytest.mark.parametrize("shape", Shape)
@pytest.mark.parametrize("blank", [b"", b" \r\n\t"])
def test_an_empty_body_is_named_in_every_format(content_type: str, shape: Shape, blank: bytes) -> None:
    assert refusal(content_type, blank, shape=shape) == f"body is empty, it must be an object with {shape.holds}"


@pytest.mark.parametrize("content_type", WRITERS)
def test_bytes_that_are_no_utf_8_are_refused_in_every_format(content_type: str) -> None:
    body = WRITERS[content_type](events(TICKET) | {"x": "~"}, Shape.BATCH)
    assert decoded(content_type, body) == [("NewTicket", 12)]
    assert refusal(content_type, body.replace(b"~", b"\xe9").replace(b"%7E", b"%E9")) == "body is not UTF-8"


@pytest.mark.parametrize("content_type", WRITERS)
@pytest.mark.parametrize("charset", ["utf-8", "utf-16", "utf-16be", "utf-32", "us-ascii", "windows-1252", "cp037"])
def test_a_charset_is_honoured_in_every_format(content_type: str, charset: str) -> None:
    body = WRITERS[content_type](events(TICKET, CANCELLED), Shape.BATCH).decode().encode(charset)
    outcome = decoded(f"{content_type}; charset={charset}", body)
    assert outcome == [("NewTicket", 12), ("AppointmentCancelled", 699)]


_EVENTS = st.lists(st.tuples(st.sampled_from(EventType), st.integers(INT32_MIN, INT32_MAX)), max_size=8)


@given(_EVENTS)
def test_a_batch_survives_every_format(pairs: list[tuple[EventType, int]]) -> None:
    batch = Batch(Event(*pair) for pair in pairs)
    request = events(*({"Type": type_.name, "Id": id_} for type_, id_ in pairs))
    for content_type, write in WRITERS.items():
        again = decoder_for(content_type.encode())(write(request, Shape.BATCH))
        assert (again.members, again.json) == (batch.members, batch.json), content_type


@given(st.sampled_from(sorted(WRITERS)), st.sampled_from(Shape), st.data())
def test_any_damage_is_a_batch_or_a_refusal(content_type: str, shape: Shape, data: st.DataObject) -> None:
    request = events(TICKET, CANCELLED) if shape is Shape.BATCH else {"NotificationEventType": 1, "Id": 2}
    content = bytearray(WRITERS[content_type](request, shape))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(content) - 1))
        content[at : at + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
    decoded(content_type, bytes(content), shape)
