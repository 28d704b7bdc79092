"""What a worker counts, as figures with names and labels."""

from __future__ import annotations

import re
from dataclasses import fields

import pytest

from server.metrics import (
    CODES,
    DOCS,
    GAUGES,
    HISTOGRAMS,
    LIMITS,
    OF_PROCESS,
    POSTS,
    REFUSALS,
    RESULTS,
    SCHEMES,
    TRANSPORTS,
    Metrics,
    Sample,
    ended_as,
    samples,
)
from server.wire import CloseCode

COUNTED = DOCS.keys() - GAUGES.keys() - OF_PROCESS.keys()


def of_family(sample: Sample) -> str:
    return next((name for name in HISTOGRAMS if sample.name.startswith(name)), sample.name)


def test_all_figures_exist_from_the_start() -> None:
    there = list(samples(Metrics()))
    assert {of_family(sample) for sample in there} == COUNTED
    assert all(sample.value == 0 for sample in there)
    assert len({(sample.name, sample.labels) for sample in there}) == len(there)
    labelled = {
        "posts_total": len(POSTS),
        "sessions_begun_total": len(TRANSPORTS),
        "sessions_ended_total": len(TRANSPORTS) * len(CODES),
        "handshakes_refused_total": len(TRANSPORTS) * len(REFUSALS),
        "sign_ins_total": len(SCHEMES) * len(RESULTS),
        "limited_total": len(LIMITS),
    }
    for name in COUNTED - HISTOGRAMS:
        assert sum(sample.name == name for sample in there) == labelled.get(name, 1), name


def test_a_figure_with_labels_says_which() -> None:
    metrics, other = Metrics(), Metrics()
    metrics.clears_total += 3
    metrics.sign_ins_total["basic", "refused"] += 2
    there = list(samples(metrics))
    assert Sample("clears_total", 3) in there
    assert Sample("sign_ins_total", 2, (("scheme", "basic"), ("result", "refused"))) in there
    assert Sample("limited_total", 0, (("limit", "bodies"),)) in there
    assert not any(sample.value for sample in samples(other)), "two workers' figures are not the same"


def test_a_histogram_is_told_in_buckets_of_its_unit() -> None:
    metrics = Metrics()
    metrics.store_round_trip_seconds.add(0.0003)
    metrics.cleared(1500)
    metrics.late_clears.add_ages([(b"", 1_000), (b"", 61_000)], 61_020, 2)  # ms
    told = {(sample.name, sample.labels): sample.value for sample in samples(metrics)}
    assert told["store_round_trip_seconds_bucket", (("le", "0.0002"),)] == 0
    assert told["store_round_trip_seconds_bucket", (("le", "0.0005"),)] == 1
    assert told["store_round_trip_seconds_sum", ()] == pytest.approx(0.0003)
    live, late = (("kind", "live"),), (("kind", "catch_up"),)
    assert told["time_to_clear_seconds_bucket", (*live, ("le", "0.001"))] == 0
    assert told["time_to_clear_seconds_bucket", (*live, ("le", "0.002"))] == 1
    assert told["time_to_clear_seconds_sum", live] == 0.0015
    assert told["time_to_clear_seconds_bucket", (*late, ("le", "0.02"))] == 2
    assert told["time_to_clear_seconds_bucket", (*late, ("le", "60"))] == 2
    assert told["time_to_clear_seconds_bucket", (*late, ("le", "+Inf"))] == 4
    assert told["time_to_clear_seconds_count", late] == 4
    assert told["time_to_clear_seconds_sum", late] == pytest.approx(2 * 60.04)


def test_every_figure_says_what_it_is_in_base_units() -> None:
    names = {each.metadata.get("name") or each.name for each in fields(Metrics)}
    assert set(DOCS) == names | set(GAUGES) | set(OF_PROCESS)
    for name, doc in DOCS.items():
        assert re.fullmatch(r"[a-z_]+", name)
        assert not re.search(r"_(s|ms|us|ns|b|kb|mb)(_|$)", name), f"{name} abbreviates its unit"
        assert doc


def test_every_close_code_of_ours_has_its_label_and_those_of_others_do_not() -> None:
    assert all(ended_as(code) == str(int(code)) for code in CloseCode)
    assert ended_as(1006) == "1006"
    assert ended_as(4999) == ended_as(-1) == "other"


def test_a_refused_handshake_counts_by_its_status() -> None:
    metrics = Metrics()
    metrics.refused_handshake("websocket", 401)
    metrics.refused_handshake("sse", 418)
    counted = {labels: count for labels, count in metrics.handshakes_refused_total.items() if count}
    assert counted == {("websocket", "401"): 1, ("sse", "other"): 1}


def test_a_clock_that_is_ahead_makes_it_no_time_and_one_that_is_mad_four_months() -> None:
    metrics = Metrics()
    metrics.cleared(-5)
    metrics.cleared(10**400)
    told = {sample.name: sample.value for sample in samples(metrics) if ("kind", "live") in sample.labels}
    assert told["time_to_clear_seconds_sum"] == 10**7
    assert told["time_to_clear_seconds_count"] == 2
