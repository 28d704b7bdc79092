"""Who we are there, which rights that gives, and a device's websocket opened with it."""

from __future__ import annotations

import time
from typing import Final
from urllib.parse import urlencode

from websockets.exceptions import ConnectionClosed, InvalidStatus

from server.client import Welcome
from server.client.retry import printable
from server.doctor.findings import Broken, Finding, Skip, fail, ok
from server.doctor.handshakes import UPGRADE
from server.doctor.patient import READ, WRITE, Patient
from server.doctor.replies import SHOWN, Reply, schemes
from server.doctor.sockets import Socket, reply_of
from server.wire import SYNC_PATH

NOTHING: Final = b'{"NotificationEvents":[]}'
"""Answered 204, and nothing is recorded."""
AUTHORIZATION: Final = (
    "the proxy must pass Authorization on: take `proxy_set_header Authorization` and auth_basic out of it"
)
BOTH: Final = "the proxy must pass both directions on as they come"
_MISSING: Final = "credentials are missing"
_SCOPES: Final = "`clearsync token issue --scope`, scopes in auth.users_file, or the claim in jwt.scope_claim"


async def credentials(patient: Patient) -> Finding:
    """They are known, and allow to listen and to report."""
    if patient.login.missing:
        raise Skip(patient.login.missing)
    query = urlencode({"device": patient.device("rights")})
    headers = {**patient.login.headers, "Accept": "application/json"}
    asked = await patient.get(f"{SYNC_PATH}?{query}", headers)
    _refuse_unknown(patient, asked)
    told = await patient.post(NOTHING)
    _refuse_unknown(patient, told)
    patient.rights |= ({READ} if asked.status == 200 else set()) | ({WRITE} if told.status == 204 else set())
    who = printable(patient.login.who)
    lacks = [(right, reply) for right, reply in ((READ, asked), (WRITE, told)) if right not in patient.rights]
    figures = {READ: READ in patient.rights, WRITE: WRITE in patient.rights}
    if not lacks:
        return ok(f"{who} may listen ({READ}) and report ({WRITE})", **figures)
    seen = "; ".join(f"{right}: {reply.said}" for right, reply in lacks)
    if all(reply.status == 403 for _, reply in lacks):
        return fail(f"{who}, {seen}", f"give the right where it is meant: {_SCOPES}", **figures)
    return fail(f"{who}, {seen}", "do as it says, and try again", **figures)


def _refuse_unknown(patient: Patient, reply: Reply) -> None:
    if reply.status != 401:
        return
    if reply.problem is None:
        challenge = printable(reply.headers.get("www-authenticate", ""))
        raise Broken(f"something before clearsync wants a login of its own ({reply.said}, {challenge})", AUTHORIZATION)
    if reply.problem == _MISSING:
        raise Broken("the credentials were lost on the way, clearsync saw none", AUTHORIZATION)
    if "SO-AppToken" in reply.problem:
        sent = patient.login.has_app_token
        what = "the right one in CLEARSYNC_APP_TOKEN (auth.app_tokens has its hash), or the proxy drops the header"
        raise Broken(reply.said, f"give {what if sent else 'the application its token in CLEARSYNC_APP_TOKEN'}")
    tried = "no password was given, 'dev' was tried: give CLEARSYNC_PASSWORD; " if patient.login.assumed else ""
    taken = schemes(reply) or "nothing that it names"
    raise Broken(reply.said, f"{tried}check the user and the password; the server takes {taken}")


async def websocket(patient: Patient) -> Finding:
    """It opens, is welcomed, and answers a question: both directions."""
    patient.need(READ)
    how_far = "no answer to the handshake"
    began, began_ms = time.monotonic(), time.time() * 1000
    try:
        async with patient.socket("welcome") as socket:
            how_far = "it opens, and no frame comes through it"
            patient.welcome = frame = await welcomed(socket)
            how_far = "welcomed, and what a device says gets no answer"
            open_ms = (time.monotonic() - began) * 1000
            patient.store_ahead_s = (frame.now - (began_ms + open_ms / 2)) / 1000
            answer_ms = await socket.answers()
    except InvalidStatus as refusal:
        raise Broken(*_refused(reply_of(refusal))) from None
    except TimeoutError:
        raise Broken(f"{how_far} within {patient.answer_s:g} s", f"{BOTH}; {UPGRADE}") from None
    except ConnectionClosed as closed:
        raise Broken(f"it opened, and was closed at once ({printable(str(closed))})", f"{BOTH}; {UPGRADE}") from None
    until = f", credentials end in {frame.expires:.0f} s" if frame.expires is not None else ""
    return ok(
        f"welcomed after {open_ms:.1f} ms, answers in {answer_ms:.1f} ms, pings every {frame.ping:g} s{until}",
        welcome_ms=open_ms,
        answer_ms=answer_ms,
        ping_s=frame.ping,
        expires_s=frame.expires,
    )


async def welcomed(socket: Socket) -> Welcome:
    """The first frame."""
    frame = await socket.frame()
    if not isinstance(frame, Welcome):
        raise Broken(f"the first frame is no welcome: {frame}"[:SHOWN], "what stands there is not clearsync's gateway")
    return frame


def _refused(reply: Reply) -> tuple[str, str]:
    """What a handshake with good credentials was answered, and what to do."""
    if reply.problem is None:
        return reply.said, UPGRADE
    cures = {
        429: "end other sessions of this agent, or raise limits.sessions_per_agent",
        503: "limits.sessions_per_worker and limits.connections_per_worker say how many; or it is about to end",
    }
    return reply.said, cures.get(reply.status, "do as it says, and try again")
