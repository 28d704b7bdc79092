"""GET /api/v1/sync as one JSON answer: for a phone that is woken for five seconds, and for whoever polled before."""

from __future__ import annotations

import itertools
import json
import re
import time
from collections.abc import Callable
from typing import Any, Final, cast

import pytest

from server.api.callers import Callers
from server.api.sync import SyncOnce
from server.broker.base import Broker
from server.events import AgentId, Cursor, Seq
from server.session import Handled
from server.wire import SYNC_PATH
from tests.api.devices import listening, recorded, tickets
from tests.api.raw import Answer, Wire, ask, basic, events, head, post
from tests.model import ModelStore
from tests.running import Running

KEEP: Final = {"cache-control": "private, no-cache", "vary": "Authorization, Cookie, Accept"}


def look(running: Running, user: str, query: str = "", *headers: tuple[str, str]) -> Answer:
    """One answer for device `look`."""
    return ask(running, head("GET", f"{SYNC_PATH}?device=look{query}", (basic(user), *headers)))


def seen(running: Running, user: str, query: str = "") -> Any:
    """What a 200 says; its ETag has been checked."""
    answer = look(running, user, query)
    assert answer.status == 200
    assert answer.headers["content-type"] == "application/json; charset=utf-8"
    assert answer.headers.items() >= KEEP.items()
    found = answer.json()
    assert list(found) == ["cursor", "reset", "events"]
    suffix = "-reset" if found["reset"] else ""
    assert answer.headers["etag"] == f'"{found["cursor"]}{suffix}"'
    assert re.fullmatch(r"[a-z0-9]{1,32}-[0-9]{1,16}", found["cursor"])
    return found


def handle(running: Running, user: str, *ids: int) -> str:
    """Record a batch; the cursor after it."""
    assert ask(running, post(user, events(*ids))).status == 204
    cursor = seen(running, user)["cursor"]
    assert isinstance(cursor, str)
    return cursor


def shifted(cursor: str, ms: int) -> str:
    """A position before or after."""
    store, _, seq = cursor.partition("-")
    return f"{store}-{int(seq) + ms}"


def pairs(found: Any) -> list[tuple[str, int]]:
    """The events without their times."""
    return [(event["Type"], event["Id"]) for event in found["events"]]


def test_without_a_cursor_it_is_the_present_and_nothing_before(running: Running, user: str) -> None:
    handle(running, user, 1)
    for query in ("", "&cursor=", "&unknown=x"):
        found = seen(running, user, query)
        assert (found["reset"], found["events"]) == (False, [])


def test_a_cursor_gives_what_came_after_it(running: Running, user: str) -> None:
    start = seen(running, user)["cursor"]
    middle = handle(running, user, 3, 1)
    end = handle(running, user, 2)
    assert seen(running, user, f"&cursor={end}") == {"cursor": end, "reset": False, "events": []}
    after_middle = seen(running, user, f"&cursor={middle}")
    assert after_middle == {
        "cursor": end,
        "reset": False,
        "events": [{"Type": "NewTicket", "Id": 2, "At": int(end.partition("-")[2])}],
    }
    after_start = seen(running, user, f"&cursor={start}")
    assert (after_start["cursor"], after_start["reset"]) == (end, False)
    assert sorted(pairs(after_start)[:2]) == tickets(1, 3)
    assert pairs(after_start)[2:] == tickets(2)
    times = [event["At"] for event in after_start["events"]]
    assert times == sorted(times)
    assert times[0] == times[1] == int(middle.partition("-")[2])


def test_a_pair_that_is_handled_again_moves_up(running: Running, user: str) -> None:
    start = seen(running, user)["cursor"]
    handle(running, user, 1)
    handle(running, user, 2)
    end = handle(running, user, 1)
    found = seen(running, user, f"&cursor={start}")
    assert pairs(found) == tickets(2, 1)
    assert found["events"][1]["At"] == int(end.partition("-")[2])


def test_zero_is_a_reset_and_all_that_is_retained(running: Running, user: str) -> None:
    assert seen(running, user, "&cursor=0")["events"] == []
    end = handle(running, user, 1)
    end = handle(running, user, 2)
    found = seen(running, user, "&cursor=0")
    assert (found["cursor"], found["reset"]) == (end, True)
    assert pairs(found) == tickets(1, 2)


