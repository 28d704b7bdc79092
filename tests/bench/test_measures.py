"""Measures on a real server: what was put into its store is caught up with, and a bad start is a bad run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from bench.candidate import Target
from bench.compiled import Compiled
from bench.generator import GeneratorError
from bench.load import Load
from bench.measures import idle, ours, state
from bench.measures.run import Reading, Scene, run, under_load
from bench.peers.clearsync import Clearsync
from bench.site import Site, SiteError


@pytest.fixture(scope="module")
def generator() -> Compiled:
    try:
        return Compiled.build()
    except GeneratorError as problem:
        pytest.skip(str(problem))


@pytest.mark.parametrize(("missed", "problems"), [(1200, []), (1201, ["6 devices not caught up"])])
def test_what_was_put_into_the_store_is_caught_up_with(
    generator: Compiled, missed: int, problems: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """And not by a reset, which would be a problem of the run."""
    monkeypatch.setattr("bench.compiled.CONNECT_S", 5.0)

    def take(scene: Scene) -> Reading:
        past = state.fill(scene, range(3), 1200)
        return under_load(scene, Load(agents=3, devices=2, cursor=past.cursor, catchup=missed), end="connected")

    assert run(Clearsync(agents=3), take, generator).problems == problems


def test_a_cursor_of_another_store_is_a_problem(generator: Compiled) -> None:
    def take(scene: Scene) -> Reading:
        state.fill(scene, range(3), 5)
        return under_load(scene, Load(agents=3, devices=1, cursor="other-1", catchup=5))

    assert run(Clearsync(agents=3), take, generator).problems == ["3 devices told to begin anew"]


def test_idle_connections_have_a_size(generator: Compiled) -> None:
    reading = run(Clearsync(agents=idle.AGENTS), idle.memory(hold_s=0.5, devices=1), generator)
    assert reading.problems == []
    assert reading.figures["kb_each"]
    assert (reading.figures["held_kb"] or 0) > (reading.figures["before_kb"] or 0)


def test_a_long_catch_up_is_seen_from_all_sides(generator: Compiled, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ours, "LONG_TIMES", 3)
    monkeypatch.setattr(ours, "OTHERS_RATE", 50.0)
    reading = run(Clearsync(agents=ours.LONG_AWAY + 1), ours.long_catchup(0.5), generator)
    assert reading.problems == []
    assert all(
        reading.figures[name] for name in ("catchup_p50_ms", "server_ms_each", "calm_max_ms", "disturbed_max_ms")
    )


class Broken(Clearsync):
    """Does not come up."""

    @contextmanager
    def running(self, site: Site) -> Iterator[Target]:
        raise SiteError("no way")
        yield


def test_a_server_that_does_not_come_up_is_a_bad_run(generator: Compiled) -> None:
    assert run(Broken(), lambda _: Reading({}), generator) == Reading({}, ["no way"])
