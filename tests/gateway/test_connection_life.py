"""A connection's credentials end, or it goes, at any moment: it is refused or closed, and nothing of it is left."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter

import pytest
from structlog.testing import capture_logs

from server.auth.chain import Chain
from server.auth.development import Development
from server.auth.principal import Principal, Scope
from server.auth.tickets import Tickets
from server.auth.websession import WebSessions
from server.errors import TooManyRequests, Unauthenticated, Unavailable
from server.events import AgentId
from server.session import State
from server.wire import CloseCode
from tests.auth.test_websession import Memory
from tests.gateway.devices import basic
from tests.gateway.life import CHALLENGE, CRM, Gates, Visit, World

ADA, BOB, CARL = basic("ada"), basic("bob"), basic("carl")
SEEDS, STEPS = 150, 60


def who(said: str) -> Principal:
    """Everybody is the same agent, and stands on a grant of his own for a hundred seconds."""
    return Principal(AgentId.of("acme", "ada"), frozenset(Scope), time.time() + 100, (f"user:{said}",))


def grants(*said: str) -> frozenset[str]:
    return frozenset(f"user:{one}" for one in said)


def close_code(visit: Visit) -> int:
    """Of a connection whose last frame is a close with a reason."""
    data = bytes(visit.transport.sent)
    return int.from_bytes(data[data.rindex(b"\x88") + 2 :][:2])


# the handshake


@pytest.mark.parametrize("origin", [None, CRM])
async def test_credentials_that_end_while_a_place_is_asked_for_let_nobody_in(origin: str | None) -> None:
    gates = Gates("lease")
    world = World(gates, who)
    visit = world.come(origin=origin)
    await gates.reached("lease")
    world.holders.revoke(grants(ADA))
    assert not world.holders.grants(), "it is told once"
    gates.open("lease")
    await world.tasks.done()
    if origin is None:
        assert visit.status == 401
        assert visit.header("www-authenticate") == CHALLENGE.lower()
        assert world.left() == {}
    else:
        assert close_code(visit) == CloseCode.CREDENTIALS_EXPIRED
        assert world.places.held == 0, "it is given back before the browser has gone"
        visit.transport.lose()
        assert world.left() == {}


@pytest.mark.parametrize("place", ["authenticate", "lease"])
async def test_who_goes_while_we_ask_leaves_nothing(place: str) -> None:
    gates = Gates(place)
    world = World(gates, who)
    visit = world.come()
    await gates.reached(place)
    visit.transport.lose()
    gates.open(place)
    await world.tasks.done()
    assert gates.passed == ["authenticate", "lease"]
    assert visit.status == 0
    assert world.left() == {}


@pytest.mark.parametrize("gone", [True, False])
async def test_what_nobody_foresaw_leaves_nothing(gone: bool) -> None:
    gates = Gates("authenticate")

    async def hook(place: str) -> None:
        await gates(place)
        if place == "lease":
            raise RuntimeError("unforeseen")

    world = World(hook, who)
    visit = world.come()
    await gates.reached("authenticate")
    if gone:
        visit.transport.lose()
    gates.open("authenticate")
    with capture_logs() as lines:
        await world.tasks.done()
    assert [line["event"] for line in lines] == ["connection failed"]
    assert visit.transport.lost
    assert visit.status == 0
    assert world.left() == {}


@pytest.mark.parametrize("trouble", ["it is full", "the store is away"])
async def test_a_worker_that_can_not_take_it_uses_up_no_ticket(trouble: str) -> None:
    gates = Gates()
    world = World(gates, who, max_sessions=1)
    if trouble == "it is full":
        await world.welcomed()
    else:
        world.store.usable = False
    gates.passed.clear()
    visit = world.come(ticket="once", device="tablet")
    await world.tasks.done()
    assert visit.status == 503
    assert gates.passed == []


async def test_of_two_that_come_at_once_for_the_last_place_one_gets_it() -> None:
    gates = Gates("lease")
    world = World(gates, who, max_sessions=1)
    visits = [world.come(device=device) for device in ("phone", "tablet")]
    await gates.reached("lease")
    gates.open("lease")
    await world.tasks.done()
    assert sorted(visit.status for visit in visits) == [101, 503]
    assert world.places.held == 1


async def test_who_is_let_in_holds_what_is_given_back_at_the_end() -> None:
    world = World(Gates(), who)
    visit = await world.welcomed()
    assert world.left().keys() == {"holders", "leases", "wheel", "timers", "sessions", "connections"}
    visit.transport.lose()
    assert world.left() == {}


@pytest.mark.parametrize("end", ["revoked", "expired"])
async def test_who_is_not_to_stay_is_closed_4001(end: str) -> None:
    world = World(Gates(), who)
    visit = await world.welcomed()
    (expiry,) = world.loop.timers
    if end == "revoked":
        world.holders.revoke(grants(ADA))
    else:
        expiry.fire()
    assert close_code(visit) == CloseCode.CREDENTIALS_EXPIRED
    visit.transport.lose()
    assert world.left() == {}


# one-use tickets, and the real chain


class House:
    """A chain of two ways to sign in, with one-use tickets that stand on `ticket:ab`."""

    def __init__(self) -> None:
        self.gates = Gates()
        self.vault = Memory()
        self.web = WebSessions(self.vault, self._standing, lambda gone: None, longest_s=3600)
        self.chain = Chain({"basic": [Development()], "soticket": [Tickets(self.vault)]}, web=self.web)
        self.world = World(self.gates, who, authenticator=self.chain)
        self.challenge = f"{Development.challenge}, {Tickets.challenge}".lower()

    async def _standing(self, names: tuple[str, ...]) -> bool:
        await self.gates("vault")
        return True

    async def once(self) -> str:
        principal = Principal(AgentId.of("acme", "ada"), frozenset(Scope), None, ("ticket:ab",))
        return (await self.web.once(principal, "phone"))[0]


async def test_a_grant_that_ends_while_a_ticket_on_it_is_redeemed_lets_nobody_in() -> None:
    house = House()
    world, ticket = house.world, await house.once()
    house.gates = gates = Gates("vault")
    visit = world.come(ticket=ticket)
    await gates.reached("vault")
    house.chain.revoke(frozenset({"ticket:ab"}))
    gates.open("vault")
    await world.tasks.done()
    assert (visit.status, visit.header("www-authenticate")) == (401, house.challenge)
    assert world.left() == {}


async def test_a_ticket_that_stands_opens_a_session_on_its_grant() -> None:
    house = House()
    visit = house.world.come(ticket=await house.once())
    await house.world.tasks.done()
    assert visit.status == 101
    assert house.world.holders.grants() == {"ticket:ab"}


@pytest.mark.parametrize("ticket", ["", "x" * 43])
async def test_a_401_names_every_scheme_that_is_served(ticket: str) -> None:
    house = House()
    visit = house.world.come(None, ticket=ticket)
    await house.world.tasks.done()
    assert (visit.status, visit.header("www-authenticate")) == (401, house.challenge)


# new credentials


async def test_a_refresh_moves_the_session_to_its_new_grants() -> None:
    world = World(Gates(), who)
    visit = await world.welcomed()
    (before,) = world.loop.timers
    visit.refresh(BOB)
    await world.tasks.done()
    visit.hears(b'"refreshed"')
    (after,) = world.loop.timers
    assert after is not before, "it ends when the new ones do"
    assert world.holders.grants() == grants(BOB)
    world.holders.revoke(grants(ADA))
    assert world.sessions()["phone"].state is State.LIVE
    world.holders.revoke(grants(BOB))
    assert close_code(visit) == CloseCode.CREDENTIALS_EXPIRED
    visit.transport.lose()
    assert world.left() == {}


@pytest.mark.parametrize("how", ["lost", "closed", "revoked"])
async def test_a_refresh_that_is_verified_after_the_end_takes_hold_of_nothing(how: str) -> None:
    gates = Gates()
    world = World(lambda place: gates(place), who)
    visit = await world.welcomed()
    gates = Gates("authenticate")
    visit.refresh(BOB)
    await gates.reached("authenticate")
    before = list(world.loop.timers)
    if how == "lost":
        visit.transport.lose()
    elif how == "closed":
        visit.goodbye()
    else:
        world.holders.revoke(grants(ADA))
    gates.open("authenticate")
    await world.tasks.done()
    assert grants(BOB).isdisjoint(world.holders.grants())
    stay = visit.gateway._stay
    owned = [timer for timer in world.loop.timers if timer not in before and timer.callback == stay._expired]
    assert not owned
    visit.transport.lose()
    assert world.left() == {}


@pytest.mark.parametrize("ends", ["well", "badly"])
async def test_refreshes_are_made_one_at_a_time(ends: str) -> None:
    gates = Gates()

    async def hook(place: str) -> None:
        stop = gates
        await stop(place)
        if ends == "badly" and stop is first:
            raise Unauthenticated("no")

    world = World(hook, who)
    first = Gates("authenticate")
    visit = await world.welcomed()
    gates = first
    visit.refresh(BOB, "one")
    await first.reached("authenticate")
    visit.refresh(CARL, "two")
    await visit.until(b'"two"')
    visit.hears(b'"busy"')
    gates = Gates()
    first.open("authenticate")
    await world.tasks.done()
    visit.hears(b'"refreshed"' if ends == "well" else b'"forbidden"')
    assert world.holders.grants() == grants(BOB if ends == "well" else ADA)
    visit.refresh(CARL, "three")
    await world.tasks.done()
    visit.hears(b'"refreshed"')
    assert world.holders.grants() == grants(CARL)


# whatever happens


class Chance:
    """One worker's hour: handshakes, losses, revocations, refreshes, expiries, refusals, in any order.

    Every place where the gateway waits takes a few turns of the loop, and one in six refuses or fails.
    """

    def __init__(self, seed: int, tally: Counter[str]) -> None:
        self._dice = random.Random(seed)
        self._tally = tally
        self._world = World(self._hook, self._who, per_agent=4)
        self._visits: dict[str, Visit] = {}
        self._stand: dict[str, tuple[str, ...]] = {}
        self._ended: set[str] = set()
        """Devices whose credentials were taken back."""

    async def _hook(self, place: str) -> None:
        for _ in range(self._dice.randrange(4)):
            await asyncio.sleep(0)
        if self._dice.random() < 1 / 6:
            said = (Unauthenticated("no"), Unavailable(), TooManyRequests("no", 1), RuntimeError("unforeseen"))
            raise self._dice.choice(said)

    def _who(self, device: str) -> Principal:
        """Callers say which device they are; from now on it stands on what is given here."""
        kinds = ("ticket", "web", "user")
        named = tuple(f"{kind}:{self._dice.randrange(3)}" for kind in self._dice.sample(kinds, self._dice.randrange(4)))
        self._stand[device] = named
        expires_at = time.time() + self._dice.choice((-1, 100)) if self._dice.random() < 0.5 else None
        agent = AgentId.of("acme", f"a{int(device[1:]) % 2}")
        return Principal(agent, frozenset(Scope), expires_at, named)

    async def run(self) -> None:
        """All of it, and what must hold then."""
        for _ in range(STEPS):
            chosen = self._dice.choices(self._STEPS, weights=self._WEIGHTS)[0]
            if chosen is Chance._turn:
                await asyncio.sleep(0)
            else:
                chosen(self)
        if self._dice.random() < 0.5:
            await self._world.tasks.done()
            for device, session in self._world.sessions().items():
                assert device not in self._ended or session.state is State.CLOSED, f"{device} stands on nothing"
        for visit in self._visits.values():
            visit.transport.lose()
        await self._world.tasks.done()
        assert self._world.left() == {}

    def _come(self) -> None:
        device = f"d{len(self._visits)}"
        origin = CRM if self._dice.random() < 0.3 else None
        # the credentials are the device's name, by whatever way they come
        self._visits[device] = self._world.come(device=device, ticket=device, origin=origin)
        self._tally["come"] += 1

    def _lose(self) -> None:
        if self._visits:
            self._dice.choice(list(self._visits.values())).transport.lose()

    def _revoke(self) -> None:
        named = f"{self._dice.choice(('ticket', 'web', 'user'))}:{self._dice.randrange(3)}"
        ended = {device for device, stands in self._stand.items() if named in stands}
        self._ended |= ended
        self._tally["ended in the handshake"] += len(
            [device for device in ended if not self._visits[device].transport.sent]
        )
        self._world.holders.revoke(frozenset({named}))
        live = self._world.sessions()
        assert all(live[device].state is State.CLOSED for device in ended & live.keys())

    def _welcome(self) -> None:
        for session in self._world.hub.sessions():
            if session.state is State.JOINING:
                self._world.welcome(session)
                self._tally["welcomed"] += 1

    def _refresh(self) -> None:
        live = self._world.sessions()
        heard = [device for device in live if self._visits[device].transport.reading]
        if heard:
            device = self._dice.choice(heard)
            self._visits[device].refresh(device)
            self._tally["refreshed"] += 1

    def _leave(self) -> None:
        live = [device for device in self._world.sessions() if self._visits[device].transport.reading]
        if live:
            self._visits[self._dice.choice(live)].goodbye()

    def _fire(self) -> None:
        if self._world.loop.timers:
            self._dice.choice(self._world.loop.timers).fire()
            self._tally["timers"] += 1

    def _full(self) -> None:
        for visit in self._visits.values():
            if visit.transport.lost or self._dice.random() < 0.5:
                continue
            visit.gateway.pause_writing()
            if self._dice.random() < 0.5:
                visit.gateway.resume_writing()

    def _turn(self) -> None:
        """The loop's."""

    _STEPS = (_come, _lose, _revoke, _welcome, _refresh, _leave, _fire, _full, _turn)
    _WEIGHTS = (20, 8, 10, 10, 15, 2, 5, 2, 25)


async def test_whatever_happens_in_whatever_order_nothing_is_left() -> None:
    tally: Counter[str] = Counter()
    with capture_logs():
        for seed in range(SEEDS):
            try:
                await Chance(seed, tally).run()
            except Exception as problem:
                raise AssertionError(f"seed {seed}: {problem}") from problem
    assert min(tally[name] for name in ("come", "welcomed", "refreshed", "timers")) > SEEDS, tally
    assert tally["ended in the handshake"] > SEEDS / 2, tally