def test_an_agent_that_never_was_here_is_at_the_present(running: Running, user: str) -> None:
    before = time.time() * 1000
    found = seen(running, user)
    assert abs(int(found["cursor"].partition("-")[2]) - before) < 10_000
    assert seen(running, user)["cursor"] == found["cursor"]


def test_another_stores_cursor_is_a_reset(running: Running, user: str) -> None:
    end = handle(running, user, 1)
    for store in ("0", "ffffffff", "x" * 32):
        found = seen(running, user, f"&cursor={store}-{end.partition('-')[2]}")
        assert (found["cursor"], found["reset"], pairs(found)) == (end, True, tickets(1))


def test_a_cursor_before_the_floor_is_a_reset(running: Running, user: str) -> None:
    start = seen(running, user)["cursor"]  # where the agent began, so its floor
    handle(running, user, 1)
    assert not seen(running, user, f"&cursor={start}")["reset"]
    found = seen(running, user, f"&cursor={shifted(start, -1)}")
    assert (found["reset"], pairs(found)) == (True, tickets(1))


def test_a_cursor_ahead_of_the_store_is_a_reset_and_adopted(running: Running, user: str) -> None:
    """The store lost its tail: what the device had seen there may be lost to the others too."""
    end = handle(running, user, 1)
    ahead = shifted(end, 1_000)
    found = seen(running, user, f"&cursor={ahead}")
    assert (found["cursor"], found["reset"], pairs(found)) == (ahead, True, tickets(1))
    assert seen(running, user, f"&cursor={end}")["reset"]
    after = handle(running, user, 2)
    assert int(after.partition("-")[2]) > int(ahead.partition("-")[2])
    assert pairs(seen(running, user, f"&cursor={ahead}")) == tickets(2)


@pytest.mark.parametrize("far", [86_400_000, 10**15])
def test_a_cursor_from_the_future_is_a_reset_and_not_adopted(running: Running, user: str, far: int) -> None:
    """A clock that was corrected must not lock devices out."""
    end = handle(running, user, 1)
    found = seen(running, user, f"&cursor={shifted(end, far)}")
    assert (found["cursor"], found["reset"], pairs(found)) == (end, True, tickets(1))
    assert not seen(running, user, f"&cursor={end}")["reset"]


def test_it_continues_where_a_websocket_stopped_and_the_other_way_round(running: Running, user: str) -> None:
    with listening(running, user) as device:
        assert ask(running, post(user, events(1))).status == 204
        cleared = device.frame()["cursor"]
    assert seen(running, user, f"&cursor={cleared}")["events"] == []
    assert seen(running, user)["cursor"] == cleared
    assert ask(running, post(user, events(2))).status == 204
    with listening(running, user, "phone", f"&cursor={cleared}") as device:
        frame = device.frame()
        assert frame["events"] == seen(running, user, f"&cursor={cleared}")["events"]
        assert frame["cursor"] == seen(running, user)["cursor"]


def test_more_than_one_page_is_still_one_answer(running: Running, user: str) -> None:
    start = seen(running, user)["cursor"]
    for n in range(3):
        handle(running, user, *range(n * 1_000, (n + 1) * 1_000))
    found = seen(running, user, f"&cursor={start}")
    assert sorted(pairs(found)) == tickets(*range(3_000))
    assert found["cursor"] == seen(running, user)["cursor"]


class PagedStore:
    """A broker of one agent, to which something happens between two pages."""

    def __init__(self, happens: Callable[[PagedStore], None]) -> None:
        self.store = ModelStore(50, 10**9, "a")
        self.now = 1_000
        for number in range(10):
            self.record(number)
        self._happens = happens

    @property
    def store_id(self) -> str:
        return self.store.store_id

    def record(self, number: int) -> None:
        self.now += 1
        self.store.record(self.now, [b"1:%d" % number])

    async def read(self, agent: AgentId, position: int | None, floor: int = -1) -> Handled:
        read = self.store.read(self.now, position, floor, page=4)
        if read.page_end is not None:
            self._happens(self)
        return read


def handled_again(broker: PagedStore) -> None:
    broker.record(1)


def dropped(broker: PagedStore) -> None:
    """What stands behind the first page is dropped, and more."""
    if broker.store.cap == 50:
        broker.store.cap = 3
        broker.record(1)


def replaced(broker: PagedStore) -> None:
    if broker.store.store_id == "a":
        broker.store = ModelStore(50, 10**9, "b")
        broker.store.floor, broker.store.entries = 1, {b"2:1": 10}  # below where the old one was read up to
        for number in range(20, 29):
            broker.record(number)


