"""The hub's promise, on random histories: whatever is lost, doubled or reordered between store and device, every device
ends with the handled set, or has been told by a reset to refetch.

Everything that can happen is a step of a seeded simulation: batches, announcements delivered, dropped, doubled and
swapped, reads that run and answer at any moment or fail, devices that pause, drop and resume, a listener that
reconnects, a store that forgets its newest batches, is replaced, or whose clock is set back; batches that are recorded
again where a worker that acknowledged them lives.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any

import pytest

from server import wire
from server.broker.base import Done, Subscriber
from server.errors import Unavailable
from server.events import AgentId, Batch, Cursor, DeviceId, Event, Seq
from server.gateway import hub as hub_module
from server.gateway.channel import Channel
from server.gateway.hub import Hub
from server.metrics import Metrics
from server.session import Announcement, Handled, Session, State
from server.wire import CloseCode, Frame
from tests.model import ModelStore

AGENT = AgentId.of("acme", "ada")


class FakeBroker:
    """The store is a `ModelStore`; what is under way is in lists that the simulation picks from."""

    def __init__(self, cap: int) -> None:
        self.store = ModelStore(cap, 10**9)
        self.now = 1_000_000
        self.store_id = "a"
        self.ready = self.usable = True
        self.subscriber: Subscriber | None = None
        self.wire: list[Announcement] = []
        self.asked: list[tuple[str, tuple[int | None, int], asyncio.Future[Handled]]] = []
        self.answered: list[tuple[Handled, asyncio.Future[Handled]]] = []

    def record(self, agent: AgentId, batch: Batch, origin: DeviceId | None) -> asyncio.Future[int]:
        done: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        done.set_result(self._recorded(batch, origin))
        return done

    def submit(self, agent: AgentId, batch: Batch, origin: DeviceId | None, done: Done) -> None:
        asyncio.get_running_loop().call_soon(done, self._recorded(batch, origin))

    def _recorded(self, batch: Batch, origin: DeviceId | None) -> int:
        prev, seq = self.store.record(self.now, batch.members)
        self.wire.append(Announcement(prev, seq, 0, (origin or "-").encode(), batch.json))
        return seq

    async def read(self, agent: AgentId, position: int | None, floor: int = -1) -> Handled:
        future: asyncio.Future[Handled] = asyncio.get_running_loop().create_future()
        self.asked.append((self.store_id, (position, floor), future))
        return await future

    def run_read(self, index: int) -> None:
        store_id, (position, floor), future = self.asked.pop(index)
        read = self.store.read(self.now, position, floor, wire.PAGE_EVENTS)
        # As the broker does: under the id that it knew when it asked, whatever answers.
        self.answered.append((read._replace(store=store_id), future))

    async def check(self, agent: AgentId, members: Sequence[bytes]) -> list[tuple[bytes, int]]:
        return [(m, self.store.entries[m]) for m in members if m in self.store.entries]

    async def latest(self, agents: Sequence[AgentId]) -> list[int | None]:
        return [self.store.seq for _ in agents]

    def subscribe(self, subscriber: Subscriber) -> None:
        self.subscriber = subscriber

    def unsubscribe(self, subscriber: Subscriber) -> None:
        self.subscriber = None

    async def available(self) -> None:
        return


class Pipe:
    """A session's transport: frames wait in it until the network takes them; over `high` it says pause."""

    def __init__(self, high: int = 3) -> None:
        self.buffer: list[Frame] = []
        self.session: Session | None = None
        self.closed: CloseCode | None = None
        self.high = high

    def write(self, frame: Frame) -> None:
        self.buffer += frame.parts if isinstance(frame, wire.Frames) else [frame]
        if len(self.buffer) > self.high and self.session is not None:
            self.session.pause()

    def close(self, code: CloseCode, reason: str) -> None:
        self.closed = code


