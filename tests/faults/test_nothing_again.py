"""What must not be recorded again: what is there, what the limit has dropped, what was erased on purpose."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.faults.conftest import until_asked, until_green
from tests.faults.tail import AFTER, AGAIN, BEFORE, LOST, LOST_TOO, TWICE, all_there, lose_tail, post
from tests.gateway.devices import session, snapshot, tickets
from tests.running import RealStore, run, serving

pytestmark = pytest.mark.faults


async def test_a_store_that_lost_nothing_gets_nothing_again(tmp_path: Path, real_store: RealStore) -> None:
    with serving("--dev", "--store", real_store.url, folder=tmp_path) as running:
        async with session(running, "ada") as phone:
            await post(running, "ada", BEFORE, TWICE)
            await post(running, "ada", TWICE)
            await phone.until_cleared(TWICE)
            truth = await snapshot(running, "ada")
            real_store.kill()
            await asyncio.to_thread(real_store.start)
            await until_green(running)
            assert await snapshot(running, "ada") == truth, "as it was, with the same times"
            await post(running, "ada", AFTER)
            await phone.until_cleared(AFTER)
        assert phone.ledger.cleared[TWICE] == truth[TWICE]
        assert phone.ledger.resets == 0
        assert AGAIN not in running.logged


async def test_what_the_store_dropped_for_its_limit_ends_as_it_was(tmp_path: Path, real_store: RealStore) -> None:
    """More within the last seconds than is kept of an agent: what was dropped looks as if it was lost, and is dropped
    again."""
    env = {"CLEARSYNC_STORE__MAX_EVENTS_PER_AGENT": "1000"}
    with serving("--dev", "--store", real_store.url, folder=tmp_path, env=env) as running:
        async with session(running, "ada") as phone:
            await post(running, "ada", *tickets(range(1000)))
            await post(running, "ada", *tickets(range(1000, 2000)))
            await all_there(phone, *tickets(range(2000)))
            truth = await snapshot(running, "ada")
            real_store.kill()
            await asyncio.to_thread(real_store.start)
            await until_green(running)
            await until_asked(lambda: AGAIN in running.logged, what="it was compared")
            after = await snapshot(running, "ada")
            assert after.keys() == truth.keys()
            assert all(after[pair] >= at for pair, at in truth.items())
            await post(running, "ada", AFTER)
            await phone.until_cleared(AFTER)


async def test_what_was_forgotten_on_purpose_does_not_come_back(tmp_path: Path, real_store: RealStore) -> None:
    with serving("--dev", "--store", real_store.url, folder=tmp_path) as running:
        files = await asyncio.to_thread(real_store.snapshot)
        await post(running, "ada", LOST)
        async with session(running, "ada") as phone:
            options = ("--agent", "dev/ada", "--yes", "--store", real_store.url)
            forgotten = await asyncio.to_thread(run, "forget", *options, cwd=tmp_path)
            assert forgotten.returncode == 0, forgotten.stderr
            assert "1 handled event" in forgotten.stdout
            assert await phone.close_code() == 4001, "the worker has heard of it"
        await post(running, "bob", LOST_TOO)
        await lose_tail(real_store, files)
        await until_green(running)
        async with session(running, "bob", cursor="0") as other:
            await all_there(other, LOST_TOO)  # compared after what came before it
        assert await snapshot(running, "ada") == {}
