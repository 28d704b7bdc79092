"""What requests may hold together, and what signing in leaves of the time for the record; without a server."""

from __future__ import annotations

import asyncio
import resource
from collections.abc import Awaitable, Callable
from typing import Any, cast

import pytest

from server.api.bounds import OWN_FILES, UNREAD_BYTES, Bodiless, InFlight, connections_allowed
from server.api.handled import LEAST_RECORD_S, LONG_SIGN_IN_S, NotificationsHandled
from server.errors import ClearsyncError, TooLarge, Unavailable
from server.events import AgentId, Batch
from server.metrics import Metrics

ADA = AgentId.of("acme", "ada")
BODY = b'{"NotificationEvents":[{"Type":"NewTicket","Id":1}]}'
MOST = 262_144
TIMEOUT_S = 1.0
Headers = list[tuple[bytes, bytes]]


class House:
    """An endpoint whose callers, store and request do as the test says."""

    def __init__(self, *, requests: int = 2, body_bytes: int = 3 * MOST) -> None:
        self.metrics = Metrics()
        self.in_flight = InFlight(self.metrics, requests=requests, body_bytes=body_bytes)
        self.signing_in: Callable[[], Awaitable[object]] = nothing
        self.recording: Callable[[], Awaitable[object]] = nothing
        self.arriving: Callable[[], Awaitable[dict[str, Any]]] = whole
        self.sent: list[dict[str, Any]] = []
        self.endpoint = NotificationsHandled(
            cast(Any, self),
            cast(Any, self),
            self.metrics,
            self.in_flight,
            max_body_bytes=MOST,
            store_timeout_s=TIMEOUT_S,
        )
        self.cookie = "clearsync"

    async def reporter(self, scope: object, head: object) -> tuple[AgentId, AgentId]:
        await self.signing_in()
        return ADA, ADA

    def charge(self, agent: AgentId, requests: int) -> None:
        """Not what this is about."""

    async def record(self, agent: AgentId, batch: Batch, origin: object) -> int:
        await self.recording()
        return 1

    async def send(self, message: Any) -> None:
        self.sent.append(message)

    async def receive(self) -> dict[str, Any]:
        return await self.arriving()

    async def post(self, length: int | None = len(BODY)) -> None:
        """One request; without a `length` it is chunked."""
        headers: Headers = [(b"content-type", b"application/json")]
        headers += [(b"transfer-encoding", b"chunked") if length is None else (b"content-length", b"%d" % length)]
        await self.endpoint({"type": "http", "headers": headers, "path_params": {}}, self.receive, self.send)

    @property
    def held(self) -> tuple[int, int]:
        return self.in_flight.requests, self.in_flight.body_bytes

    def limited(self, limit: str) -> int:
        return self.metrics.limited_total[limit,]


async def nothing() -> None:
    """At once."""


async def whole() -> dict[str, Any]:
    """All of the body."""
    return {"type": "http.request", "body": BODY, "more_body": False}


async def never() -> Any:
    """Not in the life of this test."""
    await asyncio.Event().wait()


async def gone() -> dict[str, Any]:
    """The caller hung up."""
    return {"type": "http.disconnect"}


async def waiting(work: Awaitable[None]) -> asyncio.Future[None]:
    """`work` up to where it waits."""
    task = asyncio.ensure_future(work)
    for _ in range(5):
        await asyncio.sleep(0)
    return task


