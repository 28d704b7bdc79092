"""How long an answer takes that costs the server nothing."""

from __future__ import annotations

import statistics
import time
from typing import Final

from server.doctor.findings import Broken, Finding, ok, warn
from server.doctor.patient import Patient

ASKED: Final = 10
SLOW_MS: Final = 1000.0


async def latency(patient: Patient) -> Finding:
    """Of ten GET /live, one after the other on one connection."""
    taken_ms = []
    for _ in range(ASKED):
        began = time.monotonic()
        reply = await patient.get("/live")
        taken_ms.append((time.monotonic() - began) * 1000)
        if reply.status != 200:
            raise Broken(f"/live: {reply.said}", "it answered before: is one of several servers ill?")
    p50, longest = statistics.median(taken_ms), max(taken_ms)
    seen = f"{ASKED} × /live: p50 {p50:.1f} ms, longest {longest:.1f} ms"
    if p50 > SLOW_MS:
        cure = "look at the way between and at the load of the server (clearsync bench says what it takes)"
        return warn(seen, cure, p50_ms=p50, max_ms=longest)
    return ok(seen, p50_ms=p50, max_ms=longest)
