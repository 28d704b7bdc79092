"""What a device is sent and answered in a session, against a whole server with a real store."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Iterator
from typing import Any

import pytest
from websockets.frames import Opcode

from tests.gateway.devices import (
    Caller,
    Device,
    Ledger,
    Pair,
    asked,
    caller,
    events_of,
    masked,
    raw,
    raw_session,
    resident_bytes,
    seq_of,
    session,
    snapshot,
    tickets,
    upgrade,
)
from tests.running import Running, client, paused, serving

ONE: Pair = ("AppointmentCancelled", 699)
SENTINEL: Pair = ("Unknown", -1)
"""Handled last in a test: when its clear has come, so has everything before it."""


@pytest.fixture(scope="module")
def unlimited(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A server that takes as many frames as come."""
    env = {"CLEARSYNC_LIMITS__FRAMES_PER_SESSION_S": "0"}
    with serving("--dev", folder=tmp_path_factory.mktemp("unlimited"), env=env) as running:
        yield running


async def ends(device: Device, by: Caller) -> list[dict[str, Any]]:
    """All that comes before a sentinel."""
    await by.handled(SENTINEL)
    return (await device.until_cleared(SENTINEL))[:-1]


async def catch_up(device: Device, running: Running, user: str) -> list[dict[str, Any]]:
    """All that it is sent until it stands where the agent does."""
    position = max((await snapshot(running, user)).values())
    return await device.until(lambda: seq_of(device.cursor) >= position)


# welcome


async def test_welcome_says_where_the_device_stands_and_what_time_it_is(running: Running, user: str) -> None:
    async with session(running, user) as device, caller(running, user) as post:
        welcome = device.frames[0]
        assert list(welcome) == ["type", "cursor", "now", "ping"]
        assert welcome["ping"] == 25
        assert welcome["now"] >= seq_of(welcome["cursor"]) > 1_700_000_000_000
        assert await ends(device, post) == []


async def test_welcome_gives_a_device_its_own_cursor_back(running: Running, user: str) -> None:
    async with caller(running, user) as post:
        async with session(running, user) as device:
            await post.handled(ONE)
            await device.until_cleared(ONE)
        for cursor in (device.cursor, "0", "0123abcd-17"):
            async with session(running, user, cursor=cursor) as again:
                assert again.frames[0]["cursor"] == cursor


@pytest.mark.parametrize("known", [False, True], ids=["verified", "known"])
async def test_welcome_comes_before_any_answer(running: Running, user: str, known: bool) -> None:
    if known:
        async with session(running, user):
            pass
    async with raw(running) as device:
        with paused(running.store_pid()):
            await device.send(upgrade(running, user=user))
            assert (await device.answer()).status == 101
            for kind in ("ping", "nonsense", "check"):
                await device.send(masked(json.dumps({"type": kind, "events": []}).encode()))
            live = b"GET /live HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
            assert (await asked(running, live)).status == 200  # by then what was sent before has arrived
        answers = [(await device.frame())["type"] for _ in range(4)]
        assert answers == ["welcome", "pong", "error", "checked"]


# live


async def test_a_clear_goes_to_all_devices_and_an_empty_one_to_its_origin(running: Running, user: str) -> None:
    async with (
        caller(running, user) as post,
        session(running, user, "phone") as phone,
        session(running, user, "tablet") as tablet,
        session(running, user, "desk") as desk,
    ):
        await post.handled(ONE, ("NewTicket", 12), ONE, device="desk")
        clears = [await device.receive() for device in (phone, tablet)]
        assert clears[0] == clears[1]
        assert list(clears[0]) == ["type", "cursor", "at", "events"]
        assert clears[0]["type"] == "clear"
        assert clears[0]["events"] == events_of([ONE, ("NewTicket", 12)])
        assert clears[0]["at"] == seq_of(clears[0]["cursor"]) > seq_of(phone.frames[0]["cursor"])
        assert await desk.receive() == clears[0] | {"events": []}
        for device in (phone, tablet, desk):
            assert await ends(device, post) == []
            device.ledger.cleared.clear()


