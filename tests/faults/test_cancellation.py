"""Cancelled, or left alone, at every await: nothing stays held, nothing is half done, and who comes next is served.

Each path runs once for each of its awaits, with something happening there: as the wait begins, and (`late`) as its
answer has come and nobody has been woken by it.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager, nullcontext
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any, Final

import pytest

from server.auth.principal import Credentials
from server.broker.endpoint import Endpoint
from server.broker.link import Link
from server.broker.redis import RedisBroker
from server.events import AgentId, Batch, Cursor, DeviceId, Event, Seq
from server.gateway.websocket import Gateway
from server.session import Session, State
from server.wire import HANDLED_PATH, SYNC_PATH, CloseCode, Frame
from tests.faults.conftest import until
from tests.faults.house import ADA, House, house_on
from tests.faults.suspension import Stepped, cancelled_at
from tests.gateway.devices import Ledger, Pair, basic, events_of, raw, raw_session, tickets, upgrade
from tests.running import client

pytestmark = pytest.mark.faults

EVENTS: Final = 100
PARTS: Final = 5
BODY_BYTES: Final = 250_000
"""Just under the limit of one, and a quarter of the least that may be set for all bodies together."""
at_any_moment = pytest.mark.parametrize("late", [False, True], ids=["as it asks", "as it is answered"])


@pytest.fixture
async def house(store_url: str, tmp_path: Path) -> AsyncIterator[House]:
    async with house_on(store_url, tmp_path) as made:
        yield made


def batch_of(pairs: list[Pair]) -> Batch:
    return Batch([Event.parse(*pair) for pair in pairs])


# --- the record path ---


class Post:
    """One request of ada's as the application sees it: its body comes in parts."""

    def __init__(self, pairs: list[Pair]) -> None:
        body = json.dumps({"NotificationEvents": events_of(pairs)}).encode().ljust(BODY_BYTES)
        size = -(-len(body) // PARTS)
        self._parts = [body[start : start + size] for start in range(0, len(body), size)]
        self.status = 0

    async def served(self, house: House) -> None:
        """To its end."""
        headers = [
            (b"authorization", basic("ada").encode()),
            (b"content-type", b"application/json"),
            (b"content-length", b"%d" % BODY_BYTES),
        ]
        scope = {"type": "http", "method": "POST", "path": HANDLED_PATH, "headers": headers, "query_string": b""}
        await house.app(scope | {"client": ("192.0.2.1", 5)}, self._receive, self._send)

    async def _receive(self) -> dict[str, Any]:
        await asyncio.sleep(0)
        if not self._parts:
            return {"type": "http.disconnect"}
        return {"type": "http.request", "body": self._parts.pop(0), "more_body": bool(self._parts)}

    async def _send(self, message: Any) -> None:
        await asyncio.sleep(0)
        self.status = message.get("status", self.status)


async def check_replies(house: House, number: int) -> None:
    """What others ask now is answered with what they asked for, each with his own."""
    agents = [AgentId.of("acme", f"bystander-{number}-{each}") for each in range(3)]
    recorded = [house.broker.record(a, batch_of(tickets([number, i])), None) for i, a in enumerate(agents)]
    reads = [asyncio.ensure_future(house.broker.read(agent, 0)) for agent in agents]
    for index, (position, read) in enumerate(zip(recorded, reads, strict=True)):
        seq, found = await position, await read
        members = {b"1:%d" % number, b"1:%d" % index}
        assert (found.seq, dict(found.entries)) == (seq, dict.fromkeys(members, seq)), "another request's answer"


@at_any_moment
async def test_a_cancelled_record_leaves_nothing_held_and_the_batch_whole(house: House, late: bool) -> None:
    """One request may be under way, one failed sign-in is the limit, four bodies fill the bound: any leak refuses the
    next one."""
    whole, recorded = 0, list[tuple[bytes, int]]()
    for at in count(1):
        house.forget_credentials()
        pairs = tickets(range(at * EVENTS, (at + 1) * EVENTS))
        struck = await cancelled_at(Post(pairs).served(house), at, late=late)
        await check_replies(house, at)
        recorded = await house.broker.check(ADA, batch_of(pairs).members)
        assert len(recorded) in (0, EVENTS)
        assert len({position for _, position in recorded}) <= 1, "one batch has one position"
        if not struck:
            break
        whole += bool(recorded)
        following = Post([("Unknown", at)])
        await following.served(house)
        assert following.status == 204
    assert recorded, "not cancelled, it is recorded"
    assert at > PARTS + 4, "sign-in, parts of the body, a turn for others, the store, two parts of the answer"
    assert 2 <= whole < at - PARTS, "some were cancelled before the store was asked, some after"


# --- an event stream ---


class Streamed:
    """One event stream of ada's as the application sees it; the device leaves once it has been welcomed."""

    def __init__(self) -> None:
        self.sent = b""
        self._welcomed = asyncio.Event()

    async def served(self, house: House) -> None:
        """To its end."""
        headers = [(b"authorization", basic("ada").encode()), (b"accept", b"text/event-stream")]
        scope = {
            "type": "http",
            "method": "GET",
            "path": SYNC_PATH,
            "headers": headers,
            "query_string": b"device=phone",
        }
        scope |= {"raw_path": SYNC_PATH.encode(), "client": ("192.0.2.1", 5)}
        await house.app(scope | {"extensions": {"clearsync.transport": self}}, self._receive, self._send)

    async def _receive(self) -> dict[str, Any]:
        await self._welcomed.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Any) -> None:
        await asyncio.sleep(0)
        self.sent += message.get("body", b"")
        if b'"welcome"' in self.sent:
            self._welcomed.set()

    def get_extra_info(self, name: str) -> None:
        """As a transport: there is no socket."""