@pytest.mark.parametrize(("happens", "reset"), [(handled_again, False), (dropped, True), (replaced, True)])
async def test_what_happens_between_two_pages(happens: Callable[[PagedStore], None], reset: bool) -> None:
    """The answer is what one read at the end would have found, and each pair is in it once."""
    broker = PagedStore(happens)
    first = min(broker.store.entries.values())
    assert broker.store.floor is not None
    cursor = Cursor("a", Seq(first - 1))
    read = await SyncOnce(cast(Callers, None), cast(Broker, broker))._read(AgentId.of("acme", "ada"), cursor)
    assert read.reset == reset
    assert read.entries == broker.store.ordered()
    assert (read.store, read.seq) == (broker.store_id, broker.store.seq)


# unchanged


def unchanged(running: Running, user: str, query: str, tag: str) -> bool:
    """Whether `If-None-Match` gets a 304, which says nothing but what to keep."""
    with Wire(running.port) as wire:
        wire.send(head("GET", f"{SYNC_PATH}?device=look{query}", (basic(user), ("If-None-Match", tag))))
        answer = wire.answer()
        if answer.status == 200:
            return False
        assert answer.status == 304
        assert answer.headers.keys() == {"date", "etag", *KEEP}
        assert answer.headers.items() >= KEEP.items()
        wire.send(head("GET", "/live"))  # no byte of a body came before this
        assert wire.answer().status == 200
    return True


@pytest.mark.parametrize(
    "form",
    ["{0}", "W/{0}", '"x", {0}', '{0},"y"', '"x",W/{0} , "y"', '"a,b", {0}', "*"],
    ids=["plain", "weak", "last", "first", "between", "after a comma", "any"],
)
def test_nothing_new_is_a_304(running: Running, user: str, form: str) -> None:
    """A proxy that compresses makes the tag a weak one, and the comparison is weak (RFC 9110, 13.1.2)."""
    end = handle(running, user, 1)
    for query in ("", f"&cursor={end}"):
        assert unchanged(running, user, query, form.format(f'"{end}"'))
    assert unchanged(running, user, "&cursor=0", form.format(f'"{end}-reset"'))


@pytest.mark.parametrize("form", ["{0}", '"{0}x"', "'{0}'", '"x{0}"', '"{0}-reset"', '""', "", "W/", '"*"'])
def test_another_tag_is_no_304(running: Running, user: str, form: str) -> None:
    end = handle(running, user, 1)
    assert not unchanged(running, user, "", form.format(end))


def test_a_new_batch_changes_the_tag(running: Running, user: str) -> None:
    start = seen(running, user)["cursor"]
    before = look(running, user, f"&cursor={start}").headers["etag"]
    assert unchanged(running, user, f"&cursor={start}", before)
    handle(running, user, 1)
    assert not unchanged(running, user, f"&cursor={start}", before)
    after = look(running, user, f"&cursor={start}").headers["etag"]
    handle(running, user, 1)
    assert not unchanged(running, user, f"&cursor={start}", after)


def test_a_reset_is_told_to_one_who_knows_the_cursor(running: Running, user: str) -> None:
    end = handle(running, user, 1)
    assert not unchanged(running, user, "&cursor=0", f'"{end}"')


# how it is asked


@pytest.mark.parametrize("accept", ["application/json", "*/*", "application/json; charset=utf-8, text/plain", ""])
def test_accept(running: Running, user: str, accept: str) -> None:
    assert look(running, user, "", ("Accept", accept)).status == 200


def test_head_is_the_same_without_the_body(running: Running, user: str) -> None:
    end = handle(running, user, 1)
    with Wire(running.port) as wire:
        wire.send(head("HEAD", f"{SYNC_PATH}?device=look&cursor=0", [basic(user)]))
        answer = wire.answer(of_head=True)
        assert (answer.status, answer.headers["etag"]) == (200, f'"{end}-reset"')
        wire.send(head("GET", "/live"))
        assert wire.answer().status == 200


@pytest.mark.parametrize(("tenant", "status"), [("dev", 200), ("DEV", 200), ("other", 403), ("d%65v", 200)])
def test_a_tenant_before_the_path(running: Running, user: str, tenant: str, status: int) -> None:
    assert ask(running, head("GET", f"/{tenant}{SYNC_PATH}?device=look", [basic(user)])).status == status


