"""One-use tickets: used twice, by many at once, by another device, too late, or where they do not count."""

from __future__ import annotations

import asyncio
import time
from urllib.parse import quote

import pytest

from server.auth.vault import decode, encode, name_of
from server.wire import HANDLED_PATH, SESSION_PATH, SYNC_PATH, TICKET_PATH
from tests.gateway.devices import raw
from tests.running import Running, client
from tests.security.callers import (
    alive,
    ask,
    basic,
    bearer,
    call,
    closed_at_once,
    knocking,
    once,
    refused,
    report,
    session,
    sign_in,
    sign_out,
    sync,
    ticket,
)
from tests.security.conftest import PASSWORD
from tests.security.inside import NOTHING, issue, new_id, where

UNKNOWN = (401, "Unauthenticated")
FORBIDDEN = (403, "Forbidden")
ADA = basic("ada", PASSWORD)


def target(device: str, secret: str, more: str = "") -> str:
    return f"{SYNC_PATH}?device={device}&ticket={secret}{more}"


async def test_it_opens_one_session_and_no_second(house: Running, annex: Running) -> None:
    secret = once(house, "tab", ADA)
    async with session(house, device="tab", query=f"&ticket={secret}") as (device, welcome):
        assert "expires" not in welcome  # a ticket waits for 30 s, what it opens is good for as long as ada is
        for running in (house, annex):
            assert await refused(running, target=target("tab", secret)) == UNKNOWN
        own = ("Origin", f"http://127.0.0.1:{house.port}")
        assert await closed_at_once(house, own, target=target("tab", secret)) == 4001
        assert await alive(device)


async def test_of_twenty_who_come_at_once_one_gets_in(house: Running, annex: Running) -> None:
    secret = once(house, "tab", ADA)

    async def one(running: Running) -> int:
        async with knocking(running, target=target("tab", secret)) as device:
            return (await device.answer()).status

    statuses = await asyncio.gather(*(one(running) for running in (house, annex) * 10))
    assert sorted(statuses) == [101] + [401] * 19


async def test_of_another_device_it_is_403_and_used_up(house: Running) -> None:
    secret = once(house, "tab", ADA)
    assert await refused(house, target=target("Tab", secret)) == FORBIDDEN
    assert await refused(house, target=target("tab", secret)) == UNKNOWN
    own = ("Origin", f"http://127.0.0.1:{house.port}")
    assert await closed_at_once(house, own, target=target("other", once(house, "tab", ADA))) == 4003


async def test_device_of_the_ticket_is_the_header_where_both_are_said(house: Running) -> None:
    reply = call(house, "POST", f"{TICKET_PATH}?device=query", ADA, ("X-Device-Id", "header"))
    assert await refused(house, target=target("query", reply.json()["ticket"])) == FORBIDDEN


async def test_after_its_time_it_is_nothing(house: Running, vault_url: str) -> None:
    """Both ends of the time: the store forgets it, and where it did not yet, we look at the time ourselves."""
    secret = once(house, "tab", ADA)
    with client(vault_url) as store:
        key = f"cs:{name_of('once', secret)}"
        ttl_ms: int = store.pttl(key)
        assert 20_000 < ttl_ms <= 30_000
        grant = decode(store.get(key))
        late = {name: getattr(grant, name) for name in grant.__struct_fields__} | {"expires_at": time.time() - 1}
        store.set(key, encode(type(grant)(**late)))
    assert await refused(house, target=target("tab", secret)) == UNKNOWN


async def test_where_it_is_no_credential(house: Running, vault_url: str) -> None:
    secret, id_ = once(house, "tab", ADA), new_id()
    for headers in ((ticket(secret),), (ticket(f"cs1.{secret}"),), (bearer(secret),), (basic(secret, secret),)):
        assert report(house, id_, *headers).problem() == UNKNOWN
        assert await refused(house, *headers) == UNKNOWN
    assert report(house, id_, target=f"{HANDLED_PATH}?ticket={secret}").problem() == UNKNOWN
    assert sync(house, target=target("tab", secret)).problem() == UNKNOWN
    assert call(house, "POST", f"{SESSION_PATH}?ticket={secret}").problem() == UNKNOWN
    assert call(house, "POST", f"{TICKET_PATH}?device=tab&ticket={secret}").problem() == UNKNOWN
    assert where(vault_url, id_) == NOTHING
    async with session(house, device="tab", query=f"&ticket={secret}"):
        pass  # none of it has used it up


async def test_what_lasts_is_not_taken_from_the_query(house: Running, vault_url: str) -> None:
    """Else people would put it there, and it would stay in every proxy's log."""
    lasting = issue(vault_url, "acme/ada")
    for name in ("ticket", "SoTicket", "soticket", "token", "access_token", "authorization"):
        for value in (lasting, f"SoTicket {lasting}"):
            said = f"{SYNC_PATH}?device=a&{name}={quote(value)}"
            assert await refused(house, target=said) == UNKNOWN
            assert sync(house, target=said).problem() == UNKNOWN


@pytest.mark.parametrize(
    "secret", ["", "%00", "%0d%0aX: y", "é", "%C3%A9", "a" * 43, "a" * 5000, "..", "once:", "*", "%ED%A0%80"]
)
async def test_made_up_ticket_is_401(house: Running, secret: str) -> None:
    assert await refused(house, target=f"{SYNC_PATH}?device=a&ticket={secret}") in (UNKNOWN, (400, "BadRequest"))


async def test_bytes_that_are_no_text_are_refused_and_no_failure_of_ours(house: Running) -> None:
    before = house.logged.count("connection failed")
    request = (
        f"GET {SYNC_PATH}?device=a&ticket=".encode() + b"\xff\xfe" + b" HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n"
    )
    request += (
        b"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
    async with raw(house) as device:
        await device.send(request)
        answer = await device.answer()
    assert answer.problem() in (UNKNOWN, (400, "BadRequest"))
    assert house.logged.count("connection failed") == before


async def test_ticket_falls_with_the_session_that_made_it(house: Running) -> None:
    web = sign_in(house, ADA)
    waiting, used = once(house, "a", *web.own), once(house, "b", *web.own)
    async with session(house, device="b", query=f"&ticket={used}") as (device, welcome):
        assert 28_700 < welcome["expires"] <= 28_800
        assert sign_out(house, *web.own).status == 204
        assert await device.close_code() == 4001
    assert await refused(house, target=target("a", waiting)) == UNKNOWN


async def test_ticket_carries_no_scope_more_than_its_maker(house: Running, vault_url: str) -> None:
    assert call(house, "POST", f"{TICKET_PATH}?device=a", basic("writer", PASSWORD)).problem() == FORBIDDEN
    secret = once(house, "a", basic("reader", PASSWORD))
    async with session(house, device="a", query=f"&ticket={secret}") as (device, _):
        id_ = new_id()
        refusal = await ask(device, type="handled", events=[{"Type": "NewTicket", "Id": id_}])
        assert refusal["code"] == "forbidden"
        assert where(vault_url, id_) == NOTHING


async def test_ticket_opens_no_session_of_another_tenants_path(house: Running) -> None:
    secret = once(house, "a", ADA)
    assert await refused(house, target=f"/globex{target('a', secret)}") == FORBIDDEN
    assert await refused(house, target=f"/acme{target('a', secret)}") == UNKNOWN


def test_ticket_is_not_to_be_kept_by_caches(house: Running) -> None:
    reply = call(house, "POST", f"{TICKET_PATH}?device=a", ADA)
    assert reply.all("cache-control") == ["no-store"]
    assert reply.json()["expires"] <= 30