async def test_without_an_origin_everybody_is_told(running: Running, user: str) -> None:
    async with caller(running, user) as post, session(running, user, "a") as a, session(running, user, "b") as b:
        await post.handled(ONE)
        assert await a.receive() == await b.receive()
        assert a.frames[-1]["events"] == events_of([ONE])


async def test_the_origin_resumes_without_its_own(running: Running, user: str) -> None:
    async with caller(running, user) as post:
        async with session(running, user, "desk") as desk:
            await post.handled(ONE, device="desk")
            assert (await desk.receive())["events"] == []
        async with session(running, user, "desk", desk.cursor) as desk:
            assert await ends(desk, post) == []


async def test_two_sessions_of_one_device_id_live_side_by_side(running: Running, user: str) -> None:
    async with caller(running, user) as post, session(running, user, "tab") as first:
        async with session(running, user, "tab") as second:
            await post.handled(ONE)
            assert (await first.receive())["events"] == (await second.receive())["events"] == events_of([ONE])
            await post.handled(("NewTicket", 1), device="tab")
            assert (await first.receive())["events"] == (await second.receive())["events"] == []
        await post.handled(("NewTicket", 2))
        assert (await first.receive())["events"] == events_of(tickets([2]))


async def test_agents_are_apart(running: Running, user: str) -> None:
    other = f"{user}.other"
    async with (
        session(running, user) as device,
        session(running, user.upper(), "shouting") as same,
        caller(running, other) as theirs,
        caller(running, user) as ours,
    ):
        await theirs.handled(ONE)
        assert await ends(device, ours) == []
        assert await ends(same, ours) == []


async def test_the_same_pair_is_cleared_again(running: Running, user: str) -> None:
    async with caller(running, user) as post, session(running, user) as device:
        for _ in range(3):
            await post.handled(ONE)
            assert (await device.receive())["events"] == events_of([ONE])
        ats = [frame["at"] for frame in device.frames[1:]]
        assert ats == sorted(set(ats))


# what a device says


async def test_handled_is_recorded_by_ref_and_cleared_on_the_others_in_order(running: Running, user: str) -> None:
    refs = ["a", "", "ü" * 64]
    async with session(running, user, "desk") as desk, session(running, user, "phone") as phone:
        for number, ref in enumerate(refs):
            await desk.ask(type="handled", ref=ref, events=events_of([("NewTicket", number)]), later="ignored")
        await phone.until_cleared(("NewTicket", 2))
        assert [frame["events"] for frame in phone.frames[1:]] == [events_of(tickets([n])) for n in range(3)]
        cursors = [seq_of(frame["cursor"]) for frame in phone.frames]
        assert cursors == sorted(set(cursors))
        frames = await desk.until(lambda: desk.cursor == phone.cursor and len(desk.frames) == 7)
        answers = [frame for frame in frames if frame["type"] == "recorded"]
        assert answers == [{"type": "recorded", "ref": ref} for ref in refs]
        own = [frame for frame in frames if frame["type"] == "clear"]
        assert own == [frame | {"events": []} for frame in phone.frames[1:]]
    assert (await snapshot(running, user)).keys() == set(tickets(range(3)))


async def test_handled_without_a_ref_and_without_events(running: Running, user: str) -> None:
    async with session(running, user) as device, caller(running, user) as post:
        await device.ask(type="handled", events=[])
        assert await device.receive() == {"type": "recorded"}
        assert await ends(device, post) == []
    assert (await snapshot(running, user)).keys() == {SENTINEL}


async def test_check_tells_which_are_handled_and_when(running: Running, user: str) -> None:
    async with session(running, user, "desk") as desk, caller(running, user) as post:
        await post.handled(ONE)
        at = (await desk.receive())["at"]
        these = [{"Type": "4", "Id": "699"}, {"type": "newticket", "id": 1}, {"Type": 4, "Id": 698}]
        await desk.ask(type="check", ref="c", events=these)
        assert await desk.receive() == {"type": "checked", "ref": "c", "events": [events_of([ONE])[0] | {"At": at}]}
        await desk.ask(type="check", events=[])
        assert await desk.receive() == {"type": "checked", "events": []}
        await post.handled(ONE)
        later = (await desk.receive())["at"]
        await desk.ask(type="check", ref="d", events=these)
        assert (await desk.receive())["events"][0]["At"] == later > at


