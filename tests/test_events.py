"""Agents, devices, events and batches: folding, parsing, and the forms they take in the store and on the wire."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.errors import BadRequest, InvalidEvents, TooLarge
from server.events import INT32_MAX, INT32_MIN, AgentId, Batch, Event, EventType, device_id, parse_batch

events = st.builds(Event, st.sampled_from(EventType), st.integers(-(2**31), 2**31 - 1))


def test_an_agent_is_the_same_in_any_case_and_composition() -> None:
    one = AgentId.of("Acme", "Zo\N{LATIN SMALL LETTER E WITH DIAERESIS}")
    other = AgentId.of("ACME", "zoe\N{COMBINING DIAERESIS}")
    assert one == other
    assert one.tag == "acme/zo%C3%AB"


@given(st.tuples(st.text(), st.text()), st.tuples(st.text(), st.text()))
def test_a_tag_is_injective_and_safe_in_a_key(one: tuple[str, str], other: tuple[str, str]) -> None:
    try:
        a, b = AgentId.of(*one), AgentId.of(*other)
    except BadRequest:
        return
    assert (a.tag == b.tag) == ((a.tenant, a.associate) == (b.tenant, b.associate))
    assert not set(a.tag) & set("{} \n\r")
    assert a.tag.count("/") == 1


@pytest.mark.parametrize("name", ["", "x" * 65, "a\nb", "a\x00b", "\ud800", "\N{LATIN SMALL LIGATURE FFI}" * 22])
def test_a_name_of_no_agent(name: str) -> None:
    for pair in ((name, "ada"), ("acme", name)):
        with pytest.raises(BadRequest):
            AgentId.of(*pair)


@pytest.mark.parametrize("text", ["phone", "a" * 64, "A.b_c~d:e-f", "--", "0"])
def test_device_ids(text: str) -> None:
    assert device_id(text) == text


@pytest.mark.parametrize("text", ["", "-", "a" * 65, "a b", "a\n", "é", "a/b", "a{b"])
def test_no_device_ids(text: str) -> None:
    with pytest.raises(BadRequest):
        device_id(text)


@given(st.lists(events, max_size=30))
def test_a_batch_keeps_order_and_drops_duplicates(given_events: list[Event]) -> None:
    batch = Batch(given_events)
    unique = list(dict.fromkeys(given_events))
    assert batch.events() == unique
    assert [(e["Type"], e["Id"]) for e in json.loads(batch.json)] == [(e.type.name, e.id) for e in unique]
    assert parse_batch(json.loads(batch.json)).members == batch.members
    assert bool(batch) == bool(given_events)


def test_the_index_of_the_event_that_breaks_a_rule_is_named() -> None:
    with pytest.raises(InvalidEvents, match=r"NotificationEvents\[1\]: Id is 2147483648"):
        parse_batch([{"Type": "NewTicket", "Id": 1}, {"Type": "NewTicket", "Id": 2**31}])


@pytest.mark.parametrize("item", [1, None, [], "x", {}, {"Type": "NewTicket"}, {"Id": 1}, {"Type": None, "Id": 1}])
def test_what_is_no_event(item: Any) -> None:
    with pytest.raises(InvalidEvents):
        parse_batch([item])


def test_the_limit_counts_what_was_sent() -> None:
    same = {"Type": "NewTicket", "Id": 1}
    assert len(parse_batch([same] * 1000)) == 1
    with pytest.raises(TooLarge):
        parse_batch([same] * 1001)


@given(st.sampled_from(EventType), st.integers(INT32_MIN, INT32_MAX))
def test_a_batch_of_one_is_a_batch(type_: EventType, id_: int) -> None:
    one, several = Batch.of_one(type_, id_), Batch([Event(type_, id_)])
    assert (one.members, one.json, len(one)) == (several.members, several.json, 1)
