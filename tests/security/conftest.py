"""The servers that are attacked, each shared by all tests, on one store that tests can look into."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import argon2
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.auth.issuer import pem
from tests.running import RealStore, Running, serving

CRM: Final = "https://crm.example.com"
PASSWORD: Final = "correct horse battery"
_CHEAP: Final = argon2.PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)


def users_text(passwords: Mapping[str, str], **scopes: list[str]) -> str:
    """A users file of tenant acme, with hashes that cost next to nothing."""
    entries = []
    for name, password in passwords.items():
        entries.append(f'[users."{name}"]\nhash = "{_CHEAP.hash(password)}"\ntenant = "acme"')
        if name in scopes:
            entries.append(f"scopes = {scopes[name]}")
    return "\n".join(entries) + "\n"


def replace(path: Path, text: str) -> None:
    """The file's content, as an editor that is careful changes it."""
    fresh = path.with_suffix(".new")
    fresh.write_text(text)
    os.replace(fresh, path)


@pytest.fixture(scope="session")
def vault_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The store behind `house` and `annex`."""
    store = RealStore(tmp_path_factory.mktemp("security-store"))
    try:
        store.start()
        yield store.url
    finally:
        store.close()


@pytest.fixture(scope="session")
def signing_key() -> Any:
    """The private key of the issuer whose tokens `house` takes."""
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


@pytest.fixture(scope="session")
def settings(tmp_path_factory: pytest.TempPathFactory, vault_url: str, signing_key: Any) -> dict[str, str]:
    """Users, tickets and tokens; no limit on failures, since these tests make nothing else."""
    folder = tmp_path_factory.mktemp("security-settings")
    (folder / "users.toml").write_text(
        users_text(
            dict.fromkeys(("ada", "bob", "carl", "backend", "reader", "writer", "chief"), PASSWORD),
            backend=["handled:write", "agents:write"],
            chief=["handled:write", "sync:read", "agents:write"],
            reader=["sync:read"],
            writer=["handled:write"],
        )
    )
    (folder / "issuer.pem").write_bytes(pem(signing_key))
    return {
        "CLEARSYNC_AUTH__USERS_FILE": str(folder / "users.toml"),
        "CLEARSYNC_AUTH__TICKETS": "true",
        "CLEARSYNC_JWT__KEYS_FILE": str(folder / "issuer.pem"),
        "CLEARSYNC_JWT__AUDIENCE": "clearsync",
        "CLEARSYNC_JWT__LEEWAY_S": "0",
        "CLEARSYNC_LIMITS__FAILED_LOGINS_PER_MINUTE": "0",
        "CLEARSYNC_LIMITS__SESSIONS_PER_AGENT": "0",
        "CLEARSYNC_LIMITS__WEB_SESSIONS_PER_AGENT_MINUTE": "0",
        "CLEARSYNC_LOG__LEVEL": "debug",
    }


@pytest.fixture(scope="session")
def house(tmp_path_factory: pytest.TempPathFactory, settings: dict[str, str], vault_url: str) -> Iterator[Running]:
    """The server that most tests attack."""
    with serving("--store", vault_url, folder=tmp_path_factory.mktemp("house"), env=settings) as running:
        yield running


@pytest.fixture(scope="session")
def annex(tmp_path_factory: pytest.TempPathFactory, settings: dict[str, str], vault_url: str) -> Iterator[Running]:
    """A second server on the same store."""
    with serving("--store", vault_url, folder=tmp_path_factory.mktemp("annex"), env=settings) as running:
        yield running