async def test_ping_is_answered(running: Running, user: str) -> None:
    async with session(running, user) as device:
        await device.ask(type="ping", ref="not given back")
        assert await device.receive() == {"type": "pong"}
        await (await device.connection.ping())


@pytest.mark.parametrize("kind", ["nonsense", "Handled", "", None, 5, ["handled"], {"handled": 1}])
async def test_an_unknown_type_is_an_error_and_the_session_goes_on(running: Running, user: str, kind: object) -> None:
    async with session(running, user) as device:
        await device.ask(type=kind, ref="r", events=events_of([ONE]))
        error = await device.receive()
        assert (error["type"], error["ref"], error["code"]) == ("error", "r", "unknown_type")
        await device.ask()
        assert "ref" not in await device.receive()
        await device.ask(type="ping")
        assert await device.receive() == {"type": "pong"}


@pytest.mark.parametrize("kind", ["handled", "check"])
@pytest.mark.parametrize(
    "events",
    [
        None,
        {},
        "x",
        5,
        [1],
        [None],
        [{}],
        [{"Type": "NewTicket"}],
        [{"Id": 1}],
        [{"Type": "Nope", "Id": 1}],
        [{"Type": 12, "Id": 1}],
        [{"Type": "NewTicket", "Id": 2**31}],
        [{"Type": "NewTicket", "Id": 1.5}],
        [{"Type": "NewTicket", "Id": 1, "id": 1}],
        [{"Type": "NewTicket", "Id": True}],
        [*events_of([ONE]), {"Type": "NewTicket", "Id": None}],
        events_of(tickets(range(1001))),
    ],
    ids=lambda value: repr(value)[:30],
)
async def test_bad_events_are_an_error_and_nothing_is_recorded(
    running: Running, user: str, kind: str, events: object
) -> None:
    async with session(running, user, "desk") as desk, session(running, user) as phone, caller(running, user) as post:
        await desk.ask(type=kind, ref="r", events=events)
        error = await desk.receive()
        assert (error["type"], error["ref"], error["code"]) == ("error", "r", "bad_events")
        assert error["message"]
        assert await ends(phone, post) == []
    assert (await snapshot(running, user)).keys() == {SENTINEL}


async def test_without_the_scope_handled_is_forbidden_and_check_is_not(guarded: Running) -> None:
    async with session(guarded, "reader") as device:
        await device.ask(type="handled", ref="r", events=events_of([ONE]))
        error = await device.receive()
        assert (error["type"], error["ref"], error["code"]) == ("error", "r", "forbidden")
        await device.ask(type="check", ref="c", events=events_of([ONE]))
        assert await device.receive() == {"type": "checked", "ref": "c", "events": []}


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"ping",
        b"{",
        b'{"type":"ping"',
        b'{"type":"ping"}}',
        b"[]",
        b"null",
        b'"ping"',
        b"17",
        b"[" * 60_000,
        b'{"type":"handled","events":' + b"[" * 30_000 + b"]" * 30_000 + b"}",
        b'{"type":"ping","ref":17}',
        b'{"type":"ping","ref":["a"]}',
        b'{"type":"ping","ref":"' + b"r" * 65 + b'"}',
        b'{"type":"ping","ref":"\xff"}',
        b'{"type":"ping","ref":"\\ud800"}',
        b'{"type":"check","events":[{"Type":1,"Id":NaN}]}',
        b'\xef\xbb\xbf{"type":"ping"}',
        '{"type":"ping"}'.encode("utf-16"),
    ],
    ids=lambda text: repr(text)[:30],
)
async def test_what_is_no_frame_closes_with_4009(running: Running, user: str, text: bytes) -> None:
    async with raw_session(running, user) as device:
        await device.send(masked(text) + masked(b'{"type":"ping"}'))
        assert await device.close_code() == 4009
        await device.send(masked(b"\x0f\xa9", Opcode.CLOSE))
        assert await device.ended()


