"""Files of keys: what each form gives, what each key may verify, and what a bad file is told."""

from __future__ import annotations

import datetime
import json
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, ed25519, rsa, x25519
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from server.auth.keys import Key, read_keys
from server.errors import SettingsError
from server.settings.rules import JWT_ALGORITHMS
from tests.auth.issuer import jwk, jwks, pem

EC = ec.generate_private_key(ec.SECP256R1())
ED = ed25519.Ed25519PrivateKey.generate()
SECRET = b"0123456789abcdef0123456789abcdef"
RS = {"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"}


@pytest.fixture(scope="module")
def rsa_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


@pytest.fixture(scope="module")
def weak() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=1024)


def read(folder: Path, raw: bytes, *algorithms: str) -> tuple[Key, ...]:
    path = folder / "keys"
    path.write_bytes(raw)
    return read_keys(path, algorithms or JWT_ALGORITHMS)


def refusal(folder: Path, raw: bytes, *algorithms: str) -> str:
    with pytest.raises(SettingsError) as caught:
        read(folder, raw, *algorithms)
    head, _, problem = str(caught.value).partition(": ")
    assert head == f"jwt.keys_file is {folder / 'keys'}"
    assert "\n" not in problem
    return problem


def certificate(key: Any) -> bytes:
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "issuer")])
    long_ago = datetime.datetime(2001, 1, 1)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(1).not_valid_before(long_ago).not_valid_after(long_ago)
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM)


# --- what each key may verify ---


def test_a_key_is_bound_to_the_algorithms_of_its_kind(tmp_path: Path, rsa_key: rsa.RSAPrivateKey) -> None:
    kinds: list[tuple[Any, set[str]]] = [
        (rsa_key, RS),
        (EC, {"ES256"}),
        (ec.generate_private_key(ec.SECP384R1()), {"ES384"}),
        (ec.generate_private_key(ec.SECP521R1()), {"ES512"}),
        (ED, {"EdDSA"}),
        (ed448.Ed448PrivateKey.generate(), {"EdDSA"}),
    ]
    keys = read(tmp_path, b"a comment\n" + b"\n".join(pem(key) for key, _ in kinds))
    assert [set(key.algorithms) for key in keys] == [algorithms for _, algorithms in kinds]
    assert [key.kid for key in keys] == [None] * 6
    assert not any(key.secret for key in keys)


def test_only_configured_algorithms_count(tmp_path: Path, rsa_key: rsa.RSAPrivateKey) -> None:
    (key,) = read(tmp_path, pem(rsa_key), "PS256", "RS512", "HS256", "ES256")
    assert key.algorithms == {"PS256", "RS512"}
    assert not key.signed("RS256", b"", b"")
    assert not key.signed("HS256", b"", b"")
    assert not key.signed("none", b"", b"")


def test_a_certificate_gives_its_key(tmp_path: Path) -> None:
    assert read(tmp_path, certificate(EC) + pem(EC))[0] == read(tmp_path, pem(EC))[0]


def test_the_older_form_of_an_rsa_key(tmp_path: Path, rsa_key: rsa.RSAPrivateKey) -> None:
    raw = rsa_key.public_key().public_bytes(Encoding.PEM, PublicFormat.PKCS1)
    assert read(tmp_path, raw) == read(tmp_path, pem(rsa_key))


def test_a_jwks(tmp_path: Path, rsa_key: rsa.RSAPrivateKey, weak: rsa.RSAPrivateKey) -> None:
    document = jwks(
        jwk(rsa_key, "RS256", kid="a", alg="PS384", use="sig"),
        jwk(EC, "ES256", kid="b", key_ops=["verify"]),
        jwk(SECRET, "HS256", kid="c"),
        jwk(EC, "ES256"),
        # none of these is for us
        jwk(rsa_key, "RS256", use="enc"),
        jwk(EC, "ES256", key_ops=["deriveKey"]),
        jwk(EC, "ES256", key_ops="verify"),
        jwk(EC, "ES256", alg="ES384"),
        jwk(EC, "ES256", alg=256),
        jwk(rsa_key, "RS256", alg="HS256"),
        jwk(rsa_key, "RS256", alg="none"),
        jwk(rsa_key, "RS256", kid=7),
        jwk(weak, "RS256"),
        jwk(SECRET[:31], "HS256"),
        jwk(pem(rsa_key), "HS256"),
        {"kty": "oct"},
        {"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA"},
        {"kty": "EC", "crv": "P-256", "x": 1, "y": 2},
        {**jwk(EC, "ES256"), "y": jwk(EC, "ES256")["x"]},
        {"kty": "RSA", "n": "AQAB", "e": "AQAB"},
        {"kty": "OKP", "crv": "X25519", "x": "AA"},
        {"kty": ["RSA"]},
        {},
        [],
    )
    keys = read(tmp_path, document)
    assert [(key.kid, set(key.algorithms)) for key in keys] == [
        ("a", {"PS384"}),
        ("b", {"ES256"}),
        ("c", {"HS256"}),
        (None, {"ES256"}),
    ]
    assert [key.secret for key in keys] == [False, False, True, False]


@pytest.mark.parametrize("end", [b"", b"\n", b"\r\n"])
def test_a_secret_ends_before_the_line_end(tmp_path: Path, end: bytes) -> None:
    (key,) = read(tmp_path, SECRET + end, "HS256", "HS512")
    assert key == Key(frozenset({"HS256"}), None, SECRET)
    assert SECRET.decode() not in repr(key)


