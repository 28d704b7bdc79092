"""Cookies against their owner: other sites' requests, tokens of other sessions, sessions that were ended or foisted."""

from __future__ import annotations

import pytest

from server.auth.websession import XSRF_COOKIE, xsrf_token
from server.wire import HANDLED_PATH, SESSION_PATH, SYNC_PATH, TICKET_PATH
from tests.running import Running
from tests.security.callers import (
    COOKIE,
    Header,
    Web,
    call,
    closed_at_once,
    cookies_of,
    refused,
    report,
    session,
    sign_in,
    sign_out,
    sync,
    ticket,
)
from tests.security.callers import basic as _basic
from tests.security.conftest import PASSWORD
from tests.security.inside import NOTHING, issue, new_id, where

FORBIDDEN = (403, "Forbidden")
UNKNOWN = (401, "Unauthenticated")
CHECKED = (
    ("GET", f"{SYNC_PATH}?device=a"),
    ("POST", HANDLED_PATH),
    ("POST", f"{TICKET_PATH}?device=a"),
    ("DELETE", SESSION_PATH),
)


def basic(user: str) -> Header:
    return _basic(user, PASSWORD)


def own_origin(running: Running) -> Header:
    return "Origin", f"http://127.0.0.1:{running.port}"


@pytest.fixture
def web(house: Running) -> Web:
    return sign_in(house, basic("ada"))


# the token beside the cookie


def test_page_of_ours_is_served(house: Running, vault_url: str, web: Web) -> None:
    id_ = new_id()
    assert report(house, id_, *web.own).status == 204
    assert where(vault_url, id_) == {"acme/ada"}
    assert sync(house, *web.own).status == 200


@pytest.mark.parametrize(("method", "target"), CHECKED)
def test_cookie_without_its_token_is_403(house: Running, web: Web, method: str, target: str) -> None:
    assert call(house, method, target, web.cookie).problem() == FORBIDDEN
    assert sync(house, *web.own).status == 200  # and nothing has ended


@pytest.mark.parametrize("wrong", ["", "0" * 64, "null", "undefined", "é"])
def test_wrong_token_is_403_and_nothing_is_recorded(house: Running, vault_url: str, web: Web, wrong: str) -> None:
    id_ = new_id()
    assert report(house, id_, web.cookie, ("X-XSRF-TOKEN", wrong)).problem() == FORBIDDEN
    assert where(vault_url, id_) == NOTHING


def test_token_of_another_session_is_403(house: Running, vault_url: str, web: Web) -> None:
    """Also where the attacker sets the readable cookie to his own: it is the secret that the token belongs to."""
    id_, mallorys = new_id(), sign_in(house, basic("bob"))
    both = ("Cookie", f"{XSRF_COOKIE}={mallorys.xsrf}; {COOKIE}={web.secret}")
    assert report(house, id_, both, ("X-XSRF-TOKEN", mallorys.xsrf)).problem() == FORBIDDEN
    again = sign_in(house, basic("ada"))
    assert report(house, id_, web.cookie, ("X-XSRF-TOKEN", again.xsrf)).problem() == FORBIDDEN
    assert where(vault_url, id_) == NOTHING


def test_token_in_upper_case_and_with_more_behind_it(house: Running, web: Web) -> None:
    for wrong in (web.xsrf.upper(), web.xsrf + "0", web.xsrf[:-1], f'"{web.xsrf}"'):
        if wrong != web.xsrf:
            assert sync(house, web.cookie, ("X-XSRF-TOKEN", wrong)).problem() == FORBIDDEN


def test_token_in_the_query_does_not_count(house: Running, vault_url: str, web: Web) -> None:
    id_ = new_id()
    target = f"{HANDLED_PATH}?X-XSRF-TOKEN={web.xsrf}&{XSRF_COOKIE}={web.xsrf}"
    assert report(house, id_, web.cookie, target=target).problem() == FORBIDDEN
    assert where(vault_url, id_) == NOTHING


def test_a_page_whose_session_has_ended_is_not_asked_by_its_browser(house: Running, web: Web) -> None:
    """A challenge of `Basic` opens a window of the browser's own, and what is typed there is sent with all requests."""
    assert sign_out(house, *web.own).status == 204
    reply = sync(house, *web.own)
    assert reply.problem() == UNKNOWN
    assert reply.all("www-authenticate") == ['Session realm="clearsync"']
    assert sync(house, web.cookie, ("X-XSRF-TOKEN", "")).status == 403
    assert sync(house).all("www-authenticate")[0].startswith("Basic ")


