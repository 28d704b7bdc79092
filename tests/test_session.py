"""The session's rules, one by one, without a loop or a socket. Numbers are those in `server.session`."""

from __future__ import annotations

import json
import weakref
from typing import Any

from server import wire
from server.events import Cursor, Seq, device_id
from server.session import Announcement, Handled, Session, State
from server.wire import CloseCode, Frame

STORE = "k3f9"


class Sink:
    """Keeps what is written; says pause after `room` frames."""

    def __init__(self, room: int = 1000) -> None:
        self.frames: list[dict[str, Any]] = []
        self.closed: list[tuple[CloseCode, str]] = []
        self.room = room
        self.session: Session | None = None

    def write(self, frame: Frame) -> None:
        self.frames.append(json.loads(frame.json))
        if len(self.frames) >= self.room and self.session is not None:
            self.session.pause()

    def close(self, code: CloseCode, reason: str) -> None:
        self.closed.append((code, reason))

    @property
    def types(self) -> list[str]:
        return [frame["type"] for frame in self.frames]


def session_at(seq: int | None, room: int = 1000, device: str = "phone") -> tuple[Session, Sink]:
    sink = Sink(room)
    cursor = None if seq is None else Cursor(STORE, Seq(seq))
    sink.session = Session(device_id(device), cursor, sink)
    return sink.session, sink


def read_of(
    seq: int, entries: list[tuple[bytes, int]] | None = None, *, reset: bool = False, floor: int = 1
) -> Handled:
    return Handled(STORE, seq, floor, reset, 1000, entries or [])


def live_at(seq: int, room: int = 1000) -> tuple[Session, Sink]:
    session, sink = session_at(None, room)
    session.welcome(read_of(seq), 25)
    session.caught_up(read_of(seq), live=True)
    assert session.state is State.LIVE
    sink.frames.clear()
    return session, sink


def clear_at(seq: int) -> Frame:
    return wire.clear(STORE, seq, b'[{"Type":"NewTicket","Id":1}]')


def test_welcome_is_first_and_once() -> None:  # rule 7
    session, sink = session_at(None)
    session.welcome(read_of(7), 25)
    session.welcome(read_of(8), 25)
    assert sink.frames == [{"type": "welcome", "cursor": "k3f9-7", "now": 1000, "ping": 25}]


def test_welcome_carries_the_position_before_catch_up() -> None:
    session, sink = session_at(3)
    session.welcome(read_of(7), 25)
    assert sink.frames[0]["cursor"] == "k3f9-3"
    assert session.seq == 3


def test_a_device_of_another_store_starts_at_the_beginning_and_is_shown_its_own_cursor() -> None:
    sink = Sink()
    session = Session(device_id("phone"), Cursor("other", Seq(5)), sink)
    assert session.position(STORE) == 0
    session.welcome(read_of(7), 25)
    assert sink.frames[0]["cursor"] == "other-5"


def test_a_joining_session_takes_no_live_clear() -> None:  # rule 2
    session, sink = session_at(3)
    assert not session.announce(8, clear_at(8))
    assert sink.frames == []


def test_a_read_that_the_channel_has_overtaken_leaves_it_joining_further_on() -> None:  # rule 3
    session, _ = session_at(3)
    session.welcome(read_of(7), 25)
    session.caught_up(read_of(7), live=False)
    assert (session.state, session.seq) == (State.JOINING, 7)
    session.caught_up(read_of(9), live=True)
    assert (session.state, session.seq) == (State.LIVE, 9)


def test_a_page_that_others_follow_leaves_it_joining_at_its_end() -> None:  # rules 3 and 6
    session, sink = session_at(3)
    page = read_of(9, [(b"1:1", 2), (b"1:2", 4)], reset=True, floor=5)._replace(page_end=6)
    session.welcome(page, 25)
    assert all(session.push(frame) for frame in page.frames())
    assert [frame["cursor"] for frame in sink.frames] == ["k3f9-3", "k3f9-1", "k3f9-6"]
    session.caught_up(page, live=False)
    assert (session.state, session.position(STORE), session.floor) == (State.JOINING, 6, 5)


def test_a_page_without_events_moves_the_position_all_the_same() -> None:
    session, sink = session_at(3)
    page = read_of(9)._replace(page_end=6)
    session.welcome(page, 25)
    session.caught_up(page, live=False)
    assert session.position(STORE) == 6
    assert sink.types == ["welcome"]


def test_a_read_covers_those_who_stand_further_on() -> None:
    page = read_of(20, [(b"1:1", 7), (b"1:2", 9)], floor=5)._replace(page_end=9)
    assert page.covers(5, -1)
    assert page.after(7).entries == [(b"1:2", 9)]
    assert not page._replace(reset=True).after(7).reset
    assert not page.covers(10, -1), "beyond the page"
    assert not page.covers(4, -1), "below the floor: it is to be reset"
    assert page.covers(4, 5), "it was reset for that floor"
    assert page._replace(page_end=None).covers(20, -1)
    assert not page._replace(page_end=None).covers(21, -1), "ahead of the store"


