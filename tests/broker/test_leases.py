"""Leases of sessions on a real store: the limit, what frees a place, and what an outage does not take."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import pytest
import redis

from server.broker import leases as module
from server.broker.endpoint import Endpoint
from server.broker.leases import LEASE_S, RENEW_S, TAKERS, TICK_S, Lease, Leases
from server.broker.link import Callback, Link
from server.errors import Unavailable
from server.events import AgentId
from tests.broker.conftest import AGENT
from tests.running import RealStore, wait_until

KEY = "cs:{acme/ada}:sessions"
LIMIT = 5
SLOTS = round(RENEW_S / TICK_S)
only_real = pytest.mark.parametrize("url", ["valkey"], indirect=True)
"""fakeredis' TCP server ends a connection at its first error reply."""


class CountedLink(Link):
    """Tells of the scripts that are asked for."""

    def __init__(self, commands: Commands) -> None:
        super().__init__()
        self._commands = commands

    def send_packed(self, callback: Callback, command: bytes, confirms: tuple[bytes, bytes] | None = None) -> None:
        self._commands.scripts += b"EVALSHA" in command
        super().send_packed(callback, command, confirms)


class Commands:
    """The link of commands as the broker would have it: one that can be lost and had again."""

    def __init__(self, url: str) -> None:
        self._endpoint = Endpoint.parse(url)
        self._link: Link | None = None

        self.scripts = 0
        """How many were asked for."""

    async def connect(self) -> None:
        self._link = await self._endpoint.connect(partial(CountedLink, self), "test")

    def lose(self) -> None:
        if self._link is not None:
            self._link.abort()

    def __call__(self) -> Link:
        if self._link is None or not self._link.alive:
            raise Unavailable()
        return self._link


@asynccontextmanager
async def commands_on(url: str) -> AsyncIterator[Commands]:
    commands = Commands(url)
    await commands.connect()
    try:
        yield commands
    finally:
        commands.lose()


@pytest.fixture
async def commands(url: str) -> AsyncIterator[Commands]:
    async with commands_on(url) as made:
        yield made


@pytest.fixture
def leases(commands: Commands) -> Leases:
    return Leases(commands, "cs", LIMIT)


async def taken(leases: Leases, number: int = 1, agent: AgentId = AGENT) -> list[Lease]:
    """So many, all of which have to be given."""
    made = [await leases.take(agent) for _ in range(number)]
    assert None not in made
    return [lease for lease in made if lease]


class Turns:
    """Turns leases as `run` would, on a clock of its own."""

    def __init__(self, leases: Leases) -> None:
        self._leases = leases
        self._now = 1000.0

    async def __call__(self, seconds: float) -> None:
        until = self._now + seconds
        while self._now < until:
            self._now += TICK_S
            await self._leases.turn(self._now)


def members(raw: Any, key: str = KEY) -> list[bytes]:
    found: list[bytes] = raw.zrange(key, 0, -1)
    return found


def age(raw: Any, seconds: float, key: str = KEY) -> None:
    """Make all leases end so much earlier, as if that time had passed."""
    for member in members(raw, key):
        raw.zincrby(key, -1000 * seconds, member)


async def until_asked(commands: Commands) -> None:
    """Until one more script has been asked for."""
    before = commands.scripts
    for _ in range(1000):
        await asyncio.sleep(0)
        if commands.scripts > before:
            return
    raise AssertionError("no script was asked for")


async def answered(commands: Commands) -> None:
    """Until the store has done what was sent before."""
    await commands().command("PING")


# --- the limit ---


async def test_an_agent_has_so_many_and_no_more(leases: Leases, raw: Any) -> None:
    await taken(leases, LIMIT)
    assert await leases.take(AGENT) is None
    assert await leases.take(AgentId.of("acme", "bo")), "another agent has its own"
    assert len(set(members(raw))) == LIMIT
    assert len(leases) == LIMIT + 1


async def test_the_limit_is_kept_by_the_store_for_all_workers(url: str, raw: Any) -> None:
    async with commands_on(url) as one, commands_on(url) as other:
        workers = [Leases(commands, "cs", LIMIT) for commands in (one, other)]
        answers = await asyncio.gather(*(workers[n % 2].take(AGENT) for n in range(100)))
        assert sum(answer is not None for answer in answers) == LIMIT
        assert sum(map(len, workers)) == LIMIT == raw.zcard(KEY)


