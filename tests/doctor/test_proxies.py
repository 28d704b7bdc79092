"""What proxies do to a server that is well: each fault is found, by its check, and named."""

from __future__ import annotations

import time
from email.utils import formatdate
from typing import Any

import pytest

from server.doctor import Login, Status
from server.wire import HANDLED_PATH
from tests.doctor.conftest import NOBODY, bad, login, look, the_failure
from tests.doctor.proxy import answer, proxy
from tests.gateway.devices import basic
from tests.running import Running


async def test_a_proxy_that_is_well(running: Running) -> None:
    async with proxy(running.url) as url:
        assert bad(await look(url)) == {}


@pytest.mark.parametrize(
    ("check", "faults", "seen", "cure"),
    [
        ("upgrade", {"drop": {"upgrade"}}, "without its Upgrade (200", "proxy_set_header Upgrade $http_upgrade"),
        ("upgrade", {"drop": {"connection"}}, "without its Upgrade (200", "proxy_http_version 1.1"),
        (
            "upgrade",
            {"answers_upgrades": answer("426 Upgrade Required")},
            "answered 426",
            "proxy_http_version",
        ),
        ("upgrade", {"answers_upgrades": b""}, "the handshake broke", "proxy_http_version"),
        ("origin", {"put": {"host": "clearsync"}}, "may not connect (403", "proxy_set_header Host $http_host"),
        ("origin", {"put": {"host": "127.0.0.1"}}, "may not connect (403", "gateway.allowed_origins"),
        ("origin", {"drop": {"origin"}}, "Origin is lost", "by cookie"),
        ("credentials", {"drop": {"authorization"}}, "were lost on the way", "pass Authorization on"),
        ("websocket", {"holds_upgraded": "back"}, "no frame comes through it", "both directions"),
        ("websocket", {"holds_upgraded": "forth"}, "what a device says gets no answer", "both directions"),
        ("headers", {"drop": {"x-device-id"}}, "X-Device-Id does not arrive", "told what it handled itself"),
        ("headers", {"hide": {"www-authenticate"}}, "without WWW-Authenticate", "proxy_hide_header"),
        ("headers", {"put": {"authorization": basic("ada")}}, "is answered 204", "proxy_set_header Authorization"),
        ("body", {"largest_body": 100_000}, "answered 413 request entity", "client_max_body_size 1m"),
        ("round trip", {"drop": {"x-device-id"}}, "as if another had", "X-Device-Id"),
        ("event stream", {"buffers": True}, "held back", "proxy_buffering off"),
        ("event stream", {"buffers_after": b"welcome"}, "not told within", "X-Accel-Buffering"),
        ("event stream", {"drop": {"accept"}}, "Accept: text/event-stream was lost", "Accept"),
        ("event stream", {"drop": {"last-event-id"}}, "Last-Event-ID does not arrive", "Last-Event-ID"),
        ("idle", {"cuts_idle_s": 0.4}, " was cut after", "proxy_read_timeout 75s"),
        ("idle", {"cuts_idle_s": 0.4, "says_goodbye": True}, "closed with 1001", "the log of the server"),
        ("idle", {"forgets_idle_s": 0.4}, "the websocket looks open and is dead", "gateway.ping_interval_s"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_a_fault_is_found_by_its_check(
    running: Running, check: str, faults: dict[str, Any], seen: str, cure: str
) -> None:
    async with proxy(running.url, **faults) as url:
        finding = await the_failure(url, check, idle_s=0.8, in_vain=True)
    assert (finding.check, finding.status) == (check, Status.FAIL)
    assert seen in finding.seen
    assert cure in finding.cure


async def test_a_page_of_any_site_gets_through(running: Running) -> None:
    async with proxy(running.url, put={"origin": running.url, "host": f"127.0.0.1:{running.port}"}) as url:
        finding = await the_failure(url, "origin")
    assert finding.check == "origin"
    assert "a page of https://doctor.invalid may connect" in finding.seen
    assert "gateway.allowed_origins" in finding.cure


@pytest.mark.parametrize(("ahead_s", "status"), [(100, Status.FAIL), (-10, Status.WARN)])
async def test_a_clock_is_wrong(running: Running, ahead_s: float, status: Status) -> None:
    date = formatdate(time.time() + ahead_s, usegmt=True)
    async with proxy(running.url, put_back={"date": date}) as url:
        finding = await the_failure(url, "clocks", "websocket")
    assert (finding.check, finding.status) == ("clocks", status)
    assert finding.figures["date_ahead_s"] == pytest.approx(ahead_s, abs=2)
    assert finding.figures["store_ahead_s"] == pytest.approx(0, abs=2)
    assert "writes Date is wrong" in finding.cure


async def test_two_servers_with_a_store_each(running: Running, another: Running) -> None:
    async with proxy(running.url, posts_to=another.url) as url:
        finding = await the_failure(url, "round trip", in_vain=True)
    assert finding.check == "round trip"
    assert "the other device was not told" in finding.seen
    assert "the same store.url" in finding.cure


async def test_the_application_token_is_lost(running: Running) -> None:
    who = Login("ada", {**login().headers, "SO-AppToken": "app"})
    assert bad(await look(running.url, "headers", who=who)) == {}
    async with proxy(running.url, drop={"so-apptoken"}) as url:
        finding = await the_failure(url, "headers", who=who)
        assert (await look(url, "headers"))["headers"].status is Status.OK  # who has none need not care
    assert (finding.check, finding.status) == ("headers", Status.WARN)
    assert "SO-AppToken" in finding.cure


async def test_a_proxy_that_wants_a_login_of_its_own(running: Running) -> None:
    says = answer("401 Unauthorized", b"<html>", 'WWW-Authenticate: Basic realm="staff"')
    async with proxy(running.url, answers={HANDLED_PATH: says}) as url:
        finding = await the_failure(url, "credentials")
    assert "something before clearsync wants a login of its own" in finding.seen
    assert 'Basic realm="staff"' in finding.seen
    assert "auth_basic" in finding.cure


async def test_a_lost_upgrade_shows_without_credentials_too(running: Running) -> None:
    async with proxy(running.url, drop={"upgrade"}) as url:
        finding = await the_failure(url, "upgrade", who=NOBODY)
    assert "without its Upgrade (401" in finding.seen