@at_any_moment
async def test_a_cancelled_stream_leaves_nothing_held(house: House, late: bool) -> None:
    """One session of an agent is the limit, one failed sign-in too: any leak refuses the next one."""
    for at in count(1):
        house.forget_credentials()
        struck = await cancelled_at(Streamed().served(house), at, late=late)
        await house.empty()
        if not struck:
            break
        following = Streamed()
        async with asyncio.timeout(5):
            await following.served(house)
        await house.empty()
        assert b'"welcome"' in following.sent
    assert at > 5, "sign-in, lease, the head, the outbox, the welcome"


# --- the join path ---


def lose(gateway: Gateway) -> None:
    """The connection is reset."""
    if gateway._transport is not None:
        gateway._transport.abort()


async def ticket_of(house: House) -> str:
    """A one-use ticket for ada's phone."""
    async with asyncio.timeout(5):
        principal = await house.known.chain.authenticate(Credentials(basic("ada").encode()), "192.0.2.1")
        return (await house.known.web.once(principal, "phone"))[0]


def step_next(house: House, at: int, strike: Callable[[], object], *, late: bool) -> list[Stepped[None]]:
    """The next handshake is struck at its await number `at`; the list has it once it began."""
    began: list[Stepped[None]] = []

    async def run(work: Coroutine[Any, Any, None]) -> None:
        began.append(Stepped(work, at, strike, late=late))
        await began[0]

    house.tasks.all.clear()
    house.tasks.step = run
    return began


async def join_struck(house: House, at: int, *, lost: bool, late: bool, ticket: str) -> bool:
    """A device comes, and its handshake is cancelled, or its connection lost, at await number `at`; False where there
    are fewer. It has gone at the end."""

    def strike() -> None:
        if lost:
            lose(house.gateways[-1])
        else:
            house.tasks.all[-1].cancel()

    began = step_next(house, at, strike, late=late)
    target = f"{SYNC_PATH}?device=phone" + (f"&ticket={ticket}" if ticket else "")
    async with raw(house.running) as device:
        await device.send(upgrade(house.running, target, user=None if ticket else "ada"))
        await until(lambda: house.tasks.all, what="its handshake begins")
        (task,) = house.tasks.all
        await asyncio.wait({task})
        struck = began[0].struck
        assert task.cancelled() == (struck and not lost)
        if task.cancelled():
            house.gateways[-1].shutdown()  # a worker that ends cancels what it does, and closes what is connected
        else:
            task.result()
        if struck:
            await house.empty()
    await house.empty()
    return struck


@at_any_moment
@pytest.mark.parametrize("lost", [False, True], ids=["cancelled", "connection lost"])
@pytest.mark.parametrize("by_ticket", [False, True], ids=["Basic", "one-use ticket"])
async def test_a_handshake_that_ends_at_any_await_leaves_nothing(
    house: House, by_ticket: bool, lost: bool, late: bool
) -> None:
    """One session is the agent's limit: what is left of the one before keeps the next one out."""
    for at in count(1):
        ticket = await ticket_of(house) if by_ticket else ""
        house.forget_credentials()
        if not await join_struck(house, at, lost=lost, late=late, ticket=ticket):
            break
        async with raw_session(house.running, "ada", "next"):
            assert house.hub.session_count == 1
        await house.empty()
    assert at > 2, "who it is, and its place among the agent's sessions"


@at_any_moment
@pytest.mark.parametrize("lost", [False, True], ids=["cancelled", "connection lost"])
async def test_a_handshake_that_ends_while_others_take_places_gives_its_turn_back(
    house: House, lost: bool, late: bool
) -> None:
    """The store gives one place after the other: that is one await more."""
    house.leases._takers = asyncio.Semaphore(1)
    for at in count(1):
        house.forget_credentials()
        await house.leases._takers.acquire()  # by somebody else
        asyncio.get_running_loop().call_later(0.1, house.leases._takers.release)
        struck = await join_struck(house, at, lost=lost, late=late, ticket="")
        if not struck:
            break
        async with raw_session(house.running, "ada", "next"):
            assert house.hub.session_count == 1
        await house.empty()
    assert at > 3, "who it is, its turn, and its place among the agent's sessions"