async def test_without_a_limit_the_store_is_not_asked(raw: Any) -> None:
    def never() -> Link:
        raise AssertionError("asked")

    leases = Leases(never, "cs", 0)
    for lease in await taken(leases, 30):
        leases.release(lease)
    assert len(leases) == 0


async def test_a_key_ends_with_its_last_lease(leases: Leases, raw: Any) -> None:
    await taken(leases)
    assert LEASE_S - 5 < raw.pttl(KEY) / 1000 <= LEASE_S
    seconds, micros = raw.time()
    ((_, ends),) = raw.zrange(KEY, 0, -1, withscores=True)
    assert LEASE_S - 5 < ends / 1000 - seconds - micros / 1e6 <= LEASE_S


# --- what frees a place ---


async def test_a_release_frees_a_place_at_once(leases: Leases, raw: Any) -> None:
    first, *_ = await taken(leases, LIMIT)
    leases.release(first)
    leases.release(first)
    await taken(leases)
    assert await leases.take(AGENT) is None
    assert raw.zcard(KEY) == LIMIT == len(leases)


async def test_the_last_release_leaves_nothing(leases: Leases, commands: Commands, raw: Any) -> None:
    for lease in await taken(leases, LIMIT):
        leases.release(lease)
    await answered(commands)
    assert not raw.exists(KEY)
    assert not any(leases._slots)


async def test_a_lease_that_nobody_renews_ends(commands: Commands, raw: Any) -> None:
    killed, other = Leases(commands, "cs", LIMIT), Leases(commands, "cs", LIMIT)
    await taken(killed, LIMIT)
    age(raw, LEASE_S - 1)
    assert await other.take(AGENT) is None
    age(raw, 2)
    await taken(other, LIMIT)
    assert raw.zcard(KEY) == LIMIT, "what has ended is dropped"


async def test_the_store_itself_drops_the_key(commands: Commands, raw: Any) -> None:
    await taken(Leases(commands, "cs", LIMIT, lease_s=0.02), LIMIT)
    await asyncio.to_thread(wait_until, lambda: not raw.exists(KEY), what="the key ends")


# --- renewals ---


async def test_what_is_held_is_renewed_in_every_interval(leases: Leases, raw: Any) -> None:
    turn = Turns(leases)
    await turn(RENEW_S)
    held = await taken(leases, LIMIT)
    for _ in range(5):
        age(raw, RENEW_S)
        await turn(RENEW_S)
    assert len(members(raw)) == len(held)
    assert await leases.take(AGENT) is None
    assert raw.pttl(KEY) > 1000 * (LEASE_S - 5)


@only_real
async def test_renewals_are_spread_over_the_interval(leases: Leases, commands: Commands) -> None:
    agents = [AgentId.of("acme", f"agent {n}") for n in range(400)]
    turn = Turns(leases)
    await turn(RENEW_S)
    await asyncio.gather(*(leases.take(agent) for agent in agents))
    renewed = []
    for _ in range(SLOTS):
        before = commands.scripts
        await turn(TICK_S)
        renewed.append(commands.scripts - before)
    assert sum(renewed) == len(agents), "one call an agent"
    assert max(renewed) < 30


async def test_a_stalled_loop_catches_up(leases: Leases, raw: Any) -> None:
    await leases.turn(1000.0)
    await Turns(leases)(RENEW_S)
    await taken(leases)
    age(raw, 30)
    for now in range(20):  # 300 s later, at CATCH_UP slots a turn
        await leases.turn(1300.0 + now * TICK_S)
    assert raw.zscore(KEY, members(raw)[0]) / 1000 - raw.time()[0] > LEASE_S - 5


async def test_a_renewal_goes_over_the_limit(commands: Commands, raw: Any) -> None:
    one, other = Leases(commands, "cs", LIMIT), Leases(commands, "cs", LIMIT)
    await taken(one, LIMIT)
    raw.delete(KEY)
    await taken(other, LIMIT)
    await Turns(one)(RENEW_S)
    assert raw.zcard(KEY) == 2 * LIMIT, "a session that lives is not ended"
    assert await other.take(AGENT) is None


