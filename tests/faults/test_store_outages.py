"""Every way in which a store can be away, under load: callers are answered, devices stay, and nothing is lost."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

import pytest
from redis import Redis
from redis.exceptions import BusyLoadingError, RedisError

from tests.faults.conftest import is_green, is_live, order, until, until_asked, until_green, until_red
from tests.faults.drill import users_file
from tests.faults.fleet import Fleet, Verdict, names
from tests.faults.proxy import Proxy
from tests.gateway.devices import asked, basic, caller, session, tickets
from tests.running import RealStore, Running, answers, client, serving, wait_until

pytestmark = pytest.mark.faults

AGENTS: Final = 12
DEVICES: Final = 36
POSTS_S: Final = 60.0
PROMISED_S: Final = 2.0
"""The time in which a POST is answered, whatever the store does."""
SPARE: Final = 3
REFUSED: Final = 20
"""So many posts in an outage, answered 503, are enough to judge it by."""
KEYS: Final = 20_000
KEY_LOAD_DELAY_US: Final = 100


class Stage(NamedTuple):
    """What can be hurt."""

    store: RealStore
    proxy: Proxy
    admin: Redis


@dataclass(frozen=True)
class Outage:
    """How an outage begins and ends; both return once it is so."""

    begin: Callable[[Stage], object]
    end: Callable[[Stage], object]
    prepare: Callable[[Stage], object] = lambda stage: None


def fill(stage: Stage) -> None:
    """So much that a store takes two seconds or more to read it, once it starts anew."""
    with stage.admin.pipeline(transaction=False) as keys:
        for number in range(KEYS):
            keys.set(f"filling:{number}", number)
        keys.execute()
    stage.store.options["key-load-delay"] = str(KEY_LOAD_DELAY_US)


def is_loading(store: RealStore) -> bool:
    """Whether it says so."""
    try:
        with client(store.url) as asking:
            asking.ping()
    except BusyLoadingError:
        return True
    except (RedisError, OSError):
        return False
    return False


def restart_and_load(stage: Stage) -> None:
    """Killed, and started without waiting for it to have read its file."""
    stage.store.kill()
    stage.store.start(wait=False)
    wait_until(lambda: is_loading(stage.store), what="the store is loading")


def until_it_answers(stage: Stage) -> None:
    """For an outage that ends by itself."""
    wait_until(lambda: answers(stage.store.url), 20.0, "the store answers")


OUTAGES: Final = {
    "killed": Outage(lambda s: s.store.kill(), lambda s: s.store.start()),
    "stopped in order": Outage(lambda s: s.store.stop(), lambda s: s.store.start()),
    "paused": Outage(lambda s: s.store.pause(), lambda s: s.store.resume()),
    "refusing": Outage(lambda s: s.proxy.refuse(), lambda s: s.proxy.accept()),
    "half-open": Outage(lambda s: s.proxy.silence(), lambda s: s.proxy.speak()),
    "too slow": Outage(lambda s: s.proxy.delay(SPARE * PROMISED_S), lambda s: s.proxy.delay(0.0)),
    "full": Outage(lambda s: s.admin.config_set("maxmemory", 1), lambda s: s.admin.config_set("maxmemory", 0)),
    "read-only": Outage(
        lambda s: order(s.admin, "REPLICAOF", "127.0.0.1", "1"),
        lambda s: order(s.admin, "REPLICAOF", "NO", "ONE"),
    ),
    "loading": Outage(restart_and_load, until_it_answers, prepare=fill),
    "commands suspended": Outage(lambda s: order(s.admin, "CLIENT", "PAUSE", 6000, "ALL"), until_it_answers),
    "writes suspended": Outage(
        lambda s: order(s.admin, "CLIENT", "PAUSE", 60_000, "WRITE"),
        lambda s: order(s.admin, "CLIENT", "UNPAUSE"),
    ),
}


@pytest.fixture
def stage(real_store: RealStore, proxy: Proxy, admin: Redis) -> Stage:
    return Stage(real_store, proxy, admin)


async def retry_after(running: Running, user: str = "nobody") -> str:
    """What a POST is answered in an outage: 503, with when to come again."""
    body = b'{"NotificationEvents":[{"Type":"Unknown","Id":1}]}'
    head = (
        "POST /api/v1/Agents/Pocket/NotificationsHandled HTTP/1.1",
        f"Host: 127.0.0.1:{running.port}",
        f"Authorization: {basic(user)}",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
        "Connection: close",
    )
    answer = await asked(running, "\r\n".join(head).encode() + b"\r\n\r\n" + body)
    assert answer.status == 503, answer
    return answer.headers["retry-after"]


async def acknowledge(fleet: Fleet, count: int) -> None:
    """Wait until so many more posts are answered 204."""
    enough = fleet.book.statuses[204] + count
    await until(lambda: fleet.book.statuses[204] >= enough, what=f"{count} more posts are answered 204")


def judge(fleet: Fleet, verdict: Verdict) -> None:
    """Every post answered in time, nobody disconnected or reset, nothing lost."""
    verdict.check()
    said = dict(fleet.book.statuses)
    slowest, latest = fleet.book.slowest_s, verdict.late_s
    print(f"posts {said}, the slowest {slowest:.2f} s; clears within {latest:.2f} s, twice {verdict.twice}")
    assert set(said) <= {204, 503}, said
    assert fleet.book.unanswered == 0
    assert fleet.book.slowest_s < SPARE * PROMISED_S
    assert verdict.reconnects == 0, "a device was disconnected"
    assert verdict.resets == 0, "a device was told to begin anew"


@pytest.mark.parametrize("name", OUTAGES)
async def test_in_an_outage_callers_are_answered_and_devices_stay_and_after_it_nothing_is_missing(
    name: str, tmp_path: Path, stage: Stage
) -> None:
    outage = OUTAGES[name]
    outage.prepare(stage)
    with serving("--dev", "--store", stage.proxy.url, folder=tmp_path, workers=2) as running:
        async with Fleet([running.url], agents=AGENTS, devices=DEVICES, seed=1) as fleet:
            async with fleet.posting(POSTS_S):
                await acknowledge(fleet, REFUSED)
                await asyncio.to_thread(outage.begin, stage)
                await until_red(running)
                await until(lambda: fleet.book.statuses[503] >= REFUSED, what="posts are answered 503")
                assert await asyncio.to_thread(is_live, running), "a worker that waits for its store is no dead one"
                assert int(await retry_after(running)) >= 1
                await asyncio.to_thread(outage.end, stage)
                await until_green(running)
                await acknowledge(fleet, REFUSED)
            judge(fleet, await fleet.settled(15.0))
            assert await asyncio.to_thread(is_green, running)


async def test_a_slow_store_is_no_outage(tmp_path: Path, stage: Stage) -> None:
    with serving("--dev", "--store", stage.proxy.url, folder=tmp_path) as running:
        async with Fleet([running.url], agents=AGENTS, devices=DEVICES, seed=2) as fleet:
            async with fleet.posting(POSTS_S):
                await acknowledge(fleet, REFUSED)
                stage.proxy.delay(0.3)
                await acknowledge(fleet, 2 * int(POSTS_S))
                assert await asyncio.to_thread(is_green, running)
                stage.proxy.delay(0.0)
            judge(fleet, await fleet.settled(15.0))
            assert set(fleet.book.statuses) == {204}, "slow, and in time"


async def break_after(proxy: Proxy, count: int) -> None:
    """Have all links of two workers end after so many more bytes, and wait until they are back."""
    enough = proxy.accepted + 4
    proxy.cut_after(count)
    await until(lambda: proxy.accepted >= enough, what="both workers' links are back")


@pytest.mark.parametrize("count", [1, 100, 3000])
async def test_connections_that_break_in_the_middle_of_a_reply_or_message(
    count: int, tmp_path: Path, stage: Stage
) -> None:
    """Whatever half of a message came, it is told again from the state."""
    with serving("--dev", "--store", stage.proxy.url, folder=tmp_path, workers=2) as running:
        async with Fleet([running.url], agents=AGENTS, devices=DEVICES, seed=3) as fleet:
            async with fleet.posting(POSTS_S):
                await acknowledge(fleet, REFUSED)
                for _ in range(3):
                    await break_after(stage.proxy, count)
                    await until_green(running)
                await acknowledge(fleet, REFUSED)
            judge(fleet, await fleet.settled(15.0))


def link(admin: Redis, name: str) -> str:
    """The number of a worker's link in the store; none where it is not there."""
    return next((str(each["id"]) for each in admin.client_list() if each["name"] == name), "")


