"""The checks in their order, and what each stands on: where that failed it is left out, with the reason."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

import httpx2

from server.client.frames import Unreadable
from server.client.retry import LOST, printable, reason_of
from server.doctor.bodies import body
from server.doctor.clocks import clocks
from server.doctor.eventstream import event_stream
from server.doctor.findings import Broken, Finding, Skip, Status, fail
from server.doctor.handshakes import forwarded, origin, upgrade
from server.doctor.headers import headers
from server.doctor.idle import idle
from server.doctor.latency import latency
from server.doctor.patient import Patient
from server.doctor.reach import address, ready, server, tls
from server.doctor.roundtrip import round_trip
from server.doctor.signin import credentials, websocket


@dataclass(frozen=True, slots=True)
class Check:
    """`needs`: the checks without which this one would only say the same again."""

    name: str
    look: Callable[[Patient], Awaitable[Finding]]
    needs: tuple[str, ...] = ()


_THERE: Final = ("server",)
_SERVING: Final = ("server", "ready")
CHECKS: Final = (
    Check("address", address),
    Check("tls", tls, ("address",)),
    Check("server", server, ("address", "tls")),
    Check("ready", ready, _THERE),
    Check("upgrade", upgrade, _THERE),
    Check("origin", origin, ("upgrade",)),
    Check("forwarded", forwarded, ("origin",)),
    Check("credentials", credentials, _SERVING),
    Check("websocket", websocket, ("ready", "upgrade")),
    Check("clocks", clocks, _THERE),
    Check("headers", headers, _THERE),
    Check("body", body, _SERVING),
    Check("round trip", round_trip, ("websocket",)),
    Check("event stream", event_stream, _SERVING),
    Check("latency", latency, _THERE),
    Check("idle", idle, ("websocket",)),
)


async def examine(patient: Patient, tell: Callable[[Finding], None], checks: Sequence[Check] = CHECKS) -> list[Finding]:
    """Look at everything, one after the other; `tell` is told each finding at once."""
    findings, fallen = [], set[str]()
    for check in checks:
        patient.progress(check.name)
        broken = next((name for name in check.needs if name in fallen), None)
        if broken is None:
            found = await _look(check, patient)
        else:
            found = Finding(Status.SKIPPED, f"stands on {broken}")
        if broken is not None or found.status is Status.FAIL:
            fallen.add(check.name)
        findings.append(replace(found, check=check.name))
        tell(findings[-1])
    return findings


async def _look(check: Check, patient: Patient) -> Finding:
    try:
        return await check.look(patient)
    except Skip as reason:
        return Finding(Status.SKIPPED, str(reason))
    except Broken as broken:
        return fail(broken.seen, broken.cure)
    except (httpx2.HTTPError, Unreadable, *LOST) as failure:
        # Where a check does not say more than that: the connection broke, or nothing came.
        return fail(printable(reason_of(failure)), "look at the log of the proxy and of the server at this time")
