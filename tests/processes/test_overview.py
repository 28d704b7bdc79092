"""`GET /api/v1/admin/overview`: the figures of all workers, on the public port, for those who may see them."""

from __future__ import annotations

import asyncio
import json
import time
import urllib.error
import urllib.request
from typing import Any

import pytest

from server import __version__
from server.api.openapi import description
from server.wire import OVERVIEW_PATH, SESSION_PATH
from tests.gateway.devices import basic, caller, tickets
from tests.processes.conftest import overview_of, parsed, scraped
from tests.running import Running, paused
from tests.schema.documents import mistakes


def ask(running: Running, path: str = OVERVIEW_PATH, method: str = "GET", **headers: str) -> tuple[int, Any, Any]:
    """Status, headers and decoded body."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    request = urllib.request.Request(running.url + path, headers=named, method=method)
    try:
        with urllib.request.urlopen(request, timeout=10) as response:
            return response.status, response.headers, json.load(response)
    except urllib.error.HTTPError as refused:
        with refused:
            return refused.code, refused.headers, json.loads(refused.read())


def test_it_is_what_is_scraped_by_worker(two_workers: Running) -> None:
    before = time.time() * 1000
    shown = overview_of(two_workers)
    assert before - 1 <= shown["now"] <= time.time() * 1000 + 1
    assert (shown["version"], shown["ready"]) == (__version__, True)
    assert [(each["worker"], each["ready"]) for each in shown["workers"]] == [(0, True), (1, True)]
    scrape = {
        (sample.name.removeprefix("clearsync_"), str(sorted(sample.labels.items())))
        for family in parsed(scraped(two_workers)).values()
        for sample in family.samples
    }
    for each in shown["workers"]:
        for figure in each["figures"]:
            labels = {**figure["labels"], "worker": str(each["worker"])}
            assert (figure["name"], str(sorted(labels.items()))) in scrape
    assert len(shown["workers"][0]["figures"]) == len(shown["workers"][1]["figures"]) > 100
    assert not mistakes(description("", __version__), "#/components/schemas/Overview", shown)


@pytest.mark.parametrize(
    ("path", "user", "status"),
    [
        (OVERVIEW_PATH, "root", 200),
        (f"/acme{OVERVIEW_PATH}", "root", 200),
        (f"/other{OVERVIEW_PATH}", "root", 403),
        (OVERVIEW_PATH, "ada", 403),
        (OVERVIEW_PATH, "nobody", 401),
        (OVERVIEW_PATH, "", 401),
    ],
)
def test_only_who_may_see_it_does(two_workers: Running, path: str, user: str, status: int) -> None:
    answer, headers, body = ask(two_workers, path, **({"Authorization": basic(user)} if user else {}))
    assert answer == status
    if status == 200:
        assert headers["Cache-Control"] == "no-store"
        assert len(body["workers"]) == 2
    else:
        assert body["Error"] is True
        assert "workers" not in body


def test_a_browsers_session_needs_its_token(two_workers: Running) -> None:
    _, headers, begun = ask(two_workers, SESSION_PATH, "POST", Authorization=basic("root"))
    cookie = next(each for each in headers.get_all("set-cookie") if "HttpOnly" in each).partition(";")[0]
    assert ask(two_workers, Cookie=cookie)[0] == 403
    assert ask(two_workers, Cookie=cookie, X_XSRF_TOKEN=begun["xsrf"])[0] == 200


async def test_a_supervisor_that_is_silent_holds_nobody_up(two_workers: Running) -> None:
    async def asked() -> tuple[int, Any, Any]:
        return await asyncio.to_thread(ask, two_workers, Authorization=basic("root"))

    with paused(two_workers.pid):
        async with asyncio.timeout(8), caller(two_workers, "ada") as post:
            waiting = [asyncio.ensure_future(asked()) for _ in range(6)]
            await post.handled(*tickets([1]))
            for status, headers, body in await asyncio.gather(*waiting):
                assert status == 503
                assert headers["Retry-After"]
                assert body["ErrorType"] == "Unavailable"
    async with asyncio.timeout(10):
        while (await asked())[0] != 200:
            pass
