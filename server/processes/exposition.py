"""What the workers count, as the text that Prometheus reads.

A figure `name` of a worker is `clearsync_name{worker="0"}`; one that ends in `_total` is a counter, those of
`metrics.HISTOGRAMS` are histograms, any other is a gauge. Nothing is added up here, see `metrics.counted`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final, NamedTuple

from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4, CollectorRegistry, Metric, generate_latest
from prometheus_client.registry import Collector

from server.metrics import DOCS, HISTOGRAMS, Sample

CONTENT_TYPE: Final = CONTENT_TYPE_PLAIN_0_0_4
SUPERVISED: Final = {
    "worker_ready": "whether the worker serves, and answers the supervisor",
    "worker_starts_total": "processes of this worker; each counts from 0",
}
"""What the supervisor knows of each worker."""
OF_SERVICE: Final = {
    "info": "1; the version is in the label",
    "store_starts_total": "starts of the embedded store; 0 where it is another",
}
"""What the supervisor knows of the service; without the label `worker`."""
_SUFFIXES: Final = ("_bucket", "_sum", "_count")


class Measured(NamedTuple):
    """A worker's answer; `samples` is None where there was none in time."""

    worker: int
    ready: bool
    samples: Sequence[Sample] | None
    starts: int = 1


class _Told(Collector):
    def __init__(self, answers: Iterable[Measured], service: Iterable[Sample]) -> None:
        self._answers = list(answers)
        self._service = list(service)

    def collect(self) -> Iterator[Metric]:
        families: dict[str, Metric] = {}
        for sample in self._service:
            _add(families, sample, {})
        for each in self._answers:
            worker = {"worker": str(each.worker)}
            answered = each.ready and each.samples is not None
            for sample in (Sample("worker_ready", answered), Sample("worker_starts_total", each.starts)):
                _add(families, sample, worker)
            for sample in each.samples or ():
                _add(families, sample, worker)
        yield from families.values()


def _add(families: dict[str, Metric], sample: Sample, first: Mapping[str, str]) -> None:
    name = family_of(sample.name)
    family = families.get(name)
    if family is None:
        family = families[name] = _family(name)
    family.add_sample(f"clearsync_{sample.name}", {**first, **dict(sample.labels)}, float(sample.value))


def family_of(name: str) -> str:
    """The figure that a sample of this name belongs to: a histogram has several."""
    for suffix in _SUFFIXES:
        if name.endswith(suffix) and name.removesuffix(suffix) in HISTOGRAMS:
            return name.removesuffix(suffix)
    return name


def _family(name: str) -> Metric:
    doc = (DOCS | SUPERVISED | OF_SERVICE).get(name, "")
    kind = "histogram" if name in HISTOGRAMS else "counter" if name.endswith("_total") else "gauge"
    return Metric(f"clearsync_{name.removesuffix('_total')}", doc, kind)


def exposition(answers: Iterable[Measured], service: Iterable[Sample] = ()) -> bytes:
    """The whole answer to a scrape, of type `CONTENT_TYPE`. `service`: the figures that are no worker's."""
    registry = CollectorRegistry()
    registry.register(_Told(answers, service))
    return generate_latest(registry)
