"""One batch through the house: a caller posts, the other device is told, its origin is not, and nobody misses it."""

from __future__ import annotations

import time
from typing import Final

from server.client import Clear, Reset
from server.client.frames import Frame
from server.doctor.findings import Broken, Finding, Skip, ok
from server.doctor.patient import READ, WRITE, Patient
from server.doctor.replies import Reply
from server.doctor.signin import welcomed
from server.doctor.sockets import Socket

READ_ONLY: Final = "it would mark something as handled, and --read-only says not to"
STORES: Final = (
    "where several servers stand behind this url they must have one store: the same store.url and store.prefix"
)


async def round_trip(patient: Patient) -> Finding:
    """POST → clear on another device, an empty one on its origin; the same POST again; and a device that was away."""
    if patient.read_only:
        raise Skip(READ_ONLY)
    patient.need(READ, WRITE)
    async with patient.socket("origin") as origin:
        await welcomed(origin)
        async with patient.socket("other") as other:
            await welcomed(other)
            post_ms, began = await recorded(patient, "origin")
            clear = await told(patient, other, "the other device")
            clear_ms = (time.monotonic() - began) * 1000
        await _told_nothing(patient, origin)
        await recorded(patient, "origin")
        async with patient.socket("other", clear.cursor) as other:
            await _caught_up(patient, other)
        await _told_nothing(patient, origin)
    seen = (
        f"POST answered in {post_ms:.1f} ms, clear after {clear_ms:.1f} ms, origin spared, caught up after a reconnect"
    )
    return ok(seen, post_ms=post_ms, clear_ms=clear_ms, event_type=patient.event.type.name, event_id=patient.event.id)


async def recorded(patient: Patient, device: str) -> tuple[float, float]:
    """The event is reported as handled on one of our devices: how many ms the answer took, and when it was sent."""
    reply, began = await patient.handle(patient.device(device))
    if reply.status != 204:
        raise Broken(f"the POST was answered {reply.said}", _cure(reply))
    return (time.monotonic() - began) * 1000, began


def _cure(reply: Reply) -> str:
    if reply.status == 503 and reply.problem is not None:
        return "the store must answer within store.timeout_s, and take writes: look at its log and its memory"
    return "do as it says, and try again"


def is_ours(patient: Patient, frame: Frame) -> bool:
    """Whether it clears our event."""
    event = patient.event
    return isinstance(frame, Clear) and any((e.type, e.id) == (event.type.name, event.id) for e in frame.events)


async def told(patient: Patient, device: Socket, who: str) -> Clear:
    """The clear of our event. What others handle meanwhile passes."""
    try:
        while not is_ours(patient, frame := await device.frame()):
            pass
    except TimeoutError:
        seen = f"recorded, and {who} was not told within {patient.answer_s:g} s"
        raise Broken(seen, f"{STORES}; else see the server's log, and clears_found_by_sweep_total") from None
    assert isinstance(frame, Clear)
    return frame


async def _told_nothing(patient: Patient, origin: Socket) -> None:
    """The origin's next clear moves its position only. Of this agent somebody else may handle something meanwhile."""
    try:
        while not (isinstance(frame := await origin.frame(), Clear) and not frame.events):
            if is_ours(patient, frame):
                cure = "the proxy must pass X-Device-Id on: by it a device is not told what it handled itself"
                raise Broken("the device that handled it was told of it, as if another had", cure)
    except TimeoutError:
        raise Broken(f"the origin got no new cursor within {patient.answer_s:g} s", STORES) from None


async def _caught_up(patient: Patient, other: Socket) -> None:
    """A device that comes back with its cursor is told what it missed, and only that."""
    try:
        while not is_ours(patient, frame := await other.frame()):
            if isinstance(frame, Reset):
                cure = f"{STORES}; or the store lost what it had (an eviction policy, no persistence)"
                raise Broken("a cursor of a moment ago is not known any more", cure)
    except TimeoutError:
        raise Broken(f"what was missed did not come within {patient.answer_s:g} s of the reconnect", STORES) from None