async def kill_link(admin: Redis, name: str) -> None:
    """End a worker's link, and wait until it has another."""
    before = link(admin, name)
    order(admin, "CLIENT", "KILL", "ID", before)
    await until_asked(lambda: link(admin, name) not in ("", before), what="the link is back")


@pytest.mark.parametrize("name", ["clearsync-commands", "clearsync-listener"])
async def test_one_link_is_lost_and_the_other_stays(name: str, tmp_path: Path, stage: Stage) -> None:
    other = {"clearsync-commands": "clearsync-listener", "clearsync-listener": "clearsync-commands"}[name]
    with serving("--dev", "--store", stage.store.url, folder=tmp_path) as running:
        async with Fleet([running.url], agents=AGENTS, devices=DEVICES, seed=4) as fleet:
            stays = link(stage.admin, other)
            async with fleet.posting(POSTS_S):
                await acknowledge(fleet, REFUSED)
                for _ in range(3):
                    await kill_link(stage.admin, name)
                    await until_green(running)
                    await acknowledge(fleet, REFUSED)
            judge(fleet, await fleet.settled(15.0))
            assert link(stage.admin, other) == stays


async def test_a_full_store_is_still_read_for_devices_that_come(
    tmp_path: Path, real_store: RealStore, admin: Redis
) -> None:
    """With leases of sessions, which development has not: also their place is given."""
    env = {"CLEARSYNC_AUTH__USERS_FILE": str(users_file(tmp_path, 1))}
    (user,) = names(1)
    with serving("--store", real_store.url, folder=tmp_path, env=env) as running:
        async with caller(running, user) as post:
            await post.handled(*tickets(range(3)))
        admin.config_set("maxmemory", 1)
        await until_red(running)
        assert await retry_after(running, user)
        async with session(running, user, cursor="0") as phone:
            await phone.until(lambda: phone.ledger.cleared.keys() == set(tickets(range(3))))
