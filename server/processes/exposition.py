"""What the workers count, as the text that Prometheus reads.

A figure `name` of a worker is `clearsync_name{worker="0"}`; one that ends in `_total` is a counter, any other a gauge.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final, NamedTuple

from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4, CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from server.metrics import DOCS, Sample

CONTENT_TYPE: Final = CONTENT_TYPE_PLAIN_0_0_4


class Measured(NamedTuple):
    """A worker's answer; `samples` is None where there was none in time."""

    worker: int
    ready: bool
    samples: Sequence[Sample] | None


class _Workers(Collector):
    def __init__(self, answers: Iterable[Measured]) -> None:
        self._answers = list(answers)

    def collect(self) -> Iterator[CounterMetricFamily | GaugeMetricFamily]:
        ready = GaugeMetricFamily(
            "clearsync_worker_ready", "whether the worker serves, and answers the supervisor", labels=("worker",)
        )
        families: dict[str, CounterMetricFamily | GaugeMetricFamily] = {}
        for worker, is_ready, samples in self._answers:
            ready.add_metric((str(worker),), float(is_ready and samples is not None))
            for sample in samples or ():
                family = families.get(sample.name) or families.setdefault(sample.name, _family(sample))
                family.add_metric((str(worker), *(value for _, value in sample.labels)), sample.value)
        yield ready
        yield from families.values()


def _family(sample: Sample) -> CounterMetricFamily | GaugeMetricFamily:
    kind = CounterMetricFamily if sample.name.endswith("_total") else GaugeMetricFamily
    return kind(f"clearsync_{sample.name}", DOCS.get(sample.name, ""), labels=("worker", *dict(sample.labels)))


def exposition(answers: Iterable[Measured]) -> bytes:
    """The whole answer to a scrape, of type `CONTENT_TYPE`."""
    registry = CollectorRegistry()
    registry.register(_Workers(answers))
    return generate_latest(registry)
