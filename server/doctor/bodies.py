"""Does a body as large as a batch may be pass the proxy."""

from __future__ import annotations

from typing import Final

import httpx2

from server.client.retry import reason_of
from server.doctor.findings import Broken, Finding, fail, ok
from server.doctor.patient import WRITE, Patient

BODY_BYTES: Final = 262_144
"""What clearsync takes (`limits.body_bytes`)."""
ALLOW: Final = (
    "`client_max_body_size 1m;`, more than limits.body_bytes, so that clearsync's own 413 is what a caller sees"
)
LOG: Final = "the log of the proxy says why (is its client_body_temp_path writable?)"
_FRAME: Final = b'{"Doctor":"%b"}'
_FILLED: Final = _FRAME % (b"x" * (BODY_BYTES - len(_FRAME % b"")))
"""An object without `NotificationEvents`: 400, and nothing is recorded."""


async def body(patient: Patient) -> Finding:
    """256 KiB arrive: it is clearsync that refuses them, and not what stands before it."""
    patient.need(WRITE)
    size = f"{BODY_BYTES // 1024} KiB"
    try:
        reply = await patient.post(_FILLED)
    except (httpx2.NetworkError, httpx2.RemoteProtocolError) as problem:
        raise Broken(f"the connection ended while {size} were on their way ({reason_of(problem)})", ALLOW) from None
    if reply.problem is None:
        cure = ALLOW if reply.status == 413 else f"{LOG}; {ALLOW}"
        return fail(f"{size} are answered {reply.said}", cure, status=reply.status)
    if reply.status == 400:
        return ok(f"{size} arrive", bytes=BODY_BYTES)
    if reply.status == 413:
        return ok(f"clearsync itself takes less than {size} here ({reply.said})", status=413)
    return fail(f"{size} are answered {reply.said}", "do as it says, and try again", status=reply.status)