async def ended(*tasks: asyncio.Future[None]) -> None:
    """Cancelled, and gone."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_one_request_too_many_is_refused_at_once_and_counted() -> None:
    house = House(requests=2)
    house.recording = never
    tasks = [await waiting(house.post()) for _ in range(2)]
    with pytest.raises(Unavailable, match=r"^2 requests are under way"):
        await house.post()
    assert house.held == (2, 2 * len(BODY))
    await ended(*tasks)
    assert house.held == (0, 0)
    house.recording = nothing
    await house.post()
    assert house.limited("requests_in_flight") == 1
    assert house.limited("bodies") == 0


async def test_endpoints_without_a_body_are_among_them() -> None:
    house = House(requests=2)
    entered = []

    async def endpoint(scope: object, receive: object, send: object) -> None:
        entered.append(house.held)
        await never()

    bodiless = Bodiless(endpoint, house.in_flight)
    some: Headers = [(b"host", b"x"), (b"content-length", b"100")]
    much: Headers = [(b"transfer-encoding", b"chunked")]
    tasks = [await waiting(bodiless({"headers": headers}, house.receive, house.send)) for headers in (some, much)]
    assert entered == [(1, 100), (2, 100 + UNREAD_BYTES)]
    with pytest.raises(Unavailable):
        await bodiless({"headers": []}, house.receive, house.send)
    with pytest.raises(Unavailable):
        await house.post()
    await ended(*tasks)
    assert house.held == (0, 0)


async def test_bodies_count_by_what_their_heads_say_once_the_caller_is_known() -> None:
    house = House(requests=100)
    house.arriving = house.signing_in = never
    strangers = [await waiting(house.post(MOST)) for _ in range(2)]
    assert house.held == (2, 2 * UNREAD_BYTES)
    await ended(*strangers)
    house.signing_in = nothing
    known = [await waiting(house.post(length)) for length in (MOST, None, 1000)]
    assert house.held == (3, 2 * MOST + 1000)
    with pytest.raises(Unavailable, match=rf"^bodies of {3 * MOST} bytes"):
        await house.post(MOST)
    assert house.held == (3, 2 * MOST + 1000)
    house.arriving = whole
    await house.post()  # there is room for a small one
    assert house.limited("bodies") == 1
    await ended(*known)
    assert house.held == (0, 0)


async def test_a_body_for_which_there_is_no_room_at_all_is_refused_before_its_caller_is_known() -> None:
    house = House(requests=100, body_bytes=MOST)
    house.arriving = never
    task = await waiting(house.post(MOST))
    house.signing_in = never
    with pytest.raises(Unavailable, match=r"^bodies of"):
        await house.post()
    assert house.held == (1, MOST)
    await ended(task)


async def fails() -> Any:
    raise Unavailable


@pytest.mark.parametrize(
    ("how", "error"),
    [
        ({"arriving": gone}, None),
        ({"signing_in": fails}, Unavailable),
        ({"arriving": fails}, Unavailable),
        ({"recording": fails}, Unavailable),
    ],
    ids=["the caller hangs up", "nobody can say who it is", "it is broken", "the store is away"],
)
async def test_all_is_given_back_however_it_ends(how: dict[str, Any], error: type[ClearsyncError] | None) -> None:
    house = House()
    vars(house).update(how)
    for length in (None, 100, MOST):
        if error is None:
            await house.post(length)
        else:
            with pytest.raises(error):
                await house.post(length)
        assert house.held == (0, 0)
    assert not house.sent


@pytest.mark.parametrize("waits_at", ["signing_in", "arriving", "recording"])
async def test_all_is_given_back_by_one_that_is_cancelled(waits_at: str) -> None:
    house = House()
    setattr(house, waits_at, never)
    task = await waiting(house.post(MOST if waits_at != "recording" else len(BODY)))
    assert house.held[0] == 1
    await ended(task)
    assert house.held == (0, 0)


async def test_a_body_over_the_limit_holds_no_more_than_that() -> None:
    house = House(body_bytes=MOST)
    with pytest.raises(TooLarge):
        await house.post(100 * MOST)
    assert house.held == (0, 0)


# the time in which a POST is answered


async def timed(house: House) -> float:
    """How long a request took that was answered 503."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    with pytest.raises(Unavailable, match=r"^the store did not answer"):
        async with asyncio.timeout(10):
            await house.post()
    return loop.time() - began


async def test_a_record_has_what_a_long_sign_in_leaves_of_the_time() -> None:
    house = House()
    house.signing_in, house.recording = (lambda: asyncio.sleep(0.6 * TIMEOUT_S)), never
    assert 0.95 * TIMEOUT_S <= await timed(house) < 3 * TIMEOUT_S
    assert house.held == (0, 0)
    assert house.metrics.batches_recorded_total == 0


async def test_a_record_after_a_sign_in_that_took_all_of_it_still_has_a_moment() -> None:
    house = House()
    house.signing_in, house.recording = (lambda: asyncio.sleep(1.2 * TIMEOUT_S)), never
    assert 1.2 * TIMEOUT_S + 0.9 * LEAST_RECORD_S <= await timed(house) < 6 * TIMEOUT_S
    house.recording = nothing
    await house.post()
    assert house.sent[0]["status"] == 204


async def test_a_body_that_takes_long_is_not_the_stores_fault() -> None:
    house = House()
    slow = asyncio.Event()

    async def arriving() -> dict[str, Any]:
        await slow.wait()
        return await whole()

    async def recording() -> None:
        await asyncio.sleep(1.5 * LEAST_RECORD_S)

    house.arriving, house.recording = arriving, recording
    asyncio.get_running_loop().call_later(1.1 * TIMEOUT_S, slow.set)
    await house.post()
    assert house.sent[0]["status"] == 204


async def test_a_common_request_has_no_timer(monkeypatch: pytest.MonkeyPatch) -> None:
    house = House()
    monkeypatch.setattr(asyncio, "timeout", None)
    await house.post()
    house.signing_in = lambda: asyncio.sleep(1.5 * LONG_SIGN_IN_S)
    with pytest.raises(TypeError):
        await house.post()


# connections


@pytest.mark.parametrize(
    ("files", "most", "allowed"),
    [
        (1000, 0, 1000 - OWN_FILES),
        (1000, 10, 10),
        (1000, 5000, 1000 - OWN_FILES),
        (10, 0, 1),
        (resource.RLIM_INFINITY, 0, 0),
        (resource.RLIM_INFINITY, 70, 70),
    ],
)
def test_connections_are_as_many_as_open_files_allow(
    monkeypatch: pytest.MonkeyPatch, files: int, most: int, allowed: int
) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (files, files))
    assert connections_allowed(most) == allowed
