"""Bytes to batches: what a body may look like, what it means, and what a caller is told where it is wrong."""

from __future__ import annotations

import codecs
import encodings
import itertools
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from server.api import bodies
from server.api.bodies import Shape, decoder_for
from server.api.formats import charsets
from server.api.formats.json_body import json_batch
from server.api.formats.meaning import batch_of
from server.errors import BadRequest, ClearsyncError, InvalidEvents, TooLarge, UnsupportedMedia
from server.events import INT32_MAX, INT32_MIN, MAX_EVENTS, Batch, Event, EventType
from tests.api.depth import deepest_decoded

LONGEST_MESSAGE = 512
"""Characters; a message is for a person, and is not made larger by what the caller sent."""

TICKET = Event(EventType.NewTicket, 1)


def body(events: object, name: str = "NotificationEvents") -> bytes:
    return json.dumps({name: events}).encode()


def one(type_: str = '"NewTicket"', id_: str = "1") -> bytes:
    """A batch of one event whose values are given as JSON text."""
    return f'{{"NotificationEvents":[{{"Type":{type_},"Id":{id_}}}]}}'.encode()


def loosely(exact: bytes) -> bytes:
    """The same request in the vendor client's casing, which is never decoded straight into slots."""
    for name in (b"NotificationEvents", b"Type", b"Id"):
        exact = exact.replace(b'"%b":' % name, b'"%b":' % (name[:1].lower() + name[1:]))
    return exact


def refusal(content: bytes, kind: type[ClearsyncError] = BadRequest) -> str:
    """The message of a body that is refused."""
    with pytest.raises(kind) as caught:
        json_batch(content)
    message = str(caught.value)
    assert len(message) <= LONGEST_MESSAGE
    assert message.isprintable()
    return message


def casings(name: str) -> Iterator[str]:
    """All ways to write a name of ASCII letters."""
    return map("".join, itertools.product(*((c.lower(), c.upper()) for c in name)))


# what is taken


@pytest.mark.parametrize(
    "outer", ["NotificationEvents", "notificationEvents", "NOTIFICATIONEVENTS", "nOtificationeventS"]
)
@pytest.mark.parametrize(("type_", "id_"), [("Type", "Id"), ("type", "id"), ("TYPE", "ID"), ("tYpE", "iD")])
def test_property_names_match_in_any_case(outer: str, type_: str, id_: str) -> None:
    assert json_batch(body([{type_: "NewTicket", id_: 1}], outer)).events() == [TICKET]


@pytest.mark.parametrize("kind", list(EventType), ids=lambda kind: kind.name)
def test_a_type_is_a_name_in_any_case_or_its_number(kind: EventType) -> None:
    name, number = kind.name, int(kind)
    for said in (name, name.lower(), name.upper(), name.swapcase(), number, str(number), f"0{number}"):
        for exact in (True, False):
            content = one(json.dumps(said))
            assert json_batch(content if exact else loosely(content)).events() == [Event(kind, 1)], said


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("0", 0),
        ("-0", 0),
        ("1", 1),
        ("-1", -1),
        (str(INT32_MAX), INT32_MAX),
        (str(INT32_MIN), INT32_MIN),
        ('"7"', 7),
        ('"-7"', -7),
        ('"-0"', 0),
        ('"007"', 7),
        (f'"{INT32_MAX}"', INT32_MAX),
        (f'"{INT32_MIN}"', INT32_MIN),
        ('"00000000002147483647"', INT32_MAX),
        ('"\\u0037"', 7),
    ],
)
def test_an_id_is_an_int32_as_number_or_digits(said: str, meant: int) -> None:
    content = one(id_=said)
    for form in (content, loosely(content)):
        batch = json_batch(form)
        assert batch.events() == [Event(EventType.NewTicket, meant)]
        assert batch.members == (b"1:%d" % meant,)


def test_unknown_properties_are_ignored() -> None:
    event = {"Type": "NewTicket", "Id": 1, "TableRight": None, "Deep": [{"Type": 9, "Id": "x"}], "Types": 3, "": 0}
    request = {"NotificationEvents": [event], "Id": 5, "Events": [1, 2], "notification events": "x"}
    assert json_batch(json.dumps(request).encode()).events() == [TICKET]


