"""What a device asks on its session: `handled` and `check`, by the rules of the POST."""

from __future__ import annotations

from server import wire
from server.auth.admission import authorize
from server.auth.principal import Principal, Scope
from server.errors import Forbidden, InvalidEvents, TooLarge, Unavailable
from server.events import DeviceId, parse_batch
from server.gateway.door import Door
from server.wire import DeviceFrame, ErrorCode, Frame


async def answer(door: Door, principal: Principal, device: DeviceId, frame: DeviceFrame) -> Frame:
    """The answer to a `handled` or `check` of a device, an `error` frame among them; it carries the frame's `ref`."""
    try:
        if frame.type == "check":
            return await _check(door, principal, frame)
        return await _handled(door, principal, device, frame)
    except (InvalidEvents, TooLarge) as problem:
        return wire.error(frame.ref, ErrorCode.BAD_EVENTS, str(problem))
    except Forbidden as problem:
        return wire.error(frame.ref, ErrorCode.FORBIDDEN, str(problem))
    except Unavailable as problem:
        return wire.error(frame.ref, ErrorCode.UNAVAILABLE, str(problem))


async def _check(door: Door, principal: Principal, frame: DeviceFrame) -> Frame:
    batch = parse_batch(_events(frame))
    return wire.checked(frame.ref, await door.broker.check(principal.agent, batch.members) if batch else [])


async def _handled(door: Door, principal: Principal, device: DeviceId, frame: DeviceFrame) -> Frame:
    authorize(principal, Scope.HANDLED_WRITE, None)
    if batch := parse_batch(_events(frame)):
        await door.broker.record(principal.agent, batch, device)
        door.hub.metrics.batches_recorded_total += 1
    return wire.recorded(frame.ref)


def _events(frame: DeviceFrame) -> list[object]:
    if not isinstance(frame.events, list):
        raise InvalidEvents("events is missing, it must be an array")
    return frame.events
