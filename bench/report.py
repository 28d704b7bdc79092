"""`results.md`: what was measured, on what, and what it says."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from bench import tables
from bench.goals import OURS, goals
from bench.measures.idle import PINGS_S
from bench.results import Results, Run
from bench.tables import Column, by_value, compared, ratios, shown, table

_SHARES: Final = (
    Column("server, % of a core", "", "server_cpu", 0, 100),
    Column("store, %", "", "store_cpu", 0, 100),
    Column("load, %", "", "cpu", 0, 100),
)
_LOAD: Final = (
    Column("posts/s", "", "posts_per_s"),
    Column("clears/s", "", "frames_per_s"),
    Column("p50, ms", "", "p50_ms", 2),
    Column("p99, ms", "", "p99_ms", 2),
    *_SHARES,
)
_IN_STORE: Final = (*_LOAD, Column("store, MB", "", "store_mb"))
_BACK: Final = (
    Column("all caught up after, s", "", "connect_s", 2),
    Column("a device, p50, ms", "", "catchup_p50_ms"),
    Column("longest, ms", "", "catchup_max_ms"),
    *_SHARES[:2],
)
_BY_VALUE: Final = (
    ("batch", "Events of a post", "events", _LOAD, "A clear is one event that reached one device."),
    (
        "unique",
        "Heads that never repeat",
        "unique",
        _LOAD,
        "1: each post has an `X-Request-Id` of its own, 0: none has.",
    ),
    ("workers", "Workers", "workers", _LOAD, "The second runs on the core of the load and the store."),
    ("agents", "Agents in the store", "agents", _IN_STORE, "1,000 of them are posted for; all have 20 pairs before."),
    (
        "pairs",
        "Pairs that an agent has handled",
        "pairs",
        _IN_STORE,
        "100 agents. 10,000 is the limit: each record trims.",
    ),
    (
        "reconnect",
        "10,000 devices come back with cursors",
        "workers",
        _BACK,
        "1,000 agents with 10 devices, at most 1,000 under way; each is sent 3 pairs that it missed. No credentials "
        "are cached yet. The second worker runs on the core of the load and the store.",
    ),
)
_PLOTS: Final = {
    "throughput": "Posts and clears a second",
    "latency": "Latency at 2,000 posts a second",
    "memory": "Memory of an idle connection",
    "growth": "Posts a second as the store grows",
}


def markdown(results: Results, plots: list[str]) -> str:
    """All of it. `plots`: the names of those that were drawn."""
    parts = [*_head(results), *_compared(results, plots), *_goals(results), *_ours(results), *_bad(results)]
    return "\n\n".join(parts) + "\n"


def _plots(plots: list[str], *names: str) -> Iterator[str]:
    return (f"![{_PLOTS[name]}](results-{name}.svg)" for name in names if name in plots)


def _head(results: Results) -> Iterator[str]:
    yield "# Benchmark"
    yield "Made by `make bench`. Absolute figures move with the machine, ratios within one benchmark count."
    yield table(["machine", ""], ([name, value] for name, value in results.machine.items()))
    yield f"Load: {results.generator}."
    rows = (
        [entry.name, entry.version or f"not measured: {entry.absent}", entry.records] for entry in results.candidates
    )
    yield table(["server", "versions", "recorded before it answers"], rows)


def _compared(results: Results, plots: list[str]) -> Iterator[str]:
    runs = f"{results.rounds} × {results.seconds:g} s" if results.rounds > 1 else f"{results.seconds:g} s"
    yield "## Beside the others"
    yield (
        f"Server on one core, store and load on another; {runs} each, in turn, median <sub>least…most</sub>. "
        "1,000 agents with 3 devices; storm: one agent with 3,000; memory and connects: 18,000 idle connections. "
        "(…) ✗: no run was good, see the end."
    )
    yield compared(results, tables.COMPARED)
    yield from _plots(plots, "throughput", "memory")
    yield ratios(results)
    yield "### At 2,000 posts a second"
    yield (
        "From when a post was due to its clear on the device, and to its answer, in ms. What a server is behind counts."
    )
    yield compared(results, tables.LATENCIES)
    yield from _plots(plots, "latency")
    yield "### Who was at work"
    yield "% of a core. Where the server is below 100 in the closed loop, the core of store and load was full."
    yield compared(results, tables.SHARES)


def _goals(results: Results) -> Iterator[str]:
    words = {True: "met", False: "**missed**", None: NOT_MEASURED}
    yield "## Goals"
    yield table(["goal", "found", ""], ([goal.text, goal.found, words[goal.met]] for goal in goals(results)))


NOT_MEASURED: Final = "–"


def _ours(results: Results) -> Iterator[str]:
    yield "## clearsync alone"
    yield f"{results.seconds:g} s each, once; closed loop."
    for measure, title, value, columns, note in _BY_VALUE:
        if results.values(measure):
            yield f"### {title}"
            yield note
            yield by_value(results, measure, value, columns)
    yield from _catchup(results)
    yield from _idle(results)


def _catchup(results: Results) -> Iterator[str]:
    def of(figure: str) -> str:
        return shown(results.spread(OURS, "catchup", figure), 2)

    if results.of(OURS, "catchup"):
        yield "### A catch-up of 10,000 pairs"
        yield "20 times, one after the other; others have 1,000 posts a second meanwhile."
        rows = [
            ["to the last frame, p50", of("catchup_p50_ms")],
            ["the longest", of("catchup_max_ms")],
            ["CPU of the server, each", of("server_ms_each")],
            *(
                [f"others, {name} without / with it", f"{of(f'calm_{name}_ms')} / {of(f'disturbed_{name}_ms')}"]
                for name in ("p50", "p99", "p999", "max")
            ),
        ]
        yield table(["", "ms"], rows)


def _idle(results: Results) -> Iterator[str]:
    found = results.spread(OURS, "idle", "server_cpu")
    if found:
        each = shown(results.spread(OURS, "idle", "kb_each"), 1)
        yield "### 18,000 idle connections"
        yield f"{shown(found, 2, 100)} % of a core over {PINGS_S:g} s, pings included; {each} kB a connection."


def _bad(results: Results) -> Iterator[str]:
    yield "## Runs with something missing or refused"
    bad = list(results.bad())
    if not bad:
        yield f"None of {len(results.runs)}."
        return
    yield f"{len(bad)} of {len(results.runs)}; their figures are in no median."
    yield "\n".join(
        f"- {_run(run)}: {'; '.join(problem.partition(chr(10))[0] for problem in run.problems)}" for run in bad
    )


def _run(run: Run) -> str:
    value = "" if run.value is None else f" {run.value}"
    return f"{run.candidate}, {run.measure}{value}, round {run.round}"
