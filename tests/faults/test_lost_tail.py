"""A store that comes back without its last seconds, as after a power loss or a failover to a replica that was behind.

What a living worker acknowledged shortly before is recorded again; who saw more than the store knows is told so.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Final

import pytest
from redis import Redis

from server.broker.upkeep import PULSE_EVERY_S
from tests.faults.conftest import until, until_green, until_red
from tests.faults.fleet import Fleet
from tests.faults.proxy import Proxy
from tests.faults.tail import AFTER, AGAIN, BEFORE, LOST, LOST_TOO, SINCE, TWICE, all_there, away, back, lose_tail, post
from tests.gateway.devices import Ledger, session, snapshot
from tests.running import RealStore, serving

pytestmark = pytest.mark.faults

NEVER: Final = {"CLEARSYNC_STORE__RECORD_AGAIN_S": "0"}
SHORTLY_S: Final = 1.0


async def test_what_was_acknowledged_just_before_is_recorded_again(tmp_path: Path, real_store: RealStore) -> None:
    with serving("--dev", "--store", real_store.url, folder=tmp_path) as running:
        tablet = await away(running, "ada", BEFORE, TWICE)
        async with session(running, "ada") as phone:
            files = await asyncio.to_thread(real_store.snapshot)
            await post(running, "ada", LOST)
            await post(running, "ada", TWICE)
            await all_there(phone, LOST, TWICE)
            handled = phone.ledger.cleared[TWICE]
            await lose_tail(real_store, files)
            await until_green(running)
            async with back(running, "ada", tablet) as here:
                await all_there(here, BEFORE, LOST)
                await post(running, "ada", AFTER)
                await all_there(here, AFTER)
                await all_there(phone, AFTER)
        truth = await snapshot(running, "ada")
        assert set(truth) == set(tablet.cleared) == {BEFORE, TWICE, LOST, AFTER}
        assert truth[TWICE] == tablet.cleared[TWICE] == handled, "handled again, at the time of the second"
        assert phone.ledger.resets == 0, "it stood where the store stands again"
        assert AGAIN in running.logged


async def test_two_servers_record_again_what_each_has_acknowledged(
    tmp_path: Path, second_folder: Path, real_store: RealStore, proxy: Proxy
) -> None:
    """Also where the second has recorded more for the same agent before the first is back: positions only grow."""
    with (
        serving("--dev", "--store", proxy.url, folder=tmp_path) as first,
        serving("--dev", "--store", real_store.url, folder=second_folder) as second,
    ):
        tablet = await away(first, "ada", BEFORE)
        async with session(first, "ada", "phone-1") as one, session(second, "ada", "phone-2") as two:
            files = await asyncio.to_thread(real_store.snapshot)
            await post(first, "ada", LOST)
            await post(second, "ada", LOST_TOO)
            await all_there(one, LOST, LOST_TOO)
            proxy.refuse()
            await until_red(first)
            await lose_tail(real_store, files)
            await until_green(second)
            await post(second, "ada", SINCE)
            left = Ledger()
            async with session(second, "ada", "left", "0", ledger=left) as early:
                await all_there(early, BEFORE, LOST_TOO, SINCE)
            async with session(second, "ada", "stayed") as stayed:
                proxy.accept()
                await until_green(first)
                await all_there(stayed, LOST)
            assert LOST not in left.cleared
            async with session(second, "ada", "left", left.cursor, ledger=left) as late:
                await all_there(late, LOST)
            async with back(second, "ada", tablet) as here:
                await all_there(here, BEFORE, LOST, LOST_TOO, SINCE)
            await all_there(one, SINCE)
            await all_there(two, LOST, LOST_TOO, SINCE)


async def test_a_batch_that_is_recorded_right_after_the_return_hides_nothing(
    tmp_path: Path, real_store: RealStore
) -> None:
    """Posts go on all the time, of the same agent as what was lost."""
    with serving("--dev", "--store", real_store.url, folder=tmp_path, workers=2) as running:
        async with Fleet([running.url], agents=1, devices=6, seed=8) as fleet:
            offline = fleet.devices[3:]
            await fleet.post(fleet.agents[0])
            (await fleet.settled(10.0)).check()
            for device in offline:
                await device.stop()
            files = await asyncio.to_thread(real_store.snapshot)
            async with fleet.posting(60.0):
                await until(lambda: fleet.book.statuses[204] >= 30)
                await lose_tail(real_store, files)
                enough = fleet.book.statuses[204] + 30
                await until(lambda: fleet.book.statuses[204] >= enough)
            for device in offline:
                await device.start()
            verdict = await fleet.settled(15.0)
            verdict.check()
            assert AGAIN in running.logged


async def test_under_load_every_device_has_in_the_end_what_was_acknowledged(
    tmp_path: Path, real_store: RealStore
) -> None:
    with serving("--dev", "--store", real_store.url, folder=tmp_path, workers=2) as running:
        async with Fleet([running.url], agents=12, devices=36, seed=9) as fleet:
            offline = fleet.devices[24:]
            async with fleet.posting(80.0):
                await until(lambda: fleet.book.statuses[204] >= 40)
                for device in offline:
                    await device.stop()
                files = await asyncio.to_thread(real_store.snapshot)
                enough = fleet.book.statuses[204] + 80
                await until(lambda: fleet.book.statuses[204] >= enough)
                await lose_tail(real_store, files)
                await until_green(running)
            for device in offline:
                await device.start()
            verdict = await fleet.settled(15.0)
            verdict.check()
            said = dict(fleet.book.statuses)
            print(f"posts {said}, {verdict.resets} resets, clears within {verdict.late_s:.2f} s, twice {verdict.twice}")
            assert AGAIN in running.logged
            assert not any(device.close_codes for device in fleet.devices[:24]), "a device was disconnected"


async def test_without_recording_again_devices_are_told_and_the_pair_is_gone(
    tmp_path: Path, real_store: RealStore
) -> None:
    with serving("--dev", "--store", real_store.url, folder=tmp_path, env=NEVER) as running:
        tablet = await away(running, "ada", BEFORE)
        async with session(running, "ada") as phone:
            files = await asyncio.to_thread(real_store.snapshot)
            await post(running, "ada", LOST)
            await all_there(phone, LOST)
            await lose_tail(real_store, files)
            await phone.until(lambda: phone.ledger.resets)
            async with back(running, "ada", tablet) as here:
                await here.until(lambda: tablet.resets)
                await post(running, "ada", AFTER)
                await all_there(here, AFTER)
                await all_there(phone, AFTER)
        assert (phone.ledger.resets, tablet.resets) == (1, 1)
        assert set(tablet.cleared) == set(await snapshot(running, "ada")) == {BEFORE, AFTER}


async def test_who_was_away_is_told_where_more_was_lost_than_is_recorded_again(
    tmp_path: Path, real_store: RealStore
) -> None:
    """What is older than `record_again_s` nobody keeps, and that something is gone shows in what is recorded again.

    The seconds are those before the loss: however long the store is away then, they stay.
    """
    env = {"CLEARSYNC_STORE__RECORD_AGAIN_S": str(SHORTLY_S)}
    with serving("--dev", "--store", real_store.url, folder=tmp_path, env=env) as running:
        tablet = await away(running, "ada", BEFORE)
        files = await asyncio.to_thread(real_store.snapshot)
        await post(running, "ada", LOST)
        await asyncio.sleep(SHORTLY_S + PULSE_EVERY_S + 0.2)  # time is the condition
        await post(running, "ada", LOST_TOO)
        await lose_tail(real_store, files, down_s=2 * SHORTLY_S)
        await until_green(running)
        async with back(running, "ada", tablet) as here:
            await all_there(here, LOST_TOO)
        assert tablet.resets == 1
        assert set(tablet.cleared) == {BEFORE, LOST_TOO}


async def test_what_the_store_refuses_at_first_is_recorded_again_once_it_takes_it(
    tmp_path: Path, real_store: RealStore, admin: Redis
) -> None:
    """Back without its last seconds, and full."""
    with serving("--dev", "--store", real_store.url, folder=tmp_path) as running:
        tablet = await away(running, "ada", BEFORE)
        files = await asyncio.to_thread(real_store.snapshot)
        await post(running, "ada", LOST)
        real_store.options["maxmemory"] = "1"
        await lose_tail(real_store, files)
        await until(lambda: "store takes no writes" in running.logged)
        admin.config_set("maxmemory", 0)
        await until_green(running)
        async with back(running, "ada", tablet) as here:
            await all_there(here, LOST)


async def test_a_store_that_was_wiped_gets_the_last_moments_again(
    tmp_path: Path, real_store: RealStore, admin: Redis
) -> None:
    """Another store, by its id: everybody begins anew, with what is known to be handled."""
    with serving("--dev", "--store", real_store.url, folder=tmp_path) as running:
        tablet = await away(running, "ada", BEFORE)
        async with session(running, "ada") as phone:
            await post(running, "ada", LOST)
            await phone.until_cleared(LOST)
            phone.ledger.cleared.clear()
            admin.flushall()
            await phone.until(lambda: phone.ledger.resets)
            await phone.until_cleared(LOST)
            async with back(running, "ada", tablet) as here:
                await all_there(here, LOST)
                assert tablet.resets == 1
        assert LOST in await snapshot(running, "ada")
        assert AGAIN in running.logged
