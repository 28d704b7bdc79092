"""All that was measured, as it stands in `results.json`, and how several runs become one figure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

import msgspec

from bench.measures.run import Figures


@dataclass(frozen=True, slots=True)
class Entry:
    """A candidate. `absent`: why it was not measured."""

    slug: str
    name: str
    records: str
    version: str = ""
    absent: str = ""


@dataclass(frozen=True, slots=True)
class Run:
    """One run. With `problems` its figures are not counted."""

    measure: str
    candidate: str
    round: int
    value: int | None
    figures: Figures
    problems: list[str]


@dataclass(frozen=True, slots=True)
class Spread:
    """The median of some runs, the least and the most of them. Not `good`: every run had problems."""

    median: float
    low: float
    high: float
    runs: int
    good: bool = True


@dataclass(frozen=True, slots=True)
class Results:
    """One benchmark."""

    machine: dict[str, str]
    generator: str
    seconds: float
    rounds: int
    candidates: list[Entry]
    runs: list[Run] = field(default_factory=list)

    def of(self, candidate: str, measure: str, value: int | None = None) -> list[Run]:
        """The runs of a measure of one candidate."""
        wanted = (candidate, measure, value)
        return [run for run in self.runs if (run.candidate, run.measure, run.value) == wanted]

    def spread(self, candidate: str, measure: str, figure: str, value: int | None = None) -> Spread | None:
        """One figure over the good runs; over the bad ones where there are no good ones; None where there are none."""
        runs = self.of(candidate, measure, value)
        for good in (True, False):
            found = [run.figures.get(figure) for run in runs if (not run.problems) == good]
            values = [number for number in found if number is not None]
            if values:
                return Spread(median(values), min(values), max(values), len(values), good)
        return None

    def median(self, candidate: str, measure: str, figure: str, value: int | None = None) -> float | None:
        """The same, for who compares: None where no run was good."""
        found = self.spread(candidate, measure, figure, value)
        return found.median if found and found.good else None

    def values(self, measure: str) -> list[int]:
        """For what values a measure was taken."""
        return sorted({run.value for run in self.runs if run.measure == measure and run.value is not None})

    def bad(self) -> Iterator[Run]:
        """The runs with problems."""
        return (run for run in self.runs if run.problems)

    def save(self, path: Path) -> None:
        """As JSON that can be read by eye."""
        path.write_bytes(msgspec.json.format(msgspec.json.encode(self), indent=1) + b"\n")

    @classmethod
    def load(cls, path: Path) -> Results:
        """What `save` wrote. Raises `msgspec.ValidationError`."""
        return msgspec.json.decode(path.read_bytes(), type=cls)
