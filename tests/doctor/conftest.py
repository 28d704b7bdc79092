"""The servers that these tests share, and how one is looked at."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import pytest

from server.auth.basic import hash_password
from server.doctor import CHECKS, Check, Finding, Login, Patient, Status, examine
from tests.gateway.devices import basic
from tests.running import Running, serving

PASSWORD: Final = "x"
USERS: Final = """
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
"""
Found = dict[str, Finding]
Look = Callable[..., Awaitable[Found]]


def users_file(folder: Path) -> dict[str, str]:
    """The setting that names one with Ada, who may all that is usual, a writer and a reader."""
    users = folder / "users.toml"
    users.write_text(USERS.format(hash_password(PASSWORD)))
    return {"CLEARSYNC_AUTH__USERS_FILE": str(users)}


@pytest.fixture(scope="package")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A server as it stands behind a proxy that ends TLS, quick to see that its store is gone."""
    folder = tmp_path_factory.mktemp("serve")
    env = users_file(folder) | {
        "CLEARSYNC_SERVER__TRUSTED_PROXIES": "127.0.0.1",
        "CLEARSYNC_STORE__PROBE_INTERVAL_S": "0.5",
        "CLEARSYNC_STORE__TIMEOUT_S": "1",
        "CLEARSYNC_GATEWAY__PING_INTERVAL_S": "2",
        "CLEARSYNC_GATEWAY__PING_TIMEOUT_S": "1.5",
        "CLEARSYNC_LIMITS__FAILED_LOGINS_PER_MINUTE": "0",
    }
    with serving(folder=folder, env=env) as running:
        yield running


@pytest.fixture(scope="package")
def another(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """One with a store of its own and the same users, where the first should be."""
    folder = tmp_path_factory.mktemp("another")
    with serving(folder=folder, env=users_file(folder)) as running:
        yield running


def login(user: str = "ada", password: str = PASSWORD) -> Login:
    """Of somebody in the users file."""
    return Login(user, {"Authorization": basic(user, password)})


NOBODY: Final = Login(missing="no credentials")


SHORT_S: Final = 0.6
"""For what never comes. What it stands on has the usual time."""


async def look(url: str, *names: str, who: Login | None = None, in_vain: bool = False, **options: Any) -> Found:
    """What the named checks find (without names: all of them), and those that they stand on. `in_vain`: the named ones
    wait for something that does not come."""
    wanted, before = set(names) or {check.name for check in CHECKS}, set[str]()
    while wanted != before:
        before = set(wanted)
        wanted |= {need for check in CHECKS if check.name in wanted for need in check.needs}
    wanted |= {"credentials"} if wanted & {"websocket", "body", "event stream"} else set()
    told: list[Finding] = []
    async with Patient(url, who or login(), **options) as patient:
        checks = [check for check in CHECKS if check.name in wanted]
        found = await examine(patient, told.append, [_hurried(c) if in_vain and c.name in names else c for c in checks])
    assert told == found
    return {finding.check: finding for finding in found}


def _hurried(check: Check) -> Check:
    async def look(patient: Patient) -> Finding:
        patient.answer_s = SHORT_S
        return await check.look(patient)

    return replace(check, look=look)


def bad(found: Found) -> Found:
    """What is neither ok nor left out."""
    return {name: one for name, one in found.items() if one.status in (Status.WARN, Status.FAIL)}


async def the_failure(url: str, *names: str, **options: Any) -> Finding:
    """The only one that is bad of what was looked at."""
    failures = bad(await look(url, *names, **options))
    assert len(failures) == 1, failures
    (finding,) = failures.values()
    return finding