async def test_a_binary_frame_closes_with_4009(running: Running, user: str) -> None:
    async with session(running, user) as device:
        await device.connection.send(b'{"type":"ping"}')
        assert await device.close_code() == 4009


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (masked(b'{"type":"ping"}', mask=False), 1002),
        (masked(b"x", Opcode.CONT), 1002),
        (masked(b"{", fin=False) + masked(b"{}"), 1002),
        (masked(b"x", Opcode.PING, fin=False), 1002),
        (masked(b"x" * 126, Opcode.PING), 1002),
        (b"\xc1\x80\0\0\0\0", 1002),
        (b"\x83\x80\0\0\0\0", 1002),
        (masked(b"x", Opcode.CLOSE), 1002),
        (masked(b"\x03\xe7", Opcode.CLOSE), 1002),
        (masked(b" " * 65_537), 1009),
        (masked(b" " * 300_000), 1009),
        (masked(b" " * 40_000, fin=False) + masked(b" " * 30_000, Opcode.CONT) + masked(b" " * 200_000), 1009),
        (b"\x81\xff" + (2**62).to_bytes(8) + b"\0\0\0\0" + b" " * 100_000, 1009),
    ],
    ids=lambda value: repr(value)[:30],
)
async def test_a_broken_websocket_gets_a_close_frame(running: Running, user: str, data: bytes, code: int) -> None:
    """Also where the device is in the middle of sending: the code must not be lost with the connection."""
    async with raw_session(running, user) as device:
        await device.send(data)
        assert await device.close_code() == code
        assert await device.ended()


async def test_the_largest_frame_is_taken(running: Running, user: str) -> None:
    async with raw_session(running, user) as device:
        text = b'{"type":"ping"}'
        await device.send(masked(text + b" " * (65_536 - len(text))))
        assert await device.frame() == {"type": "pong"}


async def test_a_message_in_fragments_is_one_message(running: Running, user: str) -> None:
    text = json.dumps({"type": "check", "ref": "ü", "events": []}, ensure_ascii=False).encode()
    async with raw_session(running, user) as device:
        for size in (1, 7):
            pieces = [text[at : at + size] for at in range(0, len(text), size)]
            for number, piece in enumerate(pieces):  # pings may come between, and characters be cut
                opcode = Opcode.CONT if number else Opcode.TEXT
                await device.send(masked(piece, opcode, fin=number == len(pieces) - 1))
                await device.send(masked(b"", Opcode.PONG))
            assert await device.frame() == {"type": "checked", "ref": "ü", "events": []}
        empty = masked(b"", fin=False) + masked(b"", Opcode.CONT, fin=False)
        await device.send(empty + masked(b'{"type":"ping"}', Opcode.CONT))
        assert await device.frame() == {"type": "pong"}
        await device.send(empty + masked(b"", Opcode.CONT))
        assert await device.close_code() == 4009


async def test_a_flood_of_fragments_does_not_hold_up_the_others(unlimited: Running, user: str) -> None:
    flood = masked(b"", fin=False) + masked(b"", Opcode.CONT, fin=False) * 100_000
    async with raw_session(unlimited, user, "rude") as rude, session(unlimited, user) as device:
        await rude.send(flood + masked(b'{"type":"ping"}', Opcode.CONT))
        async with asyncio.timeout(5):  # it took 12 s
            await device.ask(type="ping")
            assert await device.receive() == {"type": "pong"}
            assert await rude.frame() == {"type": "pong"}


