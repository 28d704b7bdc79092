"""Both ends of the wire agree: what `wire` writes, `client.frames` reads."""

from __future__ import annotations

import pytest

from server import wire
from server.client.frames import (
    Checked,
    Clear,
    Frame,
    HandledEvent,
    Other,
    Pong,
    Problem,
    Recorded,
    Refreshed,
    Reset,
    Unreadable,
    Welcome,
    read,
)
from server.events import Batch, Cursor, Event, EventType, Seq

ENTRIES = [(Event(EventType.NewTicket, 12).member, 5), (Event(EventType.Unknown, -1).member, 7)]


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        (wire.welcome(Cursor("a", Seq(1)), 9, 25.0), Welcome("a-1", 9, 25)),
        (wire.welcome(Cursor("a", Seq(1)), 9, 25.0, 90.5), Welcome("a-1", 9, 25, 90)),
        (wire.reset("a", 4), Reset("a-4")),
        (
            wire.clear("a", 8, Batch([Event(EventType.AppointmentCancelled, 699)]).json, at=6),
            Clear("a-8", 6, (HandledEvent("AppointmentCancelled", 699),)),
        ),
        (wire.clear("a", 8, Batch([]).json), Clear("a-8", 8, ())),
        (
            wire.clear("a", 9, wire.handled_at(ENTRIES), at=7),
            Clear("a-9", 7, (HandledEvent("NewTicket", 12, 5), HandledEvent("Unknown", -1, 7))),
        ),
        (wire.pong(), Pong()),
        (wire.recorded("r"), Recorded("r")),
        (wire.recorded(None), Recorded()),
        (
            wire.checked("r", ENTRIES),
            Checked((HandledEvent("NewTicket", 12, 5), HandledEvent("Unknown", -1, 7)), "r"),
        ),
        (wire.refreshed("r", 90.0), Refreshed(90, "r")),
        (wire.refreshed(None, None), Refreshed()),
        (wire.error("r", wire.ErrorCode.BUSY, "no"), Problem("busy", "no", "r")),
    ],
)
def test_what_the_server_writes_is_read(sent: wire.Frame, expected: Frame) -> None:
    text = sent.json.decode()
    assert read(text) == (expected, text)


def test_unknown_fields_are_ignored_and_an_unknown_type_is_other() -> None:
    assert read('{"type":"reset","cursor":"a-1","new":{}}').frame == Reset("a-1")
    assert read('{"type":"soon","cursor":1}').frame == Other("soon")
    assert read('{"type":"welcome","cursor":"a-1","now":9,"ping":5,"expires":1.5}').frame == Welcome("a-1", 9, 5, 1.5)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        "[]",
        "{}",
        '{"type":5}',
        '{"type":"clear","cursor":"a-1"}',
        '{"type":"reset","cursor":1}',
        '{"type":"refreshed","expires":"1"}',
        b"{}",
    ],
)
def test_nonsense_is_unreadable(text: str | bytes) -> None:
    with pytest.raises(Unreadable):
        read(text)


def test_deep_nesting_is_unreadable() -> None:
    with pytest.raises(Unreadable):
        read('{"type":"clear","x":' + "[" * 100_000)


def test_an_events_own_time_beats_the_frames() -> None:
    clear = Clear("a-9", 7, (HandledEvent("NewTicket", 12, 5), HandledEvent("NewTicket", 13)))
    assert [clear.until(event) for event in clear.events] == [5, 7]
