"""Frames and cursors: what leaves is exact, what comes in is read leniently."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.frames import Opcode
from websockets.streams import StreamReader

from server import wire
from server.errors import BadRequest
from server.events import Cursor, Event, EventType, Seq
from server.wire import CloseCode, Frame

members = st.builds(lambda t, i: Event(t, i).member, st.sampled_from(EventType), st.integers(-(2**31), 2**31 - 1))
entry_lists = st.lists(st.tuples(members, st.integers(1, 60)), max_size=60).map(lambda e: sorted(e, key=lambda x: x[1]))


def test_a_live_clear_is_compact_json() -> None:
    frame = wire.clear("k3f9", 1795, b'[{"Type":"NewTicket","Id":1}]')
    assert frame.json == b'{"type":"clear","cursor":"k3f9-1795","at":1795,"events":[{"Type":"NewTicket","Id":1}]}'
    assert frame.seq == 1795


@given(entry_lists)
def test_handled_events_are_json_with_the_time_of_each(entries: list[tuple[bytes, int]]) -> None:
    events: list[dict[str, Any]] = json.loads(wire.handled_at(entries))
    assert [(Event.parse(e["Type"], e["Id"]).member, e["At"]) for e in events] == entries
    assert all(list(event) == ["Type", "Id", "At"] for event in events)


def test_a_snapshot_is_its_parts() -> None:
    entries = [(b"1:%d" % number, number) for number in range(5)]
    for size in (1, 2, 5, 9):
        parts = [wire.joined(entries[start : start + size]) for start in range(0, 5, size)]
        whole = json.loads(wire.snapshot(Cursor("s", Seq(5)), reset=True, parts=[b"", *parts, b""]))
        assert whole == {"cursor": "s-5", "reset": True, "events": json.loads(wire.handled_at(entries))}
    assert wire.snapshot(Cursor("s", Seq(5)), reset=False, parts=[]) == b'{"cursor":"s-5","reset":false,"events":[]}'


@pytest.mark.parametrize("length", [0, 1, 125, 126, 65535, 65536, 70000])
def test_a_frame_is_one_unmasked_websocket_text_frame(length: int) -> None:
    from websockets.frames import Frame as Parsed

    reader = StreamReader()
    reader.feed_data(Frame(b"x" * length).websocket)
    parser = Parsed.parse(reader.read_exact, mask=False)
    with pytest.raises(StopIteration) as parsed:
        next(parser)
    frame = parsed.value.value
    assert (frame.opcode, bytes(frame.data), frame.fin) == (Opcode.TEXT, b"x" * length, True)


def test_answers_give_the_ref_back_only_where_there_was_one() -> None:
    assert wire.recorded("r").json == b'{"type":"recorded","ref":"r"}'
    assert wire.recorded(None).json == b'{"type":"recorded"}'
    assert json.loads(wire.checked("r", [(b"1:5", 9)]).json) == {
        "type": "checked",
        "ref": "r",
        "events": [{"Type": "NewTicket", "Id": 5, "At": 9}],
    }
    assert json.loads(wire.error(None, "busy", "wait").json) == {"type": "error", "code": "busy", "message": "wait"}


def test_decode_ignores_what_it_does_not_know() -> None:
    frame = wire.decode(b'{"type":"check","ref":"r","events":[1],"new":{"a":1}}')
    assert (frame.type, frame.ref, frame.events) == ("check", "r", [1])
    assert wire.decode(b"{}").type is None


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"x",
        b"[]",
        b"1",
        b'"ping"',
        b"null",
        b'{"type":"ping"',
        b"\xff",
        b'{"ref":1}',
        b'{"ref":"%b"}' % (b"x" * 65),
    ],
)
def test_decode_refuses_what_is_no_frame(text: bytes) -> None:
    with pytest.raises(wire.NotAFrame):
        wire.decode(text)


def test_decode_refuses_nesting_that_is_too_deep() -> None:
    with pytest.raises(wire.NotAFrame):
        wire.decode(b'{"events":' + b"[" * 60_000 + b"]" * 60_000 + b"}")


def test_close_codes_say_whether_to_come_back() -> None:
    assert {code for code in CloseCode if not code.reconnect} == {
        CloseCode.TOO_BIG,
        CloseCode.FORBIDDEN,
        CloseCode.PROTOCOL_ERROR,
    }


@pytest.mark.parametrize(
    ("cursor", "position"),
    [(None, None), ("0", 0), ("k3f9-17", 17), ("other-17", 0)],
)
def test_position(cursor: str | None, position: int | None) -> None:
    assert wire.position(None if cursor is None else Cursor.parse(cursor), "k3f9") == position


def test_cursors_round_trip() -> None:
    for text in ("0", "k3f9-0", "k3f9-1795456363957"):
        assert str(Cursor.parse(text)) == text
    assert Cursor("k3f9", Seq(5)) == Cursor.parse("k3f9-5")


@pytest.mark.parametrize(
    "text", ["", "1", "-1", "k3f9", "k3f9-", "-5", "K-5", "k3f9-5x", "k3f9-1e3", "k 3-5", "k-" + "9" * 17]
)
def test_a_cursor_that_is_not_of_our_form_is_refused(text: str) -> None:
    with pytest.raises(BadRequest):
        Cursor.parse(text)


@pytest.mark.parametrize(
    ("query", "device", "cursor"),
    [("device=phone", "phone", None), ("cursor=k3f9-1&device=a%3Ab", "a:b", "k3f9-1"), ("device=p&cursor=", "p", None)],
)
def test_sync_query(query: str, device: str, cursor: str | None) -> None:
    found, at, _ = wire.sync_query(query)
    assert (found, str(at) if at else None) == (device, cursor)


@pytest.mark.parametrize(
    "query", ["", "cursor=0", "device=", "device=-", "device=%FF", "device=a%20b", "device=p&cursor=x"]
)
def test_sync_query_refuses(query: str) -> None:
    with pytest.raises(BadRequest):
        wire.sync_query(query)


def test_a_member_that_is_no_event_we_know_hides_no_other() -> None:
    entries = [(b"12:1", 5), (b"1:7", 6), (b"x", 7), (b"1:x", 7), (b"1:8", 8)]
    assert [(e["Id"], e["At"]) for e in json.loads(wire.handled_at(entries))] == [(7, 6), (8, 8)]


# as an event stream writes them


def test_an_event_carries_the_cursor_as_its_id() -> None:
    frame = wire.clear("k3x9", 7, b'[{"Type":"NewTicket","Id":12}]')
    assert wire.event(frame) == b"id: k3x9-7\ndata: %b\n\n" % frame.json
    assert wire.event(wire.welcome(Cursor.parse("0"), 1, 25)).startswith(b"id: 0\ndata: {")
    assert wire.event(wire.reset("k3x9", 3)).startswith(b"id: k3x9-3\n")


def test_what_moves_no_position_has_no_id() -> None:
    assert wire.event(wire.close(CloseCode.RESTART, "re\nstart")) == (
        b'data: {"type":"close","code":1012,"reason":"re\\nstart"}\n\n'
    )
    assert wire.event(wire.pong()) == b'data: {"type":"pong"}\n\n'


def test_several_frames_are_as_many_events() -> None:
    parts = [wire.clear("k3x9", seq, b"[]") for seq in (7, 8)]
    assert wire.event(wire.Frames(parts)) == wire.event(parts[0]) + wire.event(parts[1])


def test_an_event_is_one_line_whatever_blanks_the_announced_events_have() -> None:
    frame = wire.clear("k3x9", 7, b'[\n{"Type":\r"NewTicket","Id":12}\r\n]')
    id_, data, *rest = wire.event(frame).split(b"\n")
    assert (id_, rest) == (b"id: k3x9-7", [b"", b""])
    assert b"\r" not in data
    assert json.loads(data.removeprefix(b"data: ")) == json.loads(frame.json)
