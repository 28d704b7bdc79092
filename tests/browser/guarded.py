"""A server that knows its users and stands under a base path."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import argon2

from tests.running import Running, serving

BASE: Final = "/sync"
PASSWORD: Final = "correct horse"
SCOPES: Final = {"ada": "", "olga": "scopes = ['handled:write', 'sync:read', 'admin']"}
"""The users; an empty text gives the default ones."""


@contextmanager
def guarded(folder: Path, *, console: bool = True) -> Iterator[Running]:
    """That server, with the console switched on or as it is by default, until the context ends."""
    users = folder / "users.toml"
    known = argon2.PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash(PASSWORD)
    entries = (f"[users.{name}]\nhash = '{known}'\ntenant = 'acme'\n{scopes}" for name, scopes in SCOPES.items())
    users.write_text("\n".join(entries))
    env = {
        "CLEARSYNC_AUTH__USERS_FILE": str(users),
        "CLEARSYNC_SERVER__BASE_PATH": BASE,
    }
    if console:
        env["CLEARSYNC_CONSOLE__ENABLED"] = "true"
    with serving("--store", "memory", folder=folder, env=env) as running:
        yield running
