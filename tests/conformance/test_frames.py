"""Rows about what a server sends: what is ignored, and what must not be skipped."""

from __future__ import annotations

import pytest

from tests.client.fake_gateway import clear, welcome
from tests.conformance.conftest import Connect
from tests.conformance.house import ticket
from tests.conformance.scripted import NOW, says, scripted


def test_c21_frames_and_fields_that_it_does_not_know_are_ignored(connect: Connect) -> None:
    event = '{"Type":"Sighted","Id":3,"Why":[1]}'
    scene = says(
        welcome("a-1").replace('"ping"', '"later":{"x":[null]},"ping"'),
        '{"type":"soon","cursor":"a-9","events":[1]}',
        '{"type":"pong","cursor":"a-9"}',
        f'{{"type":"clear","why":"x","cursor":"a-2","at":{NOW},"events":[{event}]}}',
    )
    with scripted(scene) as fake:
        peer = connect(url=fake.url)
        assert peer.clear() == {("Sighted", 3): NOW}
        peer.until("stored", cursor="a-2")
        assert [stored["cursor"] for stored in peer.told("stored")] == ["a-1", "a-2"]


NONSENSE = ['{"type":"clear","cursor":"a-3"}', "hello", '{"type":"reset"}', "[1]"]


@pytest.mark.parametrize("nonsense", NONSENSE)
def test_c22_after_a_frame_that_cant_be_read_nothing_more_is_applied(connect: Connect, nonsense: str) -> None:
    with scripted(says(welcome("a-1"), clear("a-2", 1), nonsense, clear("a-4", 2))) as fake:
        peer = connect(url=fake.url)
        assert list(peer.clear()) == [ticket(1)]
        peer.stopped()
        peer.settle()
        assert len(peer.told("clear")) == 1
        assert peer.told("stored")[-1]["cursor"] == "a-2"


def test_c23_who_says_no_welcome_first_is_no_such_server(connect: Connect) -> None:
    with scripted(says(clear("a-2", 1), welcome("a-3"))) as fake:
        peer = connect(url=fake.url)
        peer.stopped()
        assert peer.told("clear") == peer.told("stored") == []
