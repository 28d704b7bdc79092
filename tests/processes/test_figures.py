"""`GET /metrics` of the admin listener: what all workers count and hold, also while one of them is stuck."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable, Iterator

import pytest
from prometheus_client import Metric
from prometheus_client.samples import Sample as Said

from server.metrics import DOCS, HISTOGRAMS, Sample
from server.processes.exposition import OF_SERVICE, SUPERVISED, Measured, exposition
from server.wire import HANDLED_PATH
from tests.conftest import Serve
from tests.gateway.devices import asked, basic, caller, session, tickets
from tests.gateway.streams import asking, streaming
from tests.processes.conftest import overview_of, parsed, scraped
from tests.running import Running, wait_until

Totals = dict[str, float]


def scrape(running: Running) -> dict[str, Metric]:
    return parsed(scraped(running))


def by_worker(family: Metric) -> dict[str, float]:
    return {sample.labels["worker"]: sample.value for sample in family.samples}


def names(families: dict[str, Metric]) -> Iterator[str]:
    for name, family in families.items():
        yield f"{name}_total" if family.type == "counter" else name


def totals(families: dict[str, Metric]) -> Totals:
    """The sums over all workers, by name and the other labels."""
    found: Totals = {}
    for sample in (sample for family in families.values() for sample in family.samples):
        found[_key(sample)] = found.get(_key(sample), 0.0) + sample.value
    return found


def _key(sample: Said) -> str:
    labels = [f"{name}={value}" for name, value in sorted(sample.labels.items()) if name != "worker"]
    return " ".join([sample.name.removeprefix("clearsync_"), *labels])


async def difference(running: Running, act: Callable[[], Awaitable[None]]) -> Totals:
    """What an act has added, over all workers."""
    before = totals(await asyncio.to_thread(scrape, running))
    await act()
    await asyncio.to_thread(wait_until, lambda: _devices(running) == 0, what="its devices have gone")
    after = totals(await asyncio.to_thread(scrape, running))
    assert after.keys() == before.keys(), "a series that was not there from the start"
    return {name: value - before[name] for name, value in after.items() if value != before[name]}


def _devices(running: Running) -> float:
    return sum(value for name, value in totals(scrape(running)).items() if name.startswith("sessions "))


def one_off(user: str, body: bytes, password: str = "x") -> bytes:
    """A POST on a connection of its own."""
    head = f"POST {HANDLED_PATH} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/json\r\n"
    return f"{head}Authorization: {basic(user, password)}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


# the whole of it


def test_a_scrape_has_every_figure_of_each_worker(two_workers: Running) -> None:
    families = scrape(two_workers)
    service = {f"clearsync_{name}" for name in OF_SERVICE}
    assert set(names(families)) == {f"clearsync_{name}" for name in (*DOCS, *SUPERVISED)} | service
    for name, family in families.items():
        assert family.documentation, name
        if name.removesuffix("_total") not in {each.removesuffix("_total") for each in service}:
            assert {sample.labels["worker"] for sample in family.samples} == {"0", "1"}, name
    assert by_worker(families["clearsync_worker_ready"]) == {"0": 1.0, "1": 1.0}
    assert by_worker(families["clearsync_worker_starts"]) == {"0": 1.0, "1": 1.0}
    assert families["clearsync_store_starts"].samples[0].value == 1.0
    for name in ("tasks", "resident_bytes", "cpu_seconds", "stores"):
        assert min(by_worker(families[f"clearsync_{name}"]).values()) > 0, name


def test_histograms_are_such_to_prometheus(two_workers: Running) -> None:
    families = scrape(two_workers)
    found = {name.removeprefix("clearsync_") for name, family in families.items() if family.type == "histogram"}
    assert found == HISTOGRAMS
    for name in found:
        series: dict[str, list[tuple[float, float]]] = {}
        for sample in families[f"clearsync_{name}"].samples:
            if sample.name.endswith("_bucket"):
                rest = str(sorted((k, v) for k, v in sample.labels.items() if k != "le"))
                series.setdefault(rest, []).append((float(sample.labels["le"]), sample.value))
        for buckets in series.values():
            assert buckets == sorted(buckets), "bounds ascend, and so do their counts"
            assert [count for _, count in buckets] == sorted(count for _, count in buckets)
            assert buckets[-1][0] == float("inf")


# sums, against what was done


async def test_what_two_workers_count_adds_up_to_what_was_done(two_workers: Running) -> None:
    """Each POST comes on a connection of its own, so both workers get some; whether a device's worker is the one that
    recorded makes no difference."""
    batches, devices = 12, 3

    async def act() -> None:
        async with (
            session(two_workers, "ada", "phone") as phone,
            session(two_workers, "ada", "tablet") as tablet,
            streaming(two_workers.port, "ada", "wall") as (wall, _),
        ):
            now = totals(await asyncio.to_thread(scrape, two_workers))
            assert (now["sessions transport=websocket"], now["sessions transport=sse"]) == (2, 1)
            for number in range(batches):
                async with caller(two_workers, "ada") as post:
                    await post.handled(*tickets([2 * number, 2 * number + 1]))
            last = ("NewTicket", 2 * batches - 1)
            for device in (phone, tablet, wall):
                await device.until_cleared(last)

    added = await difference(two_workers, act)
    assert added["posts_total result=recorded"] == added["batches_recorded_total"] == batches
    assert added["events_recorded_total"] == 2 * batches
    assert added["store_round_trip_seconds_count"] == batches
    assert added["store_round_trip_seconds_bucket le=+Inf"] == batches
    assert 0 < added["store_round_trip_seconds_sum"] < 60
    assert added["clears_total"] == devices * batches
    live = added["time_to_clear_seconds_count kind=live"]
    assert batches <= live <= 2 * batches, "once for each worker that has devices of the agent"
    assert added["time_to_clear_seconds_bucket kind=live le=60"] == live
    assert added["announcements_total"] >= live
    assert added["catch_ups_total"] == added["catch_up_events_count"] == devices
    assert added["sessions_begun_total transport=websocket"] == 2
    assert added["sessions_ended_total code=1000 transport=websocket"] == 2
    assert added["sessions_begun_total transport=sse"] == 1
    assert added["sessions_ended_total code=1006 transport=sse"] == 1, "nobody says goodbye on an event stream"
    assert "sessions transport=websocket" not in added, "all have gone"
    assert not any(name.startswith(("resets", "gaps", "lagg", "clears_found", "limited")) for name in added)


async def test_a_catch_up_counts_its_events_and_how_old_they_are(two_workers: Running) -> None:
    async def act() -> None:
        async with session(two_workers, "bob") as phone:
            cursor = phone.cursor
        async with caller(two_workers, "bob") as post:
            await post.handled(*tickets(range(1, 31)))
            await post.handled(*tickets(range(31, 41)))
        async with session(two_workers, "bob", cursor=cursor) as phone:
            await phone.until_cleared(("NewTicket", 40))

    added = await difference(two_workers, act)
    assert added["catch_ups_total"] == added["catch_up_events_count"] == 2
    assert added["catch_up_events_bucket le=0"] == 1, "the first session had missed nothing"
    assert added["catch_up_events_bucket le=50"] == 2
    assert "catch_up_events_bucket le=20" not in added or added["catch_up_events_bucket le=20"] == 1
    assert added["catch_up_events_sum"] == added["time_to_clear_seconds_count kind=catch_up"] == 40
    assert 0 < added["time_to_clear_seconds_sum kind=catch_up"] < 40 * 60


@pytest.mark.parametrize(
    ("request_", "status", "result"),
    [
        (one_off("ada", b'{"NotificationEvents":[]}'), 204, "empty"),
        (one_off("ada", b'{"NotificationEvents":['), 400, "refused"),
        (one_off("ada", b"{}", "wrong"), 401, "refused"),
        (one_off("root", b'{"NotificationEvents":[{"Type":"NewTicket","Id":1}]}'), 403, "refused"),
    ],
    ids=["empty", "malformed", "unknown", "without the scope"],
)
async def test_a_post_counts_by_how_it_ended(two_workers: Running, request_: bytes, status: int, result: str) -> None:
    async def act() -> None:
        assert (await asked(two_workers, request_)).status == status

    added = await difference(two_workers, act)
    assert {name for name in added if name.startswith("posts_total")} == {f"posts_total result={result}"}
    assert added[f"posts_total result={result}"] == 1
    assert not any(name.startswith(("batches", "events_recorded", "store_round")) for name in added)


async def test_too_many_posts_are_limited(two_workers: Running) -> None:
    async def act() -> None:
        async with caller(two_workers, "hurry") as post:
            with pytest.raises(AssertionError, match="TooManyRequests"):
                await post.all_handled([tickets([1])] * 400)

    added = await difference(two_workers, act)
    assert added["posts_total result=limited"] >= 1
    assert added["posts_total result=limited"] == added["limited_total limit=agent_requests"]


async def test_a_handshake_that_is_refused_counts(two_workers: Running) -> None:
    async def act() -> None:
        async with asking(two_workers.port, f"Authorization: {basic('root')}") as wall:
            assert wall.status == 403
        with pytest.raises(Exception, match="HTTP 401"):
            async with session(two_workers, "nobody"):
                pass

    added = await difference(two_workers, act)
    assert added["handshakes_refused_total status=403 transport=sse"] == 1
    assert added["handshakes_refused_total status=401 transport=websocket"] == 1
    assert added["sign_ins_total result=refused scheme=basic"] == 1


# trouble


@pytest.mark.faults
async def test_a_worker_that_does_not_answer_is_left_out(serve: Serve) -> None:
    with serve("--dev", workers=2) as running:
        first = running.worker_pids()[0]
        os.kill(first, signal.SIGSTOP)
        try:
            async with asyncio.timeout(3):  # a second for the worker, shared by all who ask
                scrapes = await asyncio.gather(*(asyncio.to_thread(scrape, running) for _ in range(8)))
            shown = await asyncio.to_thread(overview_of, running, "ada")
        finally:
            os.kill(first, signal.SIGCONT)
        stuck = ""
        for families in scrapes:
            ready = by_worker(families["clearsync_worker_ready"])
            (stuck,) = [worker for worker, value in ready.items() if value == 0]
            assert set(ready) == {"0", "1"}
            assert set(by_worker(families["clearsync_clears"])) == {"0", "1"} - {stuck}
        assert {str(each["worker"]): each["figures"] is None for each in shown["workers"]}[stuck]
        assert not all(each["figures"] is None for each in shown["workers"])
        assert [each["ready"] for each in shown["workers"]].count(True) == 1
        wait_until(lambda: len(by_worker(scrape(running)["clearsync_clears"])) == 2, what="it is back")


def test_a_figure_is_a_counter_by_its_name_and_labels_are_escaped() -> None:
    figures = [
        Sample("resets_total", 2),
        Sample("loop_lag_seconds", 0.25),
        Sample("odd_total", 1, (("why", 'a"\n\\'),)),
    ]
    text = exposition([Measured(0, True, figures), Measured(1, True, None, 3), Measured(2, False, [])]).decode()
    families = parsed(text)
    assert (families["clearsync_resets"].type, families["clearsync_loop_lag_seconds"].type) == ("counter", "gauge")
    assert families["clearsync_loop_lag_seconds"].samples[0].value == 0.25
    assert families["clearsync_odd"].samples[0].labels == {"worker": "0", "why": 'a"\n\\'}
    assert by_worker(families["clearsync_worker_ready"]) == {"0": 1.0, "1": 0.0, "2": 0.0}
    assert by_worker(families["clearsync_worker_starts"]) == {"0": 1.0, "1": 3.0, "2": 1.0}
