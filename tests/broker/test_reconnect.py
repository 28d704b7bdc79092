"""The broker and a store that is hurt: a real one, killed, paused, restarted, its connections cut."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import hiredis
import pytest
import redis

from server.broker.redis import RedisBroker
from server.errors import StoreError, Unavailable
from server.events import Batch, Event, EventType
from tests.broker.conftest import AGENT, KEY, Listener, broker_on, eventually
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


async def taken(broker: RedisBroker) -> None:
    """Record until the store takes it, on whatever link."""
    async with asyncio.timeout(20):
        while True:
            await broker.available()
            try:
                await broker.record(AGENT, batch_of(2), None)
            except Unavailable:
                await asyncio.sleep(0)
            else:
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


class LoadingStore:
    """Answers as a store that, after a restart, reads its file: HELLO and SSUBSCRIBE are served, PING is refused."""

    def __init__(self) -> None:
        self.refusals = 0
        self.connections: set[asyncio.StreamWriter] = set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections.add(writer)
        commands = hiredis.Reader()
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(65536):
                commands.feed(data)
                while (command := commands.gets()) is not False:
                    writer.write(self.answer([bytes(word) for word in command]))
        self.connections.discard(writer)
        writer.close()

    def restart(self, refusals: int) -> None:
        self.refusals = refusals
        for connection in self.connections:
            connection.close()

    def answer(self, command: list[bytes]) -> bytes:
        match command[0]:
            case b"HELLO":
                return b"%2\r\n+server\r\n+valkey\r\n+version\r\n+9.0.0\r\n"
            case b"SSUBSCRIBE":
                return b">3\r\n$10\r\nssubscribe\r\n$%d\r\n%b\r\n:1\r\n" % (len(command[1]), command[1])
            case b"PING" if self.refusals:
                self.refusals -= 1
                return b"-LOADING the file is being read\r\n"
            case b"TIME":
                return b"*2\r\n$1\r\n1\r\n$1\r\n1\r\n"
            case _:
                return b"$4\r\nabcd\r\n"


async def test_a_store_that_is_loading_is_asked_until_it_has_loaded() -> None:
    """It lets a listener say HELLO and subscribe, and refuses to answer: half a subscription is none."""
    store, changed, listener = LoadingStore(), asyncio.Event(), Listener()
    server = await asyncio.start_server(store.serve, "127.0.0.1", 0)
    url = f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with server, broker_on(url, on_change=changed.set) as broker:
        broker.subscribe(listener)
        await listener.until(lambda: listener.confirmations == 1)
        store.restart(refusals=2)
        async with asyncio.timeout(20):
            while store.refusals or not broker.ready:
                changed.clear()
                await changed.wait()
        assert listener.confirmations > 1


async def test_a_store_that_became_read_only_is_left_for_another_connection(real_store: RealStore, raw: Any) -> None:
    """A master that was demoted without its clients being cut: the next connection may lead to the new one."""
    async with broker_on(real_store.url) as broker:
        await broker.record(AGENT, batch_of(1), None)
        raw.execute_command("REPLICAOF", "127.0.0.1", "1")
        await refused(broker)
        assert not broker.ready, "a store that takes no batch is not one to be ready for"
        raw.execute_command("REPLICAOF", "NO", "ONE")
        await taken(broker)


async def test_a_listener_that_meets_another_store_than_commands_does_not_stay(real_store: RealStore, raw: Any) -> None:
    async with broker_on(real_store.url) as broker:
        listener = Listener()
        broker.subscribe(listener)
        await listener.until(lambda: listener.confirmations == 1)
        link = broker._listener._link
        raw.set("cs:store", "another")
        await broker.latest([])  # commands meet it first
        await listener.until(lambda: listener.confirmations == 2)
        assert broker._listener._link is not link
        assert broker.store_id == "another"


async def test_what_is_no_store_id_is_refused(real_store: RealStore, raw: Any) -> None:
    raw.set("cs:store", "Not One")
    with pytest.raises(StoreError, match=r"store\.prefix"):
        async with broker_on(real_store.url) as broker:
            assert broker is None, "started on it"


async def test_a_full_store_is_not_ready_and_can_be_read(real_store: RealStore, raw: Any) -> None:
    async with broker_on(real_store.url) as broker:
        seq = await broker.record(AGENT, batch_of(1), None)
        raw.config_set("maxmemory", 1)
        await eventually(lambda: not broker.ready)
        with pytest.raises(Unavailable):
            await broker.record(AGENT, batch_of(2), None)
        first = broker.command_link()
        first.abort()  # and so it is on a new connection
        await eventually(lambda: broker._commands not in (None, first))
        assert not broker.ready
        assert (await broker.read(AGENT, 0)).entries == [(b"1:1", seq)]
        async with broker_on(real_store.url) as late:  # nor does it keep a new worker from serving what it can
            assert (late.usable, late.ready) == (True, False)
            assert (await late.read(AGENT, 0)).entries == [(b"1:1", seq)]
        raw.config_set("maxmemory", 0)
        await eventually(lambda: broker.ready)
        await broker.record(AGENT, batch_of(2), None)
        assert raw.keys("cs:pulse") == []


async def test_a_store_that_became_a_replica_is_left(real_store: RealStore, raw: Any) -> None:
    async with broker_on(real_store.url) as broker:
        await broker.record(AGENT, batch_of(1), None)
        link = broker.command_link()
        raw.execute_command("REPLICAOF", "127.0.0.1", "1")
        await asyncio.wait_for(link.lost, 10)
        await eventually(lambda: not broker.ready)
        with pytest.raises(Unavailable):
            broker.command_link()
        raw.execute_command("REPLICAOF", "NO", "ONE")
        await eventually(lambda: broker.ready)
        await broker.record(AGENT, batch_of(2), None)
