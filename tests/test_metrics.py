"""What a worker counts, as figures with names and labels."""

from __future__ import annotations

import re
from dataclasses import fields

from server.metrics import DOCS, GAUGES, LIMITS, RESULTS, SCHEMES, Metrics, Sample, samples


def test_all_figures_exist_from_the_start() -> None:
    there = list(samples(Metrics()))
    assert {sample.name for sample in there} == {each.name for each in fields(Metrics)}
    assert len(there) == len(fields(Metrics)) - 2 + len(SCHEMES) * len(RESULTS) + len(LIMITS)
    assert all(sample.value == 0 for sample in there)


def test_a_figure_with_labels_says_which() -> None:
    metrics, other = Metrics(), Metrics()
    metrics.clears_total += 3
    metrics.sign_ins_total["basic", "refused"] += 2
    there = list(samples(metrics))
    assert Sample("clears_total", 3) in there
    assert Sample("sign_ins_total", 2, (("scheme", "basic"), ("result", "refused"))) in there
    assert Sample("limited_total", 0, (("limit", "bodies"),)) in there
    assert not any(sample.value for sample in samples(other)), "two workers' figures are not the same"


def test_every_figure_says_what_it_is() -> None:
    assert set(DOCS) == {each.name for each in fields(Metrics)} | set(GAUGES)
    for name, doc in DOCS.items():
        assert re.fullmatch(r"[a-z_]+", name)
        assert doc
