"""Tables in Markdown, of what was measured."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from bench.goals import OURS
from bench.results import Results, Spread

NONE = "–"


@dataclass(frozen=True, slots=True)
class Column:
    """One figure of one measure."""

    title: str
    measure: str
    figure: str
    digits: int = 0
    scale: float = 1.0


COMPARED = (
    Column("posts/s", "closed", "posts_per_s"),
    Column("clears/s", "closed", "frames_per_s"),
    Column("storm, clears/s", "storm", "frames_per_s"),
    Column("kB a connection", "memory", "kb_each", 1),
    Column("connects/s", "memory", "connects_per_s"),
)
LATENCIES = (
    Column("p50", "open", "p50_ms", 2),
    Column("p99", "open", "p99_ms", 2),
    Column("p999", "open", "p999_ms", 2),
    Column("longest", "open", "max_ms", 1),
    Column("clears over 20 ms", "open", "pauses"),
    Column("answer p50", "open", "post_p50_ms", 2),
    Column("answer p99", "open", "post_p99_ms", 2),
    Column("posts/s reached", "open", "posts_per_s"),
)
SHARES = tuple(
    Column(f"{title}: {who}", measure, figure, 0, 100.0)
    for measure, title in (("closed", "closed loop"), ("open", "2,000/s"), ("storm", "storm"))
    for figure, who in (("server_cpu", "server"), ("store_cpu", "store"), ("cpu", "load"))
)


def table(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """The first column to the left, the others to the right."""
    lines = ["| " + " | ".join(titles) + " |", "|---|" + "---:|" * (len(titles) - 1)]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)])


def shown(spread: Spread | None, digits: int = 0, scale: float = 1.0) -> str:
    """The median, and in small the range where there was more than one run; in brackets where none was good."""
    if spread is None:
        return NONE
    middle, low, high = (f"{number * scale:,.{digits}f}" for number in (spread.median, spread.low, spread.high))
    text = middle if spread.runs == 1 or low == high else f"{middle} <sub>{low}…{high}</sub>"
    return text if spread.good else f"({text}) ✗"


def compared(results: Results, columns: Sequence[Column]) -> str:
    """A row for each candidate that was measured."""
    rows = []
    for entry in results.candidates:
        cells = [
            shown(results.spread(entry.slug, column.measure, column.figure), column.digits, column.scale)
            for column in columns
        ]
        if set(cells) != {NONE}:
            rows.append([entry.name, *cells])
    return table(["server", *(column.title for column in columns)], rows)


def ratios(results: Results) -> str:
    """Ours, as a multiple of each peer's, by the medians of good runs."""
    rows = []
    for entry in results.candidates:
        cells = []
        for column in COMPARED:
            ours, theirs = (results.median(slug, column.measure, column.figure) for slug in (OURS, entry.slug))
            cells.append(f"{ours / theirs:.2f}" if ours and theirs else NONE)
        if entry.slug != OURS and set(cells) != {NONE}:
            rows.append([entry.name, *cells])
    return table(["clearsync, as a multiple of", *(column.title for column in COMPARED)], rows)


def by_value(results: Results, measure: str, title: str, columns: Sequence[Column]) -> str:
    """Ours: a row for each value for which the measure was taken."""
    rows = [
        [f"{value:,}"]
        + [shown(results.spread(OURS, measure, each.figure, value), each.digits, each.scale) for each in columns]
        for value in results.values(measure)
    ]
    return table([title, *(column.title for column in columns)], rows)