class Device:
    """What a client does: apply a frame, then keep its cursor."""

    def __init__(self, name: str) -> None:
        self.name = DeviceId(name)
        self.cursor: Cursor | None = None
        self.joined: Cursor | None = None
        self.has: dict[bytes, int] = {}
        self.pipe: Pipe | None = None
        self.resets = 0
        self.frames: list[dict[str, Any]] = []

    def apply(self, frame: Frame, truth: dict[bytes, int]) -> None:
        message = json.loads(frame.json)
        self.frames.append(message)
        cursor = Cursor.parse(message["cursor"])
        if message["type"] == "welcome":
            self.joined = self.joined or cursor
        elif message["type"] == "reset":
            self.resets += 1
            self.has = dict(truth)  # it refetched its list
        for event in message.get("events", ()):
            member = Event.parse(event["Type"], event["Id"]).member
            self.has[member] = max(self.has.get(member, 0), event.get("At", message.get("at")))
        self.cursor = cursor

    def missing(self, truth: dict[bytes, int], store_id: str) -> dict[bytes, int]:
        """What it should have and has not. It came without a cursor: what was handled before is not its business."""
        assert self.joined is not None
        since = self.joined.seq if self.joined.store == store_id else 0
        return {m: s for m, s in truth.items() if s > since and self.has.get(m, -1) < s}


@dataclass
class Kept:
    """A batch that was acknowledged, and in which life of the store it was last seen there."""

    position: int
    batch: Batch
    origin: Device | None
    life: int