async def test_more_than_sixteen_frames_under_way_are_busy(running: Running, user: str) -> None:
    async with session(running, user, "desk") as desk, session(running, user, "phone") as phone:
        with paused(running.store_pid()):
            for number in range(20):
                await desk.ask(type="handled", ref=str(number), events=events_of(tickets([number])))
            refused = [await desk.receive() for _ in range(4)]
            await desk.ask(type="ping")
            assert await desk.receive() == {"type": "pong"}
        assert [(f["type"], f["ref"], f["code"]) for f in refused] == [("error", str(n), "busy") for n in range(16, 20)]
        await desk.until(lambda: sum(frame["type"] == "recorded" for frame in desk.frames) == 16)
        await phone.until_cleared(("NewTicket", 15))
        assert phone.ledger.cleared.keys() == set(tickets(range(16)))
        await desk.ask(type="handled", ref="after", events=events_of(tickets([99])))
        await phone.until_cleared(("NewTicket", 99))
    assert (await snapshot(running, user)).keys() == set(tickets([*range(16), 99]))


async def test_a_device_that_asks_and_never_reads_is_bounded(unlimited: Running, user: str) -> None:
    """It is no longer heard once 64 KiB of answers wait for it; when it reads, it is."""
    question = masked(json.dumps({"type": "nonsense", "ref": "r" * 60}).encode())
    before = resident_bytes(unlimited)
    async with raw_session(unlimited, user, receive_buffer=4096) as rude:
        sent = await rude.send_until_blocked(question * 100, 40_000_000)
        grown = resident_bytes(unlimited) - before
        assert grown < 8_000_000, f"{grown:,} bytes for one device that asked {sent:,}"
        assert sent < 40_000_000, "it was heard without end"
        async with session(unlimited, user) as other:
            await other.ask(type="ping")
            assert await other.receive() == {"type": "pong"}


# coming back


async def test_no_cursor_is_from_now(running: Running, user: str) -> None:
    async with caller(running, user) as post:
        await post.handled(ONE)
        async with session(running, user) as device:
            assert await ends(device, post) == []


@pytest.mark.parametrize("cursor", ["0", "0123abcd-1795456363957", "zzzz-0", "a-9999999999999999", "other-{seq}"])
async def test_a_cursor_of_no_or_another_store_is_a_reset_and_everything(
    running: Running, user: str, cursor: str
) -> None:
    async with caller(running, user) as post:
        async with session(running, user) as device:
            await post.all_handled([tickets([1, 2]), tickets([3])])
            await device.until_cleared(("NewTicket", 3))
        cursor = cursor.format(seq=seq_of(device.cursor))  # a position that is one here too
        await post.handled(ONE)
        async with session(running, user, cursor=cursor) as device:
            reset, clear, *rest = [*await ends(device, post)]
            assert list(reset) == ["type", "cursor"]
            assert reset["type"] == "reset"
            assert seq_of(reset["cursor"]) < min(event["At"] for event in clear["events"])
            assert {(e["Type"], e["Id"]): e["At"] for e in clear["events"]} | {
                SENTINEL: device.ledger.cleared[SENTINEL]
            } == await snapshot(running, user)
            assert rest == []


async def test_a_new_agent_with_cursor_0_is_reset_and_live(running: Running, user: str) -> None:
    async with session(running, user, cursor="0") as device, caller(running, user) as post:
        assert [frame["type"] for frame in await ends(device, post)] == ["reset"]


async def test_a_cursor_ahead_of_the_store_is_a_reset(running: Running, user: str) -> None:
    async with caller(running, user) as post, session(running, user) as here:
        await post.handled(ONE)
        store, _, seq = (await here.receive())["cursor"].partition("-")
        async with session(running, user, "ahead", f"{store}-{int(seq) + 10**9}") as device:
            reset, clear = await device.receive(), await device.receive()
            assert (reset["type"], clear["events"][0]["Type"]) == ("reset", ONE[0])
            assert await ends(device, post) == []
        assert await ends(here, post) == []


