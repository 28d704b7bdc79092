"""Other credentials than a password, and how they are renewed, against a server that plays from a script."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from typing import Any

import msgspec
import pytest
from websockets.asyncio.server import ServerConnection

from server.client import (
    Client,
    ClientError,
    CredentialsRefused,
    NotConnected,
    RequestRefused,
    ServerUnavailable,
    Timing,
    UntrustedServer,
)
from server.errors import BadRequest
from server.events import Event, EventType
from tests.client.fake_gateway import (
    Answer,
    FakeGateway,
    Refuse,
    Scene,
    clear,
    endpoint,
    gateway,
    says,
    says_and_closes,
    stay,
    welcome,
)

OLD, NEW = "SoTicket cs1.old", 'Bearer "new"\\.x'
TICKET = Event(EventType.NewTicket, 12)


async def no_wait(seconds: float) -> None:
    """Stands for `asyncio.sleep`."""
    await asyncio.sleep(0)


def client_of(url: str, **options: Any) -> Client:
    """Ada's phone, which has the old ticket."""
    return Client(url, authorization=OLD, device="phone", sleep=no_wait, **options)


@asynccontextmanager
async def listening(fake: FakeGateway, **options: Any) -> AsyncIterator[tuple[Client, Callable[[], Any]]]:
    """A client that was welcomed, and the way to ask it for the next frame."""
    async with client_of(fake.url, **options) as client, aclosing(client.frames()) as frames:
        await anext(frames)
        yield client, frames.__anext__


def refreshes(*answers: str, asked: list[object] | None = None) -> Scene:
    """Welcome, then take one `refresh` for each of these; a REF in them is its ref. Then stay."""

    async def scene(connection: ServerConnection) -> None:
        await connection.send(welcome("a-1"))
        for answer in answers:
            question = msgspec.json.decode(await connection.recv())
            assert question["type"] == "refresh"
            if asked is not None:
                asked.append(question["authorization"])
            for frame in answer.split("\n"):
                await connection.send(frame.replace("REF", question["ref"]))
        await stay(connection)

    return scene


def shown(fake: FakeGateway) -> list[str]:
    """The credentials of each connection."""
    return [request.headers["Authorization"] for request in fake.requests]


async def test_the_handshake_and_the_post_carry_the_whole_header() -> None:
    async with gateway(says(welcome("a-1"))) as fake, listening(fake):
        assert shown(fake) == [OLD]
    async with endpoint(Answer(204)) as fake_endpoint, client_of(fake_endpoint.url) as client:
        await client.handled([TICKET])
        assert fake_endpoint.posted[0].headers["authorization"] == OLD


async def test_an_application_token_goes_with_each_of_them_and_with_what_is_sent_again() -> None:
    scenes = says_and_closes(1012, welcome("a-1")), says(welcome("a-1"))
    async with gateway(*scenes) as fake, listening(fake, app_token="app 1") as (_, following):
        await following()
        assert [request.headers.get("SO-AppToken") for request in fake.requests] == ["app 1"] * 2
    answers = Answer(503), Answer(204)
    async with endpoint(*answers) as fake_endpoint, client_of(fake_endpoint.url, app_token="app 1") as client:
        await client.handled([TICKET])
        assert [posted.headers["so-apptoken"] for posted in fake_endpoint.posted] == ["app 1"] * 2


async def test_without_one_there_is_no_such_header() -> None:
    async with gateway(says(welcome("a-1"))) as fake, listening(fake):
        assert "SO-AppToken" not in fake.requests[0].headers
    async with endpoint(Answer(204)) as fake_endpoint, client_of(fake_endpoint.url) as client:
        await client.handled([TICKET])
        assert "so-apptoken" not in fake_endpoint.posted[0].headers


async def test_a_refresh_inside_the_loop_keeps_the_frames_that_come_before_its_answer() -> None:
    asked: list[object] = []
    scene = refreshes(
        clear("a-2") + '\n{"type":"refreshed","ref":"REF","expires":90}',
        '{"type":"refreshed","ref":"REF"}',
        asked=asked,
    )
    async with gateway(scene) as fake, listening(fake) as (client, following):
        assert await client.refresh(NEW) == 90
        assert (await following()).frame.cursor == "a-2"
        assert await client.refresh(OLD) is None
    assert asked == [NEW, OLD]


async def test_a_refresh_beside_a_loop_that_waits() -> None:
    scene = refreshes('{"type":"refreshed","ref":"REF","expires":0.5}\n' + clear("a-2"))
    async with gateway(scene) as fake, listening(fake) as (client, following):
        waiting = asyncio.ensure_future(following())
        assert await client.refresh(NEW) == 0.5
        assert (await waiting).frame.cursor == "a-2"


async def test_an_answer_that_nobody_waits_for_is_not_handed_over() -> None:
    scene = says(welcome("a-1"), '{"type":"refreshed","ref":"c9","expires":5}', clear("a-2"))
    async with gateway(scene) as fake, listening(fake) as (_, following):
        assert (await following()).frame.cursor == "a-2"


