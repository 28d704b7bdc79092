"""One service of two workers for all tests that only read its figures, or change them by what they do."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import argon2
import pytest
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from server.wire import OVERVIEW_PATH
from tests.gateway.devices import basic
from tests.running import Running, serving, wait_until


@pytest.fixture(scope="session")
def two_workers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """Its users, with the password `x`: `ada` and `bob` of acme; `root`, who may see the figures; and a hasty agent,
    `hurry`, of whom many requests are too many."""
    folder = tmp_path_factory.mktemp("figures")
    cheap = argon2.PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash("x")
    users = folder / "users.toml"
    entries = [f'[users.{name}]\nhash = "{cheap}"\ntenant = "acme"\n' for name in ("ada", "bob", "hurry", "root")]
    users.write_text("".join(entries) + 'scopes = ["admin"]\n')
    env = {
        "CLEARSYNC_AUTH__USERS_FILE": str(users),
        "CLEARSYNC_LIMITS__REQUESTS_PER_AGENT_S": "50",
        "CLEARSYNC_LIMITS__REQUESTS_PER_AGENT_BURST": "100",
    }
    with serving(folder=folder, workers=2, env=env) as running:
        yield running


def scraped(running: Running) -> str:
    """What Prometheus gets."""
    with urllib.request.urlopen(f"{running.admin_url}/metrics", timeout=10) as response:
        assert response.status == 200
        assert response.headers["Content-Type"].startswith("text/plain; version=0.0.4")
        return str(response.read().decode())


def parsed(text: str) -> dict[str, Metric]:
    """By their names, of which Prometheus' parser takes `_total` away."""
    return {family.name: family for family in text_string_to_metric_families(text)}


def overview_of(running: Running, user: str = "root") -> Any:
    """What somebody is answered who may see the figures; a machine that is busy may take longer than is waited for."""
    return wait_until(lambda: _overview(running, user), what="the supervisor answers")


def _overview(running: Running, user: str) -> Any:
    asked = urllib.request.Request(running.url + OVERVIEW_PATH, headers={"Authorization": basic(user)})
    try:
        with urllib.request.urlopen(asked, timeout=10) as response:
            assert response.status == 200
            return json.load(response)
    except urllib.error.HTTPError as refused:
        refused.close()
        if refused.code != 503:
            raise
        return None