def test_a_live_session_skips_what_it_has() -> None:  # rule 4
    session, sink = live_at(7)
    assert not session.announce(7, clear_at(7))
    assert session.announce(8, clear_at(8))
    assert not session.announce(8, clear_at(8))
    assert [frame["cursor"] for frame in sink.frames] == ["k3f9-8"]


def test_a_gap_hands_the_events_over_with_the_cursor_unmoved() -> None:  # rule 5
    session, sink = live_at(7)
    session.gap(STORE, Announcement(8, 9, 0, b"-", b'[{"Type":"NewTicket","Id":1}]'))
    event = {"Type": "NewTicket", "Id": 1}
    assert sink.frames == [{"type": "clear", "cursor": "k3f9-7", "at": 9, "events": [event]}]
    assert (session.state, session.seq) == (State.JOINING, 7)


def test_a_gap_gives_the_origin_and_the_informed_nothing() -> None:
    session, sink = live_at(7)
    session.gap(STORE, Announcement(8, 9, 0, b"phone", b"[]"))
    other, other_sink = live_at(9)
    other.gap(STORE, Announcement(7, 8, 0, b"-", b"[]"))
    assert sink.frames == other_sink.frames == []
    assert session.state is other.state is State.JOINING


def test_a_paused_session_keeps_nothing_and_reads_from_where_it_stood() -> None:  # rule 6
    session, sink = live_at(7)
    session.pause()
    assert session.state is State.LAGGING
    assert not session.announce(8, clear_at(8))
    assert not session.push(clear_at(8))
    session.caught_up(read_of(8), live=True)
    assert sink.frames == []
    assert session.resume()
    assert (session.state, session.position(STORE)) == (State.JOINING, 7)
    assert not session.resume(), "only once"


def test_a_pause_in_the_middle_of_a_catch_up_ends_it() -> None:
    session, sink = session_at(3, room=2)
    session.welcome(read_of(9), 25)
    assert not session.push(clear_at(4)), "no further frame of this read may follow"
    assert (session.state, session.seq) == (State.LAGGING, 4)
    assert session.resume()
    assert session.position(STORE) == 4
    assert sink.types == ["welcome", "clear"]


def test_a_reset_that_was_had_is_remembered_until_another_store() -> None:
    session, _ = session_at(3)
    session.welcome(read_of(9), 25)
    assert session.floor == -1
    for frame in read_of(9, [(b"1:1", 5)], reset=True, floor=8).frames():
        session.push(frame)
    assert session.floor == 8
    session.forget()
    assert session.floor == -1


def test_a_reset_that_was_not_written_is_not_remembered() -> None:
    session, sink = session_at(3, room=1)
    session.welcome(read_of(9), 25)
    for frame in read_of(9, reset=True, floor=8).frames():
        session.push(frame)
    assert sink.types == ["welcome"]
    assert session.floor == -1


def test_another_store_voids_every_position() -> None:
    for session, state in ((live_at(7)[0], State.JOINING), (session_at(7)[0], State.JOINING)):
        session.welcome(read_of(7), 25)
        session.forget()
        assert (session.state, session.position("new")) == (state, 0)
    paused, _ = live_at(7)
    paused.pause()
    paused.forget()
    assert (paused.state, paused.position("new")) == (State.LAGGING, 0)


def test_closed_is_final() -> None:  # rule 8
    session, sink = live_at(7)
    session.close(CloseCode.RESTART, "restart")
    session.close(CloseCode.FORBIDDEN)
    session.pause()
    assert not session.resume()
    assert not session.announce(8, clear_at(8))
    assert not session.push(clear_at(8))
    session.answer(wire.pong())
    session.gap(STORE)
    assert sink.closed == [(CloseCode.RESTART, "restart")]
    assert sink.frames == []
    assert session.state is State.CLOSED


def test_an_answer_moves_no_position() -> None:
    session, sink = live_at(7)
    session.answer(wire.recorded("r"))
    assert session.seq == 7
    assert sink.types == ["recorded"]


def test_frames_of_a_reset_say_where_a_cut_behind_each_resumes() -> None:
    read = read_of(9, [(b"1:1", 5), (b"1:2", 9)], reset=True)
    reset, page = [json.loads(frame.json) for frame in read.frames()]
    assert reset == {"type": "reset", "cursor": "k3f9-4"}, "before all that is retained"
    assert page["cursor"] == "k3f9-9"
    alone = [json.loads(frame.json) for frame in read_of(9, reset=True).frames()]
    assert alone == [{"type": "reset", "cursor": "k3f9-9"}], "nothing follows, so it must not be reset again"


def test_announcement_parses_what_the_script_publishes() -> None:
    message = Announcement.parse(b'5 9 1795 - [{"Type":"NewTicket","Id":1}]')
    assert message == (5, 9, 1795, b"-", b'[{"Type":"NewTicket","Id":1}]')


def test_a_session_that_ended_lets_its_way_out_go() -> None:
    """Each refers to the other: they are gone by their counts of references, no collector has to find them."""
    session, sink = live_at(7)
    gone = weakref.ref(sink)
    session.closed()
    session.close(CloseCode.RESTART)
    session.answer(clear_at(8))
    del sink
    assert gone() is None
