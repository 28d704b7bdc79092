"""Application tokens: who is on the list, and that the list is walked to its end."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Callable

import pytest

from server.auth.apptokens import AppTokens

TOKENS = [secrets.token_bytes(24), secrets.token_urlsafe().encode(), b"caf\xc3\xa9"]
HASHES = tuple(hashlib.sha256(token).hexdigest() for token in TOKENS)


@pytest.mark.parametrize("token", TOKENS)
def test_a_token_on_the_list_is_known(token: bytes) -> None:
    assert AppTokens(HASHES).knows(token)


@pytest.mark.parametrize("token", [None, b"", b"other", TOKENS[0] + b"\0", TOKENS[0][:-1], HASHES[0].encode()])
def test_others_are_not(token: bytes | None) -> None:
    assert not AppTokens(HASHES).knows(token)


@pytest.mark.parametrize("token", [None, b"", *TOKENS])
def test_an_empty_list_knows_none(token: bytes | None) -> None:
    assert not AppTokens(()).knows(token)


def test_the_hash_of_nothing_on_the_list_lets_nobody_in() -> None:
    tokens = AppTokens((hashlib.sha256(b"").hexdigest(),))
    assert not tokens.knows(b"")
    assert not tokens.knows(None)


@pytest.mark.parametrize("token", [TOKENS[0], TOKENS[-1], b"other"])
def test_each_is_compared_whatever_is_found(token: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[object] = []

    def counting(compare: Callable[[bytes, bytes], bool], a: bytes, b: bytes) -> bool:
        compared.append(a)
        return compare(a, b)

    real = hmac.compare_digest
    monkeypatch.setattr("server.auth.apptokens.hmac.compare_digest", lambda a, b: counting(real, a, b))
    AppTokens(HASHES).knows(token)
    assert compared == [bytes.fromhex(hash_) for hash_ in HASHES]
