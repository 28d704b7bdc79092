"""An event stream (SSE) through the same way: does each frame come when it is sent."""

from __future__ import annotations

import time
from typing import Final

from server.client import Clear, Welcome
from server.doctor.findings import Broken, Finding, ok, warn
from server.doctor.patient import READ, WRITE, Patient
from server.doctor.roundtrip import is_ours, recorded
from server.doctor.streams import MEDIA, Stream
from server.wire import SYNC_PATH

BUFFERED: Final = (
    "the proxy must not hold back what comes: clearsync says so by X-Accel-Buffering: no, which nginx obeys unless "
    "`proxy_ignore_headers X-Accel-Buffering` is set; `proxy_buffering off;` says it too. Nor may it compress "
    "text/event-stream (gzip_types). Others than nginx have a setting of their own (flush, streaming)"
)
COMPRESSED: Final = "leave text/event-stream out of the compression (gzip_types in nginx): it holds frames back"


async def event_stream(patient: Patient) -> Finding:
    """Welcomed at once, and told at once of what another device handled."""
    patient.need(READ)
    began = time.monotonic()
    try:
        async with patient.stream("stream") as stream:
            _check_answer(stream)
            await _welcomed(stream)
            welcome_ms = (time.monotonic() - began) * 1000
            clear_ms = await _live(patient, stream) if not patient.read_only and WRITE in patient.rights else None
        await _check_resuming(patient)
    except TimeoutError:
        raise Broken(f"nothing came within {patient.answer_s:g} s: what is sent is held back", BUFFERED) from None
    except EOFError as end:
        raise Broken(
            f"the stream did not stay open: {end}", "the proxy must leave answers open: `proxy_read_timeout 75s;`"
        ) from None
    seen = f"welcomed after {welcome_ms:.1f} ms" + (f", told after {clear_ms:.1f} ms" if clear_ms is not None else "")
    if encoding := stream.reply.headers.get("content-encoding"):
        return warn(f"{seen}, compressed ({encoding})", COMPRESSED, welcome_ms=welcome_ms, clear_ms=clear_ms)
    return ok(seen, welcome_ms=welcome_ms, clear_ms=clear_ms)


def _check_answer(stream: Stream) -> None:
    if stream.is_stream:
        return
    reply = stream.reply
    if reply.status == 200 and isinstance(reply.json, dict) and "cursor" in reply.json:
        cure = "the proxy must pass Accept on, and a cache must heed Vary; a server that is older has no streams"
        raise Broken("the answer is the one for who asks once: Accept: text/event-stream was lost", cure)
    raise Broken(f"it is answered {reply.said}", "do as it says" if reply.problem is not None else BUFFERED)


async def _welcomed(stream: Stream) -> None:
    frame = await stream.frame()
    if not isinstance(frame, Welcome):
        raise Broken(f"the first frame is no welcome: {frame}"[:100], "what stands there is not clearsync's gateway")


async def _live(patient: Patient, stream: Stream) -> float:
    """In how many ms the clear of a POST came."""
    _, began = await recorded(patient, "origin")
    try:
        while not is_ours(patient, frame := await stream.frame()):
            pass
    except TimeoutError:
        seen = f"welcomed, and not told within {patient.answer_s:g} s of what another device handled"
        raise Broken(seen, BUFFERED) from None
    assert isinstance(frame, Clear)
    return (time.monotonic() - began) * 1000


async def _check_resuming(patient: Patient) -> None:
    """`Last-Event-ID` arrives: one that no server gave out is 400, before credentials are looked at."""
    reply = await patient.get(f"{SYNC_PATH}?device={patient.device('last')}", {"Accept": MEDIA, "Last-Event-ID": "!"})
    if reply.status != 400:
        cure = "the proxy must pass Last-Event-ID on: a browser says by it where it was, and misses clears without"
        raise Broken(f"Last-Event-ID does not arrive ({reply.said})", cure)