@pytest.mark.parametrize("nothing", ["null", "[]", " [ \n ] "])
@pytest.mark.parametrize("name", ["NotificationEvents", "notificationevents"])
def test_no_events_are_an_empty_batch(nothing: str, name: str) -> None:
    batch = json_batch(f'{{"{name}":{nothing}}}'.encode())
    assert not batch
    assert batch.members == ()
    assert batch.json == b"[]"


def test_duplicates_are_one_event_and_the_order_is_kept() -> None:
    events = [
        {"Type": "NewTicket", "Id": 2},
        {"Type": "AppointmentCancelled", "Id": 699},
        {"Type": "NewTicket", "Id": 1},
        {"type": "appointmentcancelled", "id": "699"},
        {"TYPE": 4, "ID": 699},
        {"Type": "1", "Id": "02"},
        {"Type": "Unknown", "Id": 2},
    ]
    batch = json_batch(body(events))
    assert batch.members == (b"1:2", b"4:699", b"1:1", b"0:2")
    assert json.loads(batch.json) == [
        {"Type": "NewTicket", "Id": 2},
        {"Type": "AppointmentCancelled", "Id": 699},
        {"Type": "NewTicket", "Id": 1},
        {"Type": "Unknown", "Id": 2},
    ]


def test_the_vendors_sample_is_one_event() -> None:
    sample = b"""{
  "NotificationEvents": [
    {
      "Type": "AppointmentCancelled",
      "Id": 699
    },
    {
      "Type": "AppointmentCancelled",
      "Id": 699
    }
  ]
}"""
    assert json_batch(sample).events() == [Event(EventType.AppointmentCancelled, 699)]


def test_a_byte_order_mark_of_utf_8_is_skipped_once() -> None:
    mark = b"\xef\xbb\xbf"
    assert json_batch(mark + one()).events() == [TICKET]
    assert json_batch(mark + loosely(one())).events() == [TICKET]
    assert "not JSON" in refusal(mark + mark + one())
    assert "empty" in refusal(mark)


# what is refused


@pytest.mark.parametrize(
    "said",
    [
        str(INT32_MAX + 1),
        str(INT32_MIN - 1),
        f'"{INT32_MAX + 1}"',
        f'"{INT32_MIN - 1}"',
        str(2**32 + 1),
        str(2**63),
        str(-(2**63) - 1),
        str(2**64 + 1),
        str(10**25),
        f'"{10**19}"',
        "1.0",
        "1.5",
        "-0.0",
        "1e2",
        "1E0",
        "1e-2",
        "1e300",
        '"1.0"',
        '"1e2"',
        '"+1"',
        '" 1"',
        '"1 "',
        '"1\\n"',
        '"0x1"',
        '"1_0"',
        '"--1"',
        '"-"',
        '""',
        '"\\u0663"',
        '"\\uff11"',
        '"\\u00b2"',
        '"\\u2212"',
        '"NewTicket"',
        "true",
        "false",
        "[]",
        "[1]",
        "{}",
        '{"Id":1}',
    ],
)
def test_an_id_that_is_no_int32_is_refused(said: str) -> None:
    for content in (one(id_=said), loosely(one(id_=said))):
        message = refusal(content, InvalidEvents)
        assert message.startswith("NotificationEvents[0]: Id ")
        assert f"a whole number from {INT32_MIN} to {INT32_MAX}" in message
        if said.strip('-"').isdigit():
            assert said.strip('"') in message


@pytest.mark.parametrize(
    "said",
    [
        "12",
        "-1",
        '"12"',
        '"-1"',
        str(2**31),
        str(2**70),
        "0.0",
        "1.0",
        "1e0",
        "true",
        "false",
        '""',
        '" "',
        '" NewTicket"',
        '"NewTicket "',
        '"NewTicket\\n"',
        '"NewTicket\\u0000"',
        '"New Ticket"',
        '"NewTickets"',
        '"EventType.NewTicket"',
        '"TYPE_BY_NAME"',
        '"\\u0661"',
        '"\\uff11"',
        '"\\u00b9"',
        '"NewT\\u0131cket"',
        '"NEWT\\u0130CKET"',
        '"NewTi\\u0307cket"',
        '"Appo\\ufb01ntment"',
        '"Unk\\u0578own"',
        '"\\uff35nknown"',
        '"Quote\\u0410pprovalDenied"',
        '"New\\u200bTicket"',
        "[]",
        '["NewTicket"]',
        "{}",
        '{"Type":1}',
    ],
)
def test_a_type_that_is_none_of_the_twelve_is_refused(said: str) -> None:
    for content in (one(said), loosely(one(said))):
        message = refusal(content, InvalidEvents)
        assert message.startswith("NotificationEvents[0]: Type ")
        assert "one of Unknown, NewTicket," in message
        assert "or 0 to 11" in message


