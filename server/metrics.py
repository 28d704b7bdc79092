"""What a worker counts: plain integers, no labels on the path of a clear."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from itertools import product
from typing import Any, Final, NamedTuple

SCHEMES: Final = ("basic", "soticket", "bearer", "web", "once", "other")
RESULTS: Final = ("ok", "refused", "limited", "unavailable")
LIMITS: Final = (
    "agent_requests",
    "address_requests",
    "agent_sessions",
    "web_sessions",
    "worker_sessions",
    "failed_logins",
    "frames",
    "connections",
    "requests_in_flight",
    "bodies",
)


GAUGES: Final = {
    "sessions": "devices connected",
    "channels": "agents with a channel; one stays for a moment after its last session",
    "connections": "open connections, devices and callers",
    "tasks": "tasks of the event loop",
}
"""What a worker holds at a moment; it counts them only when it is asked."""


class Sample(NamedTuple):
    """One figure. `labels` are pairs of a label's name and its value."""

    name: str
    value: float
    labels: tuple[tuple[str, str], ...] = ()


def _counter(doc: str) -> Any:
    return field(default=0, metadata={"doc": doc})


def _gauge(doc: str) -> Any:
    return field(default=0.0, metadata={"doc": doc})


def _zeros(*labels: tuple[str, ...]) -> dict[tuple[str, ...], int]:
    return dict.fromkeys(product(*labels), 0)


@dataclass(slots=True)
class Metrics:
    """Counters (`_total`) since the start of this worker; all exist from the start, so that a zero is visible."""

    batches_recorded_total: int = _counter("batches that the store recorded")
    clears_total: int = _counter("clears written to devices")
    catch_ups_total: int = _counter("reads of what devices had missed")
    resets_total: int = _counter("devices told to start anew")
    gaps_total: int = _counter("announcements that did not continue from the one before")
    stores_total: int = _counter("stores met, the first one included")
    clears_found_by_sweep_total: int = _counter("channels that only the sweep found behind the store; should stay 0")
    recorded_again_total: int = _counter("batches that the store had lost after they were answered")
    listener_rebuilds_total: int = _counter("connections of the listener after its first")
    probes_total: int = _counter("probes that were published to see whether announcements still arrive")
    probes_deaf_total: int = _counter("probes that did not arrive: the listener was deaf, and was rebuilt")
    probe_s: float = _gauge("how long the last probe took from its publication to its arrival")
    loop_lag_s: float = _gauge("the longest that the loop came late to its work in the last seconds")
    gc_pause_s: float = _gauge("the longest that one collection of cyclic garbage took in the last seconds")
    sign_ins_total: dict[tuple[str, ...], int] = field(
        default_factory=lambda: _zeros(SCHEMES, RESULTS),
        metadata={
            "doc": "sign-ins by scheme and result; what the cache answers is none",
            "labels": ("scheme", "result"),
        },
    )
    limited_total: dict[tuple[str, ...], int] = field(
        default_factory=lambda: _zeros(LIMITS),
        metadata={"doc": "refused for a limit, by the limit", "labels": ("limit",)},
    )


DOCS: Final = GAUGES | {each.name: str(each.metadata.get("doc", "")) for each in fields(Metrics)}
"""What each figure is, in one line."""


def samples(metrics: Metrics) -> Iterator[Sample]:
    """All of them as they are now, in the order of the fields."""
    for each in fields(metrics):
        value = getattr(metrics, each.name)
        if isinstance(value, dict):
            for labels, count in value.items():
                yield Sample(each.name, count, tuple(zip(each.metadata["labels"], labels, strict=True)))
        else:
            yield Sample(each.name, value)
