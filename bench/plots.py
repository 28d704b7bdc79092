"""The plots of a benchmark: `python plots.py results.json FOLDER` draws `results-*.svg` and prints their names.

A program of the environment in `.bench`, which has matplotlib; so it imports nothing of clearsync. The same results
make the same files.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import matplotlib  # type: ignore[import-not-found]  # of another environment

matplotlib.use("svg")
from matplotlib import pyplot

OURS = "clearsync"
BLUE, GREY, ORANGE = "#1f5fa8", "#9aa5b1", "#d9822b"
SHADES = ("#c6d8ec", "#7fa8d3", "#1f5fa8")
PADDED = 0.12
"""Of room behind the longest bar, for its figure."""

Results = dict[str, Any]


def value(results: Results, slug: str, measure: str, figure: str, at: int | None = None) -> float | None:
    """The median of the good runs, None where there is none."""
    found = [
        run["figures"].get(figure)
        for run in results["runs"]
        if (run["candidate"], run["measure"], run["value"]) == (slug, measure, at) and not run["problems"]
    ]
    numbers = [number for number in found if number is not None]
    return median(numbers) if numbers else None


def rows(results: Results, *figures: tuple[str, str]) -> list[tuple[str, str, list[float | None]]]:
    """Slug, name and figures of all candidates that have any of them, the last to be drawn on top."""
    found = [
        (entry["slug"], entry["name"], [value(results, entry["slug"], *figure) for figure in figures])
        for entry in results["candidates"]
    ]
    return [row for row in reversed(found) if any(number is not None for number in row[2])]


def bars(axes: Any, found: list[tuple[str, str, list[float | None]]], index: int, title: str, form: str) -> None:
    """One bar a candidate, ours in a colour of its own."""
    numbers = [row[2][index] or 0.0 for row in found]
    drawn = axes.barh([row[1] for row in found], numbers, color=[BLUE if row[0] == OURS else GREY for row in found])
    axes.bar_label(drawn, [form.format(n) if n else "no good run" for n in numbers], padding=3, fontsize=8)
    axes.set_title(title, fontsize=10)
    axes.margins(x=PADDED + 0.06)
    axes.grid(axis="x", alpha=0.3)


def throughput(results: Results) -> Any:
    found = rows(results, ("closed", "posts_per_s"), ("closed", "frames_per_s"), ("storm", "frames_per_s"))
    if not found:
        return None
    figure, axes = pyplot.subplots(1, 3, figsize=(13, 0.8 + 0.42 * len(found)), sharey=True)
    for index, title in enumerate(
        ("posts/s, closed loop", "clears/s, closed loop", "clears/s, one agent × 3,000 devices")
    ):
        bars(axes[index], found, index, title, "{:,.0f}")
    return figure


def latency(results: Results) -> Any:
    found = rows(results, ("open", "p50_ms"), ("open", "p99_ms"), ("open", "p999_ms"))
    if not found:
        return None
    figure, axes = pyplot.subplots(figsize=(9, 1.2 + 0.6 * len(found)))
    for index, name in enumerate(("p50", "p99", "p999")):
        places = [row + 0.25 - 0.25 * index for row in range(len(found))]
        numbers = [row[2][index] or float("nan") for row in found]
        drawn = axes.barh(places, numbers, height=0.23, color=SHADES[index], label=name)
        axes.bar_label(drawn, [f"{n:.2f}" if n == n else "" for n in numbers], padding=3, fontsize=7)
    axes.set_yticks(range(len(found)), [row[1] for row in found])
    axes.set_xscale("log")
    axes.margins(x=PADDED)
    axes.set_title(
        "from a post that is due to its clear on the device, ms, at 2,000 posts/s (logarithmic)", fontsize=10
    )
    axes.legend(loc="lower right", fontsize=8)
    axes.grid(axis="x", alpha=0.3)
    return figure


def memory(results: Results) -> Any:
    found = rows(results, ("memory", "kb_each"), ("memory", "connects_per_s"))
    if not found:
        return None
    figure, axes = pyplot.subplots(1, 2, figsize=(11, 0.8 + 0.42 * len(found)), sharey=True)
    bars(axes[0], found, 0, "kB of memory for each of 18,000 idle connections", "{:.1f}")
    bars(axes[1], found, 1, "connects/s", "{:,.0f}")
    return figure


def growth(results: Results) -> Any:
    lines = {}
    for measure in ("agents", "pairs", "batch"):
        values = sorted({run["value"] for run in results["runs"] if run["measure"] == measure})
        found = [(at, value(results, OURS, measure, "posts_per_s", at)) for at in values]
        lines[measure] = [(at, number) for at, number in found if number is not None]
    if not any(lines.values()):
        return None
    figure, axes = pyplot.subplots(1, 3, figsize=(12, 3.2))
    titles = ("agents in the store", "pairs that each agent has handled", "events of a post")
    for each, (measure, line), title in zip(axes, lines.items(), titles, strict=True):
        each.plot(
            [at for at, _ in line],
            [number for _, number in line],
            marker="o",
            color=ORANGE if measure == "batch" else BLUE,
        )
        each.set_xscale("symlog" if measure == "pairs" else "log")
        each.set_ylim(bottom=0)
        each.set_title(f"posts/s by {title}", fontsize=10)
        each.grid(alpha=0.3)
    return figure


PLOTS: dict[str, Callable[[Results], Any]] = {
    "throughput": throughput,
    "latency": latency,
    "memory": memory,
    "growth": growth,
}


def main(source: Path, folder: Path) -> None:
    """Draw what there are figures for."""
    matplotlib.rcParams.update({"svg.hashsalt": "clearsync", "svg.fonttype": "path", "figure.facecolor": "white"})
    results = json.loads(source.read_text())
    for name, draw in PLOTS.items():
        figure = draw(results)
        if figure is not None:
            figure.tight_layout()
            figure.savefig(folder / f"results-{name}.svg", metadata={"Date": None})
            print(name)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