@pytest.mark.parametrize("said", ["NewTic\u212aet", "TicketE\u017fcalated", "QuoteApprovalDen\u0131ed"])
def test_a_letter_that_only_folds_to_ascii_does_not_spell_a_type(said: str) -> None:
    """U+212A, the Kelvin sign, is k in lower case; .NET's ordinal comparison, the vendor's, does not say so."""
    refusal(one(json.dumps(said)), InvalidEvents)


@pytest.mark.parametrize("name", ["Type", "Id"])
def test_type_and_id_are_required_in_every_event(name: str) -> None:
    whole = {"Type": "NewTicket", "Id": 1}
    without = {key: value for key, value in whole.items() if key != name}
    for event in (without, without | {name: None}, without | {name.lower(): None}, without | {f"{name}s": 1}):
        message = refusal(body([whole, event]), InvalidEvents)
        assert message == f"NotificationEvents[1]: {name} is missing or null"


@pytest.mark.parametrize("event", [None, True, 1, 1.5, "NewTicket", [], ["NewTicket", 1], "x" * 200_000])
def test_an_event_is_an_object(event: object) -> None:
    whole = {"Type": "NewTicket", "Id": 1}
    assert refusal(body([whole, whole, event]), InvalidEvents).startswith("NotificationEvents[2]: ")


@pytest.mark.parametrize("content", [b"{}", b'{"Events":[]}', b'{"NotificationEvent":[]}', b'{"":[]}'])
def test_without_notification_events_it_is_named(content: bytes) -> None:
    assert refusal(content, InvalidEvents) == "NotificationEvents is missing"


@pytest.mark.parametrize("events", [{}, {"Type": "NewTicket", "Id": 1}, "", "x", "[]", 0, 1, 1.5, True, False])
def test_notification_events_is_an_array(events: object) -> None:
    assert refusal(body(events), InvalidEvents) == "NotificationEvents must be an array"


@pytest.mark.parametrize("content", [b"[]", b'[{"Type":"NewTicket","Id":1}]', b'"x"', b"1", b"1.5", b"null", b"true"])
def test_a_body_is_an_object(content: bytes) -> None:
    assert refusal(content) == "body must be an object with NotificationEvents"


@pytest.mark.parametrize("content", [b"", b" ", b"\r\n\t ", b"\xef\xbb\xbf \n"])
def test_an_empty_body_is_named(content: bytes) -> None:
    assert "empty" in refusal(content)


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(one()[:-1], id="truncated at the end"),
        pytest.param(one()[:20], id="truncated in a name"),
        pytest.param(one()[:-5], id="truncated in an event"),
        pytest.param(one() + b"x", id="trailing letter"),
        pytest.param(one() + one(), id="two bodies"),
        pytest.param(one() + b"\x00", id="trailing NUL"),
        pytest.param(b'{"NotificationEvents":[],}', id="trailing comma"),
        pytest.param(b"{'NotificationEvents':[]}", id="single quotes"),
        pytest.param(b"{NotificationEvents:[]}", id="bare name"),
        pytest.param(b'// x\n{"NotificationEvents":[]}', id="comment"),
        pytest.param(one(id_="NaN"), id="NaN"),
        pytest.param(one(id_="Infinity"), id="Infinity"),
        pytest.param(one(id_="-Infinity"), id="-Infinity"),
        pytest.param(one(id_="01"), id="leading zero"),
        pytest.param(one(id_="+1"), id="plus sign"),
        pytest.param(one(id_="0x1"), id="hexadecimal"),
        pytest.param(one(id_="1_0"), id="underscore"),
        pytest.param(one(id_="-"), id="only a sign"),
        pytest.param(one(id_="1" * 5_000), id="5,000 digits"),
        pytest.param(one(id_="1" * 200_000), id="200,000 digits"),
        pytest.param(one(id_="1e999"), id="a number past all floats"),
        pytest.param(one('"\\ud800"'), id="lone surrogate"),
        pytest.param(one('"\n"'), id="bare control character"),
        pytest.param(one("True"), id="Python's true"),
        pytest.param(b'{"x":NaN,"NotificationEvents":[]}', id="NaN in a property that is ignored"),
        pytest.param(b"NotificationEvents=1", id="a form"),
        pytest.param(b"<NotificationEvents/>", id="XML"),
        pytest.param(bytes(1_000), id="NUL bytes"),
        pytest.param(one().decode().encode("utf-16"), id="UTF-16 with mark"),
        pytest.param(one().decode().encode("utf-16-le"), id="UTF-16 LE"),
        pytest.param(one().decode().encode("utf-16-be"), id="UTF-16 BE"),
        pytest.param(one().decode().encode("utf-32"), id="UTF-32"),
        pytest.param(one().decode().encode("utf-7").replace(b"{", b"+AHs-"), id="UTF-7"),
    ],
)
def test_what_is_no_json_is_refused(content: bytes) -> None:
    assert refusal(content).startswith("body is not JSON")