async def test_a_device_that_was_away_gets_what_it_missed_once(running: Running, user: str) -> None:
    async with caller(running, user) as post:
        async with session(running, user) as device:
            await post.handled(("NewTicket", 1))
            await device.until_cleared(("NewTicket", 1))
        await post.all_handled([tickets([2, 3]), tickets([3]), tickets([4])])
        cursor = ""
        for _ in range(2):  # the same cursor twice is the same answer twice
            async with session(running, user, cursor=device.cursor) as again:
                clear = await again.receive()
                assert clear["type"] == "clear"
                ats = [(event["Id"], event["At"]) for event in clear["events"]]
                assert [id_ for id_, _ in ats] == [2, 3, 4]
                assert [at for _, at in ats] == sorted({at for _, at in ats})
                assert clear["at"] == ats[-1][1]
                cursor = again.cursor
        async with session(running, user, cursor=cursor) as last:
            assert await ends(last, post) == []


async def test_away_during_5000_batches_is_one_clear_with_the_pairs(running: Running, user: str) -> None:
    """What was handled many times meanwhile comes once."""
    pairs = [(type_, id_) for type_ in ("NewTicket", "AppointmentMoved") for id_ in range(100)]
    chance = random.Random(2)
    batches = [chance.sample(pairs, 3) for _ in range(4800)] + [pairs[n - 3 : n] for n in range(3, 201)]
    batches += [pairs[:3], pairs[-3:]]
    assert len(batches) == 5000
    async with session(running, user) as device:
        pass
    async with caller(running, user) as post, caller(running, user) as more:
        await asyncio.gather(post.all_handled(batches[:2400]), more.all_handled(batches[2400:4800]))
        await post.all_handled(batches[4800:])
        async with session(running, user, cursor=device.cursor) as again:
            frames = await ends(again, post)
    assert [frame["type"] for frame in frames] == ["clear"]
    assert len(frames[0]["events"]) == 200
    assert {(event["Type"], event["Id"]) for event in frames[0]["events"]} == set(pairs)
    truth = await snapshot(running, user)
    assert again.ledger.cleared == truth


def batched(chance: random.Random, count: int, largest: int) -> list[list[Pair]]:
    """`count` distinct pairs in batches of any size up to `largest`."""
    batches, start = [], 0
    while start < count:
        end = min(count, start + chance.randint(1, largest))
        batches.append(tickets(range(start, end)))
        start = end
    return batches


