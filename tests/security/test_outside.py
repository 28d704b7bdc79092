"""The CRM and the issuer of tokens, turned against us or by us: redirects, silence, floods of unknown keys."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from tests.auth.issuer import jwk, jwks, token
from tests.gateway.devices import resident_bytes
from tests.running import Running, client, serving, wait_until
from tests.security.callers import basic, bearer, refused, report, session, sign_in, sync, ticket
from tests.security.inside import NOTHING, everything, new_id, where
from tests.security.outside import Outside, outside, says

UNAVAILABLE = (503, "Unavailable")
UNKNOWN = (401, "Unauthenticated")
TIMEOUT_S = 0.5


@pytest.fixture(scope="module")
def crm() -> Iterator[Outside]:
    with outside() as here:
        yield here


@pytest.fixture(scope="module")
def elsewhere() -> Iterator[Outside]:
    """The host to which nobody may be led."""
    with outside() as here:
        here.reply = says(200, {"Associate": "chief", "DatabaseContextIdentifier": "acme"})
        yield here


@pytest.fixture(scope="module")
def issuer_key() -> Any:
    return ec.generate_private_key(ec.SECP256R1())


@pytest.fixture(scope="module")
def issuer(issuer_key: Any) -> Iterator[Outside]:
    with outside() as here:
        here.reply = says(200, jwks(jwk(issuer_key, "ES256", kid="good")))
        yield here


@pytest.fixture(scope="module")
def asking(
    tmp_path_factory: pytest.TempPathFactory, vault_url: str, crm: Outside, issuer: Outside
) -> Iterator[Running]:
    env = {
        "CLEARSYNC_UPSTREAM__URL": crm.url,
        "CLEARSYNC_UPSTREAM__SCHEMES": "soticket,bearer",
        "CLEARSYNC_UPSTREAM__TIMEOUT_S": str(TIMEOUT_S),
        "CLEARSYNC_JWT__JWKS_URL": issuer.url,
        "CLEARSYNC_JWT__AUDIENCE": "clearsync",
        "CLEARSYNC_LIMITS__FAILED_LOGINS_PER_MINUTE": "0",
        "CLEARSYNC_LOG__LEVEL": "debug",
    }
    with serving("--store", vault_url, folder=tmp_path_factory.mktemp("asking"), env=env) as running:
        yield running


def known_as(agent: str, tenant: str = "acme") -> Any:
    return says(200, {"Associate": agent, "DatabaseContextIdentifier": tenant})


async def unavailable(running: Running, vault_url: str, *headers: Any) -> None:
    id_ = new_id()
    reply = report(running, id_, *headers)
    assert reply.problem() == UNAVAILABLE
    assert 1 <= int(reply.all("retry-after")[0]) <= 60
    assert await refused(running, *headers) == UNAVAILABLE
    assert where(vault_url, id_) == NOTHING


# the CRM


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_redirect_to_another_host_is_not_followed(
    asking: Running, vault_url: str, crm: Outside, elsewhere: Outside, status: int
) -> None:
    crm.reply = says(status, b"moved", Location=elsewhere.url)
    await unavailable(asking, vault_url, ticket(f"7T:redirect{status}"))
    crm.reply = says(status, b"moved", Location="/elsewhere")
    asked = len(crm.requests)
    await unavailable(asking, vault_url, ticket(f"7T:here{status}"))
    assert {path for path, _ in crm.requests[asked:]} == {"/api/v1/User/currentPrincipal"}
    assert elsewhere.requests == []


async def test_answers_that_name_somebody_under_another_status_or_form(
    asking: Running, vault_url: str, crm: Outside
) -> None:
    for number, reply in enumerate(
        (
            says(201, {"Associate": "chief", "DatabaseContextIdentifier": "acme"}),
            says(404, {"Associate": "chief", "DatabaseContextIdentifier": "acme"}),
            says(200, {"Associate": "", "DatabaseContextIdentifier": "acme"}),
            says(200, {"Associate": None, "DatabaseContextIdentifier": "acme"}),
            says(200, {"Associate": ["chief"], "DatabaseContextIdentifier": "acme"}),
            says(200, {"Associate": "chief"}),
            says(200, b"<html>sign in</html>"),
            says(200, b"["),
            says(200, b" " * 100_000 + b'{"Associate":"chief","DatabaseContextIdentifier":"acme"}'),
        )
    ):
        crm.reply = reply
        await unavailable(asking, vault_url, ticket(f"7T:form{number}"))


def test_tenant_of_the_crm_stays_one_part_of_the_key(asking: Running, vault_url: str, crm: Outside) -> None:
    crm.reply = known_as("chief/../x", "acme/ada")
    id_ = new_id()
    assert report(asking, id_, ticket("7T:slashes")).status == 204
    assert where(vault_url, id_) == {"acme%2Fada/chief%2F..%2Fx"}


def test_callers_headers_do_not_reach_the_crm(asking: Running, crm: Outside) -> None:
    crm.reply = known_as("ada")
    asked = len(crm.requests)
    more = (("Cookie", "a=b"), ("X-Forwarded-For", "192.0.2.1"), ("Proxy", "http://127.0.0.1:1"))
    assert sync(asking, ticket("7T:alone"), ("SO-AppToken", "app token"), *more).status == 200
    for line in ("7T:a\tb", "7T:\x7f", "7T:é", "7T:" + "x" * 8192):
        assert sync(asking, ticket(line)).status in (400, 401)
    ((_, headers),) = crm.requests[asked:]
    assert headers.keys() == {
        "host",
        "accept",
        "accept-encoding",
        "connection",
        "user-agent",
        "authorization",
        "so-apptoken",
    }
    assert (headers["authorization"], headers["so-apptoken"]) == ("SOTicket 7T:alone", "app token")


def test_cookies_of_the_crm_are_nobodys(asking: Running, crm: Outside) -> None:
    crm.reply = says(200, {"Associate": "ada", "DatabaseContextIdentifier": "acme"}, Set_Cookie="sid=crmcookie; Path=/")
    reply = sync(asking, ticket("7T:first"))
    assert not reply.all("set-cookie")
    assert sync(asking, ticket("7T:second")).status == 200
    assert "cookie" not in crm.requests[-1][1]


def test_our_own_forms_are_not_shown_to_the_crm(asking: Running, crm: Outside, issuer_key: Any) -> None:
    """A token that was forged or has expired is refused here."""
    crm.reply = known_as("chief")
    asked = len(crm.requests)
    old = token(issuer_key, "ES256", {"sub": "ada", "tenant": "acme", "aud": "clearsync", "exp": 1}, kid="good")
    for credentials in (bearer(old), basic("ada", "x")):
        assert sync(asking, credentials).problem() == UNKNOWN
    assert crm.requests[asked:] == []


def test_scheme_decides_who_judges(asking: Running, crm: Outside) -> None:
    """What is good as one scheme is not good as another, also from the cache."""
    crm.reply = lambda headers: (
        (known_as("ada")(headers)) if headers["authorization"].startswith("SOTicket ") else (401, {}, b"")
    )
    assert sync(asking, ticket("same-secret")).status == 200
    for scheme in ("Bearer same-secret", "SoTicketsame-secret", "SoTicket\tsame-secret", "Basic same-secret"):
        assert sync(asking, ("Authorization", scheme)).problem() == UNKNOWN


async def test_silent_crm_is_503_and_keeps_nobody_else_waiting(
    asking: Running, vault_url: str, crm: Outside, issuer_key: Any
) -> None:
    crm.reply = known_as("ada")
    before = sign_in(asking, ticket("7T:before"))
    crm.reply = crm.slow
    began = time.monotonic()
    await unavailable(asking, vault_url, ticket("7T:slow"))
    assert time.monotonic() - began < 6 * TIMEOUT_S
    flood = [asyncio.to_thread(sync, asking, ticket(f"7T:flood{n}")) for n in range(40)]
    gathered = asyncio.gather(*flood)
    own = ("Origin", f"http://127.0.0.1:{asking.port}")
    async with session(asking, before.cookie, own):
        assert sync(asking, *before.own).status == 200
        assert sync(asking, bearer(good(issuer_key))).status == 200
    assert {reply.status for reply in await gathered} == {503}
    asked = len(crm.requests)
    await unavailable(asking, vault_url, ticket("7T:open"))  # the breaker is open by now: at once, and nobody is asked
    assert len(crm.requests) == asked
    assert sync(asking, ticket("7T:before")).status == 200  # who is known goes on


# the issuer


def good(key: Any) -> bytes:
    claims = {"sub": "ada", "tenant": "acme", "aud": "clearsync", "exp": time.time() + 600}
    return token(key, "ES256", claims, kid="good")


async def test_flood_of_unknown_keys_asks_the_issuer_once_at_most(
    asking: Running, vault_url: str, issuer: Outside, issuer_key: Any
) -> None:
    wait_until(lambda: issuer.requests, what="the keys are fetched")
    before, memory, id_ = len(issuer.requests), resident_bytes(asking), new_id()
    forger = ec.generate_private_key(ec.SECP256R1())
    claims = {"sub": "ada", "tenant": "acme", "aud": "clearsync", "exp": time.time() + 600}

    def one(n: int) -> tuple[int, str]:
        key = forger if n % 2 else issuer_key
        return report(asking, id_, bearer(token(key, "ES256", claims, kid=f"made up {n}"))).problem()

    answers = await asyncio.gather(*(asyncio.to_thread(one, n) for n in range(200)))
    assert set(answers) == {UNKNOWN}
    assert len(issuer.requests) - before <= 1
    assert resident_bytes(asking) - memory < 24 * 1024 * 1024
    assert where(vault_url, id_) == NOTHING
    assert sync(asking, bearer(good(issuer_key))).status == 200


def test_nothing_of_it_is_in_log_or_store(asking: Running, vault_url: str, issuer_key: Any) -> None:
    """The last of this file: all that was said above."""
    logged = asking.logged
    with client(vault_url) as store:
        kept = everything(store).decode("latin-1")
    assert "upstream" in logged  # there is something to look at
    for secret in ("7T:", "crmcookie", "app token", "same-secret", "made up", good(issuer_key).decode().split(".")[0]):
        assert secret not in logged
        assert secret not in kept
