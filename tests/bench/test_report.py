"""What becomes of the runs: one figure of several, ratios, goals, and what was wrong, said."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from bench import plan
from bench.goals import OURS, Goal, goals
from bench.measures.run import Figures
from bench.peers.clearsync import Clearsync
from bench.report import markdown
from bench.results import Entry, Results, Run
from bench.tables import shown

PEERS = ("nchan", "nchan-redis", "socketio", "node-ws", "starlette")


def of(slug: str, measure: str, number: int = 1, value: int | None = None, bad: str = "", **figures: float) -> Run:
    given: Figures = dict(figures)
    return Run(measure, slug, number, value, given, [bad] if bad else [])


@pytest.fixture
def results() -> Results:
    entries = [Entry(OURS, "clearsync", "all", "1.0"), *(Entry(slug, f"<{slug}>", "nothing", "2.0") for slug in PEERS)]
    return Results(
        {"CPU": "fast one"}, "wsload.c (cc 1)", 4.0, 3, [*entries, Entry("gone", "Gone", "-", absent="no Go")]
    )


def goal(results: Results, text: str) -> Goal:
    (found,) = (each for each in goals(results) if text in each.text)
    return found


def test_of_several_runs_the_median_and_the_range_are_shown(results: Results) -> None:
    results.runs.extend(of(OURS, "closed", n, posts_per_s=rate) for n, rate in enumerate((900.0, 3000.0, 1000.0), 1))
    assert shown(results.spread(OURS, "closed", "posts_per_s")) == "1,000 <sub>900…3,000</sub>"


def test_a_bad_run_is_in_no_median_and_is_named(results: Results) -> None:
    results.runs.append(of(OURS, "closed", 1, posts_per_s=1000.0))
    results.runs.append(of(OURS, "closed", 2, posts_per_s=9000.0, bad="7 frames missing"))
    assert results.median(OURS, "closed", "posts_per_s") == 1000.0
    assert "clearsync, closed, round 2: 7 frames missing" in markdown(results, [])


def test_where_all_runs_are_bad_that_is_seen_and_nothing_is_compared(results: Results) -> None:
    results.runs.append(of("nchan-redis", "closed", posts_per_s=50.0, bad="3 posts refused"))
    results.runs.append(of(OURS, "closed", posts_per_s=1000.0))
    assert shown(results.spread("nchan-redis", "closed", "posts_per_s")) == "(50) ✗"
    assert goal(results, "2.5× <nchan-redis>").met is None


@pytest.mark.parametrize(("theirs", "met"), [(250.0, True), (251.0, False)])
def test_a_ratio_is_held_against_its_goal(results: Results, theirs: float, met: bool) -> None:
    results.runs.append(of(OURS, "closed", posts_per_s=1000.0))
    results.runs.append(of("starlette", "closed", posts_per_s=theirs))
    found = goal(results, "posts/s, closed loop: 4× <starlette>")
    assert found.met is met
    assert f"({1000:,} and {theirs:.0f})" in found.found


@pytest.mark.parametrize(
    ("text", "run", "met"),
    [
        ("p999", of(OURS, "open", p999_ms=19.0), True),
        ("p999", of(OURS, "open", p999_ms=21.0), False),
        ("8 kB", of(OURS, "memory", kb_each=8.1), False),
        ("2 % of a core", of(OURS, "idle", server_cpu=0.019), True),
        ("2 % of a core", of(OURS, "idle", server_cpu=0.021), False),
        ("caught up within 4 s", of(OURS, "reconnect", value=2, connect_s=3.9), True),
        ("caught up within 4 s", of(OURS, "reconnect", value=1, connect_s=3.9), None),
        ("costs the server", of(OURS, "catchup", server_ms_each=20.5), False),
        ("no longer than 2 ms", of(OURS, "catchup", calm_max_ms=1.0, disturbed_max_ms=2.9), True),
        ("no longer than 2 ms", of(OURS, "catchup", calm_max_ms=1.0, disturbed_max_ms=3.1), False),
    ],
)
def test_limits_are_held_against_their_goals(results: Results, text: str, run: Run, met: bool | None) -> None:
    results.runs.append(run)
    assert goal(results, text).met is met


def test_growth_is_held_against_its_goal(results: Results) -> None:
    results.runs.append(of(OURS, "agents", value=1_000, posts_per_s=1000.0))
    for rate, met in ((890.0, False), (910.0, True)):
        many = of(OURS, "agents", value=100_000, posts_per_s=rate)
        assert goal(replace(results, runs=[*results.runs, many]), "does not grow").met is met


def test_what_was_not_measured_is_neither_met_nor_missed(results: Results) -> None:
    assert {each.met for each in goals(results)} == {None}
    text = markdown(results, [])
    assert "missed" not in text
    assert "| Gone | not measured: no Go | - |" in text


def test_the_report_names_machine_versions_and_generator(results: Results) -> None:
    text = markdown(results, ["latency"])
    for part in ("| CPU | fast one |", "| clearsync | 1.0 | all |", "wsload.c (cc 1)", "](results-latency.svg)"):
        assert part in text
    assert "results-memory.svg" not in text


def test_results_are_read_as_they_were_written(results: Results, tmp_path: Path) -> None:
    results.runs.append(Run("batch", OURS, 1, 10, {"posts_per_s": 1.5, "p50_ms": None}, ["why"]))
    results.save(tmp_path / "results.json")
    assert Results.load(tmp_path / "results.json") == results


def test_candidates_take_turns() -> None:
    """Two runs of one never follow each other where there are others."""
    one, other = Clearsync(), Clearsync()
    steps = list(plan.compared([one, other], ["closed", "open"], rounds=2, seconds=1.0))
    assert [step.candidate is one for step in steps] == [True, False] * 4
    assert [(step.round, step.measure) for step in steps[::2]] == [
        (1, "closed"),
        (1, "open"),
        (2, "closed"),
        (2, "open"),
    ]


def test_each_measure_has_its_steps() -> None:
    of_all = {step.measure for step in plan.compared([Clearsync()], plan.MEASURES, 1, 1.0)}
    of_ours = {step.measure for step in plan.of_ours(plan.MEASURES, 1.0)}
    assert (of_all, of_ours) == (set(plan.COMPARED), set(plan.OURS))
    assert {step.measure for step in plan.of_ours(["batch"], 1.0)} == {"batch"}