class World:
    """One history."""

    def __init__(self, seed: int) -> None:
        self.rnd = random.Random(seed)
        self.broker = FakeBroker(cap=self.rnd.choice([3, 8, 50]))
        self.hub = Hub(Metrics(), ping_s=25)
        self.hub.attach(self.broker)
        self.hub.store_changed()
        self.devices = [Device(name) for name in ("phone", "tablet", "desk")]
        self.truth: dict[bytes, int] = {}
        self.before: tuple[ModelStore, dict[bytes, int]] | None = None
        self.remembers = self.rnd.random() < 0.5
        """Whoever acknowledged a batch lives, and records it again where it was lost."""
        self.past: list[ModelStore] = []
        self.life = 0
        self.kept: list[Kept] = []
        self.due: list[Kept] = []
        self.lost = 0  # positions up to here were given out by a store that forgot it: no clock goes back behind them

    async def settle(self) -> None:
        for _ in range(6):
            await asyncio.sleep(0)

    def record(self) -> None:
        ids = [Event.parse("NewTicket", self.rnd.randrange(12)) for _ in range(self.rnd.choice([1, 1, 2, 6]))]
        origin = self.rnd.choice([None, *self.devices])
        batch = Batch(ids)
        # What it handles again has moved up: of a device that read that, and of a store that lost it, nothing is said.
        before = {m: s for m, s in self.truth.items() if m not in batch.members}
        self.before = (self.broker.store.copy(), before)
        self.past = [*self.past[-2:], self.broker.store.copy()]
        seq = self.broker.record(AGENT, batch, origin.name if origin else None).result()
        self.kept.append(Kept(seq, batch, origin, self.life))
        self.truth |= dict.fromkeys(batch.members, seq)
        if origin:
            origin.has |= dict.fromkeys(batch.members, seq)  # it handled them itself
        self.broker.now += self.rnd.choice([0, 0, 1, 50])

    def record_again(self) -> None:
        """The next of the batches that are compared with the store. It was handled when it was, wherever it goes."""
        if not self.due:
            return
        kept = self.due.pop(0)
        least = kept.position if kept.life == self.life - 1 else self.broker.now
        kept.life = self.life
        if recorded := self.broker.store.again(kept.position, least, kept.batch.members):
            prev, kept.position = recorded
            by = (kept.origin.name if kept.origin else "-").encode()
            self.broker.wire.append(Announcement(prev, kept.position, 0, by, kept.batch.json))

    def deliver(self) -> None:
        if self.broker.wire and self.broker.subscriber is not None:
            together = self.broker.wire[: self.rnd.choice((1, 1, 2, 3))]
            del self.broker.wire[: len(together)]
            self.broker.subscriber.announced(together)

    def drop(self) -> None:
        if self.broker.wire:
            self.broker.wire.pop(self.rnd.randrange(len(self.broker.wire)))

    def double(self) -> None:
        if self.broker.wire:
            self.broker.wire.append(self.rnd.choice(self.broker.wire))

    def shuffle(self) -> None:
        self.rnd.shuffle(self.broker.wire)

    def run_read(self) -> None:
        if self.broker.asked:
            self.broker.run_read(self.rnd.randrange(len(self.broker.asked)))

    def answer_read(self) -> None:
        if self.broker.answered:
            read, future = self.broker.answered.pop(self.rnd.randrange(len(self.broker.answered)))
            if not future.done():
                future.set_result(read)

    def fail_read(self) -> None:
        if self.broker.asked:
            _, _, future = self.broker.asked.pop(0)
            if not future.done():
                future.set_exception(Unavailable())

    def connect(self, device: Device | None = None) -> None:
        device = device or self.rnd.choice(self.devices)
        if device.pipe is None:
            device.pipe = Pipe()
            device.pipe.session = Session(device.name, device.cursor, device.pipe)
            self.hub.join(AGENT, device.pipe.session)

    def cut(self) -> None:
        device = self.rnd.choice(self.devices)
        if device.pipe is not None and device.pipe.session is not None:
            self.hub.leave(AGENT, device.pipe.session)
            device.pipe = None  # what was still in the pipe is lost

    def carry(self, device: Device | None = None) -> None:
        """The network takes some frames of a device to it."""
        device = device or self.rnd.choice(self.devices)
        pipe = device.pipe
        if pipe is None or pipe.session is None:
            return
        for _ in range(self.rnd.randrange(1, 6)):
            if pipe.buffer:
                device.apply(pipe.buffer.pop(0), self.truth)
        if not pipe.buffer:
            self.hub.resumed(AGENT, pipe.session)

    def reconnect_listener(self) -> None:
        self.broker.wire.clear()
        if self.broker.subscriber is not None:
            self.broker.subscriber.confirmed()

    def lose_tail(self) -> None:
        """The store comes back without its newest batch. Its clock is ahead of all it gave out: the assumption is that
        a failover takes longer than store clocks differ by."""
        if self.remembers and self.past:
            self.lost = self.broker.now = max(self.broker.now, self.broker.store.seq + 1)
            self.broker.store = self.rnd.choice(self.past)
            self.past, self.due = [], list(self.kept)
            self.life += 1
            self.broker.now += 1
            self.reconnect_listener()
        elif self.before is not None:
            self.lost = self.broker.now = max(self.broker.now, self.broker.store.seq + 1)
            self.broker.store, self.truth = self.before[0].copy(), dict(self.before[1])
            self.before = None
            self.broker.now += 1
            self.reconnect_listener()

    def replace_store(self) -> None:
        """A new one, or an old copy whose floor is below where devices stand. Reads under way fail with the connection,
        or go on, where it was found out by the sweep."""
        store = ModelStore(self.broker.store.cap, 10**9, self.broker.store_id + "x")
        self.truth, self.before = {}, None
        if self.rnd.random() < 0.5:
            store.floor = 1
            store.entries = {b"2:1": 10, b"2:2": self.broker.now + 1000}
            self.truth = dict(store.entries)
        self.past, self.kept, self.due = [], [], []
        self.broker.store, self.broker.store_id = store, store.store_id
        self.broker.wire.clear()
        if self.rnd.random() < 0.5:
            for future in [*(f for _, _, f in self.broker.asked), *(f for _, f in self.broker.answered)]:
                if not future.done():
                    future.set_exception(Unavailable())
            self.broker.asked.clear()
            self.broker.answered.clear()
        self.hub.store_changed()
        self.reconnect_listener()

    def clock_back(self) -> None:
        self.broker.now = max(self.lost, self.broker.now - self.rnd.choice([10, 1000, 100_000]))

    def step(self) -> Callable[[], None]:
        """Mostly ordinary life, now and then a fault."""
        usual = [self.record, self.deliver, self.deliver, self.run_read, self.answer_read, self.carry, self.carry]
        usual += [self.record_again] if self.due else []
        rare = [self.drop, self.drop, self.double, self.shuffle, self.fail_read, self.connect, self.connect, self.cut]
        faults = [self.reconnect_listener, self.lose_tail, self.replace_store, self.clock_back]
        dice = self.rnd.random()
        return self.rnd.choice(usual if dice < 0.7 else rare if dice < 0.98 else faults)

    async def finish(self) -> None:
        """Everybody is connected, the listener too, and all that is under way arrives."""
        while self.due:
            self.record_again()
        for device in self.devices:
            self.connect(device)
        self.reconnect_listener()
        await self.arrive()

    async def arrive(self) -> None:
        """All that is under way arrives."""
        for _ in range(400):
            while self.broker.asked:
                self.broker.run_read(0)
            while self.broker.answered:
                self.answer_read()
            while self.broker.wire:
                self.deliver()
            for device in self.devices:
                self.carry(device)
            await self.settle()
            if self.quiet():
                return
        raise AssertionError("never quiet")

    def quiet(self) -> bool:
        pipes = [device.pipe for device in self.devices if device.pipe is not None]
        idle = not (self.broker.asked or self.broker.answered or self.broker.wire)
        return idle and all(p.session and p.session.state is State.LIVE and not p.buffer for p in pipes)


