"""The vendor's two requests, and what a decoded one means: the same in every format."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import Final

from server.errors import BadRequest, InvalidEvents
from server.events import ABSENT, Batch, Event, parse_batch, property_of

EVENTS: Final = "NotificationEvents"
EVENT: Final = "NotificationEvent"
EVENT_TYPE: Final = "NotificationEventType"
EVENT_PROPERTIES: Final = frozenset(("type", "id"))
"""Of an event, in lower case: what a format has to keep of all that it is sent."""
SINGLE_PROPERTIES: Final = frozenset((EVENT_TYPE.lower(), "id"))


class Shape(Enum):
    """Which of the two requests it is. The value is the vendor's name of it, which in XML is the root element's."""

    BATCH = "NotificationsHandledRequest"
    SINGLE = "NotificationHandledRequest"

    @property
    def holds(self) -> str:
        """Its properties, for a message."""
        return EVENTS if self is Shape.BATCH else f"{EVENT_TYPE} and Id"


def batch_of(request: object) -> Batch:
    """The meaning of a decoded `Shape.BATCH`: absent is a mistake, empty and null are no events."""
    if not isinstance(request, dict):
        raise BadRequest(f"body must be an object with {EVENTS}")
    events = property_of(request, EVENTS)
    if events is ABSENT:
        raise InvalidEvents(f"{EVENTS} is missing")
    if events is None:
        return Batch(())
    if not isinstance(events, list):
        raise InvalidEvents(f"{EVENTS} must be an array")
    return parse_batch(events)


def single_of(request: object) -> Batch:
    """The meaning of a decoded `Shape.SINGLE`: a batch of one, both of whose properties must be there."""
    if not isinstance(request, dict):
        raise BadRequest(f"body must be an object with {Shape.SINGLE.holds}")
    type_, id_ = property_of(request, EVENT_TYPE), property_of(request, "Id")
    for name, value in ((EVENT_TYPE, type_), ("Id", id_)):
        if value is None or value is ABSENT:
            raise InvalidEvents(f"{name} is missing or null")
    try:
        return Batch((Event.parse(type_, id_),))
    except InvalidEvents as error:
        message = str(error)
        if message.startswith("Type "):  # which this request calls by another name
            message = message.replace("Type", EVENT_TYPE, 1)
        raise InvalidEvents(message) from None


MEANING: Final[dict[Shape, Callable[[object], Batch]]] = {Shape.BATCH: batch_of, Shape.SINGLE: single_of}


def add_property(record: dict[str, object], name: str, value: object, where: str = "") -> None:
    """For formats that can say a property twice: the second time is refused, lest one of the two be lost. `where`
    begins the message. Two casings are two names here; they are refused where the meaning is read."""
    if name in record:
        raise InvalidEvents(f"{where}{name} is given twice")
    record[name] = value


def check_not_empty(body: bytes | str, shape: Shape) -> None:
    """`BadRequest` for a body of blanks."""
    if not body.strip():
        raise BadRequest(f"body is empty, it must be an object with {shape.holds}")
