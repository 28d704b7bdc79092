"""Heads that no client of ours sends: broken names, breaks of lines, odd schemes, too much of all, or too slow."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Iterator

import pytest

from server.wire import HANDLED_PATH, SESSION_PATH, SYNC_PATH, TICKET_PATH
from tests.running import Running, serving
from tests.security.callers import (
    COOKIE,
    Header,
    answer,
    basic,
    call,
    head_of,
    refused,
    report,
    send,
    session,
    sync,
    talking,
    ticket,
)
from tests.security.conftest import PASSWORD
from tests.security.inside import NOTHING, new_id, where

ADA = basic("ada", PASSWORD)
BAD = (400, "BadRequest")
UNKNOWN = (401, "Unauthenticated")
ENCODED = str(ADA[1]).removeprefix("Basic ")


# devices


@pytest.mark.parametrize(
    "device",
    ["", "-", "a b", "a\tb", "é", b"\xff", "a" * 65, "a/b", "%61", "a%0d%0aX-Agent-Id: bob", "{a}", "a,b", "a\x0b"],
)
def test_device_that_is_none_is_400(house: Running, vault_url: str, device: str | bytes) -> None:
    id_ = new_id()
    assert report(house, id_, ADA, ("X-Device-Id", device)).problem() == BAD
    assert where(vault_url, id_) == NOTHING


@pytest.mark.parametrize(
    "device",
    [
        "",
        "-",
        "a%0d%0aSet-Cookie:x=y",
        "a%00",
        "a%20b",
        "%C3%A9",
        "%FF",
        "a%2Fb",
        "a" * 65,
        "a&device=%0d",
        "%EF%BC%A1",
    ],
)
async def test_device_in_the_query_that_is_none_is_400(house: Running, device: str) -> None:
    target = f"{SYNC_PATH}?device={device}"
    reply = sync(house, ADA, target=target)
    assert reply.problem() == BAD
    assert not reply.all("set-cookie")
    assert await refused(house, ADA, target=target) == BAD
    assert call(house, "POST", f"{TICKET_PATH}?device={device}", ADA).problem() == BAD


def test_header_that_begins_another_line_is_its_own_header(house: Running, vault_url: str) -> None:
    """A break in a value is the end of it for every hop, or the head is refused: never a value with a break in it."""
    id_ = new_id()
    smuggled = report(house, id_, ADA, ("X-Device-Id", b"a\r\nX-Agent-Id: bob"))
    assert smuggled.problem() == (403, "Forbidden")
    for value in (b"a\nX-Agent-Id: bob", b"a\r X-Agent-Id: bob", b"a\x00b", b"a\r\n b"):
        assert report(house, id_, ADA, ("X-Device-Id", value)).status in (400, 403)
    assert where(vault_url, id_) == NOTHING


def test_folded_authorization_is_not_put_together(house: Running, vault_url: str) -> None:
    id_ = new_id()
    for value in (f"Basic\r\n {ENCODED}", f"Basic \r\n\t{ENCODED}", f"Basic {ENCODED[:8]}\r\n {ENCODED[8:]}"):
        assert report(house, id_, ("Authorization", value)).status in (400, 401)
    assert where(vault_url, id_) == NOTHING


@pytest.mark.parametrize("name", ["X-Agent-Id ", "X_Agent_Id", "X-Agent-Id\t", "\x0bX-Agent-Id", "X-Agent-\xa0Id"])
def test_header_that_looks_like_another(house: Running, vault_url: str, name: str) -> None:
    """A proxy may take it for the one that it strips: here it counts as that one, or for nothing, or is refused."""
    id_ = new_id()
    reply = report(house, id_, ADA, (name, "bob"))
    assert reply.status in (204, 400, 403)
    assert where(vault_url, id_) == ({"acme/ada"} if reply.status == 204 else NOTHING)


# schemes


@pytest.mark.parametrize("scheme", ["Basic", "BASIC", "bAsIc"])
def test_schemes_have_no_case(house: Running, scheme: str) -> None:
    for value in (f"{scheme} {ENCODED}", f"{scheme}   {ENCODED}", f"  {scheme} {ENCODED}  ", f"\t{scheme} {ENCODED}"):
        assert sync(house, ("Authorization", value)).status == 200


@pytest.mark.parametrize(
    "value",
    [
        "",
        " ",
        "Basic",
        "Basic ",
        "Bearer",
        "Bearer ",
        "SoTicket",
        "soTICKET ",
        f"Basic\t{ENCODED}",
        f"Basic\x0b{ENCODED}",
        f"Basic,{ENCODED}",
        f"Basic {ENCODED}, Basic {ENCODED}",
        f"Basic {ENCODED} x",
        f"Basic {ENCODED[:-1]}",
        f"Basic {ENCODED}==",
        f"Basic {ENCODED} {ENCODED}",
        f'Basic "{ENCODED}"',
        f"Basic{ENCODED}",
        ENCODED,
        f"Basi\u0441 {ENCODED}",
        f"\u212aasic {ENCODED}",
        f"Digest {ENCODED}",
        f"other {ENCODED}",
        f"once {ENCODED}",
        f"web {ENCODED}",
        "Basic Og==",
        "Basic OnB3",
        "Basic YWRh",
        "Basic YWRhOg==",
        "Basic YWRhAGE6eA==",
        "Basic /////w==",
        b"Basic \xff\xfe",
        "Negotiate " + "A" * 4000,
    ],
)
async def test_what_is_no_credential_is_401(house: Running, vault_url: str, value: str | bytes) -> None:
    id_, header = new_id(), ("Authorization", value)
    reply = report(house, id_, header)
    assert reply.problem() in (UNKNOWN, BAD)
    if reply.status == 401:
        (challenge,) = reply.all("www-authenticate")
        assert challenge.count("realm=") == 3
    assert await refused(house, header) in (UNKNOWN, BAD)
    assert where(vault_url, id_) == NOTHING


@pytest.mark.parametrize("line", [b"Authorization: Basic \x00", b"Authorization\x00: x", b"Authorization : x", b": x"])
def test_head_that_is_broken_is_400(house: Running, line: bytes) -> None:
    head = head_of(house, "GET", f"{SYNC_PATH}?device=a", [ADA])
    assert send(house, head[:-2] + line + b"\r\n\r\n").problem() == BAD


async def test_credentials_given_twice_are_400(house: Running, vault_url: str) -> None:
    id_ = new_id()
    for second in (ADA, basic("bob", PASSWORD), ticket("x"), ("Authorization", "")):
        assert report(house, id_, ADA, second).problem() == BAD
        assert await refused(house, ADA, second) == BAD
    apps: tuple[Header, Header] = ("SO-AppToken", "a"), ("so-apptoken", "a")
    assert report(house, id_, ADA, *apps).problem() == BAD
    assert await refused(house, ADA, *apps) == BAD
    assert where(vault_url, id_) == NOTHING


# too much


@pytest.mark.parametrize(
    ("method", "target"),
    [
        ("POST", SESSION_PATH),
        ("DELETE", SESSION_PATH),
        ("POST", TICKET_PATH),
        ("GET", SYNC_PATH),
        ("POST", HANDLED_PATH),
    ],
)
def test_cookies_over_the_limit_are_431(house: Running, method: str, target: str) -> None:
    for cookies in (
        [("Cookie", f"{COOKIE}={'x' * 20_000}")],
        [("Cookie", f"c{n}={'x' * 200}") for n in range(100)],
    ):
        assert call(house, method, f"{target}?device=a", ADA, *cookies).problem() == (431, "HeadersTooLarge")


def test_body_of_an_endpoint_that_wants_none_does_no_harm(house: Running) -> None:
    """Read and forgotten, or refused; and what follows it is not taken for a request."""
    smuggled = head_of(house, "DELETE", SESSION_PATH, [("X-Smuggled", "1")])
    for target in (SESSION_PATH, f"{TICKET_PATH}?device=a"):
        with talking(house) as connection:
            head = head_of(house, "POST", target, [ADA, ("Content-Length", str(len(smuggled)))])
            connection.sendall(head + smuggled)
            assert answer(connection).status == 200
            connection.sendall(head_of(house, "GET", "/live", []))
            assert answer(connection).status == 200


def test_methods_that_are_not_served_are_405(house: Running) -> None:
    for method, target in (
        ("GET", SESSION_PATH),
        ("PUT", SESSION_PATH),
        ("GET", TICKET_PATH),
        ("DELETE", TICKET_PATH),
        ("TRACE", SESSION_PATH),
        ("DELETE", SYNC_PATH),
        ("GET", HANDLED_PATH),
    ):
        reply = call(house, method, target, ADA, ("X-HTTP-Method-Override", "POST"))
        assert reply.status == 405
        assert not reply.all("set-cookie")
        assert PASSWORD.encode() not in reply.body


# too slow


@pytest.fixture(scope="module")
def hasty(tmp_path_factory: pytest.TempPathFactory, settings: dict[str, str], vault_url: str) -> Iterator[Running]:
    env = settings | {"CLEARSYNC_LIMITS__HEADER_TIMEOUT_S": "0.5", "CLEARSYNC_LIMITS__BODY_TIMEOUT_S": "0.5"}
    with serving("--store", vault_url, folder=tmp_path_factory.mktemp("hasty"), env=env) as running:
        yield running


@pytest.mark.parametrize("target", [SESSION_PATH, f"{TICKET_PATH}?device=a"])
def test_head_that_does_not_end_is_408(hasty: Running, target: str) -> None:
    with talking(hasty) as connection:
        connection.sendall(head_of(hasty, "POST", target, [ADA])[:-2] + b"X-Slow: ")
        began = time.monotonic()
        assert answer(connection).problem() == (408, "RequestTimeout")
        assert time.monotonic() - began < 3


@pytest.mark.parametrize("target", [SESSION_PATH, f"{TICKET_PATH}?device=a"])
def test_body_that_does_not_end_holds_no_connection(hasty: Running, target: str) -> None:
    with talking(hasty) as connection:
        connection.sendall(head_of(hasty, "POST", target, [ADA, ("Content-Length", "100000")]) + b"x")
        assert answer(connection).status in (200, 408)
        connection.settimeout(5)
        try:
            while connection.recv(65_536):
                pass
        except ConnectionError:
            pass
        except TimeoutError:
            pytest.fail("the connection is still there")


async def test_handshakes_that_hang_do_not_keep_others_out(hasty: Running) -> None:
    hanging = [socket.create_connection(("127.0.0.1", hasty.port)) for _ in range(200)]
    try:
        for connection in hanging:
            connection.sendall(b"GET /api/v1/sync?device=a HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n")
        async with session(hasty, ADA) as (_, welcome):
            assert welcome["type"] == "welcome"
        for connection in hanging:
            connection.settimeout(5)
            assert b" 408 " in await asyncio.to_thread(connection.recv, 65_536)
    finally:
        for connection in hanging:
            connection.close()
