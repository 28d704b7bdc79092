"""Do the clocks agree: ours, the one of whoever writes `Date` (the proxy or the server), and the store's."""

from __future__ import annotations

import time
from email.utils import parsedate_to_datetime
from typing import Final

from server.doctor.findings import Broken, Finding, Status
from server.doctor.patient import Patient

WARN_S: Final = 2.0
FAIL_S: Final = 60.0
DATE_CUT_S: Final = 1.0
"""It has whole seconds, cut, and servers write it once a second: so it is this much too low, give or take a second."""


async def clocks(patient: Patient) -> Finding:
    """None is far from ours."""
    began = time.time()
    reply = await patient.get("/live")
    middle = (began + time.time()) / 2
    said = reply.headers.get("date")
    if said is None:
        raise Broken("answers have no Date", "the proxy must pass Date on, or write its own")
    try:
        date = parsedate_to_datetime(said).timestamp()
    except ValueError:
        raise Broken(f"Date is {said[:40]!r}", "the proxy must write Date as RFC 9110 says") from None
    return judged(date + DATE_CUT_S - middle, patient.store_ahead_s)


def judged(date_s: float, store_s: float | None) -> Finding:
    """By how many seconds the clocks of `Date` and of the store are ahead of ours; None: that one is not known."""
    known = [date_s] if store_s is None else [date_s, store_s]
    worst = max(map(abs, known))
    status = Status.FAIL if worst > FAIL_S else Status.WARN if worst > WARN_S else Status.OK
    shown = [f"Date {_ahead(date_s)}", *([] if store_s is None else [f"the store {_ahead(store_s)}"])]
    cure = "" if status is Status.OK else _cure(date_s, store_s)
    return Finding(status, ", ".join(shown), cure, {"date_ahead_s": date_s, "store_ahead_s": store_s})


def _ahead(seconds: float) -> str:
    return f"is {abs(seconds):.1f} s {'ahead of' if seconds > 0 else 'behind'} us"


def _cure(date_s: float, store_s: float | None) -> str:
    if store_s is not None and abs(date_s - store_s) <= WARN_S:
        return "both differ from ours alike: this machine's clock is wrong, let it be set by NTP"
    if store_s is not None and abs(store_s) <= WARN_S:
        return "the clock of the proxy (or server) that writes Date is wrong: let it be set by NTP"
    what = "the store's host" if store_s is not None else "the server's host, or this machine"
    return f"let the clock of {what} be set by NTP: tokens end early or late, and positions are times of the store"
