"""Forged and misused tokens (JWT), against a running server: each is a 401, and nothing comes of it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from server.auth.websession import XSRF_COOKIE
from server.wire import SESSION_PATH
from tests.auth.issuer import base64url, jwk, pem, token
from tests.running import Running
from tests.security.callers import bearer, call, refused, report
from tests.security.inside import NOTHING, new_id, where

Forge = Callable[[Any], bytes]


def claims(**changed: object) -> dict[str, object]:
    return {"sub": "ada", "tenant": "acme", "aud": "clearsync", "exp": time.time() + 600, **changed}


def unsigned(alg: str, signature: bytes = b"") -> bytes:
    head = base64url(json.dumps({"alg": alg, "typ": "JWT"}).encode())
    return b".".join((head, base64url(json.dumps(claims()).encode()), signature))


def hs_by_public_key(key: Any) -> bytes:
    import hashlib
    import hmac

    message = base64url(b'{"alg":"HS256"}') + b"." + base64url(json.dumps(claims()).encode())
    return message + b"." + base64url(hmac.new(pem(key), message, hashlib.sha256).digest())


def by_its_own_key(key: Any) -> bytes:
    mine = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return token(mine, "RS256", claims(), jwk=jwk(mine, "RS256"), jku="http://127.0.0.1:1/", kid="mine")


def other_payload(key: Any) -> bytes:
    head, _, signature = token(key, "RS256", claims()).split(b".")
    return b".".join((head, base64url(json.dumps(claims(sub="bob")).encode()), signature))


FORGERIES: dict[str, Forge] = {
    "alg none": lambda key: unsigned("none"),
    "alg none, with a signature": lambda key: unsigned("none", b"AAAA"),
    "alg NONE": lambda key: unsigned("nOnE", b"AAAA"),
    "alg none in the place of RS256": lambda key: unsigned("RS256"),
    "HS256 by the public key": hs_by_public_key,
    "a key that it brings along": by_its_own_key,
    "another payload under a good signature": other_payload,
    "expired": lambda key: token(key, "RS256", claims(exp=time.time() - 1)),
    "never expires": lambda key: token(key, "RS256", {k: v for k, v in claims().items() if k != "exp"}),
    "expires as text": lambda key: token(key, "RS256", claims(exp="9999999999")),
    "expires never, as infinity": lambda key: token(key, "RS256", json.dumps(claims(exp=float("inf"))).encode()),
    "not valid yet": lambda key: token(key, "RS256", claims(nbf=time.time() + 600)),
    "another audience": lambda key: token(key, "RS256", claims(aud="mail")),
    "no audience": lambda key: token(key, "RS256", {k: v for k, v in claims().items() if k != "aud"}),
    "audience as part of a text": lambda key: token(key, "RS256", claims(aud="not-clearsync")),
    "an algorithm that is not allowed": lambda key: token(key, "PS256", claims()),
    "crit": lambda key: token(key, "RS256", claims(), crit=["exp"]),
    "two signatures": lambda key: token(key, "RS256", claims()) + b".AAAA",
    "padding": lambda key: token(key, "RS256", claims()) + b"==",
    "no token": lambda key: b"",
    "dots": lambda key: b"..",
}


@pytest.mark.parametrize("name", FORGERIES)
async def test_forged_token_is_401(house: Running, vault_url: str, signing_key: Any, name: str) -> None:
    forged, id_ = bearer(FORGERIES[name](signing_key)), new_id()
    reply = report(house, id_, forged)
    assert reply.problem() == (401, "Unauthenticated")
    assert 'Bearer realm="clearsync"' in reply.all("www-authenticate")[0]
    assert call(house, "POST", SESSION_PATH, forged).status == 401
    assert await refused(house, forged) == (401, "Unauthenticated")
    assert where(vault_url, id_) == NOTHING


def test_good_token_is_taken_so_that_the_others_mean_something(
    house: Running, vault_url: str, signing_key: Any
) -> None:
    id_ = new_id()
    assert report(house, id_, bearer(token(signing_key, "RS256", claims()))).status == 204
    assert where(vault_url, id_) == {"acme/ada"}


@pytest.mark.parametrize("tenant", ["globex/ada", "..", "acme/", "acme%2Fada", "ACME ", "{acme}", "acme}:sessions"])
def test_tenant_of_a_token_stays_one_part_of_the_key(
    house: Running, vault_url: str, signing_key: Any, tenant: str
) -> None:
    id_ = new_id()
    assert report(house, id_, bearer(token(signing_key, "RS256", claims(tenant=tenant)))).status == 204
    (tag,) = where(vault_url, id_)
    assert tag.count("/") == 1
    assert tag != "acme/ada"
    assert not set(tag) & set("{} :")


def test_scopes_that_a_token_does_not_have(house: Running, vault_url: str, signing_key: Any) -> None:
    id_ = new_id()
    for scope in ("", "sync:read", "handled:writer", ["handled"], None, 1, {"handled:write": True}):
        reply = report(house, id_, bearer(token(signing_key, "RS256", claims(scope=scope))))
        assert reply.problem() == (403, "Forbidden")
    own = bearer(token(signing_key, "RS256", claims(scope="handled:write")))
    assert report(house, id_, own, ("X-Agent-Id", "bob")).problem() == (403, "Forbidden")
    assert where(vault_url, id_) == NOTHING


def test_session_of_a_token_that_is_about_to_end_is_not_begun(house: Running, signing_key: Any) -> None:
    reply = call(house, "POST", SESSION_PATH, bearer(token(signing_key, "RS256", claims(exp=time.time() + 0.9))))
    assert reply.problem() == (401, "Unauthenticated")
    assert not reply.all("set-cookie"), XSRF_COOKIE