@pytest.mark.parametrize(
    "text",
    [b"\xff", b"\xc3", b"\xc0\xaf", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xe9t\xe9", b"\x80"],
    ids=["0xff", "cut", "overlong", "surrogate", "past U+10FFFF", "Latin-1", "continuation"],
)
def test_what_is_no_utf_8_is_refused(text: bytes) -> None:
    for content in (
        b'{"x":"%b","NotificationEvents":[]}' % text,
        b'{"%b":1,"NotificationEvents":[]}' % text,
        one().replace(b"NewTicket", text),
        loosely(one()).replace(b"NewTicket", text),
    ):
        assert refusal(content) == "body is not UTF-8"


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"[" * 100_000, id="arrays"),
        pytest.param(b'{"a":' * 50_000, id="objects"),
        pytest.param(b'{"NotificationEvents":' + b"[" * 100_000 + b"]" * 100_000 + b"}", id="events"),
        pytest.param(one("[" * 100_000 + "]" * 100_000), id="Type"),
        pytest.param(one(id_='{"a":' * 30_000 + "1" + "}" * 30_000), id="Id"),
        pytest.param(b'{"x":' + b"[" * 100_000 + b"]" * 100_000 + b',"NotificationEvents":[]}', id="ignored"),
    ],
)
def test_deep_nesting_is_refused(content: bytes) -> None:
    assert refusal(content) == "body is nested too deeply"


@pytest.mark.parametrize("where", ["Type", "Id", "event"])
def test_no_depth_of_nesting_is_one_too_many(where: str) -> None:
    """What the decoder still takes may be too deep for whoever shows it."""
    deepest = deepest_decoded()
    for depth in range(deepest - 50, deepest + 10):
        nested = "[" * depth + "]" * depth
        content = {"Type": one(nested), "Id": one(id_=nested), "event": f'{{"NotificationEvents":[{nested}]}}'.encode()}
        refusal(content[where])
        refusal(loosely(content[where]))


# twice the same


@pytest.mark.parametrize(
    ("first", "second"), [("NotificationEvents", "notificationEvents"), ("NOTIFICATIONEVENTS", "notificationevents")]
)
def test_notification_events_in_two_casings_is_ambiguous(first: str, second: str) -> None:
    for a, b in ((first, second), (second, first)):
        for same in ([], None, [{"Type": "NewTicket", "Id": 1}]):
            message = refusal(json.dumps({a: same, b: same}).encode(), InvalidEvents)
            assert message.startswith("NotificationEvents is given 2 times")
            assert a in message
            assert b in message


@pytest.mark.parametrize(("name", "value"), [("Type", "NewTicket"), ("Id", 1)])
def test_type_or_id_in_two_casings_is_ambiguous(name: str, value: object) -> None:
    whole = {"Type": "NewTicket", "Id": 1}
    for other in (name.lower(), name.upper()):
        for said in (value, None):
            message = refusal(body([whole, whole | {other: said}]), InvalidEvents)
            assert message.startswith(f"NotificationEvents[1]: {name} is given 2 times")