async def test_a_device_that_is_lost_at_any_await_of_its_first_read_leaves_nothing(house: House) -> None:
    async with raw_session(house.running, "ada", "phone") as phone:
        cursor = phone.ledger.cursor
    pairs = tickets(range(1500))
    for start in range(0, 1500, 500):  # of a frame each
        await house.broker.record(ADA, batch_of(pairs[start : start + 500]), None)
    for at in count(1):
        await house.empty()
        read = house.hub.strike_next(at, lambda: lose(house.gateways[-1]))
        async with raw(house.running) as device:
            await device.send(upgrade(house.running, f"{SYNC_PATH}?device=phone&cursor={cursor}", user="ada"))
            async with asyncio.timeout(10):
                struck = await read
            if not struck:
                break
            await house.empty()
        async with raw_session(house.running, "ada", "phone", cursor) as device:
            while device.ledger.cleared.keys() != set(pairs):
                await device.frame()
    assert at > 3, "the store, and the turns of others between the frames"


# --- readers of the hub ---


class Frames:
    """A session's way out that keeps a ledger."""

    def __init__(self) -> None:
        self.ledger = Ledger()
        self.types: list[str] = []
        self.cursors: list[int] = []

    def write(self, frame: Frame) -> None:
        said = json.loads(frame.json)
        self.ledger.apply(said)
        self.types.append(said["type"])
        self.cursors.append(int(said["cursor"].partition("-")[2]))

    def close(self, code: CloseCode, reason: str) -> None:
        raise AssertionError(f"closed: {code}, {reason}")


@at_any_moment
async def test_a_read_that_was_cancelled_is_made_anew_and_nothing_is_missing(
    store_url: str, tmp_path: Path, late: bool
) -> None:
    async with house_on(store_url, tmp_path, hub_runs=False) as house:
        hub, broker = house.hub, house.broker
        start = await broker.record(ADA, batch_of([("Unknown", 0)]), None)
        pairs = tickets(range(1500))
        for first in range(0, 1500, 500):
            await broker.record(ADA, batch_of(pairs[first : first + 500]), None)
        for at in count(1):
            frames = Frames()
            session = Session(DeviceId("phone"), Cursor(broker.store_id, Seq(start)), frames)
            hub.join(ADA, session)
            channel = hub._channels[ADA.tag]
            await until(partial(getattr, channel, "subscribed"), what="the channel is subscribed")
            struck = await cancelled_at(hub._read(channel), at, late=late)
            await check_replies(house, at)
            if struck:
                assert session.state is State.JOINING, "nothing says that it has all"
                await hub._read(channel)
            assert session.state is State.LIVE
            assert frames.ledger.cleared.keys() == set(pairs)
            assert frames.types == ["welcome", "clear", "clear", "clear"], "and nothing comes twice"
            assert frames.cursors == sorted(frames.cursors)
            hub.leave(ADA, session)
            if not struck:
                break
        assert at > 3, "the store, and the turns of others between the frames"


# --- links to the store ---


def broker_of(store_url: str) -> RedisBroker:
    """One that does nothing by itself."""
    return RedisBroker(
        Endpoint.parse(store_url),
        prefix="cs",
        max_events=10_000,
        retention_days=30,
        timeout_s=2.0,
        on_store=lambda: None,
        on_change=lambda: None,
    )


def link_of(broker: RedisBroker, *, listening: bool) -> Link | None:
    """The one that is in use."""
    return broker._listener._link if listening else broker._commands


@asynccontextmanager
async def lost_once_in_use(broker: RedisBroker, *, listening: bool) -> AsyncIterator[None]:
    """Meanwhile the link is lost as soon as it is of use: else nothing answers the wait for its end."""

    async def lose_it() -> None:
        await until(lambda: link_of(broker, listening=listening))
        if link := link_of(broker, listening=listening):
            link.abort()

    losing = asyncio.create_task(lose_it())
    try:
        yield
    finally:
        losing.cancel()
        await asyncio.wait({losing})


@at_any_moment
@pytest.mark.parametrize("listening", [False, True], ids=["commands", "listener"])
async def test_a_link_that_is_cancelled_at_any_await_of_its_life_is_closed(
    store_url: str, listening: bool, late: bool
) -> None:
    broker = broker_of(store_url)
    in_use: list[bool] = []
    with client(store_url) as store:

        def links() -> set[str]:
            return {each["id"] for each in store.client_list()}

        async with AsyncExitStack() as stack:
            if listening:
                commands = asyncio.create_task(broker._live())
                stack.push_async_callback(asyncio.wait, {commands})
                stack.callback(commands.cancel)
                await until(lambda: broker._commands, what="commands have their link")
            before, struck = links(), True
            while struck and not any(in_use):
                at = len(in_use) + 1
                live = broker._listen() if listening else broker._live()
                async with lost_once_in_use(broker, listening=listening) if late else nullcontext():
                    struck = await cancelled_at(
                        live,
                        at,
                        late=late,
                        then=lambda: in_use.append(link_of(broker, listening=listening) is not None),
                    )
                await until(lambda: links() == before, what=f"the link that was cancelled at await {at} is closed")
                assert link_of(broker, listening=listening) is None
                assert not broker.ready
        assert in_use.count(False) > 4, "connecting, the greeting, and what is asked before it is of use"
