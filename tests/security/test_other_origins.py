"""Pages of other sites, with whatever their reader's browser adds by itself; and who is told that he may (CORS)."""

from __future__ import annotations

import shutil
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest

from server.wire import HANDLED_PATH, SESSION_PATH, SYNC_PATH, TICKET_PATH
from tests.running import Running, serving
from tests.security.callers import (
    Header,
    Reply,
    answer,
    basic,
    call,
    closed_at_once,
    head_of,
    refused,
    report,
    session,
    sign_in,
    sync,
    talking,
)
from tests.security.conftest import CRM, PASSWORD
from tests.security.inside import NOTHING, new_id, where
from tests.test_app import make_pair

FORBIDDEN = (403, "Forbidden")
ADA = basic("ada", PASSWORD)
EVIL = "https://evil.example"


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory, settings: dict[str, str], vault_url: str) -> Iterator[Running]:
    """A server that lets one other origin in."""
    env = settings | {"CLEARSYNC_GATEWAY__ALLOWED_ORIGINS": CRM}
    with serving("--store", vault_url, folder=tmp_path_factory.mktemp("opened"), env=env) as running:
        yield running


def cors_of(reply: Reply) -> dict[str, str]:
    return {name: value for name, value in reply.headers if name.startswith("access-control-allow")}


@pytest.mark.parametrize(
    "origin",
    [
        EVIL,
        "null",
        "",
        "file://",
        "http://127.0.0.1",
        "https://127.0.0.1:{port}@evil.example",
        "http://127.0.0.1:{port}.evil.example",
        "http://evil.example#127.0.0.1:{port}",
        "http://127.0.0.1:{port}, https://evil.example",
        "ftp://127.0.0.1:{port}",
        "http://[::1]:{port}",
        "http://localhost:{port}",
    ],
)
def test_form_of_another_site_is_403_and_nothing_is_recorded(house: Running, vault_url: str, origin: str) -> None:
    """A form can send urlencoded bodies, and the browser its Basic, without asking anybody."""
    id_ = new_id()
    foreign = ("Origin", origin.format(port=house.port))
    assert report(house, id_, ADA, foreign, form=True).problem() == FORBIDDEN
    assert call(house, "POST", f"{TICKET_PATH}?device=a", ADA, foreign).problem() == FORBIDDEN
    assert where(vault_url, id_) == NOTHING


def test_own_page_and_programs_are_not_kept_out(house: Running, vault_url: str) -> None:
    for headers in ((), (("Origin", f"http://127.0.0.1:{house.port}"),)):
        id_ = new_id()
        assert report(house, id_, ADA, *headers, form=True).status == 204
        assert where(vault_url, id_) == {"acme/ada"}


def test_one_good_origin_does_not_vouch_for_another(house: Running, vault_url: str) -> None:
    id_ = new_id()
    good, evil = ("Origin", f"http://127.0.0.1:{house.port}"), ("Origin", EVIL)
    for both in ((good, evil), (evil, good)):
        assert report(house, id_, ADA, *both).problem() == FORBIDDEN
    assert where(vault_url, id_) == NOTHING


async def test_websocket_of_another_site_by_ambient_basic_is_403(house: Running) -> None:
    assert await refused(house, ADA, ("Origin", EVIL)) == FORBIDDEN


def test_host_that_is_missing_or_the_attackers_makes_no_origin_ours(house: Running, vault_url: str) -> None:
    id_ = new_id()
    assert report(house, id_, ADA, ("Host", ""), ("Origin", "http://")).problem() == FORBIDDEN
    assert report(house, id_, ADA, ("Host", "a:b"), ("Origin", "http://a:b")).status in (400, 403)
    assert where(vault_url, id_) == NOTHING


# CORS


def preflight(running: Running, origin: str, target: str = HANDLED_PATH, *headers: Header) -> Reply:
    asked = ("Access-Control-Request-Method", "POST"), ("Access-Control-Request-Headers", "authorization,x-device-id")
    return call(running, "OPTIONS", target, ("Origin", origin), *asked, *headers)


