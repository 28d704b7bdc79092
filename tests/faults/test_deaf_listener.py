"""A listener that is connected and on which nothing arrives: by itself it would starve every device of its worker."""

from __future__ import annotations

import asyncio
from functools import partial
from pathlib import Path
from typing import Final

import pytest
from redis import Redis

from tests.faults.conftest import order, until, until_asked, until_green, until_red
from tests.faults.fleet import Fleet
from tests.faults.proxy import Proxy
from tests.gateway.devices import Device, Pair, caller, events_of, session, tickets
from tests.running import RealStore, Running, get, serving

pytestmark = pytest.mark.faults

OFF: Final = {"CLEARSYNC_STORE__PROBE_INTERVAL_S": "0"}
ON: Final = {"CLEARSYNC_STORE__PROBE_INTERVAL_S": "0.3"}
FOUND_S: Final = 3 * 4.0
"""A silent listener is found within three seconds of a probe, with a factor of three."""
DEAF: Final = "listener deaf"
PAIR: Final[Pair] = ("NewTicket", 1)


def answered(fleet: Fleet, count: int) -> bool:
    """Whether so many posts were answered 204."""
    return fleet.book.statuses[204] >= count


async def checked(phone: Device, pair: Pair) -> bool:
    """Whether the pair is handled, as the device is told when it asks; what came before that is in its ledger."""
    await phone.ask(type="check", ref="here", events=events_of([pair]))
    await phone.until(lambda: phone.frames and phone.frames[-1]["type"] == "checked")
    return bool(phone.frames[-1]["events"])


async def ponged(phone: Device) -> None:
    """The device's own ping is answered."""
    await phone.ask(type="ping")
    await phone.until(lambda: phone.frames and phone.frames[-1]["type"] == "pong")


async def starve(running: Running, proxy: Proxy, phone: Device) -> None:
    """Post a pair whose announcement does not arrive, and see the device without it on a connection that lives."""
    async with caller(running, "ada") as post:
        await post.handled(PAIR)
    await until(lambda: proxy.dropped >= 1, what="the announcement is swallowed")
    assert await checked(phone, PAIR), "handled, for whoever asks"
    await ponged(phone)
    assert PAIR not in phone.ledger.cleared


async def test_without_probes_a_deaf_listener_starves_its_devices_and_looks_well(
    tmp_path: Path, proxy: Proxy, admin: Redis
) -> None:
    with serving("--dev", "--store", proxy.url, folder=tmp_path, env=OFF) as running:
        async with session(running, "ada") as phone:
            proxy.deafen()
            await starve(running, proxy, phone)
            assert running.ready()[0] == 200, "nobody notices"
            assert order(admin, "CLIENT", "KILL", "TYPE", "pubsub") == 1
            await phone.until_cleared(PAIR)  # it was the listener, and nothing else
            assert DEAF not in running.logged


async def test_probes_find_an_idle_listener_deaf_and_it_is_rebuilt(tmp_path: Path, proxy: Proxy) -> None:
    """No agent is posted for until it is found: the probes alone show it."""
    with serving("--dev", "--store", proxy.url, folder=tmp_path, env=ON) as running:
        async with session(running, "ada") as phone, caller(running, "ada") as post:
            proxy.deafen()
            proxy.refuse_new()
            await until_red(running, FOUND_S)
            assert DEAF in running.logged
            proxy.accept()
            await until_green(running)
            await post.handled(PAIR)
            await phone.until_cleared(PAIR)
            assert phone.ledger.resets == 0


async def test_what_a_deaf_listener_missed_comes_once_it_is_rebuilt(tmp_path: Path, proxy: Proxy) -> None:
    with serving("--dev", "--store", proxy.url, folder=tmp_path, env=ON) as running:
        async with session(running, "ada") as phone, caller(running, "ada") as post:
            proxy.deafen()
            await post.handled(PAIR)
            await until(lambda: proxy.dropped >= 2, what="the announcement is swallowed, or a probe before it")
            await until(lambda: DEAF in running.logged, FOUND_S)
            await phone.until_cleared(PAIR)
            assert phone.ledger.resets == 0


async def test_a_deaf_listener_is_found_under_load_while_commands_are_answered(tmp_path: Path, proxy: Proxy) -> None:
    with serving("--dev", "--store", proxy.url, folder=tmp_path, workers=2, env=ON) as running:
        async with Fleet([running.url], agents=12, devices=36, seed=5) as fleet:
            async with fleet.posting(60.0):
                await until(partial(answered, fleet, 30))
                before = fleet.book.statuses[204]
                proxy.deafen()
                proxy.refuse_new()
                await until_red(running, FOUND_S)
                assert running.logged.count(DEAF) == 2, "each worker has its own"
                proxy.accept()
                await until_green(running)
                assert fleet.book.statuses[204] > before
            verdict = await fleet.settled(15.0)
            verdict.check()
            print(f"posts {dict(fleet.book.statuses)}, clears came within {verdict.late_s:.2f} s")
            assert set(fleet.book.statuses) == {204}, "who posts notices nothing"
            assert (verdict.resets, verdict.reconnects) == (0, 0)


