"""The whole benchmark, in a few seconds: it measures, and writes what it found."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from bench.compiled import COMPILERS
from bench.peers.installed import PYTHON
from bench.results import Entry, Results, Run

ROOT = Path(__file__).parents[2]
PLOTS = ("throughput", "latency", "memory", "growth")


@pytest.mark.parametrize("generator", ["c", "python"])
def test_a_short_benchmark_goes_from_end_to_end(generator: str, tmp_path: Path) -> None:
    if generator == "c" and not any(map(shutil.which, COMPILERS)):
        pytest.skip("no C compiler")
    command = [sys.executable, "-P", "-m", "bench", "--smoke", "--generator", generator, "--out", str(tmp_path)]
    done = subprocess.run(
        command, cwd=ROOT, env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"}, capture_output=True, text=True,
        timeout=55, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    results = Results.load(tmp_path / "results.json")
    assert {(run.candidate, run.measure) for run in results.runs} == {("clearsync", "closed"), ("clearsync", "open")}
    assert list(results.bad()) == []
    assert all(run.figures["posts"] and run.figures["p99_ms"] for run in results.runs)
    assert "## Beside the others" in (tmp_path / "results.md").read_text()


@pytest.mark.skipif(not PYTHON.exists(), reason="matplotlib comes with `make bench-peers`")
def test_the_same_results_make_the_same_plots(tmp_path: Path) -> None:
    figures: dict[str, float | None] = dict.fromkeys(("posts_per_s", "frames_per_s", "kb_each", "connects_per_s"), 7.0)
    figures |= {"p50_ms": 0.2, "p99_ms": 1.5, "p999_ms": 9.0}
    entries = [Entry("clearsync", "clearsync", "all"), Entry("nchan", "nchan, in memory", "nothing")]
    runs = [Run(m, e.slug, 1, None, figures, []) for m in ("closed", "open", "storm", "memory") for e in entries]
    runs += [Run(m, "clearsync", 1, n, figures, []) for m in ("agents", "pairs", "batch") for n in (0, 1, 1000)]
    Results({}, "", 4.0, 1, entries, runs).save(tmp_path / "results.json")
    drawn = []
    for folder in (tmp_path / "a", tmp_path / "b"):
        folder.mkdir()
        command = [str(PYTHON), "-P", str(ROOT / "bench" / "plots.py"), str(tmp_path / "results.json"), str(folder)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=50, check=False)
        assert done.stdout.split() == list(PLOTS), done.stderr
        drawn.append({path.name: path.read_bytes() for path in folder.iterdir()})
    assert drawn[0] == drawn[1]
    for data in drawn[0].values():
        assert ElementTree.fromstring(data).tag.endswith("svg")
