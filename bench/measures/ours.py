"""What only clearsync is asked: state in the store, devices that come back with a cursor."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Final

from bench.gauge import Watch
from bench.generator import GeneratorError
from bench.load import Load, Outcome
from bench.measures import state
from bench.measures.loads import load_of
from bench.measures.run import Figures, Reading, Scene, Take, under_load

EACH: Final = 20
"""Pairs of an agent that is only there, in the measure of many agents."""
FEW_AGENTS: Final = 100
"""Whose state grows; 1,000 of them with 10,000 pairs each would be a store of 1 GB."""
MISSED: Final = 3
"""Pairs of each agent that its devices missed, in the reconnect storm."""
BACK_AGENTS: Final = 1000
BACK_DEVICES: Final = 10
LONG_AWAY: Final = 1000
"""The number of the agent with a long catch-up: the one behind those under load."""
LONG_PAIRS: Final = 10_000
LONG_TIMES: Final = 20
OTHERS_RATE: Final = 1000.0


def among(agents: int, seconds: float) -> Take:
    """The closed loop of 1,000 agents, in a store with so many."""

    def take(scene: Scene) -> Reading:
        past = state.fill(scene, range(agents), EACH)
        reading = under_load(scene, load_of(seconds))
        return replace(reading, figures=reading.figures | {"store_mb": past.store_mb})

    return take


def with_state(pairs: int, seconds: float) -> Take:
    """The closed loop of 100 agents that have handled so many pairs each."""

    def take(scene: Scene) -> Reading:
        past = state.fill(scene, range(FEW_AGENTS), pairs)
        reading = under_load(scene, load_of(seconds, agents=FEW_AGENTS))
        return replace(reading, figures=reading.figures | {"store_mb": past.store_mb})

    return take


def reconnect() -> Take:
    """10,000 devices come at once with cursors, and each is sent the three pairs that it missed."""

    def take(scene: Scene) -> Reading:
        past = state.fill(scene, range(BACK_AGENTS), MISSED)
        load = Load(agents=BACK_AGENTS, devices=BACK_DEVICES, cursor=past.cursor, catchup=MISSED, window=1000)
        watch = Watch(scene.target.pids, scene.target.store_pid)
        watch.begin()
        outcome = scene.generator.run(scene.target, load, scene.site.load_core, {"connected": watch.end})
        return Reading(asdict(outcome) | watch.shares(), outcome.problems(load))

    return take


def long_catchup(seconds: float) -> Take:
    """A device that missed 10,000 pairs, twenty times one after the other: alone, for what one costs the server; then
    while others have 1,000 posts a second, for what they see of it, beside what they see without it.
    """

    def take(scene: Scene) -> Reading:
        past = state.fill(scene, [LONG_AWAY], LONG_PAIRS)
        away = Load(
            agents=1, devices=LONG_TIMES, first_agent=LONG_AWAY, cursor=past.cursor, catchup=LONG_PAIRS, window=1
        )
        others = load_of(seconds, rate=OTHERS_RATE)
        watch = Watch(scene.target.pids, scene.target.store_pid)
        watch.begin()
        alone = _run(scene, away, connected=watch.end)
        calm = under_load(scene, others)
        meanwhile: list[Outcome] = []
        catching_up = threading.Thread(target=lambda: meanwhile.append(_run(scene, away)))
        disturbed = _run(scene, others, measure=catching_up.start)
        catching_up.join()
        if not meanwhile:
            raise GeneratorError("the catch-ups beside others gave no figures")
        return Reading(
            _catchup_figures(alone, watch, calm.figures, asdict(disturbed)),
            alone.problems(away) + calm.problems + disturbed.problems(others) + meanwhile[0].problems(away),
        )

    return take


def _run(scene: Scene, load: Load, **at: Callable[[], None]) -> Outcome:
    return scene.generator.run(scene.target, load, scene.site.load_core, at)


def _catchup_figures(alone: Outcome, watch: Watch, calm: Figures, disturbed: Figures) -> Figures:
    figures: Figures = {
        "catchup_p50_ms": alone.catchup_p50_ms,
        "catchup_max_ms": alone.catchup_max_ms,
        "server_ms_each": watch.server_s * 1000 / LONG_TIMES,
        "cpu": disturbed["cpu"],
    }
    for name in ("p50_ms", "p99_ms", "p999_ms", "max_ms"):
        figures |= {f"calm_{name}": calm[name], f"disturbed_{name}": disturbed[name]}
    return figures
