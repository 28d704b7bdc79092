"""Who gets a session, and how the others are told: a status in the vendor's error shape, to a browser a close code."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from websockets.frames import Opcode

from server.auth.origins import origin_allowed
from server.errors import BadRequest, NotFound
from server.events import Cursor, Seq
from server.gateway.handshake import SyncRequest
from server.wire import HANDLED_PATH, SUBPROTOCOL, SYNC_PATH
from tests.gateway.conftest import BASE, CRM
from tests.gateway.devices import KEY, Raw, asked, basic, masked, raw, session, upgrade
from tests.running import Running, wait_until

SYNC = f"{SYNC_PATH}?device=phone"


@asynccontextmanager
async def knocking(running: Running, request: bytes) -> AsyncIterator[Raw]:
    """A raw device whose handshake was accepted."""
    async with raw(running) as device:
        await device.send(request)
        answer = await device.answer()
        assert answer.status == 101, answer
        yield device


async def closed_with(running: Running, request: bytes) -> tuple[int, str]:
    """Code and reason where the handshake is accepted, and nothing but a close frame follows."""
    async with knocking(running, request) as device:
        opcode, data = await device.message()
        assert opcode is Opcode.CLOSE
        await device.send(masked(data[:2], Opcode.CLOSE))
        assert await device.ended()
        return int.from_bytes(data[:2]), data[2:].decode()


# what is asked


@pytest.mark.parametrize(
    "query",
    [
        "",
        "cursor=0",
        "device=",
        "device=-",
        "device=" + "d" * 65,
        "device=a%20b",
        "device=a/b",
        "device=%C3%A9",
        "device=%FF",
        "Device=phone",
        "device=phone&cursor=abc",
        "device=phone&cursor=-1",
        "device=phone&cursor=00",
        "device=phone&cursor=1795456363957",
        "device=phone&cursor=a-",
        "device=phone&cursor=-5",
        "device=phone&cursor=A-5",
        "device=phone&cursor=a-12345678901234567",
        "device=phone&cursor=a-5%0A",
        "device=phone&cursor=%D9%A1-5",
        "device=phone&" + "x=1&" * 30,
    ],
)
async def test_malformed_query_is_400(running: Running, query: str) -> None:
    answer = await asked(running, upgrade(running, f"{SYNC_PATH}?{query}"))
    assert answer.problem() == (400, "BadRequest")


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/api/v1/syncs",
        "/api/v1/sync/",
        "//api/v1/sync",
        "/a/b/api/v1/sync",
        "/API/v1/sync",
        "/api/v1",
        "/..%2Fapi/v1",
        HANDLED_PATH,
        "/live",
    ],
)
async def test_other_path_is_404(running: Running, path: str) -> None:
    answer = await asked(running, upgrade(running, f"{path}?device=phone"))
    assert answer.problem() == (404, "NotFound")


async def test_path_is_told_before_anything_else_is_looked_at(running: Running) -> None:
    answer = await asked(running, upgrade(running, "/nope", "Origin: https://evil.example", user=None))
    assert answer.problem() == (404, "NotFound")


async def test_any_query_may_stand_beside_ours(running: Running) -> None:
    async with knocking(running, upgrade(running, f"{SYNC_PATH}?x=1&cursor=&device=a.b_c~d:e-1&%24select=")) as device:
        assert (await device.frame())["type"] == "welcome"


# where it is asked from


@pytest.mark.parametrize(
    "origin",
    [
        "https://evil.example",
        "null",
        "http://127.0.0.1",
        "http://127.0.0.1:1",
        "http://127.0.0.1.evil.example:{port}",
        "http://evil.example#127.0.0.1:{port}",
        "file://127.0.0.1:{port}",
        "http://127.0.0.1:port",
        "",
    ],
)
async def test_foreign_origin_is_403(running: Running, origin: str) -> None:
    answer = await asked(running, upgrade(running, SYNC, f"Origin: {origin.format(port=running.port)}"))
    assert answer.problem() == (403, "Forbidden")


async def test_each_of_several_origins_has_to_be_allowed(running: Running) -> None:
    own, foreign = f"Origin: http://127.0.0.1:{running.port}", "Origin: https://evil.example"
    for both in ((own, foreign), (foreign, own)):
        assert (await asked(running, upgrade(running, SYNC, *both))).problem() == (403, "Forbidden")


async def test_a_page_of_the_same_host_and_port_may_connect(running: Running) -> None:
    async with knocking(running, upgrade(running, SYNC, f"Origin: http://127.0.0.1:{running.port}")) as device:
        assert (await device.frame())["type"] == "welcome"


async def test_behind_a_proxy_the_host_it_names_is_the_same_host(running: Running) -> None:
    request = upgrade(running, SYNC, "Origin: https://localhost:8443")
    for host, status in ((b"localhost:8443", 101), (b"LocalHost:8443", 101), (b"localhost", 403)):
        async with raw(running) as device:
            await device.send(request.replace(b"127.0.0.1:%d" % running.port, host))
            assert (await device.answer()).status == status


async def test_in_development_a_name_made_to_lead_here_is_refused(running: Running) -> None:
    """DNS rebinding: to the browser the page is of the same origin, so nothing else would stop it."""
    request = upgrade(running, SYNC, f"Origin: http://evil.example:{running.port}")
    async with raw(running) as device:
        await device.send(request.replace(b"Host: 127.0.0.1", b"Host: evil.example"))
        assert (await device.answer()).problem() == (403, "Forbidden")


async def test_configured_origins_count_besides_the_own_host(guarded: Running) -> None:
    for origin in (CRM, f"http://127.0.0.1:{guarded.port}"):
        async with knocking(guarded, upgrade(guarded, BASE + SYNC, f"Origin: {origin}")) as device:
            assert (await device.frame())["type"] == "welcome"
    for origin in (CRM + ":8443", CRM.replace("https", "http"), CRM + ".evil"):
        answer = await asked(guarded, upgrade(guarded, BASE + SYNC, f"Origin: {origin}"))
        assert answer.problem() == (403, "Forbidden"), origin


# who asks


@pytest.mark.parametrize(
    "authorization",
    [
        None,
        "Basic",
        "Basic !!!",
        "Basic " + "YWRh",
        basic("ada", "wrong"),
        basic("nobody"),
        "Bearer abc",
        "basic",
        "Basic \xff",
    ],
)
async def test_unknown_credentials_are_401_with_a_challenge(guarded: Running, authorization: str | None) -> None:
    extra = [f"Authorization: {authorization}"] if authorization is not None else []
    answer = await asked(guarded, upgrade(guarded, BASE + SYNC, *extra, user=None))
    assert answer.problem() == (401, "Unauthenticated")
    assert answer.headers["www-authenticate"] == 'Basic realm="clearsync", charset="UTF-8"'


async def test_a_browser_without_credentials_is_accepted_and_closed_4001(guarded: Running) -> None:
    for extra in ([], [f"Authorization: {basic('ada', 'wrong')}"]):
        request = upgrade(guarded, BASE + SYNC, f"Origin: {CRM}", *extra, user=None)
        code, reason = await closed_with(guarded, request)
        assert code == 4001
        assert reason


async def test_a_foreign_page_learns_nothing_about_credentials(guarded: Running) -> None:
    answers = [
        await asked(guarded, upgrade(guarded, BASE + SYNC, "Origin: https://evil.example", user=user))
        for user in ("ada", None)
    ]
    assert answers[0].problem() == (403, "Forbidden")
    assert answers[0].body == answers[1].body


async def test_credentials_without_the_scope_are_403_or_4003(guarded: Running) -> None:
    assert (await asked(guarded, upgrade(guarded, BASE + SYNC, user="writer"))).problem() == (403, "Forbidden")
    code, reason = await closed_with(guarded, upgrade(guarded, BASE + SYNC, f"Origin: {CRM}", user="writer"))
    assert code == 4003
    assert "sync:read" in reason


@pytest.mark.parametrize("tenant", ["other", "acm", "acme%20", "acme%2Fx", "%FF", "%00", "x" * 65])
async def test_another_tenant_in_the_path_is_403_or_4003(guarded: Running, tenant: str) -> None:
    target = f"{BASE}/{tenant}{SYNC}"
    assert (await asked(guarded, upgrade(guarded, target))).problem() == (403, "Forbidden")
    code, _ = await closed_with(guarded, upgrade(guarded, target, f"Origin: {CRM}"))
    assert code == 4003


@pytest.mark.parametrize("tenant", ["acme", "ACME", "%61cme"])
async def test_the_own_tenant_may_stand_in_the_path(guarded: Running, tenant: str) -> None:
    async with knocking(guarded, upgrade(guarded, f"{BASE}/{tenant}{SYNC}")) as device:
        assert (await device.frame())["type"] == "welcome"


@pytest.mark.parametrize(
    "path", [SYNC_PATH, "/acme" + SYNC_PATH, BASE + BASE + "/acme" + SYNC_PATH, BASE + "x" + SYNC_PATH]
)
async def test_without_the_base_path_is_404(guarded: Running, path: str) -> None:
    assert (await asked(guarded, upgrade(guarded, f"{path}?device=phone"))).problem() == (404, "NotFound")


# how many


async def test_too_many_sessions_are_503_or_4008_until_one_ends(guarded: Running) -> None:
    async with session(guarded, "bob", "b"):
        async with session(guarded, "ada", "a"):
            answer = await asked(guarded, upgrade(guarded, BASE + SYNC, user="bob"))
            assert answer.problem() == (503, "TooManySessions")
            assert int(answer.headers["retry-after"]) >= 60
            code, reason = await closed_with(guarded, upgrade(guarded, BASE + SYNC, f"Origin: {CRM}"))
            assert code == 4008
            assert reason
        async with session(guarded, "ada", "a"):
            pass


async def test_refused_handshakes_take_no_place(guarded: Running) -> None:
    for _ in range(3):
        assert (await asked(guarded, upgrade(guarded, BASE + SYNC, user="writer"))).status == 403
        assert (await closed_with(guarded, upgrade(guarded, BASE + SYNC, f"Origin: {CRM}", user=None)))[0] == 4001
    async with session(guarded, "bob"), session(guarded, "ada"):
        pass


# what is no handshake


@pytest.mark.parametrize("key", [None, "", "x", "dGhlIHNhbXBsZQ==", KEY + KEY, "ü" * 12])
async def test_a_wrong_key_is_400(running: Running, key: str | None) -> None:
    assert (await asked(running, upgrade(running, SYNC, key=key))).problem() == (400, "BadRequest")


@pytest.mark.parametrize("version", [None, "8", "14", "13, 8", ""])
async def test_another_version_is_400_and_told_ours(running: Running, version: str | None) -> None:
    answer = await asked(running, upgrade(running, SYNC, version=version))
    assert answer.problem() == (400, "BadRequest")
    assert answer.headers["sec-websocket-version"] == "13"


async def test_a_post_with_upgrade_is_405(running: Running) -> None:
    answer = await asked(running, upgrade(running, SYNC, method="POST"))
    assert answer.problem() == (405, "MethodNotAllowed")
    assert answer.headers["allow"] == "GET"


@pytest.mark.parametrize("path", [SYNC, HANDLED_PATH])
async def test_an_upgrade_with_a_body_is_400(running: Running, path: str) -> None:
    request = upgrade(running, path, "Content-Type: application/json", "Content-Length: 26", method="POST")
    answer = await asked(running, request + b'{"NotificationEvents":[1]}')
    assert answer.problem() == (400, "BadRequest")


@pytest.mark.parametrize(
    "extra", [["Cookie: " + "a" * 9000], [f"X-{n}: 1" for n in range(140)]], ids=["a long line", "many lines"]
)
async def test_a_head_that_is_too_large_is_431(running: Running, extra: list[str]) -> None:
    assert (await asked(running, upgrade(running, SYNC, *extra))).problem() == (431, "HeadersTooLarge")


async def test_a_long_target_is_431(running: Running) -> None:
    answer = await asked(running, upgrade(running, f"{SYNC}&x={'a' * 9000}"))
    assert answer.problem() == (431, "HeadersTooLarge")


async def test_a_proxy_that_asks_to_upgrade_nothing_is_served(running: Running) -> None:
    """`Connection: upgrade` on every request is a widespread nginx configuration."""
    live = "GET /live HTTP/1.1\r\nHost: localhost\r\nConnection: upgrade\r\n\r\n"
    request = f"{live}GET {SYNC} HTTP/1.1\r\nConnection: close\r\n"
    async with raw(running) as connection:
        await connection.send(f"{request}Host: localhost\r\nAuthorization: {basic('ada')}\r\n\r\n".encode())
        answer = await connection.answer()
        assert answer.status == 200
        assert b"200 OK" in answer.body  # the second answer
        assert b'"reset":false' in answer.body


async def test_a_connection_that_served_requests_can_become_a_session(running: Running) -> None:
    async with raw(running) as connection:
        await connection.send(b"GET /live HTTP/1.1\r\nHost: localhost\r\n\r\n")
        await connection.until(b'{"live":true}')
        await connection.send(upgrade(running, SYNC))
        assert (await connection.answer()).status == 101
        assert (await connection.frame())["type"] == "welcome"


# what is agreed


@pytest.mark.parametrize(
    ("offered", "agreed"),
    [
        ([], None),
        ([SUBPROTOCOL], SUBPROTOCOL),
        (["chat"], None),
        (["chat, " + SUBPROTOCOL], SUBPROTOCOL),
        (["chat", SUBPROTOCOL], SUBPROTOCOL),
        ([SUBPROTOCOL.upper()], None),
    ],
)
async def test_subprotocol_is_ours_where_offered(running: Running, offered: list[str], agreed: str | None) -> None:
    async with raw(running) as device:
        await device.send(upgrade(running, SYNC, *(f"Sec-WebSocket-Protocol: {value}" for value in offered)))
        answer = await device.answer()
        assert answer.status == 101
        assert answer.headers.get("sec-websocket-protocol") == agreed
        assert answer.headers["sec-websocket-accept"] == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="  # RFC 6455, 1.3
        assert (await device.frame())["type"] == "welcome"


async def test_compression_is_declined(running: Running) -> None:
    async with raw(running) as device:
        await device.send(
            upgrade(running, SYNC, "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits")
        )
        answer = await device.answer()
        assert answer.status == 101
        assert "sec-websocket-extensions" not in answer.headers


async def test_the_address_in_the_log_is_the_one_a_trusted_proxy_names(guarded: Running) -> None:
    await asked(guarded, upgrade(guarded, BASE + SYNC, "X-Forwarded-For: 6.6.6.6, 203.0.113.9", user="writer"))

    def logged() -> bool:
        lines = [json.loads(line) for line in guarded.logged.splitlines() if line.startswith("{")]
        return any(line.get("address") == "203.0.113.9" and line.get("error") == "Forbidden" for line in lines)

    await asyncio.to_thread(wait_until, logged)


# the pure parts


def test_sync_request_parses_tenant_device_and_cursor() -> None:
    plain = SyncRequest.parse("/api/v1/sync?device=phone", "")
    assert (plain.tenant, plain.device, plain.cursor) == (None, "phone", None)
    full = SyncRequest.parse("/x/y/Acme%2f%C3%A9/api/v1/sync?cursor=ab12-7&device=a&device=b", "/x/y")
    assert (full.tenant, full.device, full.cursor) == ("Acme/é", "b", Cursor("ab12", Seq(7)))
    assert SyncRequest.parse("/api/v1/sync?device=a&cursor=0", "").cursor == Cursor("", Seq(0))
    assert SyncRequest.parse("/api/v1/sync?device=a&cursor=", "").cursor is None


@pytest.mark.parametrize("path", ["/x/api/v1/sync", "/xy/api/v1/sync", "/x/yz/api/v1/sync", "/x/y//api/v1/sync", ""])
def test_sync_request_knows_no_other_path(path: str) -> None:
    with pytest.raises(NotFound):
        SyncRequest.parse(f"{path}?device=a", "/x/y")


def test_sync_request_names_what_is_wrong() -> None:
    with pytest.raises(BadRequest, match="device is missing"):
        SyncRequest.parse("/api/v1/sync", "")
    with pytest.raises(BadRequest, match="cursor"):
        SyncRequest.parse("/api/v1/sync?device=a&cursor=1", "")


@pytest.mark.parametrize(
    ("origin", "host", "allowed", "expected"),
    [
        ("http://a.example", "a.example", (), True),
        ("http://a.example", "a.example:80", (), True),
        ("https://a.example", "a.example:443", (), True),
        ("https://a.example:443", "a.example", (), True),
        ("https://a.example", "a.example:80", (), False),
        ("http://a.example:8080", "a.example:8080", (), True),
        ("http://a.example:8080", "a.example:8081", (), False),
        ("http://A.example", "a.EXAMPLE", (), True),
        ("http://[::1]:8080", "[::1]:8080", (), True),
        ("http://b.a.example", "a.example", (), False),
        ("http://a.example.evil", "a.example", (), False),
        ("http://a.example@evil", "a.example", (), False),
        ("http://a.example:x", "a.example", (), False),
        ("http://[a.example", "a.example", (), False),
        ("null", "null", (), False),
        ("", "", (), False),
        ("http://", "", (), False),
        ("chrome-extension://abc", "abc", (), False),
        ("https://a.example", "b.example", ("https://a.example",), True),
        ("https://A.example", "b.example", ("https://a.example",), True),
        ("https://b.example", "b.example", ("https://a.example",), True),
        ("https://c.example", "b.example", ("https://a.example",), False),
        ("http://a.example", "b.example", ("https://a.example",), False),
        ("null", "b.example", ("https://a.example",), False),
    ],
)
def test_origin_allowed(origin: str, host: str, allowed: tuple[str, ...], expected: bool) -> None:
    assert origin_allowed(origin, host, allowed) is expected
    over_tls = expected and (origin in allowed or not origin.startswith("http:"))
    assert origin_allowed(origin, host, allowed, encrypted=True) is over_tls
