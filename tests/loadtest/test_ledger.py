"""Which clears are still to come, against a list of all that every device was told."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.events import INT32_MAX
from server.loadtest.ledger import FIRST_ID, IDS, LATE_S, Ledger

AGENTS, DEVICES = 2, 3


def _ledger(events: int = 1, *, agents: int = AGENTS, devices: int = DEVICES, start: int = 0) -> Ledger:
    ledger = Ledger(agents, devices, events, start)
    for agent in range(agents):
        for device in range(devices):
            ledger.opened(agent, device)
    return ledger


def _ids(ledger: Ledger, slot: int, events: int) -> list[int]:
    return [ledger.first_id(slot) + offset for offset in range(events)]


@dataclass
class Posted:
    """What the oracle knows of a post."""

    agent: int
    ids: list[int]
    status: int | None = None
    told: list[set[int]] = field(default_factory=lambda: [set() for _ in range(DEVICES)])

    @property
    def lacking(self) -> int:
        """Devices that have not all of it."""
        return sum(told != set(self.ids) for told in self.told)


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("send"), st.integers(0, AGENTS - 1)),
        st.tuples(st.just("answer"), st.integers(0, 20), st.sampled_from((204, 204, 204, 503, 0))),
        st.tuples(st.just("tell"), st.integers(0, 20), st.integers(0, DEVICES - 1), st.integers(1, 7)),
    ),
    max_size=60,
)


@given(STEPS, st.integers(1, 3), st.integers(0, IDS))
def test_it_counts_what_a_list_of_all_that_was_told_counts(steps: list[tuple], events: int, start: int) -> None:  # type: ignore[type-arg]
    ledger, posted, twice = _ledger(events, start=start), dict[int, Posted](), 0
    for now, (step, *what) in enumerate(steps):
        if step == "send":
            slot = ledger.sent(what[0], now)
            posted[slot] = Posted(what[0], _ids(ledger, slot, events))
        elif posted:
            slot, post = list(posted.items())[what[0] % len(posted)]
            if step == "answer" and post.status is None:
                post.status = what[1]
                ledger.answered(slot, post.status, now)
            elif step == "tell":
                _, device, bits = what
                ids = [id_ for offset, id_ in enumerate(post.ids) if bits >> offset & 1]
                if ids:
                    twice += len(post.told[device] & set(ids))
                    post.told[device] |= set(ids)
                    ledger.arrived(post.agent, device, ids, now)
    posts = posted.values()
    recorded = [post for post in posts if post.status == 204]
    assert ledger.answers == Counter(post.status for post in posts if post.status is not None)
    assert ledger.expected == DEVICES * len(recorded)
    assert ledger.missing == sum(post.lacking for post in recorded)
    assert ledger.held == sum(post.lacking for post in posts)
    assert ledger.clears == ledger.clear_latency.count == sum(DEVICES - post.lacking for post in posts)
    assert (ledger.twice, ledger.strayed, ledger.foreign) == (twice, 0, 0)
    assert ledger.post_latency.count == len(recorded)


def test_a_clear_may_come_before_the_answer() -> None:
    ledger = _ledger(devices=1)
    slot = ledger.sent(0, 1.0)
    ledger.arrived(0, 0, _ids(ledger, slot, 1), 1.5)
    ledger.answered(slot, 204, 2.0)
    assert (ledger.clears, ledger.expected, ledger.missing, ledger.held) == (1, 1, 0, 0)
    assert ledger.clear_latency.max_us == 500_000
    assert ledger.post_latency.max_us == 1_000_000


@pytest.mark.parametrize(("status", "held"), [(400, 0), (429, 0), (503, DEVICES), (500, DEVICES), (0, DEVICES)])
def test_of_what_was_not_acknowledged_nothing_is_missing(status: int, held: int) -> None:
    ledger = _ledger()
    ledger.answered(ledger.sent(0, 0.0), status, 1.0)
    assert (ledger.expected, ledger.missing, ledger.held) == (0, 0, held)
    assert ledger.post_latency.count == 0


def test_devices_that_were_not_let_in_lack_nothing() -> None:
    ledger = Ledger(1, 3, 1)
    ledger.opened(0, 1)
    slot = ledger.sent(0, 0.0)
    ledger.answered(slot, 204, 0.0)
    assert (ledger.expected, ledger.missing) == (1, 1)
    ledger.arrived(0, 1, _ids(ledger, slot, 1), 0.0)
    assert (ledger.clears, ledger.missing) == (1, 0)


def test_another_agents_device_must_not_be_told() -> None:
    ledger = _ledger(2)
    slot = ledger.sent(0, 0.0)
    ledger.answered(slot, 204, 0.0)
    ledger.arrived(1, 0, _ids(ledger, slot, 2), 0.0)
    assert (ledger.strayed, ledger.clears, ledger.missing) == (2, 0, DEVICES)


def test_what_was_done_with_is_told_twice_and_what_was_never_made_is_somebody_elses() -> None:
    ledger = _ledger(2, devices=1, start=5)
    slot = ledger.sent(0, 0.0)
    ledger.answered(slot, 204, 0.0)
    ids = _ids(ledger, slot, 2)
    ledger.arrived(0, 0, ids, 0.0)
    ledger.arrived(0, 0, ids, 0.0)
    assert (ledger.twice, ledger.foreign) == (2, 0)
    ledger.arrived(0, 0, [ids[0] - 1, ids[1] + 1, -1, 12], 0.0)
    assert (ledger.twice, ledger.foreign, ledger.clears) == (2, 4, 1)


def test_several_posts_may_come_in_one_clear() -> None:
    ledger = _ledger(2, agents=1, devices=1)
    slots = [ledger.sent(0, 0.0) for _ in range(3)]
    for slot in slots:
        ledger.answered(slot, 204, 0.0)
    ledger.arrived(0, 0, [id_ for slot in slots for id_ in _ids(ledger, slot, 2)], 0.0)
    assert (ledger.clears, ledger.missing, ledger.twice) == (3, 0, 0)


def test_late_is_more_than_twenty_milliseconds() -> None:
    ledger = _ledger(devices=1)
    for latency in (LATE_S, LATE_S * 1.01):
        slot = ledger.sent(0, 0.0)
        ledger.arrived(0, 0, _ids(ledger, slot, 1), latency)
    assert (ledger.clears, ledger.late) == (2, 1)


@pytest.mark.parametrize("events", [1, 3, 1000])
@pytest.mark.parametrize("start", [0, IDS - 1, IDS // 1000 - 1, IDS // 3 - 1])
def test_ids_are_of_ten_digits_and_go_round(events: int, start: int) -> None:
    ledger = _ledger(events, start=start)
    slots = [ledger.sent(0, 0.0) for _ in range(3)]
    assert len(set(slots)) == 3
    for slot in slots:
        assert FIRST_ID <= ledger.first_id(slot) <= INT32_MAX + 1 - events
    assert len(str(FIRST_ID)) == len(str(INT32_MAX))
