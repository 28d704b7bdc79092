"""Do the headers that count arrive: asked in ways that record nothing, and need no credentials."""

from __future__ import annotations

from typing import Final

from server.doctor.findings import Broken, Finding, fail, ok, warn
from server.doctor.patient import DEVICE, Patient
from server.doctor.replies import schemes
from server.doctor.signin import NOTHING

APP_TOKEN: Final = "SO-AppToken"


async def headers(patient: Patient) -> Finding:
    """`X-Device-Id` and `SO-AppToken` reach clearsync, and the challenge of a 401 comes back."""
    bare = await patient.post(NOTHING, signed=False)
    challenge = schemes(bare)
    if bare.status != 401 or bare.problem is None:
        raise Broken(
            f"a request without credentials is answered {bare.said}",
            "a proxy must neither sign in for callers nor answer for clearsync: no `proxy_set_header Authorization`",
        )
    if not challenge:
        return fail(
            "a 401 comes without WWW-Authenticate", "the proxy must pass it on: take `proxy_hide_header` out of it"
        )
    # No device may have this id, so it is 400 where it arrives, before credentials are looked at.
    device = await patient.post(NOTHING, {DEVICE: "-"}, signed=False)
    if device.status != 400:
        return fail(
            f"{DEVICE} does not arrive ({device.said})",
            f"the proxy must pass {DEVICE} on: without it a device is told what it handled itself",
        )
    # Given twice it is 400, likewise.
    twice = await patient.post(NOTHING, [(APP_TOKEN, "doctor"), (APP_TOKEN, "doctor")], signed=False)
    seen = f"{DEVICE} arrives; sign in by {challenge}"
    if twice.status == 400:
        return ok(f"{DEVICE} and {APP_TOKEN} arrive; sign in by {challenge}", challenge=challenge)
    if patient.login.has_app_token:
        cure = f"the proxy must pass {APP_TOKEN} on as it is (it may also have made one of two)"
        return warn(f"{seen}; {APP_TOKEN} was not seen to arrive", cure, challenge=challenge)
    return ok(f"{seen}; {APP_TOKEN} could not be seen", challenge=challenge)
