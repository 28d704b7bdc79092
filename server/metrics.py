"""What a worker counts: plain integers, no labels on the path of a clear."""

from __future__ import annotations

from dataclasses import dataclass


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
