"""`python -m bench`: measure clearsync beside the others, and write down what came of it."""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

from bench import machine, plan
from bench.candidate import Candidate
from bench.compiled import Compiled
from bench.generator import Generator, GeneratorError
from bench.goals import OURS
from bench.measures.run import run
from bench.peers.all import CANDIDATES
from bench.peers.installed import PYTHON
from bench.report import markdown
from bench.results import Entry, Results, Run

HERE: Final = Path(__file__).parent
SMOKE: Final = ("closed", "open")
SMOKE_S: Final = 0.5


def say(text: str) -> None:
    """To whoever watches."""
    print(text, file=sys.stderr, flush=True)


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; 1 where a run had problems."""
    options = _parser().parse_args(argv)
    if options.smoke:
        options.only, options.measures, options.seconds, options.rounds = ["clearsync"], list(SMOKE), SMOKE_S, 1
    candidates = [each for each in CANDIDATES if not options.only or each.slug in options.only]
    entries = [_entry(each) for each in candidates]
    generator = choose(options.generator)
    results = Results(machine.describe(), generator.name, options.seconds, options.rounds, entries)
    options.out.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    present = [each for each, entry in zip(candidates, entries, strict=True) if not entry.absent]
    _measure(results, present, generator, options)
    results.save(options.out / "results.json")
    plots = _plots(options.out)
    (options.out / "results.md").write_text(markdown(results, plots), encoding="utf-8")
    say(f"{len(results.runs)} runs in {(time.monotonic() - began) / 60:.1f} min: {options.out / 'results.md'}")
    return int(any(results.bad()))


def _names(allowed: Sequence[str]) -> Callable[[str], list[str]]:
    """What parses some of these, with commas between."""

    def parse(text: str) -> list[str]:
        given = text.split(",")
        if unknown := set(given) - set(allowed):
            raise argparse.ArgumentTypeError(f"{', '.join(sorted(unknown))}: there are {', '.join(allowed)}")
        return given

    return parse


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m bench", description=__doc__)
    slugs = [each.slug for each in CANDIDATES]
    parser.add_argument("--only", type=_names(slugs), metavar="SLUG,...", help=", ".join(slugs))
    known = ", ".join(plan.MEASURES)
    parser.add_argument("--measures", type=_names(plan.MEASURES), default=plan.MEASURES, metavar="NAME,...", help=known)
    parser.add_argument("--seconds", type=float, default=4.0, help="of each load")
    parser.add_argument("--rounds", type=int, default=3, help="of what all are asked")
    parser.add_argument("--smoke", action="store_true", help="a few seconds, to see that all of it works")
    parser.add_argument("--generator", choices=("auto", "c", "python"), default="auto")
    parser.add_argument("--out", type=Path, default=HERE, help="where results.json, results.md and the plots go")
    return parser


def _entry(candidate: Candidate) -> Entry:
    absent = candidate.absent()
    version = "" if absent else candidate.version()
    if absent:
        say(f"{candidate.slug} is left out: {absent}")
    return Entry(candidate.slug, candidate.name, candidate.records, version, absent)


def choose(which: str = "auto") -> Generator:
    """`c`, `python`, or the first of the two that is to be had. Raises `GeneratorError`."""
    if which != "python":
        try:
            return Compiled.build()
        except GeneratorError as problem:
            if which == "c":
                raise
            say(f"the load comes from Python: {problem}")
    from bench.fallback import Fallback

    return Fallback()


def _steps(options: argparse.Namespace, candidates: list[Candidate]) -> Iterator[plan.Step]:
    yield from plan.compared(candidates, options.measures, options.rounds, options.seconds)
    if any(each.slug == OURS for each in candidates):
        yield from plan.of_ours(options.measures, options.seconds)


def _measure(results: Results, candidates: list[Candidate], generator: Generator, options: argparse.Namespace) -> None:
    steps = list(_steps(options, candidates))
    for number, step in enumerate(steps, 1):
        began = time.monotonic()
        reading = run(step.candidate, step.take, generator)
        done = Run(step.measure, step.candidate.slug, step.round, step.value, reading.figures, reading.problems)
        results.runs.append(done)
        verdict = "; ".join(done.problems) or "ok"
        say(f"{number}/{len(steps)} {step.title}: {_gist(done)}{verdict} ({time.monotonic() - began:.0f} s)")


def _gist(done: Run) -> str:
    """The figures that one looks at first."""
    found = (
        (name, done.figures.get(name)) for name in ("posts_per_s", "p99_ms", "kb_each", "catchup_max_ms", "server_cpu")
    )
    return "".join(f"{name} {number:,.4g}, " for name, number in found if number)


def _plots(out: Path) -> list[str]:
    """The names of the plots that could be drawn."""
    if not PYTHON.exists():
        say("no plots: matplotlib is installed by `make bench-peers`")
        return []
    command = [str(PYTHON), "-P", str(HERE / "plots.py"), str(out / "results.json"), str(out)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    if done.returncode:
        say(f"no plots: {done.stderr.strip()[-500:]}")
    return done.stdout.split()


if __name__ == "__main__":
    sys.exit(main())