async def with_hub(world: World, work: Coroutine[Any, Any, None]) -> None:
    running = asyncio.ensure_future(world.hub.run())
    try:
        await work
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


@pytest.mark.parametrize("block", range(5))
async def test_every_device_ends_with_the_handled_set(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub_module, "_RETRY_S", 0.0)
    monkeypatch.setattr(wire, "PAGE_EVENTS", 2)  # so that a catch-up has many frames to be interrupted between
    for seed in range(block * 30, block * 30 + 30):
        world = World(seed)

        async def history(world: World = world) -> None:
            world.connect(world.devices[0])
            world.reconnect_listener()
            for _ in range(world.rnd.choice([30, 200])):
                world.step()()
                if world.rnd.random() < 0.8:
                    await world.settle()
            await world.finish()

        await with_hub(world, history())
        for device in world.devices:
            missing = device.missing(world.truth, world.broker.store_id)
            assert not missing, f"seed {seed}: {device.name} lacks {missing}"


async def ready_world(devices: int = 2) -> World:
    """Devices that are live."""
    world = World(1)
    world.broker.store.cap = 5000
    world.devices = world.devices[:devices]
    for device in world.devices:
        world.connect(device)
    world.reconnect_listener()
    return world


async def test_a_live_clear_needs_no_read() -> None:
    world = await ready_world()

    async def history() -> None:
        await world.finish()
        batch = Batch([Event.parse("NewTicket", 1)])
        await world.broker.record(AGENT, batch, None)
        world.deliver()
        assert not world.broker.asked
        for device in world.devices:
            assert device.pipe is not None
            assert [json.loads(f.json)["type"] for f in device.pipe.buffer] == ["clear"]
        one, other = [device.pipe.buffer[0] for device in world.devices if device.pipe]
        assert one is other, "encoded once a batch"

    await with_hub(world, history())


async def test_the_origin_gets_an_empty_clear_with_the_cursor() -> None:
    world = await ready_world()

    async def history() -> None:
        await world.finish()
        phone, tablet = world.devices
        await world.broker.record(AGENT, Batch([Event.parse("NewTicket", 1)]), phone.name)
        await world.arrive()
        assert phone.frames[-1]["events"] == []
        assert tablet.frames[-1]["events"] == [{"Type": "NewTicket", "Id": 1}]
        assert phone.cursor == tablet.cursor

    await with_hub(world, history())


async def test_the_sweep_finds_a_clear_whose_announcement_was_lost() -> None:
    world = await ready_world()

    async def history() -> None:
        await world.finish()
        await world.broker.record(AGENT, Batch([Event.parse("NewTicket", 7)]), None)
        world.drop()
        assert isinstance(world.broker.subscriber, Channel)
        await world.hub.sweep([world.broker.subscriber], settle_s=0)
        assert world.hub.metrics.clears_found_by_sweep_total == 1
        await world.arrive()
        assert all(b"1:7" in device.has for device in world.devices)
        await world.hub.sweep([world.broker.subscriber], settle_s=0)
        assert world.hub.metrics.clears_found_by_sweep_total == 1, "repaired, so not found again"

    await with_hub(world, history())


async def test_the_sweep_does_not_count_what_is_on_its_way() -> None:
    world = await ready_world()

    async def history() -> None:
        await world.finish()
        await world.broker.record(AGENT, Batch([Event.parse("NewTicket", 7)]), None)
        assert isinstance(world.broker.subscriber, Channel)
        sweep = asyncio.ensure_future(world.hub.sweep([world.broker.subscriber], settle_s=0.01))
        await world.settle()
        world.deliver()
        await sweep
        assert world.hub.metrics.clears_found_by_sweep_total == 0

    await with_hub(world, history())


async def test_an_empty_channel_is_released_after_a_while() -> None:
    world = await ready_world(devices=1)

    async def history() -> None:
        await world.finish()
        now = asyncio.get_running_loop().time()
        world.cut()
        world.hub.release(now + 1)
        assert world.broker.subscriber is not None, "a device that reconnects finds it subscribed"
        world.hub.release(now + hub_module.LINGER_S + 1)
        released: Subscriber | None = world.broker.subscriber
        assert released is None
        assert world.hub.session_count == 0

    await with_hub(world, history())


