"""The counters, gauges and histograms of a worker.

What a worker counts begins at 0 with its process, and is told by worker: a sum made by us would fall whenever one of
them is replaced, and to Prometheus a counter that falls began anew, so `rate` would count all of the others' again.
Sums are for who reads them: PromQL's `sum(rate(…))`, which sees each counter begin anew by itself.
"""

# ruff: noqa: RUF009  the functions that are called in defaults make fields

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import Field, dataclass, field, fields
from itertools import product
from typing import Any, Final, NamedTuple

from server.metrics.histogram import Histogram
from server.metrics.labels import CODES, LIMITS, OTHER, POSTS, REFUSALS, RESULTS, SCHEMES, TRANSPORTS

GAUGES: Final = {
    "sessions": "devices connected, by transport",
    "lagging_sessions": "of these, devices that do not read as fast as they are written to",
    "channels": "agents with a channel; one stays for a moment after its last session",
    "connections": "open connections, devices and callers",
    "tasks": "tasks of the event loop",
}
"""What a worker holds at a moment; it counts them only when it is asked."""
OF_PROCESS: Final = {
    "resident_bytes": "memory of the process; 0 where the system does not tell",
    "cpu_seconds_total": "processor time of the process",
}
"""What the kernel knows of a worker, also told only when it is asked."""

CLEAR_S: Final = (
    *(0.00025, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0),
    *(60.0, 600.0, 3600.0, 86_400.0, 604_800.0),
)
"""Live clears take milliseconds, what a device catches up with may be a month old; both have the same buckets."""
ROUND_TRIP_S: Final = (0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0)
EVENTS: Final = (0.0, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0, 2000.0, 5000.0, 10_000.0)
_US: Final = 1_000_000
_MS: Final = 1000
LONGEST_US: Final = 10**13
"""Four months: nothing that the store retains is older, but whoever can write to it can say any number."""
_TO_CLEAR: Final = (
    "until a clear is written; live: since its batch was sent to the store, once for all devices of an agent here;"
    " catch_up: since the event was recorded, for each device"
)


class Sample(NamedTuple):
    """One figure. `labels` are pairs of a label's name and its value."""

    name: str
    value: float
    labels: tuple[tuple[str, str], ...] = ()


def _counter(doc: str) -> Any:
    return field(default=0, metadata={"doc": doc})


def _gauge(doc: str) -> Any:
    return field(default=0.0, metadata={"doc": doc})


def _by(doc: str, **labels: tuple[str, ...]) -> Any:
    """A counter by labels, each with all the values that it may have."""
    return field(
        default_factory=lambda: dict.fromkeys(product(*labels.values()), 0), metadata={"doc": doc, "labels": (*labels,)}
    )


def _histogram(doc: str, bounds: tuple[float, ...], scale: int = 1, name: str = "", **labels: str) -> Any:
    """Of numbers, `scale` of which are one of the figure's unit. Several of one `name` differ in their labels."""
    told = {"doc": doc, "bounds": bounds, "name": name, "pairs": tuple(labels.items())}
    return field(default_factory=lambda: Histogram(bounds, scale), metadata=told)