@pytest.mark.parametrize("raw", [b"\x80" * 31 + b"\n", SECRET + b"\n\n", SECRET + b"\n" + SECRET + b"\n"])
def test_a_secret_that_is_not_one_line_is_taken_as_it_is(tmp_path: Path, raw: bytes) -> None:
    assert read(tmp_path, raw, "HS256")[0].material == raw


def test_a_longer_hash_needs_a_longer_secret(tmp_path: Path) -> None:
    hs = ("HS256", "HS384", "HS512")
    assert [len(read(tmp_path, b"s" * length, *hs)[0].algorithms) for length in (47, 48, 63, 64)] == [1, 2, 2, 3]


# --- what a bad file is told ---


def test_a_file_that_can_not_be_read(tmp_path: Path) -> None:
    for path, problem in ((tmp_path / "absent", "No such file or directory"), (tmp_path, "Is a directory")):
        with pytest.raises(SettingsError) as caught:
            read_keys(path, ["RS256"])
        assert str(caught.value) == f"jwt.keys_file is {path}, which can't be read: {problem}"


def test_a_private_key_is_not_taken(tmp_path: Path, rsa_key: rsa.RSAPrivateKey) -> None:
    told = "holds a private key, give the public one"
    for form in (PrivateFormat.PKCS8, PrivateFormat.TraditionalOpenSSL, PrivateFormat.OpenSSH):
        raw = EC.private_bytes(Encoding.PEM, form, NoEncryption())
        assert refusal(tmp_path, pem(EC) + raw) == refusal(tmp_path, raw, "HS256") == f"it {told}"
    private = {**jwk(EC, "ES256"), "d": "AQAB"}
    assert refusal(tmp_path, jwks(jwk(EC, "ES256"), private)) == f"key 2 {told}"
    assert refusal(tmp_path, jwks({**jwk(rsa_key, "RS256"), "p": "AQAB"})) == f"key 1 {told}"


def test_a_public_key_is_no_secret(tmp_path: Path) -> None:
    public = EC.public_key()
    der = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    ssh = public.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
    for raw in (der, ssh, json.dumps([jwk(EC, "ES256")]).encode()):
        assert refusal(tmp_path, raw, "HS256") == "its secret is empty or a public key, it must be a secret"
    assert refusal(tmp_path, pem(EC), "HS256") == "key 1 is for none of jwt.algorithms"
    assert refusal(tmp_path, certificate(EC), "HS256") == "key 1 is for none of jwt.algorithms"


def test_bad_pem(tmp_path: Path, weak: rsa.RSAPrivateKey) -> None:
    unreadable = "can't be read as a public key or a certificate"
    x = pem(x25519.X25519PrivateKey.generate())
    k1 = pem(ec.generate_private_key(ec.SECP256K1()))
    lines = pem(EC).splitlines(keepends=True)
    for raw, problem in [
        (pem(weak), "key 1 is RSA with 1024 bits, it must have 2048 to 8192"),
        (pem(EC) + x, "key 2 is for none of jwt.algorithms"),
        (pem(EC) + k1, "key 2 is for none of jwt.algorithms"),
        (pem(dsa.generate_private_key(1024)), "key 1 is for none of jwt.algorithms"),
        (pem(EC) + b"".join(lines[:-1]), "a block of its PEM is damaged, or has no end"),
        (lines[0] + lines[-1], f"key 1 {unreadable}"),
        (pem(EC).replace(b"PUBLIC KEY", b"CERTIFICATE"), f"key 1 {unreadable}"),
        (pem(EC).replace(b"PUBLIC KEY", b"EC PARAMETERS"), f"key 1 {unreadable}"),
    ]:
        assert refusal(tmp_path, raw) == problem
    assert refusal(tmp_path, pem(EC), "RS256", "EdDSA") == "key 1 is for none of jwt.algorithms"


def test_bad_jwks(tmp_path: Path, weak: rsa.RSAPrivateKey) -> None:
    no_jwks = 'it is not a JWKS, a JSON object with a list "keys"'
    for raw, problem in [
        (jwks(), "its JWKS has no keys"),
        (jwks()[:-1], no_jwks),
        (json.dumps(jwk(EC, "ES256")).encode(), no_jwks),
        (b"{" + SECRET, no_jwks),
        (jwks(jwk(weak, "RS256"), 1), "key 1 is RSA with 1024 bits, it must have 2048 to 8192"),
        (jwks(1, jwk(weak, "RS256")), "key 1 is not a JSON object"),
        (jwks(jwk(EC, "ES256", use="enc")), "key 1 is not for signatures, by its use or key_ops"),
        (jwks({"kty": "DH"}), "key 1 is of another kind, kty must be one of RSA, EC, OKP, oct"),
        (jwks(*[jwk(EC, "ES256")] * 101), "it has 101 keys, limit is 100"),
    ]:
        assert refusal(tmp_path, raw, "HS256", "RS256", "ES256") == problem
    assert refusal(tmp_path, jwks(), "HS256") == "its JWKS has no keys"


def test_bad_secrets(tmp_path: Path) -> None:
    assert refusal(tmp_path, b" \n", "HS256") == refusal(tmp_path, b"") == "it is empty"
    assert refusal(tmp_path, SECRET[:31] + b"\n", "HS256") == "its secret has 31 bytes, it must have at least 32"
    assert refusal(tmp_path, SECRET, "HS512") == "its secret has 32 bytes, it must have at least 64"
    assert refusal(tmp_path, jwks(jwk(b"s", "HS256")), "HS256") == "key 1 has 1 bytes, it must have at least 32"
    mixed = refusal(tmp_path, SECRET, "HS256", "RS256")
    assert mixed.startswith("it is neither PEM nor a JWKS, and a secret is one only where all of jwt.algorithms are HS")