async def test_many_empty_channels_are_released_in_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    """The longest empty first; one whose device is back in time stays."""
    monkeypatch.setattr(hub_module, "_SLICE", 2)
    hub = Hub(Metrics(), ping_s=25)
    hub.attach(FakeBroker(cap=5))
    agents = [AgentId.of("acme", f"ada{number}") for number in range(6)]
    for agent in agents:
        session = Session(DeviceId("phone"), None, Pipe())
        hub.join(agent, session)
        hub.leave(agent, session)
    hub.join(agents[0], Session(DeviceId("phone"), None, Pipe()))
    now = asyncio.get_running_loop().time()
    assert not hub.release(now + 1)
    due = now + hub_module.LINGER_S + 1
    left = []
    while hub.release(due):
        left.append(hub.channel_count)
    assert left == [4, 2]
    assert [session.device for session in hub.sessions()] == ["phone"]
    assert hub.channel_count == 1


async def test_a_drain_closes_everybody_with_1012() -> None:
    world = await ready_world()

    async def history() -> None:
        await world.finish()
        await world.hub.drain(0.0)
        assert [d.pipe and d.pipe.closed for d in world.devices] == [CloseCode.RESTART] * 2

    await with_hub(world, history())


async def test_a_join_reads_only_after_the_subscription_is_confirmed() -> None:
    world = World(1)

    async def history() -> None:
        world.connect(world.devices[0])
        await world.settle()
        assert not world.broker.asked, "what is announced before the confirmation would be missed"
        world.reconnect_listener()
        await world.settle()
        assert len(world.broker.asked) == 1

    await with_hub(world, history())


async def test_a_device_that_pauses_between_two_frames_misses_neither(monkeypatch: pytest.MonkeyPatch) -> None:
    """It pauses after a frame of a catch-up and has drained before the one after the next: the read is void for it."""
    monkeypatch.setattr(wire, "PAGE_EVENTS", 1)
    world = World(1)
    world.broker.store.cap = 5000
    world.devices = world.devices[:1]
    phone = world.devices[0]

    async def history() -> None:
        phone.cursor = Cursor("a", Seq(world.broker.now - 1))
        for number in range(6):
            await world.broker.record(AGENT, Batch([Event.parse("NewTicket", number)]), None)
        world.connect(phone)
        world.reconnect_listener()
        pipe = phone.pipe
        assert pipe is not None
        assert pipe.session is not None
        pipe.high = 2
        drained = []
        while world.broker.asked or not world.quiet():
            if world.broker.asked:
                world.broker.run_read(0)
                world.answer_read()
            await asyncio.sleep(0)  # the frames of a read are written one a turn
            if pipe.session.state is State.LAGGING:
                drained.append(pipe.session.seq)
                while pipe.buffer:
                    phone.apply(pipe.buffer.pop(0), {})
                world.hub.resumed(AGENT, pipe.session)  # in the same turn, before the reader's next
            elif pipe.session.state is State.LIVE:
                while pipe.buffer:
                    phone.apply(pipe.buffer.pop(0), {})
        assert len(drained) > 1
        assert set(phone.has) == {b"1:%d" % number for number in range(6)}

    await with_hub(world, history())


async def test_a_position_of_one_store_is_never_read_on_another() -> None:
    """Two devices stand at two positions; between their reads the store is found to be another, a long-lived one."""
    world = World(1)
    world.devices = world.devices[:2]
    phone, tablet = world.devices
    phone.cursor, tablet.cursor = Cursor("a", Seq(1_000_001)), Cursor("a", Seq(1_000_002))
    world.broker.store.floor = 1

    async def history() -> None:
        for device in world.devices:
            world.connect(device)
        world.reconnect_listener()
        await world.settle()
        world.broker.store = ModelStore(50, 10**9, "b")
        world.broker.store.floor = 1
        world.broker.store.entries = {b"2:1": 10, b"2:2": 2_000_000}  # around where the two stand
        world.truth = dict(world.broker.store.entries)
        world.broker.run_read(0)  # asked of the old one, by the phone
        world.broker.store_id = "b"
        world.hub.store_changed()
        await world.finish()
        assert (phone.resets, tablet.resets) == (1, 1)
        assert phone.has == tablet.has == world.truth

    await with_hub(world, history())