def test_agents_are_apart(running: Running, user: str) -> None:
    handle(running, user, 1)
    handle(running, f"{user}-other", 2)
    assert recorded(running, user.upper()) == tickets(1)
    assert recorded(running, f"{user}-other") == tickets(2)


def test_pipelined_answers_are_in_order(running: Running, user: str) -> None:
    with Wire(running.port) as wire:
        target = f"{SYNC_PATH}?device=look&cursor=0"
        wire.send(b"".join(post(user, events(n)) + head("GET", target, [basic(user)]) for n in range(20)))
        for n in range(20):
            assert wire.answer().status == 204
            assert pairs(wire.answer().json()) == tickets(*range(n + 1))


# refusals

STORE: Final = "0123abcd"
MALFORMED: Final = [
    ("cursor", cursor)
    for cursor in (
        "1",
        "00",
        "-0",
        "-",
        "abc",
        f"{STORE}-",
        "-5",
        f"{STORE}-x",
        f"{STORE}--5",
        f"{STORE}-5-5",
        f"{STORE}-5.0",
        f"{STORE}-1e3",
        f"{STORE}-{'9' * 17}",
        f"{STORE.upper()}-5",
        f"{'a' * 33}-5",
        f"{STORE}-5%0A",
        f"%20{STORE}-5",
        f"{STORE}-5%00",
        f"{STORE}-%D9%A5",
        f"{STORE}-5'",
        "0;cursor=0",
        "x" * 8_000,
        "%00",
        "null",
    )
] + [
    ("device", device)
    for device in ("", "-", "a%20b", "a+b", "a/b", "%C3%A9", "d" * 65, "a%00", "%2A", "a%0Ab", "{x}", "x" * 8_000)
]


@pytest.mark.parametrize(("name", "value"), MALFORMED, ids=[f"{n} {v[:40]}" for n, v in MALFORMED])
def test_a_malformed_device_or_cursor_is_refused(running: Running, user: str, name: str, value: str) -> None:
    asked = {"device": "look", "cursor": "0"} | {name: value}
    target = f"{SYNC_PATH}?" + "&".join(f"{key}={said}" for key, said in asked.items())
    answer = ask(running, head("GET", target, [basic(user)]))
    assert answer.status == 400
    assert answer.json() == {
        "Error": True,
        "ErrorType": "BadRequest",
        "ErrorMessage": answer.json()["ErrorMessage"],
        "ErrorSource": "clearsync",
    }
    assert name in answer.json()["ErrorMessage"]
    assert len(answer.body) < 512


@pytest.mark.parametrize(
    ("target", "headers", "status"),
    [
        (SYNC_PATH, [basic("ada")], 400),
        (f"{SYNC_PATH}?", [basic("ada")], 400),
        (f"{SYNC_PATH}?cursor=0", [basic("ada")], 400),
        (f"{SYNC_PATH}?Device=x", [basic("ada")], 400),
        (f"{SYNC_PATH}?device=%ff", [basic("ada")], 400),
        (f"{SYNC_PATH}?device=x&{'&'.join('abcdefghijklmnopqrstuvwxyz')}", [basic("ada")], 400),
        (f"{SYNC_PATH}?device=x", [], 401),
        (f"{SYNC_PATH}?device=x", [basic("ada", "")], 401),
        (f"{SYNC_PATH}?device=-", [], 401),
        (f"{SYNC_PATH}/?device=x", [basic("ada")], 404),
        (f"{SYNC_PATH.upper()}?device=x", [basic("ada")], 404),
    ],
)
def test_what_else_is_refused(running: Running, target: str, headers: list[tuple[str, str]], status: int) -> None:
    answer = ask(running, head("GET", target, headers))
    assert answer.status == status
    assert answer.headers["content-type"] == "application/json; charset=utf-8"
    assert answer.json()["ErrorSource"] == "clearsync"
    assert "etag" not in answer.headers


def test_looking_records_nothing(running: Running, user: str) -> None:
    """Not even for a device that is ahead: its floor moves, nobody's events do."""
    end = handle(running, user, 1)
    for query, _ in itertools.product(("", "&cursor=0", f"&cursor={end}", "&cursor=zzz-1"), range(3)):
        seen(running, user, query)
    assert seen(running, user)["cursor"] == end
    assert json.dumps(recorded(running, user)) == json.dumps(tickets(1))
