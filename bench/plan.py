"""Which runs there are, and in what order."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from bench.candidate import Candidate
from bench.measures import idle, loads, ours
from bench.measures.run import Take
from bench.peers.clearsync import Clearsync
from bench.site import Site

COMPARED: Final = (*loads.LOADS, "memory")
"""What all are asked."""
BATCHES: Final = (1, 10, 100, 500)
AGENTS: Final = (1_000, 10_000, 100_000)
PAIRS: Final = (0, 1_000, 10_000)
WORKERS: Final = (1, 2)
OURS: Final = ("batch", "unique", "agents", "pairs", "workers", "reconnect", "catchup", "idle")
"""What only we are asked, once."""
MEASURES: Final = (*COMPARED, *OURS)


@dataclass(frozen=True, slots=True)
class Step:
    """One run. `value` is what changes from one run of a measure to the next: a size of a batch, a number of agents."""

    measure: str
    candidate: Candidate
    take: Take
    round: int = 1
    value: int | None = None

    @property
    def title(self) -> str:
        """For who watches."""
        value = "" if self.value is None else f" {self.value}"
        return f"{self.candidate.slug} {self.measure}{value}, round {self.round}"


def compared(candidates: Sequence[Candidate], measures: Sequence[str], rounds: int, seconds: float) -> Iterator[Step]:
    """Each measure of each candidate once, then all of that again: what changes on the machine changes for all."""
    for number in range(1, rounds + 1):
        for measure in (name for name in COMPARED if name in measures):
            take = idle.memory() if measure == "memory" else loads.of(loads.LOADS[measure](seconds))
            for candidate in candidates:
                yield Step(measure, candidate, take, number)


def of_ours(measures: Sequence[str], seconds: float) -> Iterator[Step]:
    """What only we are asked."""
    steps = (*_under_load(seconds), *_growth(seconds), *_coming_back(seconds))
    return (step for step in steps if step.measure in measures)


def _under_load(seconds: float) -> Iterator[Step]:
    one = Clearsync()
    for batch in BATCHES:
        yield Step("batch", one, loads.of(loads.load_of(seconds, batch=batch)), value=batch)
    for unique in (False, True):
        load = loads.load_of(seconds, unique_heads=unique)
        yield Step("unique", one, loads.of(load), value=int(unique))
    for workers in WORKERS:
        yield Step("workers", _on_all_cores(workers), loads.of(loads.closed(seconds)), value=workers)


def _growth(seconds: float) -> Iterator[Step]:
    for agents in AGENTS:
        yield Step("agents", Clearsync(), ours.among(agents, seconds), value=agents)
    for pairs in PAIRS:
        yield Step("pairs", Clearsync(), ours.with_state(pairs, seconds), value=pairs)


def _coming_back(seconds: float) -> Iterator[Step]:
    for workers in WORKERS:
        yield Step("reconnect", _on_all_cores(workers), ours.reconnect(), value=workers)
    yield Step("catchup", Clearsync(agents=ours.LONG_AWAY + 1), ours.long_catchup(seconds))
    yield Step("idle", Clearsync(), idle.memory(idle.PINGS_S))


def _on_all_cores(workers: int) -> Clearsync:
    """A worker on the server's core, and the second on that of the load and the store."""
    site = Site()
    return Clearsync(workers=workers, cores=(site.server_core, site.load_core))