# cookies that are none


@pytest.mark.parametrize("secret", ["", "a", "A" * 43, "A" * 44, "../../etc", "%00", '"x"', "web:0", "é" * 43])
async def test_made_up_cookie_is_401_with_its_own_token(house: Running, vault_url: str, secret: str) -> None:
    """The token follows from the secret, so whoever makes one up has both."""
    id_ = new_id()
    mine = Web(secret, xsrf_token(secret.encode()))
    assert report(house, id_, *mine.own).problem() == UNKNOWN
    assert where(vault_url, id_) == NOTHING
    if secret:
        assert await closed_at_once(house, mine.cookie, own_origin(house)) == 4001


@pytest.mark.parametrize("name", ["clearsync", "__host-clearsync", "__Secure-clearsync", "\x0b__Host-clearsync", "_"])
def test_cookie_of_another_name_is_none(house: Running, web: Web, name: str) -> None:
    reply = sync(house, ("Cookie", f"{name}={web.secret}"), ("X-XSRF-TOKEN", web.xsrf))
    assert reply.status in (400, 401)


def test_of_two_cookies_one_decides_and_its_token_with_it(house: Running, vault_url: str, web: Web) -> None:
    """A cookie that somebody slipped in: it is the first that counts, in one header or two, and never a mixture."""
    mallorys = sign_in(house, basic("bob"))
    first, second = f"{COOKIE}={web.secret}", f"{COOKIE}={mallorys.secret}"
    for headers in ((("Cookie", f"{first}; {second}"),), (("Cookie", first), ("Cookie", second))):
        id_ = new_id()
        assert report(house, id_, *headers, ("X-XSRF-TOKEN", mallorys.xsrf)).problem() == FORBIDDEN
        assert where(vault_url, id_) == NOTHING
        assert report(house, id_, *headers, ("X-XSRF-TOKEN", web.xsrf)).status == 204
        assert where(vault_url, id_) == {"acme/ada"}


async def test_of_two_cookies_a_websocket_takes_the_same_one(house: Running, web: Web) -> None:
    mallorys = sign_in(house, basic("bob"))
    for cookies in (
        (("Cookie", f"{COOKIE}={web.secret}; {COOKIE}={mallorys.secret}"),),
        (("Cookie", f"{COOKIE}={web.secret}"), ("Cookie", f"{COOKIE}={mallorys.secret}")),
    ):
        async with session(house, *cookies, own_origin(house)) as (device, _):
            assert sign_out(house, *mallorys.own).status == 204
            mallorys = sign_in(house, basic("bob"))
            id_ = new_id()
            assert report(house, id_, basic("ada")).status == 204
            frame = await device.frame()
            assert [event["Id"] for event in frame["events"]] == [id_]


def test_hundred_cookies(house: Running, web: Web) -> None:
    others = "; ".join(f"c{n}={'x' * 40}" for n in range(100))
    assert sync(house, ("Cookie", f"{others}; {COOKIE}={web.secret}"), ("X-XSRF-TOKEN", web.xsrf)).status == 200


# with other credentials beside it


def test_authorization_decides_over_the_cookie(house: Running, vault_url: str, web: Web) -> None:
    id_ = new_id()
    assert report(house, id_, web.cookie, basic("bob")).status == 204
    assert where(vault_url, id_) == {"acme/bob"}
    id_ = new_id()
    for wrong in (
        _basic("bob", "wrong"),
        ("Authorization", ""),
        ("Authorization", "Cookie"),
        ("Authorization", "Basic"),
    ):
        assert report(house, id_, *web.own, wrong).problem() == UNKNOWN
    assert where(vault_url, id_) == NOTHING


# beginning and ending


def test_session_does_not_prolong_itself(house: Running, web: Web) -> None:
    reply = call(house, "POST", SESSION_PATH, *web.own)
    assert reply.problem() == UNKNOWN
    assert not reply.all("set-cookie")


def test_session_that_is_begun_is_never_one_that_was_brought(house: Running, web: Web) -> None:
    """Fixation: a cookie that somebody planted before does not become the victim's session."""
    planted = "P" * 43
    reply = call(house, "POST", SESSION_PATH, basic("carl"), ("Cookie", f"{COOKIE}={planted}"))
    assert cookies_of(reply)[COOKIE] not in (planted, web.secret)
    assert sync(house, *Web(planted, xsrf_token(planted.encode())).own).problem() == UNKNOWN
    reply = call(house, "POST", SESSION_PATH, basic("carl"), web.cookie)
    assert cookies_of(reply)[COOKIE] != web.secret


