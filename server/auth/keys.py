"""The keys that tokens are signed with, read from a file or a JWKS (RFC 7517), and what each may verify.

1. A key is bound to the algorithms of its kind when it is read. A public key never becomes an HMAC secret, and `none`
   is no algorithm: whatever a token says of itself, only the algorithms of the key count.
2. Of a JWKS, `alg`, `use` and `key_ops` hold: a key that is meant for something else is none.
3. Nothing private is taken. Who holds only public keys can't lose them.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import msgspec
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed448 import Ed448PublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from cryptography.x509 import load_pem_x509_certificate
from jwt import PyJWTError
from jwt.algorithms import Algorithm, get_default_algorithms

from server.errors import SettingsError
from server.settings.rules import JWT_ALGORITHMS

RSA_BITS: Final = (2048, 8192)
"""At least what NIST SP 800-131A asks, at most what a loop can afford: a signature of 8192 bits takes 0.2 ms."""
SECRET_BYTES: Final = {"HS256": 32, "HS384": 48, "HS512": 64}
"""The shortest secrets, RFC 7518, 3.2."""
MAX_KEYS: Final = 100

_ALGORITHMS: Final[dict[str, Algorithm]] = {
    name: algorithm for name, algorithm in get_default_algorithms().items() if name in JWT_ALGORITHMS
}
_RSA: Final = frozenset({"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"})
_CURVES: Final = {"secp256r1": "ES256", "secp384r1": "ES384", "secp521r1": "ES512"}
_READERS: Final = {"RSA": "RS256", "EC": "ES256", "OKP": "EdDSA", "oct": "HS256"}
"""By `kty`, an algorithm that reads such a JWK."""
_PRIVATE_MEMBERS: Final = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth"})
_PRIVATE: Final = "holds a private key, give the public one"
_PEM: Final = re.compile(rb"-----BEGIN ([A-Z0-9 ]+)-----.*?-----END \1-----", re.DOTALL)
_TEXT_LINE: Final = re.compile(rb"([ -~]+)\r?\n")


@dataclass(frozen=True, slots=True)
class Key:
    """A public key, or a secret (bytes), with its id, if it has one, and the algorithms that it may verify."""

    algorithms: frozenset[str]
    kid: str | None
    material: Any = field(repr=False)

    @property
    def secret(self) -> bool:
        """Whether it signs what it verifies, so that nobody else may know it."""
        return isinstance(self.material, bytes)

    def signed(self, algorithm: str, message: bytes, signature: bytes) -> bool:
        """Whether it made this signature, by an algorithm that is one of its own."""
        return algorithm in self.algorithms and _ALGORITHMS[algorithm].verify(message, self.material, signature)


class InvalidJwks(ValueError):
    """What is no JWKS. The message is ours and quotes nothing of it."""


def read_keys(path: Path, algorithms: Sequence[str]) -> tuple[Key, ...]:
    """The keys of a file, for these algorithms: PEM (public keys, certificates), a JWKS, or the HMAC secret itself.

    A certificate is taken for its key alone: its dates and its issuer are not looked at. A secret is taken only where
    all algorithms are HS; a line end after a secret of printable ASCII is no part of it. Raises `SettingsError`.
    """
    try:
        return _read(path.read_bytes(), algorithms)
    except OSError as error:
        raise SettingsError(f"jwt.keys_file is {path}, which can't be read: {error.strerror}") from None
    except ValueError as error:
        raise SettingsError(f"jwt.keys_file is {path}: {error}") from None


def parse_jwks(document: bytes, algorithms: Collection[str]) -> tuple[list[Key], list[str]]:
    """The keys of a JWKS that are for these algorithms, and why the others are not. Raises `InvalidJwks`."""
    try:
        decoded = msgspec.json.decode(document)
    except (ValueError, RecursionError):
        decoded = None
    jwks = decoded.get("keys") if isinstance(decoded, dict) else None
    if not isinstance(jwks, list):
        raise InvalidJwks('it is not a JWKS, a JSON object with a list "keys"')
    if len(jwks) > MAX_KEYS:
        raise InvalidJwks(f"it has {len(jwks)} keys, limit is {MAX_KEYS}")
    keys: list[Key] = []
    problems: list[str] = []
    for number, jwk in enumerate(jwks, 1):
        try:
            keys.append(_of_jwk(jwk, algorithms))
        except ValueError as problem:
            problems.append(f"key {number} {problem}")
    return keys, problems


def _read(raw: bytes, algorithms: Sequence[str]) -> tuple[Key, ...]:
    if not raw.strip():
        raise ValueError("it is empty")
    if raw.lstrip().startswith(b"{"):  # also where it is damaged: half a JWKS must not become a secret
        return _of_jwks(raw, algorithms)
    if b"-----BEGIN " in raw:
        return _of_pem(raw, algorithms)
    if not all(name.startswith("HS") for name in algorithms):
        raise ValueError(
            "it is neither PEM nor a JWKS, and a secret is one only where all of jwt.algorithms are HS256, HS384, HS512"
        )
    line = _TEXT_LINE.fullmatch(raw)
    try:
        return (_bound(line[1] if line else raw, algorithms),)
    except ValueError as problem:
        raise ValueError(f"its secret {problem}") from None


def _of_jwks(document: bytes, algorithms: Sequence[str]) -> tuple[Key, ...]:
    keys, problems = parse_jwks(document, algorithms)
    for problem in problems:
        if problem.endswith(_PRIVATE) or not keys:
            raise ValueError(problem)
    if not keys:
        raise ValueError("its JWKS has no keys")
    return tuple(keys)


def _of_pem(raw: bytes, algorithms: Sequence[str]) -> tuple[Key, ...]:
    if re.search(rb"-----BEGIN [A-Z0-9 ]*PRIVATE KEY", raw):
        raise ValueError(f"it {_PRIVATE}")
    blocks = list(_PEM.finditer(raw))
    if len(blocks) != raw.count(b"-----BEGIN "):
        raise ValueError("a block of its PEM is damaged, or has no end")
    keys = []
    for number, block in enumerate(blocks, 1):
        try:
            keys.append(_bound(_material(block), algorithms))
        except ValueError as problem:
            raise ValueError(f"key {number} {problem}") from None
    return tuple(keys)


def _material(block: re.Match[bytes]) -> object:
    try:
        if block[1] == b"CERTIFICATE":
            return load_pem_x509_certificate(block[0]).public_key()
        return load_pem_public_key(block[0])
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise ValueError("can't be read as a public key or a certificate") from None


def _of_jwk(jwk: object, algorithms: Collection[str]) -> Key:
    if not isinstance(jwk, dict):
        raise ValueError("is not a JSON object")
    kind, kid, alg, uses = jwk.get("kty"), jwk.get("kid"), jwk.get("alg"), jwk.get("key_ops", ["verify"])
    if not isinstance(kind, str) or kind not in _READERS:
        raise ValueError(f"is of another kind, kty must be one of {', '.join(_READERS)}")
    if kind != "oct" and not _PRIVATE_MEMBERS.isdisjoint(jwk):
        raise ValueError(_PRIVATE)
    if jwk.get("use", "sig") != "sig" or not isinstance(uses, list) or "verify" not in uses:
        raise ValueError("is not for signatures, by its use or key_ops")
    if kid is not None and not isinstance(kid, str):
        raise ValueError("has a kid that is not text")
    try:
        material = _ALGORITHMS[_READERS[kind]].from_jwk(jwk)
    except (PyJWTError, ValueError, TypeError, KeyError, UnsupportedAlgorithm):
        raise ValueError(f"can't be read as {kind}, it is damaged or of a curve that is not served") from None
    return _bound(material, algorithms if alg is None else [name for name in algorithms if name == alg], kid)


def _bound(material: object, algorithms: Collection[str], kid: str | None = None) -> Key:
    """The key, for those of `algorithms` that are of its kind. Raises `ValueError` where these are none."""
    own = (_of_secret(material, algorithms) if isinstance(material, bytes) else _family(material)) & {*algorithms}
    if not own:
        raise ValueError("is for none of jwt.algorithms")
    return Key(own, kid, material)


def _of_secret(secret: bytes, algorithms: Collection[str]) -> frozenset[str]:
    try:
        _ALGORITHMS["HS256"].prepare_key(secret)  # refuses what is a public key in any form
    except PyJWTError:
        raise ValueError("is empty or a public key, it must be a secret") from None
    least = min((least for name, least in SECRET_BYTES.items() if name in algorithms), default=0)
    if len(secret) < least:
        raise ValueError(f"has {len(secret)} bytes, it must have at least {least}")
    return frozenset(name for name, least in SECRET_BYTES.items() if len(secret) >= least)


def _family(material: object) -> frozenset[str]:
    """The algorithms of a public key's kind. Raises `ValueError` where it is too weak or too large."""
    if isinstance(material, RSAPublicKey):
        if not RSA_BITS[0] <= material.key_size <= RSA_BITS[1]:
            raise ValueError(f"is RSA with {material.key_size} bits, it must have {RSA_BITS[0]} to {RSA_BITS[1]}")
        return _RSA
    if isinstance(material, EllipticCurvePublicKey):
        return frozenset({_CURVES[material.curve.name]} if material.curve.name in _CURVES else ())
    return frozenset({"EdDSA"} if isinstance(material, Ed25519PublicKey | Ed448PublicKey) else ())
