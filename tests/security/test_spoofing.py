"""Who speaks for somebody else: by a header, by a path, by names that look or fold alike."""

from __future__ import annotations

import pytest

from server.wire import HANDLED_ONE_PATH, HANDLED_PATH, SESSION_PATH, SYNC_PATH, TICKET_PATH
from tests.running import Running
from tests.security.callers import basic, call, once, refused, report, session, sign_in, sync, ticket
from tests.security.conftest import PASSWORD
from tests.security.inside import NOTHING, issue, new_id, where

FORBIDDEN = (403, "Forbidden")
BAD = (400, "BadRequest")
ADA, BACKEND, CHIEF = (basic(user, PASSWORD) for user in ("ada", "backend", "chief"))


# by header


def test_another_agent_without_the_scope_is_403(house: Running, vault_url: str) -> None:
    id_ = new_id()
    for name in ("bob", "ada", "", "globex/eve", "\x7f"):
        for target in (HANDLED_PATH, f"/acme{HANDLED_PATH}"):
            assert report(house, id_, ADA, ("X-Agent-Id", name), target=target).status in (400, 403)
    assert report(house, id_, ADA, ("x-agent-id", "bob")).problem() == FORBIDDEN
    assert report(house, id_, *sign_in(house, ADA).own, ("X-Agent-Id", "bob")).problem() == FORBIDDEN
    assert report(house, id_, ticket(issue(vault_url, "acme/ada")), ("X-Agent-Id", "bob")).problem() == FORBIDDEN
    one = b'{"NotificationEventType":"NewTicket","Id":%d}' % id_
    json = ("Content-Type", "application/json")
    assert call(house, "POST", HANDLED_ONE_PATH, ADA, json, ("X-Agent-Id", "bob"), body=one).problem() == FORBIDDEN
    assert where(vault_url, id_) == NOTHING


async def test_wherever_it_is_not_meant_it_is_403_also_with_the_scope(house: Running) -> None:
    other = ("X-Agent-Id", "bob")
    assert sync(house, CHIEF, other).problem() == FORBIDDEN
    assert await refused(house, CHIEF, other) == FORBIDDEN
    assert await refused(house, other, target=f"{SYNC_PATH}?device=a&ticket={once(house, 'a', CHIEF)}") == FORBIDDEN
    assert call(house, "POST", SESSION_PATH, CHIEF, other).problem() == FORBIDDEN
    assert call(house, "POST", f"{TICKET_PATH}?device=a", CHIEF, other).problem() == FORBIDDEN
    web = sign_in(house, CHIEF)
    assert call(house, "DELETE", SESSION_PATH, *web.own, other).problem() == FORBIDDEN
    assert sync(house, *web.own).status == 200


@pytest.mark.parametrize(
    ("name", "tag"),
    [
        ("bob", "acme/bob"),
        ("BOB", "acme/bob"),
        ("globex/eve", "acme/globex%2Feve"),
        ("globex%2Feve", "acme/globex%2Feve"),
        ("globex%252Feve", "acme/globex%252feve"),
        ("../globex/eve", "acme/..%2Fglobex%2Feve"),
        ("..", "acme/.."),
        ("%7Bglobex%7D", "acme/%7Bglobex%7D"),
        ("bob}:sessions", "acme/bob%7D%3Asessions"),
        ("a b", "acme/a%20b"),
        ("%E2%80%AEadmin", "acme/%E2%80%AEadmin"),
        ("%C4%B0", "acme/i%CC%87"),
        ("stra%C3%9Fe", "acme/strasse"),
        ("e%CC%81", "acme/%C3%A9"),
        ("+", "acme/%2B"),
        ("x" * 64, f"acme/{'x' * 64}"),
    ],
)
def test_with_the_scope_it_stays_in_the_own_tenant(house: Running, vault_url: str, name: str, tag: str) -> None:
    id_ = new_id()
    assert report(house, id_, BACKEND, ("X-Agent-Id", name)).status == 204
    assert where(vault_url, id_) == {tag}


