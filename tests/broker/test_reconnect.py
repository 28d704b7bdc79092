"""The broker and a store that is hurt: a real one, killed, paused, restarted, its connections cut."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
import redis

from server.broker.redis import RedisBroker
from server.errors import Unavailable
from server.events import Batch, Event, EventType
from tests.broker.conftest import AGENT, KEY, Listener, broker_on
from tests.running import RealStore


def batch_of(number: int) -> Batch:
    return Batch([Event(EventType.NewTicket, number)])


async def refused(broker: RedisBroker) -> None:
    """Record until the link has seen that the store is gone."""
    try:
        while True:
            await broker.record(AGENT, batch_of(2), None)
    except Unavailable:
        return


@pytest.fixture
def raw(real_store: RealStore) -> Any:
    with redis.Redis.from_url(real_store.url) as client:
        yield client


async def test_a_killed_store_is_unavailable_and_comes_back_with_everything(real_store: RealStore) -> None:
    changes: list[str] = []
    async with broker_on(real_store.url, on_change=lambda: changes.append("changed")) as broker:
        listener = Listener()
        broker.subscribe(listener)
        await listener.until(lambda: listener.confirmations == 1)
        seq = await broker.record(AGENT, batch_of(1), None)
        real_store.kill()
        await refused(broker)
        assert not broker.ready
        store = broker.store_id
        await asyncio.to_thread(real_store.start)
        await listener.until(lambda: listener.confirmations == 2)
        await broker.available()
        assert (b"1:1", seq) in (await broker.read(AGENT, 0)).entries
        assert broker.store_id == store
        await broker.record(AGENT, batch_of(3), None)
        await listener.until(lambda: listener.messages[-1].events == batch_of(3).json)
        assert broker.ready
        assert len(changes) >= 6, "told of each link that came, went and came again"


async def test_a_paused_store_is_given_up_and_never_runs_what_was_given_up(real_store: RealStore, raw: Any) -> None:
    async with broker_on(real_store.url, timeout_s=0.3) as broker:
        await broker.record(AGENT, batch_of(1), None)
        real_store.pause()
        began = asyncio.get_running_loop().time()
        with pytest.raises(Unavailable):
            await broker.record(AGENT, batch_of(2), None)
        assert asyncio.get_running_loop().time() - began < 3 * 0.6
        with pytest.raises(Unavailable):  # at once, there is no link
            await broker.record(AGENT, batch_of(3), None)
        assert not broker.ready
        await asyncio.sleep(1.0)  # time is the condition: well past the deadline of batch 2
        real_store.resume()
        await broker.available()
        await broker.record(AGENT, batch_of(4), None)
        members = {member for member, _ in (await broker.read(AGENT, 0)).entries}
        assert members == {b"1:1", b"1:4"}


async def test_a_cut_listener_is_subscribed_again(real_store: RealStore, raw: Any) -> None:
    async with broker_on(real_store.url) as broker:
        listener = Listener()
        broker.subscribe(listener)
        await listener.until(lambda: listener.confirmations == 1)
        assert raw.execute_command("CLIENT", "KILL", "TYPE", "pubsub") == 1
        await listener.until(lambda: listener.confirmations == 2)
        await broker.record(AGENT, batch_of(1), None)
        await listener.until(lambda: len(listener.messages) == 1)


async def test_a_subscription_that_is_taken_away_is_asked_for_again(real_store: RealStore, raw: Any) -> None:
    """As when a cluster's slot moves: an unasked `sunsubscribe`."""
    async with broker_on(real_store.url) as broker:
        listener = Listener()
        broker.subscribe(listener)
        await listener.until(lambda: listener.confirmations == 1)
        assert broker._listener._link is not None
        broker._listener._link.data_received(
            b">3\r\n$12\r\nsunsubscribe\r\n$%d\r\n%b\r\n:0\r\n" % (len(KEY), KEY.encode())
        )
        await listener.until(lambda: listener.confirmations == 2)
