"""Who gets an event stream: as on a websocket, but that a page can send its session's token along."""

from __future__ import annotations

import json

import pytest

from server.wire import SYNC_PATH, CloseCode
from tests.gateway.devices import Device
from tests.gateway.streams import Stream, asking, ended
from tests.running import Running
from tests.security.callers import Header, Web, basic, once, sign_in, sign_out
from tests.security.conftest import PASSWORD

ADA = basic("ada", PASSWORD)


def lines(*headers: Header) -> list[str]:
    return [f"{name}: {value if isinstance(value, str) else value.decode('latin-1')}" for name, value in headers]


@pytest.fixture
def web(house: Running) -> Web:
    return sign_in(house, ADA)


async def welcomed(stream: Stream) -> Device:
    device = Device(stream)  # type: ignore[arg-type]  # it has the one method that is used
    assert (await device.receive())["type"] == "welcome"
    return device


def kind(stream: Stream) -> tuple[int, str]:
    return stream.status, json.loads(stream.body)["ErrorType"]


async def test_a_page_that_sends_its_token_along_is_served(house: Running, web: Web) -> None:
    async with asking(house.port, *lines(*web.own)) as stream:
        await welcomed(stream)


async def test_an_origin_vouches_for_a_cookie_as_well(house: Running, web: Web) -> None:
    async with asking(house.port, *lines(web.cookie), f"Origin: http://127.0.0.1:{house.port}") as stream:
        await welcomed(stream)


async def test_a_cookie_alone_opens_nothing(house: Running, web: Web) -> None:
    async with asking(house.port, *lines(web.cookie)) as stream:
        assert kind(stream) == (403, "Forbidden")


async def test_another_sessions_token_opens_nothing(house: Running, web: Web) -> None:
    other = sign_in(house, ADA)
    origin = f"Origin: http://127.0.0.1:{house.port}"
    async with asking(house.port, *lines(web.cookie), f"X-XSRF-TOKEN: {other.xsrf}", origin) as stream:
        assert kind(stream) == (403, "Forbidden")


async def test_the_end_of_a_browsers_session_is_that_of_its_streams(house: Running, web: Web) -> None:
    async with asking(house.port, *lines(*web.own)) as stream:
        device = await welcomed(stream)
        assert sign_out(house, *web.own).status == 204
        assert await ended(device, stream) == CloseCode.CREDENTIALS_EXPIRED


async def test_a_ticket_opens_one_stream_of_its_device(house: Running) -> None:
    secret = once(house, "phone", ADA)
    target = f"{SYNC_PATH}?device=phone&ticket={secret}"
    async with asking(house.port, target=f"{SYNC_PATH}?device=desk&ticket={once(house, 'phone', ADA)}") as other:
        assert kind(other) == (403, "Forbidden")
    async with asking(house.port, target=target) as stream:
        await welcomed(stream)
    async with asking(house.port, target=target) as again:
        assert kind(again) == (401, "Unauthenticated")


async def test_credentials_are_asked_for(house: Running) -> None:
    async with asking(house.port, *lines(basic("ada", "wrong"))) as stream:
        assert kind(stream) == (401, "Unauthenticated")
        assert stream.headers["www-authenticate"]
