"""What a worker counts: plain integers, no labels on the path of a clear."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import product
from typing import Final

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


def _zeros(labels: Iterable[tuple[str, ...]]) -> dict[tuple[str, ...], int]:
    return dict.fromkeys(labels, 0)


@dataclass(slots=True)
class Metrics:
    """Counters (`_total`) since the start of this worker; all exist from the start, so that a zero is visible."""

    batches_recorded_total: int = 0
    clears_total: int = 0
    catch_ups_total: int = 0
    resets_total: int = 0
    gaps_total: int = 0
    stores_total: int = 0
    clears_found_by_sweep_total: int = 0
    recorded_again_total: int = 0
    """Batches that the store had lost after they were answered."""
    listener_rebuilds_total: int = 0
    """Connections of the listener after its first."""
    probes_total: int = 0
    probes_deaf_total: int = 0
    """Probes that did not arrive: the listener was deaf, and was rebuilt."""
    probe_s: float = 0.0
    """How long the last probe took from its publication to its arrival."""
    loop_lag_s: float = 0.0
    """The longest that the loop came late to its work in the last seconds."""
    sign_ins_total: dict[tuple[str, ...], int] = field(default_factory=lambda: _zeros(product(SCHEMES, RESULTS)))
    """By scheme and result; what the cache answers is none."""
    limited_total: dict[tuple[str, ...], int] = field(default_factory=lambda: _zeros(product(LIMITS)))
    """Refused for a limit, by the limit."""
