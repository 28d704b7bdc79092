"""An event stream from the door to its end, on a connection that takes what the test lets it take."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Any, Final, cast

import pytest

from server import wire
from server.auth.principal import Principal, Scope
from server.errors import Unauthenticated, Unavailable
from server.events import AgentId
from server.gateway.connection import HIGH_WATER_BYTES
from server.gateway.eventstream import EventStreams, _unheard_for
from server.gateway.stay import STUCK_S
from server.session import Session, State
from server.wire import SYNC_PATH, CloseCode
from tests.gateway.devices import basic
from tests.gateway.life import Gates, Hook, World

ADA: Final = Principal(AgentId.of("acme", "ada"), frozenset({Scope.SYNC_READ}), 2_000_000_000.0, ("user:ada",))


def who(_: str) -> Principal:
    return ADA


class Line:
    """The connection of one stream, and the request on it."""

    def __init__(self, world: World, *, takes_head: bool = True) -> None:
        self.head = asyncio.Event()
        if takes_head:
            self.head.set()
        self.taken = b""
        self.status = 0
        self.complete = self.aborted = False
        self.takes = asyncio.Event()
        self.takes.set()
        self.waiting = 0
        self._gone = asyncio.Event()
        self._begun = False
        self._moved = asyncio.Event()
        scope = {
            "method": "GET",
            "headers": [(b"host", b"localhost"), (b"authorization", basic("ada").encode())],
            "raw_path": SYNC_PATH.encode(),
            "query_string": b"device=phone",
            "client": ("192.0.2.1", 5),
            "extensions": {"clearsync.transport": self},
        }
        self.world = world
        self.request = asyncio.ensure_future(EventStreams(world.door)(scope, self._receive, self._send))

    async def _receive(self) -> dict[str, Any]:
        if not self._begun:
            self._begun = True
            return {"type": "http.request", "body": b"", "more_body": False}
        await self._gone.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Any) -> None:
        if message["type"] == "http.response.start":
            await self.head.wait()
            self.status = message["status"]
            return
        self.waiting += 1
        self._moved.set()
        await self.takes.wait()
        self.waiting -= 1
        self.taken += message["body"]
        self.complete |= not message["more_body"]
        if self.complete:
            self._gone.set()
        self._moved.set()

    async def until(self, text: bytes) -> None:
        """It was sent this; what came up to now is not looked at again."""
        async with asyncio.timeout(5):
            while text not in self.taken:
                self._moved.clear()
                await self._moved.wait()
        self.taken = self.taken[self.taken.index(text) + len(text) :]

    async def stuck(self) -> None:
        """Something waits to be taken."""
        async with asyncio.timeout(5):
            while not self.waiting:
                self._moved.clear()
                await self._moved.wait()

    def go(self) -> None:
        """The device leaves."""
        self._gone.set()
        self.takes.set()

    async def welcomed(self) -> Session:
        """Its session, once it has been welcomed."""
        await turned(lambda: "phone" in self.world.sessions())
        session = self.world.sessions()["phone"]
        self.world.welcome(session)
        await self.until(b'"welcome"')
        return session

    # as a transport

    def abort(self) -> None:
        self.aborted = True
        self.go()

    def get_write_buffer_size(self) -> int:
        return 0

    def get_extra_info(self, name: str) -> Any:
        return None


async def turned(predicate: Callable[[], bool]) -> None:
    """The loop has turned until `predicate` is true."""
    async with asyncio.timeout(5):
        while not predicate():  # noqa: ASYNC110
            await asyncio.sleep(0)


def new(hook: Hook | None = None) -> Line:
    return Line(World(hook or Gates(), who))


def clear(session: Session, events: bytes = b"[]") -> bool:
    """The next live clear; whether it was written."""
    seq = (session.seq or 0) + 1
    return session.announce(seq, wire.clear("ab", seq, events))


async def test_all_is_given_back_at_the_end() -> None:
    line = new()
    session = await line.welcomed()
    assert line.world.left().keys() == {"holders", "leases", "wheel", "sessions"}
    line.go()
    await line.request
    assert session.state is State.CLOSED
    assert line.world.left() == {}


async def test_a_refusal_is_raised_and_holds_nothing() -> None:
    async def refusing(place: str) -> None:
        if place == "authenticate":
            raise Unauthenticated("no")

    line = new(refusing)
    with pytest.raises(Unauthenticated):
        await line.request
    assert line.status == 0
    assert line.world.left() == {}


async def test_who_is_revoked_at_the_door_is_refused() -> None:
    gates = Gates("lease")
    line = new(gates)
    await gates.reached("lease")
    line.world.holders.revoke(frozenset({"user:ada"}))
    gates.open("lease")
    with pytest.raises(Unauthenticated):
        await line.request
    assert line.world.left() == {}


async def test_who_goes_at_the_door_leaves_nothing() -> None:
    gates = Gates("authenticate")
    line = new(gates)
    await gates.reached("authenticate")
    line.go()
    gates.open("authenticate")
    await line.request
    assert line.world.left() == {}


async def test_a_worker_that_drains_lets_nobody_in() -> None:
    world = World(Gates(), who)
    world.hub.draining = True
    with pytest.raises(Unavailable):
        await Line(world).request


async def test_a_full_outbox_makes_it_lag_and_an_empty_one_read_on() -> None:
    line = new()
    session = await line.welcomed()
    line.takes.clear()
    events = b'[{"Type":"NewTicket","Id":1}' + b',{"Type":"NewTicket","Id":2}' * 100 + b"]"
    written = 0
    while clear(session, events):
        written += 1
        await asyncio.sleep(0)  # the first of them is under way, the rest waits
        assert written < 1000
    assert session.state is State.LAGGING
    assert HIGH_WATER_BYTES // len(events) - 1 <= written <= HIGH_WATER_BYTES // len(events) + 1
    line.takes.set()
    await turned(lambda: session.state is State.JOINING)
    assert line.taken.count(b'"clear"') == written
    line.go()
    await line.request


async def test_one_frame_that_is_larger_than_the_outbox_is_written() -> None:
    line = new()
    session = await line.welcomed()
    assert clear(session, b"[" + b" " * 2 * HIGH_WATER_BYTES + b"]")
    assert session.state is State.LAGGING
    await line.until(b"]}\n\n")
    line.go()
    await line.request


async def test_one_that_takes_nothing_for_a_minute_is_cut_off() -> None:
    line = new()
    session = await line.welcomed()
    line.takes.clear()
    await turned(lambda: not clear(session, b"[" + b" " * 4096 + b"]"))
    (stream,) = set().union(*line.world.wheel._slots)
    stream.ping(1000.0)
    stream.ping(1000.0 + STUCK_S - 1)
    assert not line.aborted
    stream.ping(1000.0 + STUCK_S)
    assert line.aborted
    await line.request
    assert line.world.left() == {}


async def test_a_ping_is_a_comment_and_none_where_something_waits() -> None:
    line = new()
    session = await line.welcomed()
    (stream,) = set().union(*line.world.wheel._slots)
    stream.ping(1000.0)
    await line.until(b"\n\n:\n\n")
    line.takes.clear()
    clear(session)
    await line.stuck()
    clear(session)
    stream.ping(1025.0)
    line.takes.set()
    session.close(CloseCode.RESTART, "restart")
    await line.request
    assert b":\n\n" not in line.taken.replace(b'"}\n\n', b"").replace(b"}\n\n", b"")


@pytest.mark.parametrize("how", ["expired", "revoked", "restart"])
async def test_the_end_is_told(how: str) -> None:
    line = new()
    session = await line.welcomed()
    if how == "restart":
        session.close(CloseCode.RESTART, "restart")
    elif how == "revoked":
        line.world.holders.revoke(frozenset({"user:ada"}))
    else:
        stay = next(iter(line.world.holders._by_grant["user:ada"]))
        cast(Any, stay)._expired()
    await line.request
    code = CloseCode.RESTART if how == "restart" else CloseCode.CREDENTIALS_EXPIRED
    assert b'\n\ndata: {"type":"close","code":%d,' % code in line.taken
    assert line.complete
    assert not line.aborted
    assert line.world.left() == {}


async def test_one_that_does_not_take_its_end_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("server.gateway.eventstream.GOODBYE_S", 0.01)
    line = new()
    session = await line.welcomed()
    line.takes.clear()
    clear(session)
    session.close(CloseCode.RESTART, "restart")
    async with asyncio.timeout(5):
        await line.request
    assert line.aborted


async def test_one_that_is_cancelled_gives_all_back() -> None:
    line = new()
    await line.welcomed()
    line.request.cancel()
    with pytest.raises(asyncio.CancelledError):
        await line.request
    assert line.world.left() == {}


async def test_the_kernel_ends_a_connection_that_nobody_acknowledges() -> None:
    option = getattr(socket, "TCP_USER_TIMEOUT", None)
    if option is None:
        pytest.skip("this system can't")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        transport, _ = await asyncio.get_running_loop().create_connection(asyncio.Protocol, *listener.getsockname())
        _unheard_for(transport, 60)
        assert transport.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, option) == 60_000
        transport.abort()


async def test_who_is_revoked_while_the_head_of_the_answer_waits_is_closed() -> None:
    world = World(Gates(), who)
    line = Line(world, takes_head=False)
    await turned(lambda: "phone" in world.sessions())
    world.holders.revoke(frozenset({"user:ada"}))
    line.head.set()
    await line.request
    assert b'"code":4001' in line.taken
    assert world.left() == {}
