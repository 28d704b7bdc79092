"""What a worker tells somebody with the scope `admin` of all workers: `GET /api/v1/admin/overview`."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from server.processes.exposition import Measured

WITHIN_S = 0.7
"""The time in which a worker tells its figures for it; less than who asked waits (`api.overview.ANSWER_S`)."""


def overview(measured: Iterable[Measured], *, ready: bool, now_ms: int, version: str) -> bytes:
    """One line of JSON. `figures` are those of `/metrics`, null of a worker that did not answer; each is the worker's
    own, since its start: rates are differences of two of these, sums are for who reads them."""
    workers = [
        {
            "worker": each.worker,
            "ready": each.ready and each.samples is not None,
            "figures": None
            if each.samples is None
            else [{"name": name, "labels": dict(labels), "value": value} for name, value, labels in each.samples],
        }
        for each in measured
    ]
    return msgspec.json.encode({"now": now_ms, "version": version, "ready": ready, "workers": workers})