def test_many_casings_make_no_long_message() -> None:
    names = itertools.islice(casings("NotificationEvents"), 9_000)
    message = refusal(json.dumps(dict.fromkeys(names, 1)).encode(), InvalidEvents)
    assert message.startswith("NotificationEvents is given 9000 times")
    refusal(body([dict.fromkeys(casings("Type"), 1) | {"Id": 1}]), InvalidEvents)


def test_the_same_name_twice_means_the_same_in_both_forms() -> None:
    """In one casing the last one counts, as in most readers of JSON (RFC 8259, 4)."""
    content = (
        b'{"NotificationEvents":[{"Type":"NewTicket","Id":1,"Id":2}],"NotificationEvents":[{"Type":"Unknown","Id":3}]}'
    )
    for form in (content, loosely(content)):
        assert json_batch(form).events() == [Event(EventType.Unknown, 3)]


# bounds


@pytest.mark.parametrize("form", [lambda b: b, loosely], ids=["exact", "loose"])
def test_a_batch_has_at_most_a_thousand_events(form: Callable[[bytes], bytes]) -> None:
    events = [{"Type": "NewTicket", "Id": n} for n in range(MAX_EVENTS)]
    assert len(json_batch(form(body(events)))) == 1_000
    for over in (1, 2, 1_000):
        message = refusal(form(body(events + events[:over])), TooLarge)
        assert message == f"batch has {1_000 + over} events, limit is 1000"


def test_a_thousand_are_counted_before_duplicates_are_removed() -> None:
    refusal(body([{"Type": "NewTicket", "Id": 1}] * 1_001), TooLarge)
    assert len(json_batch(body([{"Type": "NewTicket", "Id": 1}] * 1_000))) == 1


def test_too_many_are_refused_before_they_are_read() -> None:
    refusal(body([None] * 1_001), TooLarge)


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(one(json.dumps("x" * 200_000)), id="a long Type"),
        pytest.param(one(json.dumps("\u0000" * 40_000)), id="a long Type that is escaped"),
        pytest.param(one(json.dumps("\U0001f600" * 20_000)), id="a long Type of wide characters"),
        pytest.param(one(id_=json.dumps("1" * 200_000)), id="a long Id"),
        pytest.param(one(id_="1" * 4_000), id="an Id of 4,000 digits"),
        pytest.param(one(json.dumps([1] * 60_000)), id="a wide Type"),
        pytest.param(one(id_=json.dumps({str(n): n for n in range(10_000)})), id="a wide Id"),
        pytest.param(body(["y" * 200_000]), id="a long event"),
        pytest.param(body([{"x" * 200_000: 1}]), id="a long name"),
    ],
)
def test_a_message_does_not_grow_with_what_was_sent(content: bytes) -> None:
    for form in (content, loosely(content)):
        assert "xxxxxxxxxx" * 10 not in refusal(form)


# the fast path and the slow one

_TYPES = st.sampled_from(EventType)
_INT32 = st.integers(INT32_MIN, INT32_MAX)
_EVENTS = st.lists(st.tuples(_TYPES, _INT32), max_size=30)


def _cased(draw: st.DrawFn, name: str) -> str:
    return "".join(
        c.upper() if up else c.lower()
        for c, up in zip(name, draw(st.lists(st.booleans(), min_size=len(name), max_size=len(name))), strict=True)
    )


@st.composite
def _two_forms(draw: st.DrawFn) -> tuple[bytes, bytes]:
    """One meaning in the exact form, and with shuffled casings, order, digits, numbers and unknown properties."""
    events = draw(_EVENTS)
    exact = [{"Type": type_.name, "Id": id_} for type_, id_ in events]
    shuffled = []
    for type_, id_ in events:
        said_type: object = draw(st.sampled_from([_cased(draw, type_.name), int(type_), str(int(type_))]))
        said_id: object = draw(st.sampled_from([id_, str(id_)]))
        pairs = [(_cased(draw, "Type"), said_type), (_cased(draw, "Id"), said_id), ("Other", draw(st.none() | _INT32))]
        shuffled.append(dict(draw(st.permutations(pairs))))
    return json.dumps({"NotificationEvents": exact}).encode(), json.dumps(
        {_cased(draw, "NotificationEvents"): shuffled}, indent=draw(st.none() | st.just(1))
    ).encode()


