"""What the broker promises, on fakeredis and on a real store."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Any

import hiredis
import pytest

from server import wire
from server.broker.recording import Recording
from server.broker.redis import FUTURE_SLACK_MS, RedisBroker
from server.errors import StoreError, Unavailable
from server.events import AgentId, Batch, DeviceId, Event, EventType
from tests.broker.conftest import AGENT, KEY, Listener, broker_on
from tests.model import ModelStore

DAY_MS = 86_400_000
only_real = pytest.mark.parametrize("url", ["valkey"], indirect=True)
"""fakeredis' TCP server ends a connection at its first error reply."""


def batch_of(*ids: int) -> Batch:
    return Batch([Event(EventType.NewTicket, i) for i in ids])


async def test_a_batch_is_recorded_and_announced(broker: RedisBroker) -> None:
    listener = Listener()
    broker.subscribe(listener)
    await listener.until(lambda: listener.confirmations == 1)
    start = (await broker.read(AGENT, None)).seq
    first = await broker.record(AGENT, batch_of(1, 2), DeviceId("phone"))
    second = await broker.record(AGENT, batch_of(1), None)
    assert start < first < second
    await listener.until(lambda: len(listener.messages) == 2)
    one, two = listener.messages
    assert (one.prev, one.seq, one.origin, one.events) == (start, first, b"phone", batch_of(1, 2).json)
    assert (two.prev, two.seq, two.origin) == (first, second, b"-")
    read = await broker.read(AGENT, start)
    assert not read.reset
    assert read.entries == [(b"1:2", first), (b"1:1", second)], "handled again, so its score moved up"


async def test_the_first_join_makes_the_key_at_the_present(broker: RedisBroker, raw: Any) -> None:
    read = await broker.read(AGENT, None)
    assert (read.reset, read.entries, read.seq, read.floor) == (False, [], read.now, read.now)
    assert raw.zrange(KEY, 0, -1, withscores=True) == [(b"-", float(read.now))]
    assert 30 * DAY_MS < raw.pttl(KEY) <= 31 * DAY_MS
    assert (await broker.read(AGENT, None)).seq == read.seq


async def test_expiry_is_refreshed_when_less_than_retention_is_left(broker: RedisBroker, raw: Any) -> None:
    await broker.read(AGENT, None)
    touches: list[Callable[[], Awaitable[object]]] = [
        lambda: broker.record(AGENT, batch_of(1), None),
        lambda: broker.read(AGENT, None),
        lambda: broker.latest([AGENT]),
    ]
    for touch in touches:
        raw.pexpire(KEY, 29 * DAY_MS)
        await touch()
        assert raw.pttl(KEY) > 30 * DAY_MS


async def test_agents_do_not_see_each_other(broker: RedisBroker) -> None:
    other = AgentId.of("acme", "bob")
    await broker.read(other, None)
    await broker.record(AGENT, batch_of(1), None)
    assert (await broker.read(other, 0)).entries == []


async def test_below_the_floor_is_a_reset_with_all_that_is_retained(url: str) -> None:
    async with broker_on(url, max_events=1000) as broker:
        start = (await broker.read(AGENT, None)).seq
        first = await broker.record(AGENT, batch_of(*range(600)), None)
        last = await broker.record(AGENT, batch_of(*range(600, 1200)), None)
        read = await broker.read(AGENT, start)
        assert (read.reset, read.floor, read.seq) == (True, first, last)
        assert (len(read.entries), read.page_end) == (400, first), "what was recorded together is on one page"
        rest = await broker.read(AGENT, first, read.floor)
        assert (rest.reset, len(rest.entries), rest.page_end) == (False, 600, None)
        at_floor = await broker.read(AGENT, first)
        assert (at_floor.reset, len(at_floor.entries)) == (False, 600)


async def test_what_is_past_retention_is_dropped_by_the_next_record(broker: RedisBroker, raw: Any) -> None:
    seq = await broker.record(AGENT, batch_of(1), None)
    old = seq - 31 * DAY_MS
    raw.zadd(KEY, {b"1:7": old, b"1:8": old - 5, b"-": old - 10})
    await broker.record(AGENT, batch_of(2), None)
    assert raw.zscore(KEY, b"1:7") is None
    assert raw.zscore(KEY, b"1:8") is None
    assert raw.zscore(KEY, b"-") == old, "the highest that was dropped"