@pytest.mark.parametrize("big", [False, True], ids=["small batches", "one of a thousand"])
async def test_pages_are_bounded_and_each_ones_cursor_loses_nothing(running: Running, user: str, big: bool) -> None:
    chance = random.Random(500)
    batches = batched(chance, 1800, 40)
    if big:
        batches.insert(len(batches) // 3, tickets(range(5000, 6000)))
    async with session(running, user) as device:
        pass
    async with caller(running, user) as post:
        await post.all_handled(batches)
        async with session(running, user, cursor=device.cursor) as again:
            pages = await catch_up(again, running, user)
        await post.handled(SENTINEL)
        assert {(e["Type"], e["Id"]) for page in pages for e in page["events"]} == {p for b in batches for p in b}
        assert sum(len(page["events"]) for page in pages) == sum(map(len, batches)), "each pair once"
        truth = await snapshot(running, user)
        before = seq_of(device.cursor)
        for number, page in enumerate(pages):
            ats = [event["At"] for event in page["events"]]
            assert len(ats) <= 500 or len(set(ats)) == 1, f"{len(ats)} events of {len(set(ats))} batches"
            assert ats == sorted(ats)
            assert before < ats[0]
            assert ats[-1] == page["at"] <= seq_of(page["cursor"])
            before = seq_of(page["cursor"])
            # a device that went away after this page
            ledger = Ledger()
            for seen in pages[: number + 1]:
                ledger.apply(seen)
            async with session(running, user, cursor=page["cursor"], ledger=ledger) as resumed:
                rest = await resumed.until_cleared(SENTINEL)
            assert all(event["At"] > before for frame in rest for event in frame["events"])
            assert ledger.cleared == truth
        if big:
            assert [len({e["At"] for e in page["events"]}) for page in pages if len(page["events"]) == 1000] == [1]


async def test_a_cut_in_the_middle_of_a_catch_up_loses_nothing(running: Running, user: str) -> None:
    """A device that comes back after each single frame, with the cursor of that frame."""
    async with caller(running, user) as post:
        await post.all_handled(batched(random.Random(7), 1200, 200))
        ledger, frames = Ledger(), 0
        ledger.cursor = "0"
        truth = await snapshot(running, user)
        while ledger.cleared != truth:
            async with session(running, user, cursor=ledger.cursor, ledger=ledger) as device:
                await device.receive()
                frames += 1
            assert frames < 20
        assert ledger.resets == 1, "each further one is another refetch"


async def test_below_the_floor_is_a_reset_first(guarded: Running) -> None:
    """The cap is 1,000 events an agent, and 1,500 were handled meanwhile."""
    async with session(guarded, "bob") as device:
        pass
    async with caller(guarded, "bob") as post:
        await post.all_handled([tickets(range(n, n + 50)) for n in range(0, 1500, 50)])
        async with session(guarded, "bob", cursor=device.cursor) as again:
            frames = await catch_up(again, guarded, "bob")
            await post.handled(SENTINEL)
            await again.until_cleared(SENTINEL)
        assert [frame["type"] for frame in frames] == ["reset", "clear", "clear"]
        assert [len(frame["events"]) for frame in frames[1:]] == [500, 500]
        assert again.ledger.cleared.keys() == {*tickets(range(500, 1500)), SENTINEL}
        assert seq_of(frames[0]["cursor"]) < frames[1]["events"][0]["At"]
        # from the reset's own cursor nothing but what was retained has to come, and from the page's the rest
        for cursor, ids in ((frames[0]["cursor"], range(501, 1500)), (frames[1]["cursor"], range(1000, 1500))):
            async with session(guarded, "bob", cursor=cursor) as resumed:
                await resumed.until_cleared(SENTINEL)
                assert resumed.ledger.cleared.keys() >= set(tickets(ids))


# what goes wrong between store and worker


async def test_a_lost_announcement_is_found_by_the_next(running: Running, user: str) -> None:
    async with session(running, user) as device, caller(running, user) as post:
        here = seq_of(device.cursor)
        with client(running.store_url()) as store:
            store.zadd(f"cs:{{dev/{user}}}", {"1:77": here + 1})  # recorded, and never announced
        await post.handled(ONE)
        assert (await device.receive())["events"] == events_of([ONE])
        assert seq_of(device.cursor) == here, "between this cursor and the clear something is missing"
        again = await device.receive()
        assert {(e["Type"], e["Id"]) for e in again["events"]} == {("NewTicket", 77), ONE}
        assert seq_of(device.cursor) > here + 1
        assert await ends(device, post) == []
    assert device.ledger.cleared == await snapshot(running, user)


async def test_nonsense_on_the_channel_is_survived(running: Running, user: str) -> None:
    async with session(running, user) as device, caller(running, user) as post:
        with client(running.store_url()) as store:
            for nonsense in (b"", b"x", b"1 2 3 - ", b"1 2 3 4", b"\xff" * 1000, b"5 4 3 - []"):
                store.spublish(f"cs:{{dev/{user}}}", nonsense)
        await post.handled(ONE)
        await device.until_cleared(ONE)
        assert device.ledger.cleared.keys() == {ONE}
        await ends(device, post)
        assert device.cursor != device.frames[0]["cursor"]


async def test_what_is_announced_while_the_listener_is_cut_off_is_read(running: Running, user: str) -> None:
    async with session(running, user) as device, caller(running, user) as post:
        for number in range(3):
            with client(running.store_url()) as store:
                listeners = [each for each in store.client_list() if each["name"] == "clearsync-listener"]
                assert len(listeners) == 1
                store.client_kill_filter(_id=listeners[0]["id"])
                await post.all_handled([tickets([number * 10 + n]) for n in range(10)])
                await device.until_cleared(("NewTicket", number * 10 + 9))
        assert device.ledger.cleared == await snapshot(running, user)
        assert device.ledger.resets == 0