async def test_a_listener_that_hears_late_is_left_alone(tmp_path: Path, proxy: Proxy) -> None:
    """Under load, from a slow store, and where messages come well after the answers to their publications."""
    with serving("--dev", "--store", proxy.url, folder=tmp_path, env=ON) as running:
        async with Fleet([running.url], agents=12, devices=36, seed=6) as fleet:
            async with fleet.posting(60.0):
                accepted = proxy.accepted
                await until(partial(answered, fleet, 60))
                proxy.delay(0.1, messages_s=0.7)
                await until(partial(answered, fleet, 240))
                proxy.delay(0.0)
            (await fleet.settled(15.0)).check()
        assert DEAF not in running.logged
        assert proxy.accepted == accepted, "no connection was made anew"


async def test_a_listener_that_stayed_with_a_demoted_store_is_found(
    tmp_path: Path, real_store: RealStore, proxy: Proxy, admin: Redis
) -> None:
    """After a failover the old store still answers whoever is connected; commands leave it, for it takes no writes."""
    successor = RealStore(tmp_path / "successor")
    try:
        with serving("--dev", "--store", proxy.url, folder=tmp_path, env=ON) as running:
            async with session(running, "ada") as phone, caller(running, "ada") as post:
                successor.restore(await asyncio.to_thread(real_store.snapshot))
                await asyncio.to_thread(successor.start)
                accepted = proxy.accepted
                proxy.lead_to(successor.url)
                order(admin, "REPLICAOF", "127.0.0.1", "1")
                await until(lambda: DEAF in running.logged, FOUND_S, "the listener is found to be left behind")
                await until(lambda: proxy.accepted >= accepted + 2, what="both links go to the successor")
                await until_green(running)
                await post.handled(PAIR)
                await phone.until_cleared(PAIR)
                assert phone.ledger.resets == 0
    finally:
        successor.close()


async def test_a_suspended_store_is_slow_and_not_deaf(tmp_path: Path, real_store: RealStore, admin: Redis) -> None:
    """It answers no publication of a probe, which says nothing about the listener."""
    with serving("--dev", "--store", real_store.url, folder=tmp_path, env=ON) as running:
        async with session(running, "ada") as phone, caller(running, "ada") as post:
            order(admin, "CLIENT", "PAUSE", 5000, "WRITE")
            await until_asked(lambda: get(f"{running.url}/ready")[0] == 503, what="red, as the store takes no batch")
            order(admin, "CLIENT", "UNPAUSE")
            await until_green(running)
            await post.handled(PAIR)
            await phone.until_cleared(PAIR)
        assert DEAF not in running.logged


@pytest.mark.parametrize("env", [OFF, ON], ids=["without probes", "with probes"])
async def test_a_listener_that_the_store_cuts_for_its_backlog_is_rebuilt_and_reads_what_it_missed(
    env: dict[str, str], tmp_path: Path, proxy: Proxy, admin: Redis
) -> None:
    """The limit of a store's output buffer: bursts of large batches are more than it lets a subscriber lag behind."""
    admin.config_set("client-output-buffer-limit", "pubsub 1024 1024 1")
    with serving("--dev", "--store", proxy.url, folder=tmp_path, env=env) as running:
        async with session(running, "ada") as phone, caller(running, "ada") as post:
            accepted = proxy.accepted
            batches = [tickets(range(start, start + 1000)) for start in range(0, 5000, 1000)]
            await post.all_handled(batches)
            await until(lambda: proxy.accepted > accepted, what="the listener connects again")
            admin.config_set("client-output-buffer-limit", "pubsub 33554432 8388608 60")
            await post.handled(("Unknown", 1))
            async with asyncio.timeout(20):
                everything = {pair for batch in batches for pair in batch} | {("Unknown", 1)}
                await phone.until(lambda: everything <= set(phone.ledger.cleared))
            assert phone.ledger.resets == 0
            assert DEAF not in running.logged


async def test_what_was_announced_while_nobody_listened_is_read_without_another_batch(
    tmp_path: Path, proxy: Proxy, admin: Redis
) -> None:
    """The last batch before a silence has no successor that would show a gap."""
    with serving("--dev", "--store", proxy.url, folder=tmp_path, env=OFF) as running:
        async with session(running, "ada") as phone, caller(running, "ada") as post:
            proxy.refuse_new()
            assert order(admin, "CLIENT", "KILL", "TYPE", "pubsub") == 1
            await until_red(running)
            await post.handled(PAIR)
            assert await checked(phone, PAIR)
            assert PAIR not in phone.ledger.cleared
            proxy.accept()
            await phone.until_cleared(PAIR)
            assert phone.ledger.resets == 0


async def test_listeners_that_are_killed_again_and_again_lose_nothing(
    tmp_path: Path, real_store: RealStore, admin: Redis
) -> None:
    with serving("--dev", "--store", real_store.url, folder=tmp_path, workers=2, env=ON) as running:
        async with Fleet([running.url], agents=12, devices=36, seed=7) as fleet:
            async with fleet.posting(60.0):
                for enough in range(0, 150, 30):
                    await until(partial(answered, fleet, enough))
                    await until_asked(partial(order, admin, "CLIENT", "KILL", "TYPE", "pubsub"), what="one is killed")
                await until_green(running)
            verdict = await fleet.settled(15.0)
            verdict.check()
            assert set(fleet.book.statuses) == {204}
            assert (verdict.resets, verdict.reconnects) == (0, 0)
