"""Websockets on which nothing happens: what they cost, and how fast they are opened."""

from __future__ import annotations

from dataclasses import asdict
from typing import Final

from bench.gauge import Watch, memory_kb
from bench.generator import GeneratorError
from bench.load import Load
from bench.measures.run import Reading, Scene, Take

AGENTS: Final = 1000
DEVICES: Final = 18
LOOK_S: Final = 1.0
"""For the memory; nothing is to be seen by waiting longer."""
PINGS_S: Final = 35.0
"""For the CPU: our pings come each 25 s."""


def memory(hold_s: float = LOOK_S, devices: int = DEVICES) -> Take:
    """18,000 idle websockets of 1,000 agents: kB a connection of all the server's processes, of what they have with
    them less what they had without; CPU while they are held; connects a second.
    """

    def take(scene: Scene) -> Reading:
        load = Load(agents=AGENTS, devices=devices, hold_s=hold_s)
        if lack := scene.generator.lacks(scene.target, load):
            raise GeneratorError(lack)
        watch = Watch(scene.target.pids, scene.target.store_pid)
        before, held = memory_kb(scene.target.pids()), 0

        def settled() -> None:
            nonlocal held
            watch.begin()
            held = memory_kb(scene.target.pids())

        outcome = scene.generator.run(scene.target, load, scene.site.load_core, {"hold": settled, "held": watch.end})
        each = (held - before) / outcome.opened if outcome.opened else None
        figures = asdict(outcome) | watch.shares() | {"kb_each": each, "before_kb": before, "held_kb": held}
        return Reading(figures, outcome.problems(load))

    return take