async def test_ahead_of_the_store_is_a_reset_that_all_devices_get(broker: RedisBroker) -> None:
    seq = await broker.record(AGENT, batch_of(1), None)
    ahead = await broker.read(AGENT, seq + 3000)
    assert (ahead.reset, ahead.seq, ahead.floor) == (True, seq + 3000, seq + 3000)
    assert ahead.entries == [(b"1:1", seq)]
    assert (await broker.read(AGENT, seq)).reset, "the agent's other devices are told too"
    assert not (await broker.read(AGENT, seq + 3000)).reset
    assert await broker.record(AGENT, batch_of(2), None) == seq + 3001


async def test_far_ahead_of_the_clock_is_no_position_of_ours(broker: RedisBroker) -> None:
    seq = await broker.record(AGENT, batch_of(1), None)
    far = await broker.read(AGENT, seq + FUTURE_SLACK_MS + 600_000)
    assert (far.reset, far.seq) == (True, seq)
    assert not (await broker.read(AGENT, seq)).reset, "not adopted: a corrected clock must not lock devices out"


async def test_check_tells_what_is_handled_and_when(broker: RedisBroker) -> None:
    seq = await broker.record(AGENT, batch_of(1, 3), None)
    assert await broker.check(AGENT, [b"1:1", b"1:2", b"1:3"]) == [(b"1:1", seq), (b"1:3", seq)]


async def test_latest(broker: RedisBroker) -> None:
    seq = await broker.record(AGENT, batch_of(1), None)
    mine, others = await broker.latest([AGENT, AgentId.of("acme", "nobody")])
    assert mine == seq
    assert others is not None
    assert others >= seq, "the present, as for a first join"
    assert await broker.latest([]) == []


@only_real
async def test_past_its_deadline_a_batch_is_refused_and_not_recorded(broker: RedisBroker, raw: Any) -> None:
    script = broker._record.source  # what the broker sends, sent late
    with pytest.raises(Exception, match="LATE"):
        raw.eval(script, 1, KEY, 10_000, 30 * DAY_MS, 1000, KEY, "-", 0, "[]", "1:1")
    assert not raw.exists(KEY)


@only_real
async def test_a_store_that_lost_its_scripts_is_given_them_again(broker: RedisBroker, raw: Any) -> None:
    raw.script_flush()
    await asyncio.gather(*(broker.record(AGENT, batch_of(i), None) for i in range(20)))
    raw.script_flush()
    assert len((await broker.read(AGENT, 0)).entries) == 20


async def test_unsubscribed_is_silent_and_subscribed_again_is_confirmed_anew(broker: RedisBroker) -> None:
    first, second = Listener(), Listener()
    broker.subscribe(first)
    broker.unsubscribe(first)
    broker.subscribe(second)  # all three under way at once: each confirmation belongs to its own request
    await second.until(lambda: second.confirmations == 1)
    await broker.record(AGENT, batch_of(1), None)
    await second.until(lambda: len(second.messages) == 1)
    assert (first.confirmations, first.messages) == (0, [])
    broker.unsubscribe(first)
    await broker.record(AGENT, batch_of(2), None)
    await second.until(lambda: len(second.messages) == 2)


async def test_what_is_no_announcement_is_treated_as_a_gap(broker: RedisBroker, raw: Any) -> None:
    listener = Listener()
    broker.subscribe(listener)
    await listener.until(lambda: listener.confirmations == 1)
    raw.execute_command("SPUBLISH", KEY, "nonsense")
    await listener.until(lambda: listener.confirmations == 2)


async def test_the_store_id_is_made_once_and_a_wiped_store_is_another(url: str, raw: Any) -> None:
    changes: list[str] = []
    listener = Listener()
    async with broker_on(url, on_store=lambda: changes.append("")) as broker, broker_on(url) as other:
        first = broker.store_id
        assert first == other.store_id == raw.get("cs:store").decode()
        assert len(changes) == 1
        broker.subscribe(listener)
        await listener.until(lambda: listener.confirmations == 1)
        raw.flushall()
        await broker.latest([])
        assert len(changes) == 2
        assert broker.store_id == raw.get("cs:store").decode() != first
        assert (await broker.read(AGENT, None)).store == broker.store_id
        await listener.until(lambda: listener.confirmations == 2)  # the listener makes sure that it listens there