@pytest.mark.parametrize(
    "name",
    ["", "%00", "bob%0d%0aX: y", "%0A", "a\tb", "x" * 65, "%C3%9F" * 33, "%FF", "%C3", "é", b"\xe9", "%ED%A0%80"],
)
def test_what_is_no_name_is_400(house: Running, vault_url: str, name: str) -> None:
    id_ = new_id()
    assert report(house, id_, BACKEND, ("X-Agent-Id", name)).problem() == BAD
    assert where(vault_url, id_) == NOTHING


def test_given_twice_is_400(house: Running, vault_url: str) -> None:
    id_ = new_id()
    for second in ("bob", "ada"):
        assert report(house, id_, BACKEND, ("X-Agent-Id", "bob"), ("X-AGENT-ID", second)).problem() == BAD
    for credentials in (ADA, BACKEND):
        assert report(house, id_, BACKEND, credentials).problem() == BAD
    assert where(vault_url, id_) == NOTHING


async def test_backend_that_may_not_listen_stays_out(house: Running) -> None:
    assert sync(house, BACKEND).problem() == FORBIDDEN
    assert await refused(house, BACKEND) == FORBIDDEN


# by path


@pytest.mark.parametrize(
    "tenant",
    [
        "globex",
        "%67lobex",
        "acme2",
        "acm",
        "ACME%20",
        "acme%00",
        "acme%2e",
        "%61cm%65%2F",
        "%2561cme",
        "%ff",
        "..",
        ".",
        "*",
        "a" * 70,
    ],
)
async def test_tenant_of_another_is_403_everywhere(house: Running, vault_url: str, tenant: str) -> None:
    id_, outside = new_id(), ((403, "Forbidden"), (404, "NotFound"))
    assert report(house, id_, ADA, target=f"/{tenant}{HANDLED_PATH}").problem() in outside
    assert sync(house, ADA, target=f"/{tenant}{SYNC_PATH}?device=a").problem() in outside
    assert call(house, "POST", f"/{tenant}{SESSION_PATH}", ADA).problem() in outside
    assert call(house, "POST", f"/{tenant}{TICKET_PATH}?device=a", ADA).problem() in outside
    assert await refused(house, ADA, target=f"/{tenant}{SYNC_PATH}?device=a") in outside
    assert where(vault_url, id_) == NOTHING


@pytest.mark.parametrize("tenant", ["acme", "ACME", "%61cme", "%41CME"])
async def test_own_tenant_in_any_spelling(house: Running, vault_url: str, tenant: str) -> None:
    id_ = new_id()
    assert report(house, id_, ADA, target=f"/{tenant}{HANDLED_PATH}").status == 204
    assert where(vault_url, id_) == {"acme/ada"}
    async with session(house, ADA) as (_, welcome):
        assert welcome["type"] == "welcome"
    target = f"/{tenant}{SYNC_PATH}?device=a"
    assert sync(house, ADA, target=target).status == 200


# by names that are alike


def test_sign_in_names_fold_as_the_users_do_and_no_further(house: Running, vault_url: str) -> None:
    for name, tag in (("ADA", "acme/ada"), ("\uff41da", None), ("ada ", None), ("ada\x00", None), ("\u0430da", None)):
        id_ = new_id()
        reply = report(house, id_, basic(name, PASSWORD))
        assert reply.status == (204 if tag else 401)
        assert where(vault_url, id_) == ({tag} if tag else NOTHING)


def test_what_was_kept_is_the_same_agent_when_it_is_read_again(house: Running, vault_url: str) -> None:
    """The store keeps folded names, and folds them again: an agent must not become another by that."""
    for name in ("İstanbul", "Straße", "ﬀ", "ΐ", "ŉ", "ᾳ\u0301", "K", "e\u0323\u0302", "\u1e9e", "Å"):
        id_ = new_id()
        lasting = ticket(issue(vault_url, f"Türkei/{name}"))
        assert report(house, id_, lasting).status == 204
        (tag,) = where(vault_url, id_)
        web = sign_in(house, lasting)
        assert report(house, id_, *web.own).status == 204
        assert where(vault_url, id_) == {tag}