@given(_two_forms())
def test_both_forms_of_a_request_mean_the_same(forms: tuple[bytes, bytes]) -> None:
    exact, shuffled = (json_batch(form) for form in forms)
    assert exact.members == shuffled.members
    assert exact.json == shuffled.json


_VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=12),
    _INT32.map(str),
    _TYPES.map(lambda kind: kind.name),
    st.lists(st.none(), max_size=2),
    st.dictionaries(st.sampled_from(["Type", "Id", "x"]), st.none(), max_size=2),
)
_EVENT = st.fixed_dictionaries({}, optional={"Type": _VALUES, "Id": _VALUES, "Other": _VALUES}) | _VALUES
_REQUEST = (
    st.fixed_dictionaries({}, optional={"NotificationEvents": _VALUES | st.lists(_EVENT, max_size=4), "X": _VALUES})
    | _VALUES
)


def _outcome(decode: Callable[[Any], Batch], request: object) -> object:
    try:
        return decode(request).members
    except ClearsyncError as error:
        kind, message = type(error), str(error)
    assert len(message) <= LONGEST_MESSAGE
    return kind, message


@given(_REQUEST)
@example({"NotificationEvents": [{"Type": "NewTicket", "Id": 1.0}]})
@example({"NotificationEvents": [{"Type": "NewTicket", "Id": True}]})
@example({"NotificationEvents": [{"Type": "newticket", "Id": 2**31}]})
@example({"NotificationEvents": [{"Type": "Unknown", "Id": -(2**63)}]})
def test_the_fast_path_takes_nothing_that_the_rules_refuse(request_: object) -> None:
    """`batch_of` is the slow path alone."""
    assert _outcome(json_batch, json.dumps(request_).encode()) == _outcome(batch_of, request_)


@given(st.binary(max_size=200))
def test_any_bytes_are_a_batch_or_a_refusal(content: bytes) -> None:
    _outcome(json_batch, content)


