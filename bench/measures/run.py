"""One run: a server that has just come up, and a load on it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field

from bench.candidate import Candidate, Target
from bench.gauge import Watch
from bench.generator import Generator, GeneratorError
from bench.load import Load
from bench.site import Site, SiteError

Figures = dict[str, float | None]


@dataclass(frozen=True, slots=True)
class Reading:
    """What a run showed. With `problems` it is no good run, and its figures count nowhere."""

    figures: Figures
    problems: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Scene:
    """Where a run takes place."""

    site: Site
    target: Target
    generator: Generator


Take = Callable[[Scene], Reading]
"""Raises `GeneratorError` where there are no figures."""


def run(candidate: Candidate, take: Take, generator: Generator) -> Reading:
    """A fresh server, measured; one that does not come up is a problem of the reading, and so is a load that fails."""
    try:
        with Site() as site, candidate.running(site) as target:
            return take(Scene(site, target, generator))
    except (SiteError, GeneratorError) as problem:
        return Reading({}, [str(problem)])


def under_load(scene: Scene, load: Load, begin: str = "measure", end: str = "measured") -> Reading:
    """The generator's figures, and the shares of CPU between two of its phases."""
    watch = Watch(scene.target.pids, scene.target.store_pid)
    if lack := scene.generator.lacks(scene.target, load):
        raise GeneratorError(lack)
    at = {begin: watch.begin, end: watch.end}
    outcome = scene.generator.run(scene.target, load, scene.site.load_core, at)
    return Reading(asdict(outcome) | watch.shares(), outcome.problems(load))
