"""What people see of frames, and what programs get."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Iterator

import pytest

from server.cli.screen import SHOWN_EVENTS, Lines, Screen
from server.client.frames import read

NOON = 1699959600000
"""2023-11-14 12:00:00 in Berlin."""


@pytest.fixture(autouse=True)
def _berlin(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "CET-1")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def _shown(*frames: str, color: bool = False) -> str:
    out = io.StringIO()
    screen = Screen(out, "ada's phone at http://x", color=color)
    for frame in frames:
        screen.frame(read(frame))
    return out.getvalue()


def _clear(*events: str, at: int = NOON) -> str:
    return f'{{"type":"clear","cursor":"a-2","at":{at},"events":[{",".join(events)}]}}'


WELCOME = '{"type":"welcome","cursor":"a-1","now":1,"ping":25}'


def test_a_clear_is_a_line_with_the_local_time() -> None:
    frame = _clear('{"Type":"AppointmentCancelled","Id":699}', '{"Type":"NewTicket","Id":-1}')
    assert _shown(frame) == "2023-11-14 12:00:00  AppointmentCancelled 699, NewTicket -1\n"


def test_today_needs_no_date() -> None:
    now = int(time.time() * 1000)
    expected = time.strftime("%H:%M:%S", time.localtime(now // 1000))
    assert _shown(_clear('{"Type":"NewTicket","Id":1}', at=now)) == f"{expected}  NewTicket 1\n"


def test_what_this_device_handled_itself_is_not_shown() -> None:
    assert _shown(_clear(), '{"type":"soon"}', '{"type":"recorded"}') == ""


def test_the_connection_is_told_and_catching_up_once() -> None:
    away = [_clear(f'{{"Type":"NewTicket","Id":{i},"At":{NOON + i}}}') for i in (1000, 2000)]
    assert _shown(WELCOME, *away, _clear('{"Type":"NewTicket","Id":3}'), WELCOME, away[0]).splitlines() == [
        "connected: ada's phone at http://x",
        "catching up with what was handled meanwhile",
        "2023-11-14 12:00:01  NewTicket 1000",
        "2023-11-14 12:00:02  NewTicket 2000",
        "2023-11-14 12:00:00  NewTicket 3",
        "connected: ada's phone at http://x",
        "catching up with what was handled meanwhile",
        "2023-11-14 12:00:01  NewTicket 1000",
    ]


def test_reset_and_errors_are_told() -> None:
    shown = _shown('{"type":"reset","cursor":"a-1"}', '{"type":"error","code":"busy","message":"wait"}')
    assert shown.splitlines()[0].startswith("reset: ")
    assert shown.splitlines()[1] == "error: wait"


def test_a_long_clear_is_cut_and_counted() -> None:
    events = [f'{{"Type":"NewTicket","Id":{i}}}' for i in range(SHOWN_EVENTS + 2)]
    assert _shown(_clear(*events)).endswith(f"NewTicket {SHOWN_EVENTS - 1} and 2 more\n")
    assert "more" not in _shown(_clear(*events[:SHOWN_EVENTS]))


def test_nothing_in_a_frame_reaches_the_terminal_as_a_command() -> None:
    assert "\x1b" not in _shown(_clear('{"Type":"\\u001b[2J","Id":1}'))


def test_color_only_where_it_is_wanted() -> None:
    assert _shown(WELCOME, color=True) == "\x1b[2mconnected: ada's phone at http://x\x1b[0m\n"


def test_a_screen_and_lines_say_when_the_next_try_is() -> None:
    out, err = io.StringIO(), io.StringIO()
    Screen(out, "", color=False).retrying("restart (1012)", 1.234)
    Lines(io.BytesIO(), err).retrying("restart (1012)", 1.234)
    assert out.getvalue() == "restart (1012), reconnecting in 1.2 s\n"
    assert err.getvalue() == "clearsync: restart (1012), reconnecting in 1.2 s\n"


def test_lines_are_the_frames_as_received() -> None:
    out = io.BytesIO()
    lines = Lines(out, io.StringIO())
    for text in (WELCOME, '{"type":"søøn", "x": 1}'):
        lines.frame(read(text))
    assert out.getvalue().decode() == WELCOME + '\n{"type":"søøn", "x": 1}\n'


def test_lines_in_a_terminal_carry_nothing_that_it_would_obey() -> None:
    text = '{"type":"zzz","x":"\x9b2J\u202e é"}'
    out = io.BytesIO()
    Lines(out, io.StringIO(), terminal=True).frame(read(text))
    assert out.getvalue() == '{"type":"zzz","x":"\\u009b2J\\u202e é"}\n'.encode()
    assert json.loads(out.getvalue()) == json.loads(text), "the same JSON"