@dataclass(slots=True)
class Metrics:
    """Counters (`_total`) and histograms since the start of this worker, and the gauges that change by themselves; all
    exist from the start, so that a zero is visible.

    What a POST pays for all that is counted of it is 0.8 µs, of 62 (`python -m bench.stages`, with and without).
    """

    posts_total: dict[tuple[str, ...], int] = _by(
        "requests to NotificationsHandled and NotificationHandled by how they ended", result=POSTS
    )
    batches_recorded_total: int = _counter("batches that the store recorded, of requests and of devices")
    events_recorded_total: int = _counter("events in them")
    store_round_trip_seconds: Histogram = _histogram("from a batch's command to the store's reply", ROUND_TRIP_S)
    announcements_total: int = _counter(
        "messages heard from the store: batches announced to agents here, and own probes"
    )
    clears_total: int = _counter("clears written to devices as they were announced")
    live_clears: Histogram = _histogram(_TO_CLEAR, CLEAR_S, _US, "time_to_clear_seconds", kind="live")
    late_clears: Histogram = _histogram(_TO_CLEAR, CLEAR_S, _MS, "time_to_clear_seconds", kind="catch_up")
    catch_ups_total: int = _counter("reads of what devices had missed, also where that was nothing")
    catch_up_events: Histogram = _histogram("events that a device was sent in a catch-up", EVENTS)
    resets_total: int = _counter("devices told to start anew")
    gaps_total: int = _counter("announcements that did not continue from the one before")
    lagged_total: int = _counter("times that a device read too slowly, and was left out until it had caught up")
    sessions_begun_total: dict[tuple[str, ...], int] = _by("sessions begun, by transport", transport=TRANSPORTS)
    sessions_ended_total: dict[tuple[str, ...], int] = _by(
        "sessions ended, by transport and close code; 1006 is without a goodbye", transport=TRANSPORTS, code=CODES
    )
    handshakes_refused_total: dict[tuple[str, ...], int] = _by(
        "sessions refused, by transport and HTTP status, also where a browser was told by a close code",
        transport=TRANSPORTS,
        status=REFUSALS,
    )
    stores_total: int = _counter("stores met, the first one included")
    clears_found_by_sweep_total: int = _counter("channels that only the sweep found behind the store; should stay 0")
    recorded_again_total: int = _counter("batches that the store had lost after they were answered")
    commands_rebuilds_total: int = _counter("connections for commands to the store after the first")
    listener_rebuilds_total: int = _counter("connections of the listener after its first")
    probes_total: int = _counter("probes that were published to see whether announcements still arrive")
    probes_deaf_total: int = _counter("probes that did not arrive: the listener was deaf, and was rebuilt")
    probe_seconds: float = _gauge("how long the last probe took from its publication to its arrival")
    loop_lag_seconds: float = _gauge("the longest that the loop came late to its work in the last seconds")
    gc_pause_seconds: float = _gauge("the longest that one collection of cyclic garbage took in the last seconds")
    sign_ins_total: dict[tuple[str, ...], int] = _by(
        "sign-ins by scheme and result; what the cache answers is none", scheme=SCHEMES, result=RESULTS
    )
    limited_total: dict[tuple[str, ...], int] = _by("refused for a limit, by the limit", limit=LIMITS)

    def cleared(self, took_us: int) -> None:
        """A live clear was written so long after its batch was sent to the store, between the clocks of two workers."""
        if not 0 <= took_us <= LONGEST_US:
            took_us = 0 if took_us < 0 else LONGEST_US
        live = self.live_clears
        live.counts[bisect_left(live.tops, took_us)] += 1  # its `add`, without the call
        live.sum += took_us

    def refused_handshake(self, transport: str, status: int) -> None:
        """A device was not let in."""
        self.handshakes_refused_total[transport, _known(str(status), REFUSALS)] += 1


def ended_as(code: int) -> str:
    """The label of a close code, which a device may choose freely."""
    return _known(str(code), CODES)


def _known(value: str, values: tuple[str, ...]) -> str:
    return value if value in values else OTHER


def _name(each: Field[Any]) -> str:
    return each.metadata.get("name") or each.name


HISTOGRAMS: Final = frozenset(_name(each) for each in fields(Metrics) if "bounds" in each.metadata)
"""Each is told as `name_bucket`, `name_sum` and `name_count`."""
DOCS: Final = {_name(each): str(each.metadata.get("doc", "")) for each in fields(Metrics)} | GAUGES | OF_PROCESS
"""What each figure is, in one line."""


def samples(metrics: Metrics) -> Iterator[Sample]:
    """All of them as they are now, in the order of the fields."""
    for each in fields(metrics):
        value = getattr(metrics, each.name)
        if isinstance(value, Histogram):
            yield from _of_histogram(_name(each), value, each.metadata["pairs"])
        elif isinstance(value, dict):
            for labels, count in value.items():
                yield Sample(each.name, count, tuple(zip(each.metadata["labels"], labels, strict=True)))
        else:
            yield Sample(each.name, value)


def _of_histogram(name: str, histogram: Histogram, labels: tuple[tuple[str, str], ...]) -> Iterator[Sample]:
    count = 0
    for bound, count in histogram.cumulative():
        yield Sample(f"{name}_bucket", count, (*labels, ("le", bound)))
    yield Sample(f"{name}_sum", histogram.sum / histogram.scale, labels)
    yield Sample(f"{name}_count", count, labels)
