"""What an app uses: the loop over clears, clears before their notifications, credentials that end, and the end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from typing import Any

import msgspec
import pytest
from websockets.asyncio.server import ServerConnection

from server.client import Clear, Client, CredentialsRefused, HandledEvent, NotConnected, Reset, Timing
from server.errors import BadRequest
from server.events import Event, EventType
from tests.client.fake_gateway import (
    Answer,
    FakeGateway,
    Refuse,
    clear,
    endpoint,
    gateway,
    reset,
    says,
    says_and_closes,
    stay,
    welcome,
)

NOW = 1795456363957
TICKET = Event(EventType.NewTicket, 12)


async def no_wait(seconds: float) -> None:
    """Stands for `asyncio.sleep`."""
    await asyncio.sleep(0)


@asynccontextmanager
async def clearing(fake: FakeGateway, **options: Any) -> AsyncIterator[tuple[Client, Callable[[], Any]]]:
    """A client, and the way to ask it for what is next."""
    given: dict[str, Any] = {"authorization": "Bearer x", "device": "phone", "sleep": no_wait} | options
    async with Client(fake.url, **given) as client, aclosing(client.clears()) as clears:
        yield client, clears.__anext__


async def test_clears_have_all_times_and_nothing_else_is_handed_over() -> None:
    mixed = '{"type":"clear","cursor":"a-3","at":9,"events":[{"Type":"NewTicket","Id":1,"At":5},{"Type":"New","Id":2}]}'
    scene = says(welcome("a-1"), clear("a-2"), '{"type":"soon"}', mixed, reset("a-4"), clear("a-5", 12))
    async with gateway(scene) as fake, clearing(fake) as (client, following):
        assert await following() == Clear("a-3", 9, (HandledEvent("NewTicket", 1, 5), HandledEvent("New", 2, 9)))
        assert client.cursor == "a-2"  # an empty one moves it too
        assert await following() == Reset("a-4")
        assert await following() == Clear("a-5", NOW, (HandledEvent("NewTicket", 12, NOW),))


async def test_one_that_broke_the_caller_comes_again() -> None:
    scenes = says(welcome("a-1"), clear("a-2", 12)), says(welcome("a-1"), clear("a-2", 12))
    async with gateway(*scenes) as fake, Client(fake.url, authorization="Bearer x", device="phone") as client:
        for _ in range(2):
            async with aclosing(client.clears()) as clears:
                assert (await anext(clears)).cursor == "a-2"
        assert fake.query(1)["cursor"] == "a-1"


async def test_a_clear_is_remembered_for_the_notification_that_comes_after_it() -> None:
    earlier = clear("a-3", 13).replace(f"{NOW}", f"{NOW - 1}")
    scene = says(welcome("a-1"), clear("a-2", 12), earlier)
    async with gateway(scene) as fake, clearing(fake) as (client, following):
        assert not client.should_dismiss(TICKET, 1)
        await following()
        assert client.should_dismiss(TICKET, NOW)
        assert client.should_dismiss(TICKET, NOW - 1)
        assert not client.should_dismiss(TICKET, NOW + 1)
        assert not client.should_dismiss(TICKET, NOW)
        await following()
        # What has no time of its own is of now.
        assert not client.should_dismiss(Event(EventType.NewTicket, 13))
        assert NOW <= client.now() < NOW + 60_000


async def test_what_was_handled_here_is_remembered_too(monkeypatch: pytest.MonkeyPatch) -> None:
    async with (
        gateway(says(welcome("a-1"), clear("a-2", 1))) as fake,
        endpoint(*[Answer(204)] * 2) as posts,
        clearing(fake) as (client, following),
    ):
        monkeypatch.setattr(client._reporter, "_url", posts.url)  # one server has both
        await client.handled([TICKET])
        assert not client.should_dismiss(TICKET, NOW)  # no server has told its time
        await following()
        before = client.now()
        await client.handled([TICKET])
        assert client.should_dismiss(TICKET, before)
        assert not client.should_dismiss(TICKET, client.now() + 1)


def given(*authorizations: str, asked: list[str]) -> Callable[[], Awaitable[str]]:
    """Gives one after the other; OSError where it is empty, and when there are no more."""
    left = list(authorizations)

    async def ask() -> str:
        asked.append("")
        if not left or not (one := left.pop(0)):
            raise OSError("the directory is away")
        return one

    return ask


def shown(fake: FakeGateway) -> list[str]:
    """The credentials of each connection."""
    return [request.headers["Authorization"] for request in fake.requests]


@pytest.mark.parametrize("end", [Refuse(401, "who"), says_and_closes(4001), says_and_closes(4001, welcome("a-1"))])
async def test_credentials_that_are_refused_are_asked_for_again(end: Any) -> None:
    asked: list[str] = []
    reasons: list[str] = []
    scene = says(welcome("a-1"), clear("a-2", 12))
    async with gateway(end, scene) as fake:
        ask = given("Bearer a", "", "Bearer b", asked=asked)
        options: dict[str, Any] = {"authorization": ask, "on_retry": lambda reason, _: reasons.append(reason)}
        async with clearing(fake, **options) as (_, following):
            await following()
        assert shown(fake) == ["Bearer a", "Bearer b"]
    assert "the directory is away" in reasons


async def test_credentials_that_are_refused_twice_in_a_row_end_it_and_are_asked_for_anew_after_that() -> None:
    asked: list[str] = []
    scenes = Refuse(401), Refuse(401), says_and_closes(4001, welcome("a-1")), says(welcome("a-1"), clear("a-2", 1))
    async with gateway(*scenes) as fake:
        ask = given("Bearer a", "Bearer b", "Bearer c", "Bearer d", asked=asked)
        async with clearing(fake, authorization=ask) as (client, following):
            with pytest.raises(CredentialsRefused):
                await following()
            await anext(client.clears())
        assert shown(fake) == ["Bearer a", "Bearer b", "Bearer c", "Bearer d"]


async def test_a_post_asks_again_too() -> None:
    asked: list[str] = []
    async with endpoint(Answer(401), Answer(204), Answer(401), Answer(401)) as fake:
        ask = given("Bearer a", "", "Bearer b", "Bearer c", asked=asked)
        async with Client(fake.url, authorization=ask, sleep=no_wait) as client:
            await client.handled([TICKET])
            with pytest.raises(CredentialsRefused):
                await client.handled([TICKET])
    assert [posted.headers["authorization"] for posted in fake.posted] == [f"Bearer {x}" for x in "abbc"]


async def test_who_asks_beside_each_other_asks_once() -> None:
    asked: list[str] = []
    async with (
        endpoint(*[Answer(204)] * 3) as fake,
        Client(fake.url, authorization=given("Bearer a", asked=asked)) as client,
    ):
        await asyncio.gather(*(client.handled([TICKET]) for _ in range(3)))
    assert len(asked) == 1


async def test_what_else_asking_raises_ends_it() -> None:
    async def ask() -> str:
        raise ZeroDivisionError

    async def nonsense() -> str:
        return "x\r\ny"

    async with gateway() as fake:
        async with clearing(fake, authorization=ask) as (_, following):
            with pytest.raises(ZeroDivisionError):
                await following()
        async with clearing(fake, authorization=nonsense) as (_, following):
            with pytest.raises(BadRequest):
                await following()


def expiring(seconds: float) -> str:
    return welcome("a-1").replace('"ping"', f'"expires":{seconds},"ping"')


@pytest.mark.parametrize(
    ("answer", "next_shown"),
    [
        ('{"type":"refreshed","ref":"REF","expires":3600}', "Bearer b"),
        ('{"type":"error","ref":"REF","code":"forbidden","message":"another"}', "Bearer a"),
    ],
)
async def test_shortly_before_they_end_others_are_shown_on_the_open_connection(answer: str, next_shown: str) -> None:
    questions: list[Any] = []

    async def scene(connection: ServerConnection) -> None:
        await connection.send(expiring(0.2))
        questions.append(msgspec.json.decode(await connection.recv()))
        await connection.send(answer.replace("REF", questions[0]["ref"]))
        await connection.send(clear("a-2", 12))
        await connection.close(1012)

    asked: list[str] = []
    async with gateway(scene, says(welcome("a-1"), clear("a-3", 12))) as fake:
        async with clearing(fake, authorization=given("Bearer a", "Bearer b", asked=asked)) as (_, following):
            assert (await following()).cursor == "a-2"
            assert (await following()).cursor == "a-3"
        assert [(q["type"], q["authorization"]) for q in questions] == [("refresh", "Bearer b")]
        assert shown(fake) == ["Bearer a", next_shown]


async def test_where_none_are_to_be_had_before_the_end_they_are_asked_for_after_it() -> None:
    async def scene(connection: ServerConnection) -> None:
        await connection.send(expiring(0.05))
        await until_asked.wait()
        await connection.close(4001)

    until_asked = asyncio.Event()
    asked: list[str] = []
    giving = given("Bearer a", "", "Bearer b", asked=asked)

    async def ask() -> str:
        if len(asked) == 1:
            until_asked.set()
        return await giving()

    async with gateway(scene, says(welcome("a-1"), clear("a-2", 12))) as fake:
        async with clearing(fake, authorization=ask) as (_, following):
            await following()
        assert shown(fake) == ["Bearer a", "Bearer b"]


async def test_a_connection_that_stands_is_told() -> None:
    told: list[str] = []
    scenes = says_and_closes(1012, welcome("a-1")), says(welcome("a-1"), clear("a-2", 1))
    async with gateway(*scenes) as fake:
        options: dict[str, Any] = {"on_live": lambda: told.append("live"), "on_retry": lambda *_: told.append("waits")}
        async with clearing(fake, **options) as (_, following):
            await following()
    assert told == ["live", "waits", "live"]


async def ended(client: Client) -> list[Clear | Reset]:
    """All there is, up to the end."""
    return [change async for change in client.clears()]


async def test_close_ends_a_loop_that_waits_for_a_frame() -> None:
    welcomed = asyncio.Event()
    async with gateway(says(welcome("a-1")), says(welcome("a-1"))) as fake:
        client = Client(fake.url, authorization="Bearer x", device="phone", on_live=welcomed.set)
        listening = asyncio.ensure_future(ended(client))
        await welcomed.wait()
        await client.close()
        await client.close()
        assert await listening == []
        assert await ended(client) == []
        with pytest.raises(NotConnected, match="closed"):
            await client.handled([TICKET])
        assert len(fake.requests) == 1


async def test_close_ends_a_loop_that_waits_for_its_next_try_or_for_the_handshake() -> None:
    waiting = asyncio.Event()
    async with gateway() as gone:
        url = gone.url
    never = Timing(backoff_base_s=1e6, backoff_cap_s=1e6)
    client = Client(
        url, authorization="Bearer x", device="phone", timing=never, on_retry=lambda *_: waiting.set(), random=lambda: 1
    )
    listening = asyncio.ensure_future(ended(client))
    await waiting.wait()
    await client.close()
    assert await listening == []

    connected = asyncio.Event()

    async def scene(connection: ServerConnection) -> None:
        connected.set()
        await stay(connection)

    async with gateway(scene) as fake:
        client = Client(fake.url, authorization="Bearer x", device="phone")
        listening = asyncio.ensure_future(ended(client))
        await connected.wait()
        await client.close()
        assert await listening == []


async def test_close_inside_the_loop_keeps_what_was_applied() -> None:
    async with gateway(says(welcome("a-1"), clear("a-2", 1), clear("a-3", 2))) as fake:
        client = Client(fake.url, authorization="Bearer x", device="phone")
        async for _ in client.clears():
            await client.close()
        assert client.cursor == "a-2"


@pytest.mark.parametrize("how", ["closed", "too long"])
async def test_credentials_that_do_not_come_hold_nobody_up(how: str) -> None:
    asking = asyncio.Event()
    asked: list[str] = []

    async def ask() -> str:
        asked.append("asked")
        if len(asked) > 1:
            asking.set()
            await asyncio.Event().wait()
        return "Bearer a"

    async def scene(connection: ServerConnection) -> None:
        await connection.send(expiring(0.05))
        await asking.wait()
        await connection.send(clear("a-2", 12))
        await connection.wait_closed()

    async with gateway(scene) as fake, asyncio.timeout(10):
        timing = Timing(answer_s=30.0 if how == "closed" else 0.05)
        async with clearing(fake, authorization=ask, timing=timing) as (client, following):
            listening = asyncio.ensure_future(following())
            await asking.wait()
            if how == "closed":
                await client.close()
                with pytest.raises(StopAsyncIteration):
                    await listening
            else:
                assert (await listening).cursor == "a-2"
