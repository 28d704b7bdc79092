"""A worker or the embedded store is killed or paused under load: it is started again, and nobody loses anything."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager
from typing import Final

import pytest

from tests.conftest import Serve
from tests.faults.conftest import until, until_green
from tests.faults.connections import devices_on
from tests.faults.fleet import Device, Fleet, Verdict
from tests.running import Running, kill, paused

pytestmark = pytest.mark.faults

AGENTS: Final = 12
DEVICES: Final = 40
POSTS_S: Final = 60.0
ENOUGH: Final = 60
"""Posts answered 204 before and after a fault."""
MANY: Final = 20
"""Posts under way, some of them at each worker."""
PROMISED_S: Final = 2.0
"""The time in which a POST is answered, whatever the store does. Tested with a factor of three to spare."""
SILENCE_S: Final = 3.0
"""Longer than that: who comes at first waits for the store, who comes later is told to come again."""
CAUGHT_UP_S: Final = 15.0


@pytest.fixture
def running(serve: Serve) -> Iterator[Running]:
    """Two workers of an embedded store."""
    with serve("--dev", workers=2, env={"CLEARSYNC_SERVER__DRAIN_S": "0.1"}) as running:
        yield running


@asynccontextmanager
async def under_load(running: Running) -> AsyncIterator[Fleet]:
    """A fleet that is posted to before the fault that the context is, meanwhile, and once all is green again."""
    async with Fleet([running.url], agents=AGENTS, devices=DEVICES, seed=1) as fleet:
        await spread(running, fleet)
        async with fleet.posting(POSTS_S):
            await recorded(fleet, ENOUGH)
            yield fleet
            await until_green(running)
            await recorded(fleet, fleet.book.statuses[204] + ENOUGH)
        await until(lambda: all(device.connected for device in fleet.devices), what="all devices are there")


async def spread(running: Running, fleet: Fleet) -> None:
    """Both workers have devices: where one has taken all, half come anew while it can't. They count from here."""
    crowded = [pid for pid in running.worker_pids() if len(devices_on(pid, fleet.devices)) == len(fleet.devices)]
    if not crowded:
        return
    moving = fleet.devices[::2]
    with paused(crowded[0]):
        for device in moving:
            device.cut()
        await until(lambda: all(device.welcomes == 2 for device in moving), what="half of them are elsewhere")
    for device in moving:
        device.welcomes = 1
        device.close_codes.clear()


async def recorded(fleet: Fleet, posts: int) -> None:
    """Wait until so many were answered 204."""
    await until(lambda: fleet.book.statuses[204] >= posts, what=f"{posts} posts are answered 204")


async def judged(fleet: Fleet) -> Verdict:
    """What each device has is what it is owed, and nobody had to begin anew."""
    verdict = await fleet.settled(CAUGHT_UP_S)
    verdict.check()
    assert verdict.resets == 0, "nothing was lost, so nobody is told that history is gone"
    return verdict


def check_answers(fleet: Fleet, *statuses: int) -> None:
    """Every POST was answered by one of these (0: its connection was cut), in time."""
    assert set(fleet.book.statuses) <= set(statuses), fleet.book.statuses
    assert fleet.book.slowest_s < 3 * PROMISED_S


def under_way(fleet: Fleet) -> int:
    """Posts that wait for their answer."""
    return fleet.book.posted - fleet.book.statuses.total()


def stayed(devices: list[Device]) -> bool:
    """Whether none of them was ever disconnected."""
    return all(device.welcomes == 1 and not device.close_codes for device in devices)


def halves(running: Running, fleet: Fleet) -> tuple[int, list[Device], list[Device]]:
    """A worker that has devices, those, and the others'."""
    victim = max(running.worker_pids(), key=lambda pid: len(devices_on(pid, fleet.devices)))
    here = devices_on(victim, fleet.devices)
    others = [device for device in fleet.devices if device not in here]
    assert here
    assert others, "both workers have devices"
    return victim, here, others


async def until_another(running: Running, store: int) -> None:
    """Wait for the store's next life."""
    await until(lambda: running.store_pid() not in (0, store), what="the store is started again")


async def test_a_killed_worker_takes_its_connections_along_and_nothing_else(running: Running) -> None:
    async with under_load(running) as fleet:
        victim, here, others = halves(running, fleet)
        kill(victim)
        await until(lambda: len(running.worker_pids()) == 2 and victim not in running.worker_pids(), what="another one")
        await until(lambda: all(device.welcomes >= 2 for device in here), what="its devices are back")
    assert stayed(others), "those of the other worker have noticed nothing"
    check_answers(fleet, 204, 0)
    assert fleet.book.unanswered <= POSTS_S, "only what was under way there"
    await judged(fleet)


async def test_a_killed_store_is_started_again_and_no_device_is_disconnected(running: Running) -> None:
    async with under_load(running) as fleet:
        store = running.store_pid()
        kill(store)
        await until_another(running, store)
    assert stayed(fleet.devices)
    check_answers(fleet, 204, 503)
    await judged(fleet)


async def test_a_worker_and_the_store_killed_at_once(running: Running) -> None:
    async with under_load(running) as fleet:
        victim, here, others = halves(running, fleet)
        store = running.store_pid()
        for pid in (victim, store):
            kill(pid)
        await until_another(running, store)
        await until(lambda: all(device.welcomes >= 2 for device in here), what="its devices are back")
    assert stayed(others)
    check_answers(fleet, 204, 503, 0)
    await judged(fleet)


async def test_a_worker_that_is_paused_goes_on_where_it_was(running: Running) -> None:
    """For as long as a silent store is given, with requests under way: what waits in its sockets are the answers."""
    async with under_load(running) as fleet:
        victim, _, _ = halves(running, fleet)
        with ExitStack() as until_then:
            with paused(running.store_pid()):
                await until(lambda: under_way(fleet) >= MANY, what="posts are under way")
                until_then.enter_context(paused(victim))
            await asyncio.sleep(PROMISED_S)
    assert stayed(fleet.devices)
    check_answers(fleet, 204)
    await judged(fleet)


async def test_devices_that_leave_and_join_while_the_store_is_silent(running: Running) -> None:
    async with under_load(running) as fleet:
        loop = asyncio.get_running_loop()
        leaving, staying = fleet.devices[::4], [d for i, d in enumerate(fleet.devices) if i % 4]
        began, coming = loop.time(), []
        with paused(running.store_pid()):
            for number, device in enumerate(leaving, start=1):
                await device.stop()
                coming.append(asyncio.create_task(device.start()))
                await asyncio.sleep(began + SILENCE_S * number / len(leaving) - loop.time())
        async with asyncio.timeout(20):
            await asyncio.gather(*coming)
    assert stayed(staying)
    assert all(device.welcomes == 2 for device in leaving)
    check_answers(fleet, 204, 503)
    await judged(fleet)
