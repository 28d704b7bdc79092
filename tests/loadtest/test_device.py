"""One device of a load."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from server.client import ClientError, UntrustedServer
from server.loadtest import device as devices
from server.loadtest.device import Device
from server.loadtest.ledger import Ledger
from server.loadtest.requests import Requests
from server.loadtest.target import Target
from tests.loadtest.fake_server import FakeServer, fake_server, login, refused

ANOTHER_KEY = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: x\r\n\r\n"
)


class Owner:
    """Notes what it is told, and lets a test wait for it."""

    def __init__(self) -> None:
        self.heard: asyncio.Queue[object] = asyncio.Queue()

    def opened(self) -> None:
        self.heard.put_nowait("opened")

    def refused(self, said: str) -> None:
        self.heard.put_nowait(f"refused: {said}")

    def failed(self, error: ClientError) -> None:
        self.heard.put_nowait(error)

    def lost(self) -> None:
        self.heard.put_nowait("lost")

    def told(self) -> None:
        self.heard.put_nowait("told")

    async def hears(self) -> object:
        """The next thing."""
        async with asyncio.timeout(5):
            return await self.heard.get()


class At:
    """A device at a server."""

    def __init__(self, fake: FakeServer) -> None:
        self.owner, self.ledger = Owner(), Ledger(1, 1, 1)
        requests = Requests(fake.url, login("ada"), 1)
        self.device = Device(
            *(Target.of(fake.url), requests, self.ledger, self.owner),
            agent=0,
            number=0,
            name="bench-1",
            random=lambda: 0.01,
        )


@asynccontextmanager
async def at(fake: FakeServer) -> AsyncIterator[At]:
    connected = At(fake)
    task = asyncio.ensure_future(connected.device.run(asyncio.Semaphore()))
    try:
        yield connected
    finally:
        task.cancel()
        await asyncio.wait([task])


async def test_clears_reach_the_ledger() -> None:
    async with fake_server() as fake, at(fake) as here:
        assert await here.owner.hears() == "opened"
        slot = here.ledger.sent(0, 0.0)
        fake.tell("ada", [here.ledger.first_id(slot)])
        assert await here.owner.hears() == "told"
        assert here.ledger.clears == 1


async def test_a_ping_is_answered() -> None:
    async with fake_server() as fake, at(fake) as here:
        assert await here.owner.hears() == "opened"
        fake.send("ada", b"\x89\x01p")
        async with asyncio.timeout(5):
            assert await fake.said.get() == b"\x8a\x81", "a masked pong of one byte"


async def test_one_that_leaves_says_so_and_does_not_come_back() -> None:
    async with fake_server() as fake, at(fake) as here:
        assert await here.owner.hears() == "opened"
        assert here.device.leave()
        async with asyncio.timeout(5):
            assert await fake.said.get() == b"\x88\x82", "a masked close with its code"
        fake.leave()
    assert here.owner.heard.empty()
    assert fake.connections == 1


async def test_where_there_is_no_connection_there_is_none_to_leave() -> None:
    async with fake_server() as fake:
        assert not At(fake).device.leave()


async def test_one_that_was_in_comes_back_when_the_server_wants_it(monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[float] = []

    async def sleep(seconds: float) -> None:
        waited.append(seconds)

    async with fake_server() as fake, at(fake) as here:
        assert await here.owner.hears() == "opened"
        monkeypatch.setattr(asyncio, "sleep", sleep)
        fake.handshakes += [refused(503, "no", "Retry-After: 7"), refused(429)]
        fake.send("ada", b"\x88\x02\x03\xf4")
        assert await here.owner.hears() == "lost"
        fake.kept.append([2**30])
        assert await here.owner.hears() == "told"
    assert [round(seconds) for seconds in waited] == [0, 7, 60]


async def test_an_answer_to_another_handshake_is_not_believed() -> None:
    async with fake_server(ANOTHER_KEY) as fake, at(fake) as here:
        failure = await here.owner.hears()
    assert isinstance(failure, UntrustedServer)
    assert "another key" in str(failure)


async def test_without_a_welcome_it_is_not_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "OPEN_S", 0.05)
    async with fake_server(b"HTTP/1.1 ") as fake, at(fake) as here:
        assert await here.owner.hears() == "refused: no welcome within 0.05 s"
