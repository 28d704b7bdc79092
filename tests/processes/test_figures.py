"""`GET /metrics` of the admin listener: what all workers count and hold, also while one of them is stuck."""

from __future__ import annotations

import asyncio
import os
import signal
import urllib.request
from collections.abc import Iterator

import pytest
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from server.metrics import DOCS, Sample
from server.processes.exposition import Measured, exposition
from tests.conftest import Serve
from tests.gateway.devices import caller, session
from tests.running import Running, wait_until


def parsed(text: str) -> dict[str, Metric]:
    """By their names, of which Prometheus' parser takes `_total` away."""
    return {family.name: family for family in text_string_to_metric_families(text)}


def scrape(running: Running) -> dict[str, Metric]:
    with urllib.request.urlopen(f"{running.admin_url}/metrics", timeout=10) as response:
        assert response.status == 200
        assert response.headers["Content-Type"].startswith("text/plain; version=0.0.4")
        return parsed(response.read().decode())


def by_worker(family: Metric) -> dict[str, float]:
    return {sample.labels["worker"]: sample.value for sample in family.samples}


def names(families: dict[str, Metric]) -> Iterator[str]:
    for name, family in families.items():
        yield f"{name}_total" if family.type == "counter" else name


async def test_a_scrape_has_what_each_worker_counts_and_holds(serve: Serve) -> None:
    with serve("--dev", workers=2) as running:
        async with session(running, "ada") as phone, caller(running, "ada") as post:
            await post.handled(("NewTicket", 1))
            await phone.until_cleared(("NewTicket", 1))
            families = await asyncio.to_thread(scrape, running)
    assert set(names(families)) == {f"clearsync_{name}" for name in DOCS} | {"clearsync_worker_ready"}
    for name, family in families.items():
        assert {sample.labels["worker"] for sample in family.samples} == {"0", "1"}, name
        assert family.documentation, name
    assert by_worker(families["clearsync_worker_ready"]) == {"0": 1.0, "1": 1.0}
    for name in ("batches_recorded", "clears", "catch_ups", "sessions", "channels"):
        assert sum(by_worker(families[f"clearsync_{name}"]).values()) == 1, name
    assert sum(by_worker(families["clearsync_connections"]).values()) >= 2
    assert min(by_worker(families["clearsync_tasks"]).values()) >= 1
    assert min(by_worker(families["clearsync_gc_pause_s"]).values()) > 0, "of the collection at the start"
    labels = [sample.labels for sample in families["clearsync_sign_ins"].samples]
    assert {"worker": "1", "scheme": "basic", "result": "refused"} in labels


@pytest.mark.faults
async def test_a_worker_that_does_not_answer_is_left_out(serve: Serve) -> None:
    with serve("--dev", workers=2) as running:
        first = running.worker_pids()[0]
        os.kill(first, signal.SIGSTOP)
        try:
            async with asyncio.timeout(3):  # a second for the worker, shared by all who ask
                scrapes = await asyncio.gather(*(asyncio.to_thread(scrape, running) for _ in range(8)))
        finally:
            os.kill(first, signal.SIGCONT)
        for families in scrapes:
            ready = by_worker(families["clearsync_worker_ready"])
            (stuck,) = [worker for worker, value in ready.items() if value == 0]
            assert set(ready) == {"0", "1"}
            assert set(by_worker(families["clearsync_clears"])) == {"0", "1"} - {stuck}
        wait_until(lambda: len(by_worker(scrape(running)["clearsync_clears"])) == 2, what="it is back")


def test_a_figure_is_a_counter_by_its_name_and_labels_are_escaped() -> None:
    figures = [Sample("resets_total", 2), Sample("loop_lag_s", 0.25), Sample("odd_total", 1, (("why", 'a"\n\\'),))]
    text = exposition([Measured(0, True, figures), Measured(1, True, None), Measured(2, False, [])]).decode()
    families = parsed(text)
    assert (families["clearsync_resets"].type, families["clearsync_loop_lag_s"].type) == ("counter", "gauge")
    assert families["clearsync_loop_lag_s"].samples[0].value == 0.25
    assert families["clearsync_odd"].samples[0].labels == {"worker": "0", "why": 'a"\n\\'}
    assert by_worker(families["clearsync_worker_ready"]) == {"0": 1.0, "1": 0.0, "2": 0.0}
