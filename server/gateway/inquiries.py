"""What a device asks on its session: `handled` and `check` by the rules of the POST, and `refresh`."""

from __future__ import annotations

from typing import Final

from server import wire
from server.auth.admission import authorize, identify
from server.auth.principal import Credentials, Principal, Scope
from server.errors import ClearsyncError, Forbidden, InvalidEvents, Refused, TooLarge, TooManyRequests
from server.events import DeviceId, parse_batch
from server.gateway.door import Door
from server.wire import DeviceFrame, ErrorCode, Frame

_CODES: Final = (
    (InvalidEvents, ErrorCode.BAD_EVENTS),
    (TooLarge, ErrorCode.BAD_EVENTS),
    (TooManyRequests, ErrorCode.BUSY),
    (Refused, ErrorCode.FORBIDDEN),
    (ClearsyncError, ErrorCode.UNAVAILABLE),
)
"""By what is wrong; the first that fits."""


async def answer(door: Door, principal: Principal, device: DeviceId, frame: DeviceFrame) -> Frame:
    """The answer to a `handled` or `check` of a device, an `error` frame among them; it carries the frame's `ref`."""
    try:
        door.quota.of_agent(principal.agent)
        if frame.type == "check":
            return await _check(door, principal, frame)
        return await _handled(door, principal, device, frame)
    except ClearsyncError as problem:
        return refusal(frame, problem)


def refusal(frame: DeviceFrame, problem: ClearsyncError) -> Frame:
    """The `error` frame that says why not."""
    code = next(code for kind, code in _CODES if isinstance(problem, kind))
    return wire.error(frame.ref, code, str(problem))


async def renewal(
    door: Door, principal: Principal, frame: DeviceFrame, app_token: bytes | None, address: str
) -> Principal:
    """Who the `authorization` of a `refresh` says that this is: the same agent, still allowed to be here.

    Raises `Forbidden` for anybody else, and what `Authenticator.authenticate` does.
    """
    door.quota.of_agent(principal.agent)
    said = frame.authorization
    if not isinstance(said, str) or not said.isascii() or not said.isprintable():
        raise Forbidden('authorization must be text, "<scheme> <credentials>"')
    credentials = Credentials(said.encode(), app_token)
    renewed = await identify(door.authenticator, credentials, lambda: address)
    authorize(renewed, Scope.SYNC_READ, None)
    if renewed.agent != principal.agent:
        raise Forbidden("these credentials are another agent's, who needs a session of its own")
    return renewed


async def _check(door: Door, principal: Principal, frame: DeviceFrame) -> Frame:
    batch = parse_batch(_events(frame))
    return wire.checked(frame.ref, await door.broker.check(principal.agent, batch.members) if batch else [])


async def _handled(door: Door, principal: Principal, device: DeviceId, frame: DeviceFrame) -> Frame:
    authorize(principal, Scope.HANDLED_WRITE, None)
    if batch := parse_batch(_events(frame)):
        await door.broker.record(principal.agent, batch, device)
    return wire.recorded(frame.ref)


def _events(frame: DeviceFrame) -> list[object]:
    if not isinstance(frame.events, list):
        raise InvalidEvents("events is missing, it must be an array")
    return frame.events
