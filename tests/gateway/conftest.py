"""The servers that the gateway's tests share."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Final

import pytest

from server.auth.basic import hash_password
from tests.running import Running, serving

CRM: Final = "https://crm.example.com"
BASE: Final = "/clear"
_USERS: Final = """
[users.ada]
hash = "{0}"
tenant = "acme"

[users.writer]
hash = "{0}"
tenant = "acme"
scopes = ["handled:write"]

[users.reader]
hash = "{0}"
tenant = "acme"
scopes = ["sync:read"]

[users.bob]
hash = "{0}"
tenant = "acme"
"""

_numbers = itertools.count(1)


@pytest.fixture
def user() -> str:
    """An agent that no other test knows."""
    return f"agent-{next(_numbers)}"


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A server of the module's own where anybody signs in."""
    with serving("--dev", folder=tmp_path_factory.mktemp("serve")) as running:
        yield running


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A server with everything set: users (password x), a base path, one origin, two sessions, the lowest cap."""
    folder = tmp_path_factory.mktemp("guarded")
    users = folder / "users.toml"
    users.write_text(_USERS.format(hash_password("x")))
    env = {
        "CLEARSYNC_AUTH__USERS_FILE": str(users),
        "CLEARSYNC_SERVER__BASE_PATH": BASE,
        "CLEARSYNC_SERVER__TRUSTED_PROXIES": "127.0.0.1",
        "CLEARSYNC_GATEWAY__ALLOWED_ORIGINS": CRM,
        "CLEARSYNC_LIMITS__SESSIONS_PER_WORKER": "2",
        "CLEARSYNC_STORE__MAX_EVENTS_PER_AGENT": "1000",
    }
    with serving(folder=folder, env=env) as running:
        yield running
