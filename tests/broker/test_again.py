"""Batches that were acknowledged, and a store that comes back without them."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from server.broker import again as again_module
from server.broker.again import Again
from server.broker.keys import agent_key
from server.broker.redis import RedisBroker
from server.events import AgentId, Batch, DeviceId, Event, EventType
from server.metrics import Metrics
from tests.broker.conftest import AGENT, KEY, Listener, broker_on, eventually
from tests.running import RealStore, client

BEA = AgentId.of("acme", "bea")


def batch_of(*ids: int) -> Batch:
    return Batch([Event(EventType.NewTicket, i) for i in ids])


def state(raw: Any) -> list[tuple[bytes, float]]:
    return [(member, score) for member, score in raw.zrange(KEY, 0, -1, withscores=True)]


def put_back(raw: Any, before: list[tuple[bytes, float]]) -> None:
    """The store as it was."""
    raw.delete(KEY)
    raw.zadd(KEY, dict(before))


async def connected_anew(broker: RedisBroker) -> None:
    """The link is lost, and there is another."""
    link = broker.command_link()
    link.abort()
    await link.lost
    await eventually(lambda: broker.ready)


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


async def test_what_was_lost_is_back_before_anybody_reads(url: str, raw: Any, metrics: Metrics) -> None:
    async with broker_on(url, record_again_s=5.0, metrics=metrics) as broker:
        await broker.record(AGENT, batch_of(1), None)
        before = state(raw)
        second = await broker.record(AGENT, batch_of(2, 3), DeviceId("phone"))
        third = await broker.record(AGENT, batch_of(3), None)
        after = state(raw)
        put_back(raw, before)
        await connected_anew(broker)
        assert not (await broker.read(AGENT, third)).reset, "who saw all of it goes on"
        assert state(raw) == sorted(
            [(m, s) for m, s in after if m != b"-"] + [(b"-", third)], key=lambda e: (e[1], e[0])
        )
        away = await broker.read(AGENT, second)
        assert away.reset, "what else was lost nobody may know"
        assert [m for m, _ in away.entries] == [b"1:1", b"1:2", b"1:3"]
        assert metrics.recorded_again_total == 2


async def test_what_was_lost_comes_after_what_was_recorded_since(url: str, raw: Any, metrics: Metrics) -> None:
    async with broker_on(url, record_again_s=5.0, metrics=metrics) as broker, broker_on(url) as other:
        listener = Listener()
        other.subscribe(listener)
        await listener.until(lambda: listener.confirmations == 1)
        await broker.record(AGENT, batch_of(1), None)
        before = state(raw)
        await broker.record(AGENT, batch_of(2), DeviceId("phone"))
        put_back(raw, before)
        since = await other.record(AGENT, batch_of(9), None)
        await connected_anew(broker)
        await listener.until(lambda: len(listener.messages) == 4)
        again = listener.messages[-1]
        assert (again.prev, again.origin, again.events) == (since, b"phone", batch_of(2).json)
        assert again.seq == since + 1
        assert (await broker.read(AGENT, since)).entries[-1] == (b"1:2", again.seq)


async def test_nothing_lost_nothing_recorded(url: str, raw: Any, metrics: Metrics) -> None:
    async with broker_on(url, record_again_s=5.0, metrics=metrics) as broker:
        await broker.record(AGENT, batch_of(1, 2), None)
        await broker.record(AGENT, batch_of(2), None)
        before = state(raw)
        await connected_anew(broker)
        await broker.read(BEA, None)  # behind the comparison on the same link
        assert state(raw) == before
        assert metrics.recorded_again_total == 0


async def test_handled_again_within_the_lost_tail(url: str, raw: Any) -> None:
    """The pair is there, at an earlier position: a device that stands between the two would not be sent it."""
    async with broker_on(url, record_again_s=5.0) as broker:
        await broker.record(AGENT, batch_of(1), None)
        before = state(raw)
        last = await broker.record(AGENT, batch_of(1), None)
        put_back(raw, before)
        await connected_anew(broker)
        assert (await broker.read(AGENT, 0)).entries == [(b"1:1", last)]


async def test_lost_twice_it_is_recorded_at_the_present(url: str, raw: Any) -> None:
    """Between the two losses positions were given out without it: its own may be below where a device stands."""
    async with broker_on(url, record_again_s=30.0) as broker:
        await broker.record(AGENT, batch_of(1), None)
        before = state(raw)
        position = await broker.record(AGENT, batch_of(2), None)
        put_back(raw, before)
        broker._again._life += 1  # a connection that was lost before anything was compared on it
        await connected_anew(broker)
        read = await broker.read(AGENT, 0)
        assert read.entries[-1][0] == b"1:2"
        assert read.entries[-1][1] > position


async def test_another_store_gets_the_last_moments_of_the_old_one(url: str, raw: Any, metrics: Metrics) -> None:
    """Found out on a live connection, by the sweep."""
    async with broker_on(url, record_again_s=5.0, metrics=metrics) as broker:
        await broker.record(AGENT, batch_of(1), None)
        raw.flushall()
        await broker.latest([AGENT])
        await eventually(lambda: metrics.recorded_again_total)
        assert [member for member, _ in (await broker.read(AGENT, 0)).entries] == [b"1:1"]


async def test_what_is_erased_while_it_waits_for_its_turn_stays_so(
    url: str, raw: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(again_module, "SLICE", 1)
    async with broker_on(url, record_again_s=5.0) as broker:
        for number in range(20):
            await broker.record(BEA, batch_of(number), None)
        await broker.record(AGENT, batch_of(1), None)
        raw.delete(KEY)
        comparing = asyncio.ensure_future(broker._again.compare(broker.command_link()))
        await asyncio.sleep(0)
        broker.forget(AGENT.tag)
        assert await comparing
        assert not raw.exists(KEY)


async def test_a_store_that_refuses_is_compared_again_until_it_takes_it(
    real_store: RealStore, metrics: Metrics
) -> None:
    async with broker_on(real_store.url, record_again_s=5.0, metrics=metrics) as broker:
        await broker.record(AGENT, batch_of(1), None)
        with client(real_store.url) as store:
            store.delete(KEY)
            store.config_set("min-replicas-to-write", 1)
            assert not await broker._again.compare(broker.command_link())
            assert metrics.recorded_again_total == 0
            store.config_set("min-replicas-to-write", 0)
        assert await broker._again.compare(broker.command_link())
        assert metrics.recorded_again_total == 1


async def test_without_time_nothing_is_kept(url: str, raw: Any) -> None:
    async with broker_on(url, record_again_s=0.0) as broker:
        await broker.record(AGENT, batch_of(1), None)
        before = state(raw)
        await broker.record(AGENT, batch_of(2), None)
        put_back(raw, before)
        await connected_anew(broker)
        assert [member for member, _ in (await broker.read(AGENT, 0)).entries] == [b"1:1"]


async def test_an_agent_that_was_erased_stays_so(url: str, raw: Any) -> None:
    async with broker_on(url, record_again_s=5.0) as broker:
        await broker.record(AGENT, batch_of(1), None)
        await broker.record(BEA, batch_of(2), None)
        broker.forget(AGENT.tag)
        raw.delete(KEY, agent_key("cs", BEA))
        await connected_anew(broker)
        await broker.read(AgentId.of("acme", "cleo"), None)
        assert not raw.exists(KEY)
        assert raw.exists(agent_key("cs", BEA))


# what is kept, without a store


def made(keep_s: float = 5.0, most: int = 10_000) -> Again:
    return Again(
        lambda agent: agent.tag.encode(), keep_s=keep_s, cap=1000, retention_ms=1, metrics=Metrics(), most=most
    )


def test_it_goes_with_time_while_the_store_answers() -> None:
    again = made()
    again.keep(-100.0, AGENT, 1, batch_of(1), b"-")
    again.prune(0.0)
    assert len(again) == 1, "nothing was compared yet"
    again._compared = True
    for now in range(10):
        again.keep(float(now), AGENT, now, batch_of(now), b"-")
        again.prune(float(now))
    assert len(again) == 6, "what is 5 s old or less at second 9"
    again.prune(9.0)
    assert len(again) == 6, "no later answer"
    again.prune(12.0)
    assert len(again) == 3
    again.prune(100.0)
    assert len(again) == 0


def test_it_is_bounded() -> None:
    again = made(most=10_000)
    for number in range(1000):
        again.keep(0.0, AGENT, number, batch_of(number), b"-")
    assert len(again) == 25
    again.keep(0.0, AGENT, 1001, batch_of(*range(50)), b"-")
    assert len(again) == 12, "a large one costs more"