def test_cookies_keep_to_themselves(house: Running) -> None:
    reply = call(house, "POST", SESSION_PATH, basic("ada"))
    secret, xsrf = (line.lower() for line in reply.all("set-cookie"))
    assert secret.startswith(f"{COOKIE.lower()}=")
    for line, readable in ((secret, False), (xsrf, True)):
        flags = set(line.split("; "))
        assert {"secure", "samesite=strict", "path=/"} <= flags
        assert ("httponly" in flags) is not readable
        assert not any(flag.startswith("domain") for flag in flags)
    assert reply.all("cache-control") == ["no-store"]
    assert COOKIE.encode() not in reply.body


@pytest.mark.parametrize("form", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data"])
def test_sign_in_by_another_site_is_403(house: Running, form: str) -> None:
    """Login CSRF: the browser may add Basic by itself."""
    reply = call(
        house,
        "POST",
        SESSION_PATH,
        basic("bob"),
        ("Origin", "https://evil.example"),
        ("Content-Type", form),
        body=b"a=b",
    )
    assert reply.problem() == FORBIDDEN
    assert not reply.all("set-cookie")


async def test_ended_session_is_out_everywhere_at_once(house: Running, annex: Running, web: Web) -> None:
    assert sync(annex, *web.own).status == 200
    async with (
        session(house, web.cookie, own_origin(house)) as (here, _),
        session(annex, web.cookie, own_origin(annex)) as (there, _),
    ):
        assert sign_out(house, *web.own).status == 204
        assert await here.close_code() == 4001
        assert await there.close_code() == 4001
    for running in (house, annex):
        assert sync(running, *web.own).problem() == UNKNOWN
        assert sign_out(running, *web.own).problem() == UNKNOWN
        assert await closed_at_once(running, web.cookie, own_origin(running)) == 4001


def test_only_the_session_itself_ends_itself(house: Running, web: Web) -> None:
    assert sign_out(house, basic("ada")).problem() == UNKNOWN
    assert sign_out(house, basic("ada"), web.cookie).problem() == FORBIDDEN
    assert sign_out(house, *web.own, ("Origin", "https://evil.example")).problem() == FORBIDDEN
    mallorys = sign_in(house, basic("bob"))
    assert sign_out(house, *mallorys.own).status == 204
    assert sync(house, *web.own).status == 200


def test_session_has_the_scopes_that_it_began_with(house: Running, vault_url: str) -> None:
    id_, reader = new_id(), sign_in(house, basic("reader"))
    assert report(house, id_, *reader.own).problem() == FORBIDDEN
    writer = sign_in(house, basic("writer"))
    assert sync(house, *writer.own).problem() == FORBIDDEN
    assert report(house, id_, *writer.own, ("X-Agent-Id", "bob")).problem() == FORBIDDEN
    assert where(vault_url, id_) == NOTHING


# websockets by cookie


async def test_websocket_by_cookie_wants_an_origin_of_ours(house: Running, web: Web) -> None:
    assert await refused(house, web.cookie) == FORBIDDEN
    for origin in ("https://evil.example", "null", f"http://127.0.0.1:{house.port}.evil.example", ""):
        assert await refused(house, web.cookie, ("Origin", origin)) == FORBIDDEN
    assert await refused(house, web.cookie, own_origin(house), ("Origin", "https://evil.example")) == FORBIDDEN
    async with session(house, web.cookie, own_origin(house)) as (_, welcome):
        assert welcome["type"] == "welcome"
        assert 28_700 < welcome["expires"] <= 28_800


async def test_browser_that_may_not_listen_is_told_by_4003(house: Running) -> None:
    writer = sign_in(house, basic("writer"))
    assert await closed_at_once(house, writer.cookie, own_origin(house)) == 4003


def test_session_ends_no_later_than_the_ticket_it_began_with(house: Running, vault_url: str) -> None:
    reply = call(house, "POST", SESSION_PATH, ticket(issue(vault_url, "acme/brief", 90)))
    assert 80 < reply.json()["expires"] <= 90
    ages = [int(line.lower().partition("max-age=")[2].partition(";")[0]) for line in reply.all("set-cookie")]
    assert all(80 < age <= 90 for age in ages)
