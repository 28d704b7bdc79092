"""More than one may: requests of an agent and of an address, sessions of an agent and of a worker."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest

from server.wire import SESSION_PATH, SYNC_PATH, TICKET_PATH
from tests.gateway.devices import Raw
from tests.running import Running, client, kill, serving, wait_until
from tests.security.callers import (
    Header,
    alive,
    ask,
    basic,
    call,
    closed_at_once,
    knocking,
    once,
    refused,
    report,
    session,
    sync,
    ticket,
)
from tests.security.inside import NOTHING, issue, new_id, where

LIMITED = (429, "TooManyRequests")
BURST = 10


@pytest.fixture(scope="module")
def env(settings: dict[str, str]) -> dict[str, str]:
    return settings | {
        "CLEARSYNC_LIMITS__REQUESTS_PER_AGENT_S": "1",
        "CLEARSYNC_LIMITS__REQUESTS_PER_AGENT_BURST": str(BURST),
        "CLEARSYNC_LIMITS__SESSIONS_PER_AGENT": "3",
        "CLEARSYNC_LIMITS__SESSIONS_PER_WORKER": "6",
        "CLEARSYNC_LIMITS__WEB_SESSIONS_PER_AGENT_MINUTE": "4",
        "CLEARSYNC_SERVER__TRUSTED_PROXIES": "127.0.0.1",
        "CLEARSYNC_LIMITS__REQUESTS_PER_ADDRESS_S": "1",
        "CLEARSYNC_LIMITS__REQUESTS_PER_ADDRESS_BURST": "60",
    }


@pytest.fixture(scope="module")
def tight(tmp_path_factory: pytest.TempPathFactory, env: dict[str, str], vault_url: str) -> Iterator[Running]:
    with serving("--store", vault_url, folder=tmp_path_factory.mktemp("tight"), env=env) as running:
        yield running


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory, env: dict[str, str], vault_url: str) -> Iterator[Running]:
    with serving("--store", vault_url, folder=tmp_path_factory.mktemp("tight"), env=env) as running:
        yield running


@pytest.fixture
def agent(vault_url: str) -> tuple[str, Header, Header]:
    """An agent that no other test knows: its tag, its credentials, and an address of its own."""
    number = new_id()
    tag = f"acme/rated{number}"
    return tag, ticket(issue(vault_url, tag)), ("X-Forwarded-For", f"198.18.{number // 250}.{number % 250}")


Agent = tuple[str, Header, Header]


def retry_after(reply: Any) -> int:
    assert reply.problem() == LIMITED
    return int(reply.all("retry-after")[0])


# requests


def test_requests_of_an_agent(tight: Running, vault_url: str, agent: Agent) -> None:
    tag, own, address = agent
    answers = Counter(sync(tight, own, address).status for _ in range(BURST + 3))
    assert answers[200] in (BURST, BURST + 1)
    id_ = new_id()
    assert retry_after(report(tight, id_, own, address)) == 1
    assert where(vault_url, id_) == NOTHING
    for reply in (
        call(tight, "POST", SESSION_PATH, own, address),
        call(tight, "POST", f"{TICKET_PATH}?device=a", own, address),
    ):
        assert retry_after(reply) == 1
    # spelt otherwise, and by other credentials, he is the same
    for respelt in (
        ("Authorization", str(own[1]).replace("SoTicket", "soticket")),
        ticket(issue(vault_url, tag.upper())),
    ):
        assert retry_after(sync(tight, respelt, address)) == 1


async def test_frames_count_too_and_are_told_busy(tight: Running, vault_url: str, agent: Agent) -> None:
    _, own, address = agent
    async with session(tight, own, address) as (device, _):
        answers = Counter[str]()
        for _ in range(BURST + 2):
            answer = await ask(device, type="check", ref="1", events=[])
            answers[answer.get("code", answer["type"])] += 1
        assert answers["checked"] in (BURST - 1, BURST)
        assert answers["busy"] >= 2
        id_ = new_id()
        answer = await ask(device, type="handled", ref="2", events=[{"Type": "NewTicket", "Id": id_}])
        assert (answer["code"], answer["ref"]) == ("busy", "2")
        assert where(vault_url, id_) == NOTHING
        assert await alive(device)


async def test_refreshes_count_too(tight: Running, agent: Agent) -> None:
    _, own, address = agent
    async with session(tight, own, address) as (device, _):
        answers = Counter[str]()
        for _ in range(3 * BURST):
            answer = await ask(device, type="refresh", ref="1", authorization=str(own[1]))
            answers[answer.get("code", answer["type"])] += 1
        assert answers["busy"] >= BURST


async def test_handshakes_count_too(tight: Running, agent: Agent) -> None:
    _, own, address = agent
    statuses = Counter[int]()
    for _ in range(BURST + 2):
        async with knocking(tight, own, address) as device:
            statuses[(await device.answer()).status] += 1
    assert statuses[429] >= 1
    origin = ("Origin", f"http://127.0.0.1:{tight.port}")
    assert await closed_at_once(tight, own, address, origin) == 4008


async def test_requests_of_an_address_before_anything_else(tight: Running, vault_url: str, agent: Agent) -> None:
    _, own, _ = agent
    address = ("X-Forwarded-For", f"198.19.0.{new_id() % 250}")
    statuses = Counter(sync(tight, address).status for _ in range(65))
    assert statuses[401] in (60, 61, 62)
    assert statuses[429] >= 3
    id_ = new_id()
    assert retry_after(report(tight, id_, own, address)) == 1
    assert await refused(tight, own, address) == LIMITED
    assert where(vault_url, id_) == NOTHING


def test_addresses_of_one_ipv6_network_are_one(tight: Running) -> None:
    """A host has 2⁶⁴ of them, and may take another for each request: as it is with failed sign-ins."""
    statuses = Counter(sync(tight, ("X-Forwarded-For", f"2001:db8:77::{n:x}")).status for n in range(70))
    assert statuses[429] >= 3


# sessions


@asynccontextmanager
async def devices(running: Running, *headers: Header, count: int) -> AsyncIterator[list[Raw]]:
    async with AsyncExitStack() as stack:
        opened = [await stack.enter_async_context(session(running, *headers, device=f"d{n}")) for n in range(count)]
        yield [device for device, _ in opened]


async def test_sessions_of_an_agent_across_two_servers(tight: Running, other: Running, agent: Agent) -> None:
    _, own, address = agent
    own_origin = ("Origin", f"http://127.0.0.1:{other.port}")
    async with devices(tight, own, address, count=2), session(other, own, address):
        for running in (tight, other):
            assert await refused(running, own, address) == LIMITED
        assert await closed_at_once(other, own, address, own_origin) == 4008
    await entered(other, own, address)


async def entered(running: Running, *headers: Header) -> None:
    """A place is free as soon as the server has seen that a device has gone."""
    async with asyncio.timeout(5):
        while True:
            async with knocking(running, *headers) as device:
                if (await device.answer()).status == 101:
                    return


async def test_of_twenty_that_come_at_once_three_get_in(
    tight: Running, other: Running, vault_url: str, agent: Agent
) -> None:
    tag, own, address = agent
    enough = asyncio.Event()
    statuses: list[int] = []

    async def one(running: Running) -> None:
        async with knocking(running, own, address) as device:
            statuses.append((await device.answer()).status)
            if len(statuses) == 8:
                enough.set()
            await enough.wait()

    await asyncio.gather(*(one(running) for running in (tight, other) * 4))  # eight: the agent's own rate is ten
    assert Counter(statuses) == {101: 3, 429: 5}
    with client(vault_url) as store:
        wait_until(lambda: store.zcard(f"cs:{{{tag}}}:sessions") == 0, what="all places are given back")


async def test_ticket_and_cookie_do_not_make_more_room(tight: Running, agent: Agent) -> None:
    _, own, address = agent
    secret = once(tight, "more", own, address)
    async with devices(tight, own, address, count=3):
        assert await refused(tight, address, target=f"{SYNC_PATH}?device=more&ticket={secret}") == LIMITED


async def test_sessions_of_a_worker(tight: Running, vault_url: str) -> None:
    """Also where more come at the same moment than there is room for."""
    number = new_id()
    agents = [
        (ticket(issue(vault_url, f"acme/crowd{number}-{n}")), ("X-Forwarded-For", f"198.51.{number % 250}.{n}"))
        for n in range(40)
    ]
    came = asyncio.Event()
    statuses: list[int] = []

    async def one(own: Header, address: Header) -> None:
        async with knocking(tight, own, address) as device:
            statuses.append((await device.answer()).status)
            if len(statuses) == len(agents):
                came.set()
            await came.wait()

    for own, address in agents:
        assert sync(tight, own, address).status == 200  # known, so that they get to the door together
    await asyncio.gather(*(one(*agent) for agent in agents))
    assert Counter(statuses) == {101: 6, 503: len(agents) - 6}


async def test_development_sets_none_of_them(tmp_path: Any, env: dict[str, str], vault_url: str) -> None:
    dev = basic("devada", "any")
    own = {name: value for name, value in env.items() if "LIMITS__" in name} | {
        "CLEARSYNC_LIMITS__FAILED_LOGINS_PER_MINUTE": "1",
        "CLEARSYNC_LIMITS__SESSIONS_PER_WORKER": "0",
    }
    with serving("--dev", "--store", vault_url, folder=tmp_path, env=own) as running:
        assert {sync(running, dev).status for _ in range(BURST * 8)} == {200}
        assert {sync(running, ticket("cs1." + "a" * 43)).status for _ in range(5)} == {401}
        async with devices(running, dev, count=5):
            pass


async def test_places_of_a_killed_worker_end_by_themselves(
    tmp_path: Any, env: dict[str, str], vault_url: str, agent: Agent
) -> None:
    """Not waited for here: what stands in the store has its end."""
    tag, own, address = agent
    with serving("--store", vault_url, folder=tmp_path, env=env) as running:
        async with devices(running, own, address, count=3):
            (worker,) = running.worker_pids()
            kill(worker)
            wait_until(lambda: running.worker_pids() not in ([], [worker]), 20)
        with client(vault_url) as store:
            ttl_ms: int = store.pttl(f"cs:{{{tag}}}:sessions")
            assert 0 < ttl_ms <= 60_000
        wait_until(lambda: running.ready()[0] == 200, 20)
        assert await refused(running, own, address) == LIMITED


def test_browsers_that_an_agent_signs_in(tight: Running, agent: Agent) -> None:
    """Each is in the store for hours."""
    _, own, address = agent
    replies = [call(tight, "POST", SESSION_PATH, own, address) for _ in range(5)]
    assert [reply.status for reply in replies] == [200] * 4 + [429]
    assert 10 <= retry_after(replies[-1]) <= 15
    assert sync(tight, own, address).status == 200