async def test_a_caller_that_gives_up_does_not_shift_the_replies(broker: RedisBroker) -> None:
    seqs = [broker.record(AGENT, batch_of(i), None) for i in range(10)]
    for given_up in seqs[::2]:
        given_up.cancel()
    kept = [await seq for seq in seqs[1::2]]
    assert kept == sorted(set(kept))
    assert len((await broker.read(AGENT, 0)).entries) == 10


async def test_a_reply_of_an_error_is_unavailable(broker: RedisBroker, raw: Any) -> None:
    raw.set(KEY, "not a sorted set")
    for asked in (broker.record(AGENT, batch_of(1), None), broker.read(AGENT, 0), broker.check(AGENT, [b"1:1"])):
        with pytest.raises(Unavailable) as refused:
            await asked
        assert "WRONGTYPE" not in str(refused.value), "the store's words stay in the log"


async def test_pages_never_split_a_score_and_lose_nothing(
    broker: RedisBroker, raw: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for seed in range(30):
        rnd = random.Random(seed)
        size = rnd.choice([1, 2, 5, 9])
        monkeypatch.setattr(wire, "PAGE_EVENTS", size)
        raw.delete(KEY)
        there = {b"%d:%d" % (rnd.randrange(12), number): rnd.randrange(5, 40) for number in range(rnd.randrange(40))}
        raw.zadd(KEY, there | {b"-": rnd.choice([1, 4, 20, 50])})
        found: dict[bytes, int] = {}
        read = await broker.read(AGENT, 0)
        floor = read.floor
        while True:
            assert found.keys().isdisjoint(dict(read.entries)), f"seed {seed}"
            found |= dict(read.entries)
            scores = {score for _, score in read.entries}
            assert len(read.entries) <= size or len(scores) == 1, f"seed {seed}"
            assert all(score <= read.position for score in scores), f"seed {seed}"
            if read.page_end is None:
                break
            read = await broker.read(AGENT, read.page_end, floor)
            assert not read.reset, f"seed {seed}"
        assert (found, read.position) == (there, max([*there.values(), floor])), f"seed {seed}"


async def test_a_page_that_ends_with_the_last_score_is_the_last(broker: RedisBroker) -> None:
    start = (await broker.read(AGENT, None)).seq
    seq = await broker.record(AGENT, batch_of(*range(600)), None)
    read = await broker.read(AGENT, start)
    assert (len(read.entries), read.position, read.page_end) == (600, seq, None)


async def test_the_scripts_follow_the_model(broker: RedisBroker, raw: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Random histories on the store and on its model: the same positions, floors, resets and entries."""
    for seed in range(12):
        rnd = random.Random(seed)
        page = rnd.choice([1, 2, 5, 500])
        monkeypatch.setattr(wire, "PAGE_EVENTS", page)
        raw.delete(KEY)
        cap = rnd.choice([3, 5, 20])
        broker._recording = Recording(broker._record, cap, 30 * DAY_MS)
        model = ModelStore(cap, 30 * DAY_MS, broker.store_id)
        known = [0]
        for _ in range(60):
            dice = rnd.random()
            if dice < 0.6:
                members = batch_of(*(rnd.randrange(12) for _ in range(rnd.choice([1, 2, 6]))))
                seq = await broker.record(AGENT, members, None)
                assert model.record(seq, members.members)[1] == seq, f"seed {seed}"
                known.append(seq)
            elif dice < 0.65 and model.entries:  # the newest is lost
                member, _ = model.ordered()[-1]
                raw.zrem(KEY, member)
                del model.entries[member]
            else:
                position = rnd.choice([None, *known, known[-1] + rnd.choice([1, 4000, 60_000])])
                floor = rnd.choice([-1, -1, *known])
                read = await broker.read(AGENT, position, floor)
                assert model.read(read.now, position, floor, page) == read, f"seed {seed}"
                known += [read.seq, read.position]


async def test_a_store_that_is_not_there_is_a_store_error(unused_tcp_port: int) -> None:
    with pytest.raises(StoreError, match="does not answer"):
        async with broker_on(f"redis://127.0.0.1:{unused_tcp_port}", within_s=0.3) as broker:
            assert broker is None, "unreachable"


def test_hiredis_reports_errors_as_values() -> None:
    """The link relies on it: an error reply is a value among replies, not raised."""
    reader = hiredis.Reader()
    reader.feed(b"-ERR x\r\n")
    assert isinstance(reader.gets(), hiredis.ReplyError)