@given(st.data())
def test_any_damage_is_a_batch_or_a_refusal(data: st.DataObject) -> None:
    content = bytearray(body([{"Type": "AppointmentCancelled", "Id": 699}, {"type": 4, "id": "-1"}]))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(content) - 1))
        content[at : at + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
    _outcome(json_batch, bytes(content))


# Content-Type


@pytest.mark.parametrize(
    "content_type",
    [
        b"application/json",
        b"text/json",
        b"Application/JSON",
        b" application/json ",
        b"application/json;charset=utf-8",
        b"application/json; charset=utf-8",
        b"application/json; charset=UTF-8",
        b'application/json; charset="utf-8"',
        b"application/json ; Charset = utf8",
        b"application/json; charset=utf-8; charset=UTF8",
        b"application/merge-patch+json",
        b"application/json;",
        b"application/json; odata.metadata=minimal",
        b"application/json; version=1; charset=utf-8",
        b"text/json; charset=Utf-8; x",
    ],
)
def test_a_content_type_that_is_served(content_type: bytes) -> None:
    for _ in range(2):  # the second time from what is known
        assert decoder_for(content_type) is json_batch


@pytest.mark.parametrize(
    "content_type",
    [
        b"",
        b" ",
        b";charset=utf-8",
        b"json",
        b"application",
        b"application/",
        b"application/jsonp",
        b"application/json-seq",
        b"application/json+xml",
        b"application/problem+json",
        b"text/plain",
        b"text/javascript",
        b"*/*",
        b"application/*",
        b"application/octet-stream",
        b"multipart/form-data; boundary=x",
        b"application/json, text/json",
        b"application/json charset=utf-8",
        b"application\\json",
        "application/j\u017fon".encode(),
        b"\xff\xfe",
    ],
)
def test_a_content_type_that_is_not_served(content_type: bytes) -> None:
    with pytest.raises(UnsupportedMedia) as caught:
        decoder_for(content_type)
    message = str(caught.value)
    assert message.startswith("Content-Type is ")
    assert "application/json, text/json" in message
    assert len(message) <= LONGEST_MESSAGE


@pytest.mark.parametrize(
    "charset",
    ["us-ascii", "utf-16", "utf-16le", "UTF-32", "iso-8859-1", "latin1", "windows-1252", '"Shift_JIS"', "037"],
)
def test_a_charset_that_python_has_a_codec_for(charset: str) -> None:
    codec = charset.strip('"')
    for text in (one().decode(), loosely(one()).decode()):
        for shape_of in ("application/json; charset=%s", "text/json;x=y;CHARSET=%s"):
            assert decoder_for((shape_of % charset).encode())(text.encode(codec)).events() == [TICKET]


@pytest.mark.parametrize("codec", ["utf-8", "utf-16le", "utf-16be", "utf-32le", "utf-32be"])
def test_a_byte_order_mark_is_skipped_in_every_charset(codec: str) -> None:
    decode = decoder_for(b"application/json; charset=" + codec.encode())
    assert decode(("\ufeff" + one().decode()).encode(codec)).events() == [TICKET]


@pytest.mark.parametrize(
    ("charset", "content"),
    [
        (b"us-ascii", '{"NotificationEvents":[],"x":"é"}'.encode()),
        (b"utf-16", one()),
        (b"utf-16", one().decode().encode("utf-16")[:-1]),
        (b"utf-16", one().decode().encode("utf-16-le") + b"\x00\xd8"),
        (b"utf-32", one()),
        (b"shift_jis", one() + b"\x81"),
        (b"windows-1252", one() + b"\x81"),
    ],
)
def test_bytes_that_are_not_in_the_charset_are_refused(charset: bytes, content: bytes) -> None:
    with pytest.raises(BadRequest, match=r"body is not [A-Z]"):
        decoder_for(b"application/json; charset=" + charset)(content)


@pytest.mark.parametrize(
    "charset",
    [
        *("", '""', "*", "x", "utf-9", "utf-8!", "utf-8 x", "ütf-8", "a" * 10_000, "../utf-8", "aliases"),
        *("utf-7", "unicode-1-1-utf-7", "utf7", "idna", "punycode", "mbcs", "oem", "undefined"),
        *(
            "unicode_escape",
            "raw-unicode-escape",
            "rot13",
            "rot_13",
            "zlib",
            "zlib_codec",
            "base64",
            "hex",
            "bz2",
            "uu",
        ),
        *("quopri", "quoted-printable"),
    ],
)
def test_a_charset_that_is_not_served(charset: str) -> None:
    for content_type in (
        "application/json; charset=%s",
        "text/xml;x=y;CHARSET=%s",
        "application/x-www-form-urlencoded; charset=utf-8; charset=%s",
    ):
        with pytest.raises(UnsupportedMedia, match=r"charset is .*, it must be utf-8") as caught:
            decoder_for((content_type % charset).encode())
        assert len(str(caught.value)) <= LONGEST_MESSAGE


def test_two_charsets_are_refused() -> None:
    with pytest.raises(UnsupportedMedia, match="charset is given as latin_1 and utf_8, it must be one"):
        decoder_for(b"application/json; charset=utf-8; charset=latin1")


def test_every_codec_makes_text_of_bytes() -> None:
    """The look-up in Python's own tables says so, and nobody else."""
    for codec in charsets._CODECS:
        assert codecs.lookup(codec)._is_text_encoding, codec
        assert isinstance(b"".decode(codec), str)


def test_names_of_charsets_leave_nothing_behind() -> None:
    """Python remembers each name that it ever looked up."""
    known = len(encodings._cache)
    for n in range(100):
        with pytest.raises(UnsupportedMedia):
            decoder_for(b"application/json; charset=x-%d" % n)
    assert len(encodings._cache) == known


def test_a_long_content_type_makes_no_long_message() -> None:
    for content_type in (b"x" * 16_000, b"application/json; charset=" + b"x" * 16_000, b"\x01" * 16_000):
        with pytest.raises(UnsupportedMedia) as caught:
            decoder_for(content_type)
        assert len(str(caught.value)) <= LONGEST_MESSAGE


def test_what_is_known_of_content_types_is_bounded() -> None:
    for n in range(1_000):
        assert decoder_for(b"application/json; x=%d" % n) is json_batch
        assert decoder_for(b"application/json; x=%d" % n, Shape.SINGLE) is not json_batch
    assert len(bodies._KNOWN) <= 64
    assert len(bodies._KNOWN_SINGLE) <= 64