async def test_the_new_credentials_are_used_from_then_on() -> None:
    async def scene(connection: ServerConnection) -> None:
        await connection.send(welcome("a-1"))
        ref = msgspec.json.decode(await connection.recv())["ref"]
        await connection.send(f'{{"type":"refreshed","ref":"{ref}"}}')
        await connection.close(1012)

    async with gateway(scene, says(welcome("a-1"))) as fake, listening(fake) as (client, following):
        await client.refresh(NEW)
        await following()
        assert shown(fake) == [OLD, NEW]


async def test_a_post_that_is_tried_again_has_the_new_credentials() -> None:
    posting = asyncio.Event()
    renewed = asyncio.Event()

    async def held(seconds: float) -> None:
        posting.set()
        await renewed.wait()

    async with endpoint(Answer(503), Answer(204)) as fake:
        async with Client(fake.url, authorization=OLD, sleep=held) as client:
            sending = asyncio.ensure_future(client.handled([TICKET]))
            await posting.wait()
            with pytest.raises(NotConnected, match="no connection is open"):
                await client.refresh(NEW)
            renewed.set()
            await sending
        assert [posted.headers["authorization"] for posted in fake.posted] == [OLD, NEW]


async def _shown_next(scene: Scene, error: type[ClientError], timing: Timing | None = None) -> str:
    """What the next connection shows, after a refresh that raised `error`."""
    async with gateway(scene, says(welcome("a-1"))) as fake, client_of(fake.url, timing=timing) as client:
        async with aclosing(client.frames()) as frames:
            await anext(frames)
            with pytest.raises(error):
                await client.refresh(NEW)
        async with aclosing(client.frames()) as frames:
            await anext(frames)
        return shown(fake)[-1]


async def test_refused_the_old_ones_hold() -> None:
    scene = refreshes('{"type":"error","ref":"REF","code":"forbidden","message":"another agent\'s"}')
    assert await _shown_next(scene, RequestRefused) == OLD


@pytest.mark.parametrize("code", ["busy", "unavailable"])
async def test_where_the_server_could_not_say_the_new_ones_are_used(code: str) -> None:
    scene = refreshes(f'{{"type":"error","ref":"REF","code":"{code}","message":"later"}}')
    assert await _shown_next(scene, ServerUnavailable) == NEW


async def test_where_no_answer_came_the_new_ones_are_used() -> None:
    assert await _shown_next(says_and_closes(1012, welcome("a-1")), NotConnected) == NEW
    assert await _shown_next(says(welcome("a-1")), ServerUnavailable, Timing(answer_s=0.05, close_s=0.2)) == NEW


async def test_the_answer_to_another_question_is_none() -> None:
    scene = refreshes('{"type":"checked","ref":"REF","events":[]}')
    async with gateway(scene) as fake, listening(fake) as (client, _):
        with pytest.raises(UntrustedServer):
            await client.refresh(NEW)


@pytest.mark.parametrize("wrong", ["", "cs1.x", "Bearer x\r\nX: y", "Bearer ü"])
async def test_what_is_no_header_is_not_sent(wrong: str) -> None:
    async with gateway(says_and_closes(1012, welcome("a-1")), says(welcome("a-1"))) as fake:
        async with listening(fake) as (client, following):
            with pytest.raises(BadRequest):
                await client.refresh(wrong)
            await following()
        assert shown(fake) == [OLD, OLD]


async def test_expired_credentials_end_it() -> None:
    scene = says_and_closes(4001, welcome("a-1"), reason="credentials have expired")
    async with gateway(scene) as fake, listening(fake) as (_, following):
        with pytest.raises(CredentialsRefused, match="credentials have expired") as caught:
            await following()
    assert caught.value.code == 4001


async def test_a_redirect_is_not_followed() -> None:
    async with gateway(says(welcome("a-1"))) as other:
        away = Refuse(307, "elsewhere", {"Location": f"{other.url.replace('http', 'ws')}/api/v1/sync?device=phone"})
        async with gateway(away) as fake, client_of(fake.url) as client:
            with pytest.raises(RequestRefused, match="307"):
                await anext(client.frames())
        assert other.requests == []


def test_plain_http_to_another_machine_needs_a_word() -> None:
    ways: list[dict[str, Any]] = [
        {"user": "ada", "password": "x"},
        {"authorization": OLD},
        {"authorization": "Bearer x"},
    ]
    for credentials in ways:
        with pytest.raises(BadRequest, match="insecure=True"):
            Client("http://sync.example.com", **credentials)
        Client("http://sync.example.com", insecure=True, **credentials)
        Client("https://sync.example.com", **credentials)
    with pytest.raises(BadRequest, match="one way"):
        Client("http://127.0.0.1", user="ada", password="x", authorization=OLD)
