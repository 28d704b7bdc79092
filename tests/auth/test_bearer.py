"""Tokens: who gets in, and a table of attacks each with its refusal."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa

from server.auth.bearer import TOKEN_BYTES, Bearer
from server.auth.jwks import WINDOW_S, Jwks
from server.auth.keys import Key, read_keys
from server.auth.principal import DEFAULT_SCOPES, Principal, Scope
from server.auth.verifier import Verifier
from server.errors import BadRequest, SettingsError, Unauthenticated, Unavailable
from server.settings.rules import JWT_ALGORITHMS
from server.settings.schema import Jwt
from tests.auth.issuer import CLAIMS, NOW, Clock, Publisher, base64url, jwk, jwks, pem, publishing, token

EC = ec.generate_private_key(ec.SECP256R1())
OTHER_EC = ec.generate_private_key(ec.SECP256R1())
SECRET = b"0123456789abcdef" * 4
UNKNOWN = "token is not signed by a key that is known"
ALGORITHM = "token is signed by an algorithm that is not taken here"
FORM = "token must be three parts in base64url, the first of them a JSON object"


@pytest.fixture(scope="module")
def rsa_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


@dataclass
class Taker:
    """A `Bearer` of a file and of settings, at `NOW`."""

    folder: Path

    def __call__(self, raw: bytes | None = None, wall: float = NOW, **settings: Any) -> Bearer:
        chosen = Jwt(**{"audience": "clearsync", "algorithms": JWT_ALGORITHMS, **settings})
        path = self.folder / "keys"
        path.write_bytes(pem(EC) if raw is None else raw)
        return Bearer(chosen, read_keys(path, chosen.algorithms), None, wall=lambda: wall)


@pytest.fixture
def taker(tmp_path: Path) -> Taker:
    return Taker(tmp_path)


async def refusal(verifier: Bearer, credentials: bytes) -> str:
    """What is said to who is refused; nothing of the token is in it."""
    with pytest.raises(Unauthenticated) as caught:
        await verifier.verify(credentials, None)
    for part in ("ada", "acme", credentials.decode("latin-1")[:20]):
        assert part not in str(caught.value)
    return str(caught.value)


# --- who gets in ---


async def test_a_token_is_its_agent(taker: Taker) -> None:
    verifier: Verifier = taker()
    principal = await verifier.verify(token(EC, "ES256", {**CLAIMS, "iat": NOW, "nbf": NOW - 1.5}), b"any app token")
    assert str(principal.agent) == "acme/ada"
    assert principal == Principal(principal.agent, DEFAULT_SCOPES, NOW + 600)
    await verifier.run()
    await verifier.close()
    assert verifier.challenge == 'Bearer realm="clearsync"'


async def test_every_algorithm_with_its_key(taker: Taker, rsa_key: rsa.RSAPrivateKey) -> None:
    keys: list[tuple[str, Any]] = [
        *((name, rsa_key) for name in ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")),
        *((name, SECRET) for name in ("HS256", "HS384", "HS512")),
        ("ES256", EC),
        ("ES384", ec.generate_private_key(ec.SECP384R1())),
        ("ES512", ec.generate_private_key(ec.SECP521R1())),
        ("EdDSA", ed25519.Ed25519PrivateKey.generate()),
        ("EdDSA", ed448.Ed448PrivateKey.generate()),
    ]
    assert {name for name, _ in keys} == set(JWT_ALGORITHMS)
    every = taker(jwks(*(jwk(key, alg, kid=f"{n}") for n, (alg, key) in enumerate(keys))))
    for number, (alg, key) in enumerate(keys):
        assert (await every.verify(token(key, alg, kid=f"{number}"), None)).agent.associate == "ada"
        assert await refusal(every, token(key, alg, kid=f"{number}")[:-4] + b"AAAA") == UNKNOWN


async def test_only_algorithms_of_the_settings(taker: Taker, rsa_key: rsa.RSAPrivateKey) -> None:
    verifier = taker(pem(rsa_key), algorithms=("PS256",))
    await verifier.verify(token(rsa_key, "PS256"), None)
    assert await refusal(verifier, token(rsa_key, "RS256")) == ALGORITHM
    assert await refusal(verifier, token(rsa_key, "PS256", signed_as="RS256")) == UNKNOWN


async def test_a_secret_from_a_file(taker: Taker) -> None:
    verifier = taker(SECRET + b"\n", algorithms=("HS256",))
    await verifier.verify(token(SECRET, "HS256"), None)
    assert await refusal(verifier, token(SECRET + b"\n", "HS256")) == UNKNOWN


@pytest.mark.parametrize(
    ("claims", "settings", "who"),
    [
        ({"sub": 42}, {}, "acme/42"),
        ({"sub": "ÅDA"}, {}, "acme/%C3%A5da"),
        ({"tenant": 7}, {}, "7/ada"),
        ({"tenant": "evil"}, {"tenant": "Acme"}, "acme/ada"),
        ({"https://crm.example/login": "bo"}, {"agent_claim": "https://crm.example/login"}, "acme/bo"),
        ({"a.b": "bo", "a": {"b": "evil"}}, {"tenant_claim": "a.b"}, "bo/ada"),
    ],
)
async def test_agent_and_tenant(taker: Taker, claims: dict[str, object], settings: dict[str, Any], who: str) -> None:
    principal = await taker(**settings).verify(token(EC, "ES256", {**CLAIMS, **claims}), None)
    assert str(principal.agent) == who


@pytest.mark.parametrize("name", ["sub", "tenant"])
@pytest.mark.parametrize("value", [None, True, 1.5, ["ada"], {"name": "ada"}, ...])
async def test_no_agent_or_no_tenant(taker: Taker, name: str, value: object) -> None:
    claims = {key: value for key, value in {**CLAIMS, name: value}.items() if value is not ...}
    told = f"token has no {name} that is text or a whole number"
    assert await refusal(taker(), token(EC, "ES256", claims)) == told


@pytest.mark.parametrize("name", ["", "x" * 65, "a\nb"])
async def test_a_name_that_no_agent_can_have(taker: Taker, name: str) -> None:
    with pytest.raises(BadRequest):
        await taker().verify(token(EC, "ES256", {**CLAIMS, "sub": name}), None)


@pytest.mark.parametrize(
    ("scope", "scopes"),
    [
        (..., DEFAULT_SCOPES),
        ("handled:write", {Scope.HANDLED_WRITE}),
        ("openid agents:write  admin", {Scope.AGENTS_WRITE, Scope.ADMIN}),
        (["sync:read", "profile", 7, ["admin"], None], {Scope.SYNC_READ}),
        ("openid ADMIN admin,", set()),
        ("", set()),
        ([], set()),
        (None, set()),
        ({"admin": True}, set()),
        (7, set()),
    ],
)
async def test_scopes(taker: Taker, scope: object, scopes: set[Scope]) -> None:
    claims = CLAIMS if scope is ... else {**CLAIMS, "scp": scope}
    verifier = taker(scope_claim="scp")
    assert (await verifier.verify(token(EC, "ES256", {**claims, "scope": "admin"}), None)).scopes == scopes


# --- when ---


@pytest.mark.parametrize(
    ("leeway_s", "wall", "expires_at"),
    [
        (30, NOW + 599.9, NOW + 600),
        (30, NOW + 600, NOW + 630),
        (30, NOW + 629.9, NOW + 630),
        (30, NOW + 630, None),
        (0, NOW + 599.9, NOW + 600),
        (0, NOW + 600, None),
    ],
)
async def test_expiry_and_its_leeway(taker: Taker, leeway_s: float, wall: float, expires_at: float | None) -> None:
    verifier = taker(wall=wall, leeway_s=leeway_s)
    if expires_at is None:
        assert await refusal(verifier, token(EC, "ES256")) == "token has expired"
    else:
        assert (await verifier.verify(token(EC, "ES256"), None)).expires_at == expires_at


@pytest.mark.parametrize("name", ["nbf", "iat"])
async def test_the_beginning_and_its_leeway(taker: Taker, name: str) -> None:
    told = f"token is not valid yet, by its {name}"
    early = token(EC, "ES256", {**CLAIMS, name: NOW + 30})
    await taker(leeway_s=30).verify(early, None)
    assert await refusal(taker(leeway_s=29.9), early) == told
    assert await refusal(taker(leeway_s=0), early) == told


@pytest.mark.parametrize("name", ["exp", "nbf", "iat"])
@pytest.mark.parametrize(
    ("value", "told"),
    [
        (b'"1700000600"', "must be a number, of seconds since 1970"),
        (b"true", "must be a number, of seconds since 1970"),
        (b"null", "must be a number, of seconds since 1970"),
        (b"[1700000600]", "must be a number, of seconds since 1970"),
        (b"-1", "must be seconds since 1970, until the year 9999"),
        (b"253402300800", "must be seconds since 1970, until the year 9999"),
        (b"1e300", "must be seconds since 1970, until the year 9999"),
        (b"9" * 40, "must be seconds since 1970, until the year 9999"),
        (b"NaN", None),
        (b"Infinity", None),
        (b"1e999", None),
        (b"9" * 5000, None),
    ],
)
async def test_what_is_no_time(taker: Taker, name: str, value: bytes, told: str | None) -> None:
    claims = json.dumps({key: value for key, value in CLAIMS.items() if key != name}).encode()
    raw = claims[:-1] + b', "%b": %b}' % (name.encode(), value)
    said = f"token's {name} {told}" if told else "token's payload must be a JSON object"
    assert await refusal(taker(), token(EC, "ES256", raw)) == said


async def test_no_expiry(taker: Taker) -> None:
    claims = {key: value for key, value in CLAIMS.items() if key != "exp"}
    assert await refusal(taker(), token(EC, "ES256", claims)) == "token has no exp, it must say when it expires"


# --- for whom, and by whom ---


@pytest.mark.parametrize("audience", ["clearsync", ["clearsync"], ["other", "clearsync", 7]])
async def test_our_audience(taker: Taker, audience: object) -> None:
    await taker().verify(token(EC, "ES256", {**CLAIMS, "aud": audience}), None)


@pytest.mark.parametrize("audience", ["other", "clearsyncs", "Clearsync", "clear", "", None, [], ["other"], {}, 7, ...])
async def test_the_audience_of_others(taker: Taker, audience: object) -> None:
    claims = {key: value for key, value in {**CLAIMS, "aud": audience}.items() if value is not ...}
    assert await refusal(taker(), token(EC, "ES256", claims)) == "token's audience is not this service"


async def test_the_audience_is_not_a_key_of_an_object(taker: Taker) -> None:
    claims = {**CLAIMS, "aud": {"clearsync": True}}
    assert await refusal(taker(), token(EC, "ES256", claims)) == "token's audience is not this service"


async def test_the_issuer(taker: Taker) -> None:
    verifier = taker(issuer="https://id.example")
    await verifier.verify(token(EC, "ES256", {**CLAIMS, "iss": "https://id.example"}), None)
    for issuer in ("https://id.example/", "https://evil.example", "", None, ["https://id.example"]):
        told = await refusal(verifier, token(EC, "ES256", {**CLAIMS, "iss": issuer}))
        assert told == "token's issuer is not the one that is taken here"
    assert await refusal(verifier, token(EC, "ES256")) == "token's issuer is not the one that is taken here"


# --- attacks on the signature ---


@pytest.mark.parametrize("alg", ["none", "None", "nOnE", "NONE", "", "es256", "ES256K", "ES521", "RS1"])
async def test_no_algorithm(taker: Taker, alg: str) -> None:
    head = base64url(json.dumps({"alg": alg}).encode())
    message = head + b"." + base64url(json.dumps(CLAIMS).encode())
    verifier = taker()
    assert await refusal(verifier, message + b".AAAA") == ALGORITHM
    assert verifier.claims(message + b".")
    assert await refusal(verifier, message + b".") == FORM


async def test_a_public_key_is_not_taken_for_a_secret(taker: Taker, rsa_key: rsa.RSAPrivateKey) -> None:
    written = pem(rsa_key)
    for key, raw in ((rsa_key, written), (rsa_key, jwks(jwk(rsa_key, "RS256", kid="a"))), (EC, pem(EC))):
        for secret in (written, written.strip(), raw, raw.strip(), pem(key)):
            for alg in ("HS256", "HS384", "HS512"):
                assert await refusal(taker(raw), token(secret, alg, kid="a")) == UNKNOWN
    assert await refusal(taker(written), token(written, "RS256", signed_as="HS256")) == UNKNOWN


async def test_a_header_gives_no_key(taker: Taker) -> None:
    async with publishing() as publisher:
        publisher.body = jwks(jwk(OTHER_EC, "ES256", kid="evil"))
        offered: dict[str, Any] = {
            "jwk": jwk(OTHER_EC, "ES256"),
            "jku": publisher.url,
            "x5u": publisher.url,
            "x5c": ["MIIB"],
        }
        assert await refusal(taker(), token(OTHER_EC, "ES256", kid="evil", **offered)) == UNKNOWN
        await taker().verify(token(EC, "ES256", **offered), None)
    assert publisher.fetches == 0


@pytest.mark.parametrize("typ", ["JWT", "jwt", "at+jwt", "application/at+jwt", "AT+JWT"])
async def test_the_type_of_an_access_token(taker: Taker, typ: str) -> None:
    assert (await taker().verify(token(EC, "ES256", typ=typ), None)).tenant


@pytest.mark.parametrize("typ", ["logout+jwt", "secevent+jwt", "dpop+jwt", "", "JWT ", 1, None, ["JWT"]])
async def test_a_token_that_is_for_something_else(taker: Taker, typ: object) -> None:
    told = "token is of a type for something else, typ must be JWT or at+jwt"
    assert await refusal(taker(), token(EC, "ES256", typ=typ)) == told


@pytest.mark.parametrize("crit", [["exp"], [], ["b64"], "x", None])
async def test_a_header_that_must_be_understood(taker: Taker, crit: object) -> None:
    told = "token has crit, a header that must be understood, and none is"
    assert await refusal(taker(), token(EC, "ES256", crit=crit, b64=True)) == told


@pytest.mark.parametrize("header", [{"kid": 7}, {"kid": ["a"]}, {"kid": {}}])
async def test_a_kid_that_is_not_text(taker: Taker, header: dict[str, Any]) -> None:
    told = "token's alg must be text, and so its kid, if it has one"
    assert await refusal(taker(), token(EC, "ES256", **header)) == told


@pytest.mark.parametrize("alg", [b"null", b"7", b'["ES256"]', b"{}"])
async def test_an_alg_that_is_not_text(taker: Taker, alg: bytes) -> None:
    raw = base64url(b'{"alg":%b}' % alg) + b".e30.AAAA"
    assert taker().claims(raw)
    assert await refusal(taker(), raw) == "token's alg must be text, and so its kid, if it has one"


async def test_tampering(taker: Taker) -> None:
    verifier = taker()
    good = token(EC, "ES256")
    head, payload, signature = good.split(b".")
    forged = base64url(json.dumps({**CLAIMS, "sub": "bo"}).encode())
    other_head = base64url(b'{"alg": "ES256", "typ": "JWT"}')
    await verifier.verify(good, None)
    for changed in (
        (head, forged, signature),
        (other_head, payload, signature),
        (head, payload, base64url(b"\x00" * 64)),
        (head, payload, base64url(b"\xff" * 64)),
        (head, payload, signature[:-2]),
        (head, payload, signature[:4]),
        (head, payload, signature + b"AAAA"),
        (head, payload, token(OTHER_EC, "ES256").rpartition(b".")[2]),
    ):
        assert await refusal(verifier, b".".join(changed)) == UNKNOWN
    # the last character has four bits that say nothing: only one of its sixteen forms is the signature
    twin = signature[:-1] + bytes([signature[-1] + 1])
    assert await refusal(verifier, b".".join((head, payload, twin))) == FORM
    for malformed in (signature + b"=", signature + b"==", signature + b"\n", signature[:-1] + b"+", b"A"):
        assert await refusal(verifier, b".".join((head, payload, malformed))) == FORM


async def test_a_key_of_another_curve_or_kind(taker: Taker, rsa_key: rsa.RSAPrivateKey) -> None:
    p384 = ec.generate_private_key(ec.SECP384R1())
    verifier = taker(jwks(jwk(p384, "ES384", kid="a"), jwk(rsa_key, "RS256", kid="b", alg="RS256")))
    assert await refusal(verifier, token(p384, "ES256", kid="a")) == UNKNOWN
    assert await refusal(verifier, token(p384, "ES384", signed_as="ES256", kid="a")) == UNKNOWN
    assert await refusal(verifier, token(rsa_key, "PS256", kid="b")) == UNKNOWN
    await verifier.verify(token(rsa_key, "RS256", kid="b"), None)


@pytest.mark.parametrize(
    "payload",
    [b"", b"\xff\xfe", b"{", b"[]", b'"ada"', b"null", b"{} {}", b'{"sub":"\xff"}', b"[" * 5000, b'{"a":' * 900],
)
async def test_a_payload_that_is_no_object(taker: Taker, payload: bytes) -> None:
    said = FORM if not payload else "token's payload must be a JSON object"
    assert await refusal(taker(), token(EC, "ES256", payload)) == said


async def test_a_nested_header(taker: Taker) -> None:
    raw = base64url(b'{"alg":"ES256","a":' + b"[" * 5000) + b".e30.AAAA"
    assert not taker().claims(raw)
    assert await refusal(taker(), raw) == FORM


async def test_a_token_that_is_too_long(taker: Taker) -> None:
    verifier = taker()
    spare = TOKEN_BYTES - len(token(EC, "ES256", {**CLAIMS, "pad": ""}))
    fits = token(EC, "ES256", {**CLAIMS, "pad": "x" * (spare * 3 // 4 - 2)})
    assert TOKEN_BYTES - 8 < len(fits) <= TOKEN_BYTES
    await verifier.verify(fits, None)
    for long in (
        token(EC, "ES256", {**CLAIMS, "pad": "x" * 100_000}),
        token(EC, "ES256", pad="x" * 100_000),
        fits + b"A" * (TOKEN_BYTES + 1 - len(fits)),
        base64url(b"{" + b"x" * 100_000) + b".e30.AAAA",  # which nobody has read to its end
    ):
        assert verifier.claims(long)
        assert await refusal(verifier, long) == f"token has {len(long)} bytes, limit is {TOKEN_BYTES}"


# --- which key ---


async def test_keys_by_their_ids(taker: Taker) -> None:
    keys = [ec.generate_private_key(ec.SECP256R1()) for _ in range(3)]
    first, second, unnamed = keys
    verifier = taker(jwks(jwk(unnamed, "ES256"), jwk(first, "ES256", kid="a"), jwk(second, "ES256", kid="a")))
    for key in keys:  # two of one id, and one without any that may be it
        await verifier.verify(token(key, "ES256", kid="a"), None)
        await verifier.verify(token(key, "ES256"), None)
    await verifier.verify(token(unnamed, "ES256", kid="b"), None)
    assert await refusal(verifier, token(first, "ES256", kid="b")) == UNKNOWN
    assert await refusal(verifier, token(first, "ES256", kid="")) == UNKNOWN
    assert await refusal(verifier, token(first, "ES256", kid="A")) == UNKNOWN


async def test_not_more_than_five_are_tried(taker: Taker, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = [ec.generate_private_key(ec.SECP256R1()) for _ in range(9)]
    unfit = [jwk(ec.generate_private_key(ec.SECP384R1()), "ES384") for _ in range(5)]
    verifier = taker(jwks(*unfit, *(jwk(key, "ES256") for key in keys[:-1]), jwk(keys[-1], "ES256", kid="last")))
    tried: list[Key] = []
    signed = Key.signed

    def counted(key: Key, *args: Any) -> bool:
        tried.append(key)
        return signed(key, *args)

    monkeypatch.setattr(Key, "signed", counted)
    await verifier.verify(token(keys[4], "ES256"), None)
    assert await refusal(verifier, token(keys[5], "ES256")) == UNKNOWN
    assert await refusal(verifier, token(OTHER_EC, "ES256", kid="last")) == UNKNOWN
    assert len(tried) == 15
    await verifier.verify(token(keys[-1], "ES256", kid="last"), None)
    assert len(tried) == 16


# --- what it claims ---


@pytest.mark.parametrize(
    "opaque",
    [
        b"8A:Cust12345.AXRrbmd0aGlzaXNub3RhdG9rZW4",
        b"",
        b".",
        b"..",
        b"a.b.c",
        b"opaque",
        b"e30.e30.AAAA",  # {}
        b"W10.e30.AAAA",  # []
        b"WyJhbGciXQ.e30.AAAA",  # ["alg"]
        b"ImFsZyI.e30.AAAA",  # "alg"
        base64url(b'{"alg":"ES256"}'),
        base64url(b'{"alg":"ES256"}') + b".e30",
        base64url(b'{"alg":"RSA-OAEP","enc":"A256GCM"}') + b".a.b.c.d",
        base64url(b'{"ALG":"ES256"}') + b".e30.AAAA",
        base64url(b"\xef\xbb\xbf" + b'{"alg":"ES256"}') + b".e30.AAAA",
        b" " + base64url(b'{"alg":"ES256"}') + b".e30.AAAA",
        b"a" * 100_000 + b".e30.AAAA",
        b"8A:." + b"a" * 100_000 + b".e30",
        b"." * 100_000,
        b"\xff\xfe.\xff.\xff",
    ],
)
async def test_what_is_opaque_is_not_claimed(taker: Taker, opaque: bytes) -> None:
    verifier = taker()
    assert not verifier.claims(opaque)
    with pytest.raises(Unauthenticated):  # should it be asked all the same
        await verifier.verify(opaque, None)


def test_what_is_a_token_is_claimed(taker: Taker) -> None:
    assert taker().claims(token(EC, "ES256"))
    assert taker().claims(base64url(b' { "alg" : 7 } ') + b".e30.AAAA")


def test_settings_that_it_can_not_be_made_of(tmp_path: Path) -> None:
    (tmp_path / "keys").write_bytes(b"\n")
    for path, problem in ((tmp_path / "keys", "it is empty"), (tmp_path / "absent", "which can't be read")):
        with pytest.raises(SettingsError, match=rf"^jwt\.keys_file is {path}[:,] {problem}"):
            Bearer.of(Jwt(keys_file=str(path), audience="clearsync"))


# --- keys that the issuer publishes ---


@pytest.fixture
async def publisher() -> AsyncIterator[Publisher]:
    async with publishing() as publisher:
        publisher.body = jwks(jwk(EC, "ES256", kid="first"))
        yield publisher


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def published(publisher: Publisher, clock: Clock) -> AsyncIterator[Bearer]:
    settings = Jwt(audience="clearsync")
    verifier = Bearer(settings, (), Jwks(publisher.url, settings.algorithms, clock=clock), wall=lambda: NOW)
    yield verifier
    await verifier.close()


async def test_of_settings(publisher: Publisher, tmp_path: Path) -> None:
    (tmp_path / "keys").write_bytes(pem(OTHER_EC))
    claims = {**CLAIMS, "exp": 200_000_000_000}
    verifier = Bearer.of(
        Jwt(keys_file=str(tmp_path / "keys"), jwks_url=publisher.url, algorithms=("ES256",), audience="clearsync")
    )
    # a token of the file's key costs no fetch, whatever id it has
    await verifier.verify(token(OTHER_EC, "ES256", claims, kid="first"), None)
    assert publisher.fetches == 0
    await verifier.verify(token(EC, "ES256", claims, kid="first"), None)
    assert publisher.fetches == 1
    await verifier.close()


async def test_the_keys_are_there_before_the_first_caller(publisher: Publisher, published: Bearer) -> None:
    running = asyncio.ensure_future(published.run())
    await publisher.asked.acquire()
    await published.verify(token(EC, "ES256", kid="first"), None)
    assert publisher.fetches == 1
    running.cancel()


async def test_a_rotation(publisher: Publisher, published: Bearer, clock: Clock) -> None:
    old, new = token(EC, "ES256", kid="first"), token(OTHER_EC, "ES256", kid="second")
    await published.verify(old, None)
    publisher.body = jwks(jwk(OTHER_EC, "ES256", kid="second"))
    assert await refusal(published, new) == UNKNOWN  # within the window
    clock.now += WINDOW_S
    await published.verify(new, None)
    assert publisher.fetches == 2
    assert await refusal(published, old) == UNKNOWN


async def test_a_rotation_of_keys_without_ids(publisher: Publisher, published: Bearer, clock: Clock) -> None:
    publisher.body = jwks(jwk(EC, "ES256"))
    await published.verify(token(EC, "ES256"), None)
    publisher.body = jwks(jwk(OTHER_EC, "ES256"))
    clock.now += WINDOW_S
    await published.verify(token(OTHER_EC, "ES256"), None)


async def test_a_flood_of_unknown_ids(publisher: Publisher, published: Bearer, clock: Clock) -> None:
    await published.verify(token(EC, "ES256", kid="first"), None)
    clock.now += WINDOW_S
    flood = [token(EC, "ES256", kid=f"made up {n}") for n in range(1000)]
    answers = await asyncio.gather(*(published.verify(made, None) for made in flood[:500]), return_exceptions=True)
    assert {str(answer) for answer in answers} == {UNKNOWN}
    for made in flood[500:]:
        assert await refusal(published, made) == UNKNOWN
    assert publisher.fetches == 2
    await published.verify(token(EC, "ES256", kid="first"), None)


async def test_a_bad_signature_of_a_known_id_fetches_nothing(
    publisher: Publisher, published: Bearer, clock: Clock
) -> None:
    await published.verify(token(EC, "ES256", kid="first"), None)
    clock.now += WINDOW_S
    assert await refusal(published, token(OTHER_EC, "ES256", kid="first")) == UNKNOWN
    assert await refusal(published, token(b"", "none", kid="x", signed_as="HS256")) == ALGORITHM
    assert publisher.fetches == 1


async def test_no_keys_is_no_refusal(publisher: Publisher, published: Bearer) -> None:
    publisher.status = b"500 Oops"
    with pytest.raises(Unavailable, match="keys of the tokens' issuer can't be had now"):
        await published.verify(token(EC, "ES256", kid="first"), None)


async def test_closing_it_closes_them(publisher: Publisher, published: Bearer) -> None:
    await published.verify(token(EC, "ES256", kid="first"), None)
    await published.close()
    with pytest.raises(Unavailable):
        await published.verify(token(EC, "ES256", kid="first"), None)


async def test_a_published_secret_is_none(publisher: Publisher) -> None:
    algorithms = ("HS256", "ES256")  # which settings refuse beside a URL
    publisher.body = jwks(jwk(SECRET, "HS256", kid="s"), jwk(EC, "ES256", kid="first"))
    verifier = Bearer(Jwt(audience="clearsync", algorithms=algorithms), (), Jwks(publisher.url, algorithms))
    assert await refusal(verifier, token(SECRET, "HS256", kid="s")) == UNKNOWN
    await verifier.close()
