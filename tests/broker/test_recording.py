"""The command that is put together is the one that hiredis packs."""

from __future__ import annotations

import hiredis
import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.broker.recording import Recording
from server.broker.script import Script
from server.events import INT32_MAX, INT32_MIN, Batch, Event, EventType

SCRIPT = Script("record.lua")
EVENTS = st.builds(Event, st.sampled_from(EventType), st.integers(INT32_MIN, INT32_MAX))


@given(
    st.binary(min_size=1, max_size=60),
    st.integers(-(10**15), 10**15),
    st.binary(min_size=1, max_size=64),
    st.integers(0, 10**17),
    st.lists(EVENTS, min_size=1, max_size=12).map(Batch),
)
def test_it_is_what_hiredis_packs(key: bytes, deadline: int, origin: bytes, time_us: int, batch: Batch) -> None:
    said = (key, 10_000, 2_592_000_000, deadline, key, origin, time_us, batch.json, *batch.members)
    packed = hiredis.pack_command((b"EVALSHA", SCRIPT.sha, 1, *said))  # type: ignore[arg-type]  # declared for one argument
    assert Recording(SCRIPT, 10_000, 2_592_000_000).packed(key, deadline, origin, time_us, batch) == packed


@pytest.mark.parametrize("events", [1, 1000])
def test_any_number_of_events(events: int) -> None:
    batch = Batch(Event(EventType.NewTicket, number) for number in range(events))
    command = Recording(SCRIPT, 1, 2).packed(b"cs:{a/b}", 3, b"-", 4, batch)
    reader = hiredis.Reader()
    reader.feed(command)
    parts = reader.gets()
    assert parts[-events:] == list(batch.members)
    assert len(parts) == 11 + events