async def test_one_read_serves_devices_that_stand_at_different_positions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "PAGE_EVENTS", 4)
    world = World(1)
    world.broker.store.cap = 5000
    seqs = [world.broker.record(AGENT, Batch([Event.parse("NewTicket", n)]), None).result() for n in range(10)]
    world.broker.wire.clear()
    world.broker.store.floor = seqs[1]
    world.truth = dict(world.broker.store.entries)
    behind = (seqs[0], seqs[1], seqs[7])  # the first is below the floor
    for device, seq in zip(world.devices, behind, strict=True):
        device.cursor = Cursor("a", Seq(seq))

    async def history() -> None:
        for device in world.devices:
            world.connect(device)
            assert device.pipe is not None
            device.pipe.high = 10
        world.reconnect_listener()
        await world.settle()
        reads = 0
        while world.broker.asked:
            reads += 1
            assert len(world.broker.asked) == 1
            world.broker.run_read(0)
            world.answer_read()
            await world.settle()
        assert reads == 3, "as many as the one furthest behind needs, of ten pairs and the floor"
        assert world.hub.metrics.catch_ups_total == 3
        await world.finish()
        for device, seq in zip(world.devices, behind, strict=True):
            wanted = world.truth if seq == seqs[0] else {m: s for m, s in world.truth.items() if s > seq}
            assert device.has == wanted
            assert device.resets == (seq == seqs[0])

    await with_hub(world, history())


async def test_a_long_catch_up_is_read_in_pages_that_others_come_between(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each page is asked for when the one before is written; a device that comes meanwhile is not kept waiting."""
    monkeypatch.setattr(wire, "PAGE_EVENTS", 2)
    world = World(1)
    world.broker.store.cap = 5000
    phone, tablet, _ = world.devices
    phone.cursor = Cursor("a", Seq(world.broker.now - 1))
    for number in range(20):
        world.broker.record(AGENT, Batch([Event.parse("NewTicket", number)]), None)
    world.broker.wire.clear()
    world.truth = dict(world.broker.store.entries)

    async def history() -> None:
        world.connect(phone)
        world.reconnect_listener()
        await world.settle()
        world.connect(tablet)
        for _ in range(2):
            assert len(world.broker.asked) == 1
            world.broker.run_read(0)
            world.answer_read()
            await world.settle()
        assert tablet.pipe is not None
        assert tablet.pipe.session is not None
        assert tablet.pipe.session.state is State.LIVE
        assert phone.pipe is not None
        assert [json.loads(frame.json)["type"] for frame in phone.pipe.buffer] == ["welcome", "clear"]
        await world.finish()
        assert phone.has == world.truth

    await with_hub(world, history())


async def test_one_that_is_hardly_behind_does_not_wait_for_all_pages_of_another(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(wire, "PAGE_EVENTS", 2)
    world = World(1)
    world.broker.store.cap = 5000
    phone, tablet, _ = world.devices
    seqs = [world.broker.record(AGENT, Batch([Event.parse("NewTicket", n)]), None).result() for n in range(100)]
    world.broker.wire.clear()
    world.broker.store.floor = seqs[0] - 1
    world.truth = dict(world.broker.store.entries)
    phone.cursor, tablet.cursor = Cursor("a", Seq(seqs[0] - 1)), Cursor("a", Seq(seqs[-2]))

    async def history() -> None:
        world.connect(phone)
        world.connect(tablet)
        world.reconnect_listener()
        await world.settle()
        assert tablet.pipe is not None
        assert tablet.pipe.session is not None
        assert phone.pipe is not None
        phone.pipe.high = 100
        reads = 0
        while tablet.pipe.session.state is not State.LIVE:
            assert len(world.broker.asked) == 1
            reads += 1
            world.broker.run_read(0)
            world.answer_read()
            await world.settle()
        assert reads == hub_module._PAGES + 1
        assert [json.loads(frame.json)["type"] for frame in tablet.pipe.buffer] == ["welcome", "clear"]
        await world.finish()
        assert phone.has == world.truth
        assert tablet.has == {member: seq for member, seq in world.truth.items() if seq > seqs[-2]}

    await with_hub(world, history())


async def test_many_devices_are_written_to_in_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub_module, "_SLICE", 2)
    world = World(1)
    world.devices = [Device(f"d{number}") for number in range(7)]

    async def history() -> None:
        for device in world.devices:
            world.connect(device)
        world.reconnect_listener()
        await world.settle()
        world.broker.run_read(0)
        world.answer_read()
        written = []
        for _ in range(8):
            await asyncio.sleep(0)
            written.append(sum(len(d.pipe.buffer) for d in world.devices if d.pipe))
        assert sorted({0, *written}) == [0, 2, 4, 6, 7]
        await world.finish()

    await with_hub(world, history())
