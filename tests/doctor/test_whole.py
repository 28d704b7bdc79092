"""A server that is well, and who is not there at all."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import pytest

from server.doctor import CHECKS, Patient, Status
from tests.doctor.conftest import NOBODY, bad, login, look, the_failure
from tests.doctor.proxy import answer, proxy
from tests.gateway.devices import snapshot
from tests.running import Running, get, paused, wait_until


async def test_all_is_well(running: Running) -> None:
    before = await snapshot(running, "ada")
    found = await look(running.url, idle_s=2.5)
    assert list(found) == [check.name for check in CHECKS]
    assert bad(found) == {}
    assert {name for name, one in found.items() if one.status is Status.SKIPPED} == {"forwarded"}
    assert found["round trip"].figures["clear_ms"] > 0  # type: ignore[operator]
    assert found["websocket"].figures["ping_s"] == 2
    assert found["idle"].figures["websocket_silence_s"] < 2.5  # type: ignore[operator]
    (pair,) = (await snapshot(running, "ada")).keys() - before
    assert pair[0] == "Unknown"
    assert pair[1] < 0
    assert found["round trip"].figures["event_id"] == pair[1]


async def test_read_only_records_nothing(running: Running) -> None:
    before = await snapshot(running, "ada")
    found = await look(running.url, read_only=True)
    assert bad(found) == {}
    assert found["round trip"].status is Status.SKIPPED
    assert "--read-only" in found["round trip"].seen
    assert found["event stream"].figures["clear_ms"] is None
    assert await snapshot(running, "ada") == before


async def test_without_credentials_is_looked_at_what_can_be(running: Running) -> None:
    found = await look(running.url, who=NOBODY)
    assert bad(found) == {}
    left_out = {name for name, one in found.items() if one.status is Status.SKIPPED}
    assert left_out == {"forwarded", "credentials", "websocket", "body", "round trip", "event stream", "idle"}
    assert found["body"].seen == "no credentials"


async def test_it_leaves_no_session_behind(running: Running) -> None:
    def sessions() -> int:
        return running.logged.count('"event": "session ended"')

    before = sessions()
    await look(running.url)
    # welcome, origin, other twice; the event stream
    await asyncio.to_thread(wait_until, lambda: sessions() >= before + 5, what="all sessions have ended")


def _free_port() -> int:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port: int = unused.getsockname()[1]
        return port


async def test_nothing_listens() -> None:
    found = await look(f"http://127.0.0.1:{_free_port()}")
    assert found["address"].status is Status.FAIL
    assert "connection refused" in found["address"].seen
    assert "clearsync serve" in found["address"].cure
    assert {one.status for name, one in found.items() if name != "address"} == {Status.SKIPPED}
    assert found["server"].seen == found["tls"].seen == "stands on address"


async def test_of_the_addresses_of_this_machine_one_is_enough(running: Running) -> None:
    found = await look(running.url.replace("127.0.0.1", "localhost"), "address")
    assert found["address"].status is Status.OK
    assert "127.0.0.1" in found["address"].seen


async def test_of_several_addresses_one_does_not_answer(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("server.doctor.reach.is_loopback", lambda _: False)

    async def both(*_: Any, **__: Any) -> list[Any]:
        return [(0, 0, 0, "", (address, 0)) for address in ("127.0.0.1", "127.0.0.2")]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", both)
    finding = await the_failure(running.url, "address")
    assert finding.status is Status.WARN
    assert finding.seen.startswith("1 of 2 addresses do not answer (127.0.0.1, 127.0.0.2): nothing listens there")


async def test_a_name_that_nobody_has() -> None:
    finding = await the_failure("https://nobody.invalid", "server")
    assert finding.check == "address"
    assert "nobody.invalid" in finding.seen
    assert "DNS" in finding.cure


@pytest.mark.parametrize(
    ("says", "seen", "cure"),
    [
        (answer("200 OK", b'{"name":"other"}'), "200 ok from nginx, which is not clearsync", "proxy_pass"),
        (answer("404 Not Found"), "404 not found from nginx", "server.base_path"),
        (
            answer("301 Moved", b"", "Location: https://elsewhere.example/"),
            "to https://elsewhere.example/",
            "redirects",
        ),
        (answer("502 Bad Gateway"), "502 bad gateway from nginx", "can't reach clearsync"),
    ],
)
async def test_somebody_else_answers(says: bytes, seen: str, cure: str) -> None:
    async with proxy("http://127.0.0.1:1", answers={"/version": says}) as url:
        finding = await the_failure(url, "latency")
    assert finding.check == "server"
    assert seen in finding.seen
    assert cure in finding.cure


@pytest.mark.parametrize("path", ["/other", "//"])
async def test_another_path_than_its_own(running: Running, path: str) -> None:
    finding = await the_failure(f"{running.url}{path}", "upgrade")
    assert finding.check == "server"
    assert "404" in finding.seen


async def test_below_another_path_than_its_own(running: Running) -> None:
    says = answer("200 OK", b'{"name":"clearsync","version":"0.1.0"}')
    async with proxy(running.url, answers={"/a/base/version": says}) as url:
        finding = await the_failure(f"{url}/a/base", "upgrade")
    assert finding.check == "server"
    assert "/api/v1/sync is answered 404: no such path" in finding.seen
    assert "server.base_path" in finding.cure


async def test_what_is_no_http_at_all() -> None:
    async with proxy("http://127.0.0.1:1", answers={"/version": b"SSH-2.0\r\n"}) as url:
        assert (await the_failure(url, "server")).check == "server"


@pytest.mark.parametrize(("version", "status"), [("0.9.9", Status.OK), ("1.0.0", Status.WARN)])
async def test_another_major_version_is_a_warning(running: Running, version: str, status: Status) -> None:
    says = answer("200 OK", b'{"name":"clearsync","version":"%b"}' % version.encode())
    async with proxy(running.url, answers={"/version": says}) as url:
        finding = (await look(url, "server"))["server"]
    assert finding.status is status
    assert finding.figures["version"] == version


async def test_the_store_does_not_answer(running: Running) -> None:
    with paused(running.store_pid()):
        await asyncio.to_thread(wait_until, lambda: get(f"{running.url}/ready")[0] == 503)
        found = await look(running.url)
    await asyncio.to_thread(wait_until, lambda: get(f"{running.url}/ready")[0] == 200)
    assert list(bad(found)) == ["ready"]
    assert "store.url" in found["ready"].cure
    assert found["upgrade"].status is Status.OK
    assert found["round trip"].seen == "stands on websocket"


async def test_wrong_credentials(running: Running) -> None:
    finding = await the_failure(running.url, who=login(password="wrong"))
    assert finding.check == "credentials"
    assert finding.seen.startswith("401: ")
    assert finding.cure == "check the user and the password; the server takes Basic"


@pytest.mark.parametrize(
    ("user", "lacks", "left"), [("reader", "handled:write", "websocket"), ("writer", "sync:read", "body")]
)
async def test_a_right_is_missing(running: Running, user: str, lacks: str, left: str) -> None:
    found = await look(running.url, who=login(user))
    assert list(bad(found)) == ["credentials"]
    assert f"lack the scope {lacks}" in found["credentials"].seen
    assert "clearsync token issue --scope" in found["credentials"].cure
    assert found["round trip"].seen == f"it takes credentials with {lacks}"
    assert found[left].status is Status.OK


@pytest.mark.parametrize(
    ("url", "variable"),
    [
        ("https://sync.example.com", "HTTPS_PROXY"),
        ("http://sync.example.com", ""),
        ("https://127.0.0.1", ""),
        ("https://near.example", ""),
    ],
)
async def test_a_proxy_of_the_environment_is_named(url: str, variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:1")
    monkeypatch.setenv("no_proxy", "near.example")
    async with Patient(url, NOBODY) as patient:
        assert patient.forward_proxy == variable
    if variable:
        found = await look(url, "server")
        assert found["address"].seen == "the way there is by the proxy in HTTPS_PROXY"
        assert found["tls"].status is Status.SKIPPED
        assert found["server"].status is Status.FAIL


@pytest.mark.parametrize(
    ("url", "origin", "port"),
    [
        ("https://Sync.Example.com:443/base", "https://sync.example.com", 443),
        ("http://[::1]:8080", "http://[::1]:8080", 8080),
        ("http://sync.example.com", "http://sync.example.com", 80),
        ("https://sync.example.com:8443", "https://sync.example.com:8443", 8443),
    ],
)
async def test_the_origin_of_its_own_pages(url: str, origin: str, port: int) -> None:
    async with Patient(url, NOBODY) as patient:
        assert (patient.origin, patient.port) == (origin, port)