async def test_what_was_released_is_not_renewed(leases: Leases, raw: Any) -> None:
    turn = Turns(leases)
    first, second = await taken(leases, 2)
    leases.release(first)
    await turn(RENEW_S)
    assert members(raw) == [leases._member(second).encode()]


async def test_an_agent_may_have_very_many(commands: Commands, raw: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "AT_ONCE", 10)
    leases = Leases(commands, "cs", 45)
    await asyncio.gather(*(leases.take(AGENT) for _ in range(45)))
    raw.delete(KEY)
    await Turns(leases)(RENEW_S)
    assert raw.zcard(KEY) == 45


@only_real
async def test_run_renews_until_it_is_cancelled(leases: Leases, raw: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CATCH_UP", SLOTS)
    await taken(leases)
    raw.delete(KEY)
    running = asyncio.ensure_future(leases.run())
    await asyncio.to_thread(wait_until, lambda: raw.exists(KEY), what="the lease is renewed")
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


# --- callers that give up, scripts that are not known ---


@pytest.mark.parametrize("known", [True, False], ids=["known", "unknown"])
@only_real
async def test_one_who_gives_up_holds_nothing(leases: Leases, commands: Commands, raw: Any, known: bool) -> None:
    leases.release((await taken(leases))[0])
    if not known:
        raw.script_flush()
    asking = asyncio.ensure_future(leases.take(AGENT))
    await asyncio.sleep(0)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    for _ in range(3):  # NOSCRIPT, the answer, the release
        await answered(commands)
    assert not raw.exists(KEY)
    assert len(leases) == 0


# --- ten thousand at once ---


@only_real
async def test_so_many_are_asked_for_at_one_time_and_all_are_given(
    leases: Leases, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, most = 0, 0
    ask = leases._ask

    def asking(*args: Any) -> asyncio.Future[bool]:
        nonlocal asked, most
        asked += 1
        most = max(most, asked)
        answer = ask(*args)
        answer.add_done_callback(told)
        return answer

    def told(_: object) -> None:
        nonlocal asked
        asked -= 1

    monkeypatch.setattr(leases, "_ask", asking)
    agents = [AgentId.of("acme", f"agent {n}") for n in range(10 * TAKERS)]
    made = await asyncio.gather(*map(leases.take, agents))
    assert all(made)
    assert len(leases) == len(agents)
    assert most == TAKERS


async def test_one_who_gives_up_while_it_waits_asks_nothing_and_holds_no_place(url: str, real_store: RealStore) -> None:
    async with commands_on(real_store.url) as commands:
        leases = Leases(commands, "cs", LIMIT)
        leases.release((await taken(leases))[0])
        await answered(commands)
        before = commands.scripts
        real_store.pause()
        asking = [asyncio.ensure_future(leases.take(AgentId.of("acme", f"{n}"))) for n in range(3 * TAKERS)]
        await asyncio.sleep(0)
        assert commands.scripts - before == TAKERS
        for task in asking[:-1]:
            task.cancel()
        await asyncio.gather(*asking[:-1], return_exceptions=True)
        assert commands.scripts - before == TAKERS, "those who gave up are still being answered"
        real_store.resume()
        assert await asking[-1]
        assert len(leases) == 1
        await asyncio.gather(*(leases.take(AgentId.of("acme", f"again {n}")) for n in range(2 * TAKERS)))


async def test_where_there_is_no_store_no_place_is_taken(commands: Commands) -> None:
    leases = Leases(commands, "cs", LIMIT)
    commands.lose()
    for _ in range(2 * TAKERS):
        with pytest.raises(Unavailable):
            await leases.take(AGENT)
    await commands.connect()
    assert await leases.take(AGENT)


@only_real
async def test_a_script_that_was_sent_again_renews_nothing_released(
    leases: Leases, commands: Commands, raw: Any
) -> None:
    first, second = await taken(leases, 2)
    raw.script_flush()
    turning = asyncio.ensure_future(Turns(leases)(RENEW_S))
    await until_asked(commands)
    leases.release(first)
    await turning
    await answered(commands)
    assert members(raw) == [leases._member(second).encode()]


@only_real
async def test_one_key_that_is_not_ours_stops_no_other(leases: Leases, raw: Any) -> None:
    agents = [AgentId.of("acme", f"agent {n}") for n in range(300)]
    await asyncio.gather(*(leases.take(agent) for agent in agents))
    keys = [f"cs:{{{agent.tag}}}:sessions" for agent in agents]
    raw.delete(*keys)
    raw.set(keys[0], "not ours")
    with pytest.raises(Unavailable):
        await leases.take(agents[0])
    await Turns(leases)(RENEW_S)
    assert raw.exists(*keys) == len(keys)


@only_real
async def test_a_new_link_makes_everything_due_but_not_at_once(leases: Leases, commands: Commands, raw: Any) -> None:
    agents = [AgentId.of("acme", f"agent {n}") for n in range(200)]
    await asyncio.gather(*(leases.take(agent) for agent in agents))
    turn = Turns(leases)
    await turn(2 * RENEW_S)
    raw.flushall()
    commands.lose()
    await commands.connect()
    await turn(TICK_S)
    assert 0 < raw.dbsize() < len(agents) / 4
    await turn(RENEW_S / module.CATCH_UP)
    assert raw.dbsize() == len(agents)


@only_real
async def test_a_store_that_refuses_all_is_not_asked_by_all(leases: Leases, commands: Commands, raw: Any) -> None:
    agents = [AgentId.of("acme", f"agent {n}") for n in range(480)]
    turn = Turns(leases)
    await turn(RENEW_S)
    await asyncio.gather(*(leases.take(agent) for agent in agents))
    keys = [f"cs:{{{agent.tag}}}:sessions" for agent in agents]
    raw.delete(*keys)
    for key in keys:
        raw.set(key, "refused")
    before = commands.scripts
    await turn(RENEW_S)
    assert commands.scripts - before <= SLOTS * module._FIRST_GROUP < len(agents)
    raw.delete(*keys)
    await turn(RENEW_S)
    assert raw.exists(*keys) == len(keys), "and when it takes them again, all are renewed"


# --- outages ---


@pytest.fixture
def hurt(real_store: RealStore) -> Any:
    with redis.Redis.from_url(real_store.url) as client:
        yield client


@pytest.mark.faults
async def test_an_outage_takes_nothing_from_those_who_live(real_store: RealStore, hurt: Any) -> None:
    async with commands_on(real_store.url) as commands:
        leases = Leases(commands, "cs", LIMIT)
        turn = Turns(leases)
        released, *kept = await taken(leases, LIMIT)
        real_store.kill()
        with pytest.raises(Unavailable):
            await leases.take(AGENT)
        leases.release(released)
        await turn(2 * LEASE_S)
        await asyncio.to_thread(real_store.start)
        hurt.flushall()
        await commands.connect()
        await turn(RENEW_S / module.CATCH_UP)
        assert sorted(members(hurt)) == sorted(leases._member(lease).encode() for lease in kept)
        await taken(leases)
        assert await leases.take(AGENT) is None


@pytest.mark.faults
async def test_a_link_that_is_lost_under_a_renewal(real_store: RealStore, hurt: Any) -> None:
    async with commands_on(real_store.url) as commands:
        leases = Leases(commands, "cs", LIMIT)
        await taken(leases, LIMIT)
        hurt.delete(KEY)
        real_store.pause()
        turning = asyncio.ensure_future(Turns(leases)(RENEW_S))
        await asyncio.sleep(0)
        commands.lose()
        await turning
        real_store.resume()
        await commands.connect()
        await Turns(leases)(RENEW_S / module.CATCH_UP)
        assert hurt.zcard(KEY) == LIMIT


@pytest.mark.faults
async def test_a_lease_that_is_asked_for_on_a_lost_link(real_store: RealStore, hurt: Any) -> None:
    async with commands_on(real_store.url) as commands:
        leases = Leases(commands, "cs", LIMIT)
        real_store.pause()
        asking = [asyncio.ensure_future(leases.take(AGENT)) for _ in range(2)]
        await asyncio.sleep(0)
        asking[0].cancel()
        await asyncio.sleep(0)
        commands.lose()
        with pytest.raises(Unavailable):
            await asking[1]
        with contextlib.suppress(asyncio.CancelledError):
            await asking[0]
        assert len(leases) == 0
        real_store.resume()