def test_without_a_setting_nobody_is_told_that_he_may(house: Running) -> None:
    own = f"http://127.0.0.1:{house.port}"
    for origin in (EVIL, CRM, own, "null"):
        reply = preflight(house, origin)
        assert reply.problem() == (405, "MethodNotAllowed")
        assert not cors_of(reply)
        assert not cors_of(sync(house, ADA, ("Origin", origin)))


def test_allowed_origin_is_told(opened: Running) -> None:
    for target in (HANDLED_PATH, SESSION_PATH, SYNC_PATH, f"/acme{TICKET_PATH}"):
        reply = preflight(opened, CRM, target)
        assert reply.status == 200
        told = cors_of(reply)
        assert told["access-control-allow-origin"] == CRM
        assert told["access-control-allow-credentials"] == "true"
    reply = sync(opened, ADA, ("Origin", CRM))
    assert (reply.status, cors_of(reply)["access-control-allow-origin"]) == (200, CRM)
    assert any("Origin" in value for value in reply.all("vary"))


@pytest.mark.parametrize("origin", [EVIL, "null", f"{CRM}.evil.example", f"{CRM}:444", "http://crm.example.com", "*"])
def test_other_origins_are_not_told(opened: Running, vault_url: str, origin: str) -> None:
    id_, foreign = new_id(), ("Origin", origin)
    assert "access-control-allow-origin" not in cors_of(preflight(opened, origin))
    assert "access-control-allow-origin" not in cors_of(sync(opened, ADA, foreign))
    reply = report(opened, id_, ADA, foreign)
    assert reply.problem() == FORBIDDEN
    assert "access-control-allow-origin" not in cors_of(reply)
    assert where(vault_url, id_) == NOTHING


def test_refused_preflight_has_the_vendors_shape(opened: Running) -> None:
    """Protocol: every answer that is an error, on every path, has it."""
    reply = preflight(opened, EVIL)
    assert reply.status in (400, 403)
    assert reply.problem()


async def test_allowed_origin_may_connect_and_others_not(opened: Running) -> None:
    web = sign_in(opened, ADA)
    async with session(opened, web.cookie, ("Origin", CRM)) as (_, welcome):
        assert welcome["type"] == "welcome"
    assert await refused(opened, web.cookie, ("Origin", EVIL)) == FORBIDDEN
    assert await closed_at_once(opened, ("Origin", CRM)) == 4001


def test_our_own_origin_counts_beside_a_list(opened: Running, vault_url: str) -> None:
    id_ = new_id()
    own = "Origin", f"http://127.0.0.1:{opened.port}"
    assert report(opened, id_, ADA, own).status == 204
    assert where(vault_url, id_) == {"acme/ada"}


@pytest.mark.skipif(shutil.which("openssl") is None, reason="makes its certificate with the openssl command")
def test_page_without_tls_is_not_a_server_with_tls(tmp_path: Path, settings: dict[str, str], vault_url: str) -> None:
    """Whoever sits on the line can write what http://host shows, and not what https://host does."""
    certificate, key = make_pair(tmp_path, "served")
    env = settings | {"CLEARSYNC_SERVER__TLS_CERTIFICATE": str(certificate), "CLEARSYNC_SERVER__TLS_KEY": str(key)}
    trusting = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    trusting.check_hostname, trusting.verify_mode = False, ssl.CERT_NONE
    body = b'{"NotificationEvents":[{"Type":"NewTicket","Id":%d}]}'
    statuses = []
    with serving("--store", vault_url, folder=tmp_path, env=env) as running:
        for scheme in ("https", "http"):
            own = ("Host", "sync.example"), ("Origin", f"{scheme}://sync.example"), ("Content-Type", "application/json")
            said = body % new_id()
            head = head_of(running, "POST", HANDLED_PATH, [ADA, *own, ("Content-Length", str(len(said)))])
            with talking(running) as plain, trusting.wrap_socket(plain) as connection:
                connection.sendall(head + said)
                statuses.append(answer(connection).status)
    assert statuses == [204, 403]
