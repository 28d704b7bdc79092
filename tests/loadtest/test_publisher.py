"""One connection over which posts go, kept as long as the server keeps it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from server.client import ClientError
from server.loadtest.ledger import FIRST_ID
from server.loadtest.publisher import Publisher
from server.loadtest.requests import Requests
from server.loadtest.target import Target
from tests.loadtest.fake_server import GONE, RECORDED, SILENT, FakeServer, fake_server, login, refused


class Desk:
    """Notes what publishers say, and lets a test wait for it."""

    def __init__(self) -> None:
        self.heard: asyncio.Queue[object] = asyncio.Queue()

    def idle(self, publisher: Publisher) -> None:
        self.heard.put_nowait("idle")

    def gone(self, publisher: Publisher) -> None:
        self.heard.put_nowait("gone")

    def answered(self, slot: int, status: int, body: bytes, now: float) -> None:
        self.heard.put_nowait((slot, status, body))

    def failed(self, error: ClientError) -> None:
        self.heard.put_nowait(error)

    async def hears(self, *expected: object) -> None:
        """The next things, in order."""
        async with asyncio.timeout(5):
            assert [await self.heard.get() for _ in expected] == list(expected)


class Posts:
    """A publisher at work."""

    def __init__(self, fake: FakeServer) -> None:
        self.desk = Desk()
        self._requests = Requests(fake.url, login("ada"), 1)
        self.publisher = Publisher(Target.of(fake.url), self.desk, lambda: 0.01)

    def post(self, slot: int) -> None:
        self.publisher.post(slot, self._requests.post(FIRST_ID + slot))


@asynccontextmanager
async def at_work(fake: FakeServer) -> AsyncIterator[Posts]:
    posts = Posts(fake)
    task = asyncio.ensure_future(posts.publisher.run())
    try:
        await posts.desk.hears("idle")
        yield posts
    finally:
        task.cancel()
        await asyncio.wait([task])


@pytest.mark.parametrize(
    ("answer", "status", "body"), [(RECORDED, 204, b""), (refused(503), 503, b'{"ErrorMessage":"no"}')]
)
async def test_a_connection_is_kept_whatever_the_answer(answer: bytes, status: int, body: bytes) -> None:
    async with fake_server() as fake, at_work(fake) as posts:
        fake.post = lambda agent, ids: answer
        for slot in range(3):
            posts.post(slot)
            await posts.desk.hears((slot, status, body), "idle")
        assert fake.connections == 1


@pytest.mark.parametrize(
    ("answer", "heard"),
    [
        pytest.param(refused(503, "no", "Connection: close"), (7, 503, b'{"ErrorMessage":"no"}'), id="closed after it"),
        pytest.param(b"SSH-2.0-OpenSSH\r\n", None, id="no http"),
        pytest.param(
            b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n", None, id="another protocol"
        ),
        pytest.param(GONE, None, id="closed before it"),
    ],
)
async def test_a_connection_that_is_lost_is_made_again(
    answer: bytes, heard: object, caplog: pytest.LogCaptureFixture
) -> None:
    async with fake_server() as fake, at_work(fake) as posts:
        fake.post = lambda agent, ids: answer
        posts.post(7)
        after = (heard, "gone") if heard else ("gone", (7, 0, b""))
        await posts.desk.hears(*after, "idle")
        fake.post = lambda agent, ids: RECORDED
        posts.post(8)
        await posts.desk.hears((8, 204, b""), "idle")
        assert fake.connections == 2
    assert not [record for record in caplog.records if record.levelname == "ERROR"], "nothing that asyncio had to catch"


async def test_one_that_is_ended_leaves_no_post_behind() -> None:
    async with fake_server() as fake:
        async with at_work(fake) as posts:
            fake.post = lambda agent, ids: SILENT
            posts.post(1)
        await posts.desk.hears("gone", (1, 0, b""))
