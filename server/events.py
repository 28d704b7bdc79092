"""The values everything else speaks of: agents, devices, events, batches, cursors.

Names and rules of `Type` and `Id` are the vendor's (SuperOffice WebAPI v1, Pocket agent, `NotificationEvent`).
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Final, NamedTuple, NewType, Self
from urllib.parse import quote

from server.errors import BadRequest, InvalidEvents, TooLarge

INT32_MIN: Final = -(2**31)
INT32_MAX: Final = 2**31 - 1
MAX_EVENTS: Final = 1000
"""The most events of one batch, counted as sent (before duplicates are removed)."""
NO_ORIGIN: Final = "-"

Seq = NewType("Seq", int)
"""An agent's position in time: milliseconds since 1970 by the store's clock, made strictly increasing."""

DeviceId = NewType("DeviceId", str)
"""One app instance of an agent; made by `device_id`."""

_UNFOLDED: Final = 256
"""Characters that a name of 64 can have before it is composed; one composed has four at most."""
_DEVICE = re.compile(r"[A-Za-z0-9._~:-]{1,64}")
_DIGITS = re.compile(r"-?[0-9]{1,20}")
STORE_ID: Final = re.compile(r"[a-z0-9]{1,32}")
_CURSOR = re.compile(rf"({STORE_ID.pattern})-([0-9]{{1,16}})")


def device_id(text: str) -> DeviceId:
    """A device's id as its client chose it: 1 to 64 of ``A-Z a-z 0-9 . _ ~ : -``, and not ``-`` alone."""
    if not _DEVICE.fullmatch(text) or text == NO_ORIGIN:
        raise BadRequest("device id must be 1 to 64 characters of A-Z a-z 0-9 . _ ~ : - and not '-' alone")
    return DeviceId(text)


def _fold(name: str, what: str) -> str:
    if len(name) > _UNFOLDED:  # to compose a long text takes a time that grows with its square
        raise BadRequest(f"{what} must have 1 to 64 characters, it has {len(name)}")
    folded = unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())
    if not 1 <= len(folded) <= 64:
        raise BadRequest(f"{what} must have 1 to 64 characters, it has {len(folded)}")
    if any(unicodedata.category(c) in ("Cc", "Cs") for c in folded):
        raise BadRequest(f"{what} has a control character")
    return folded


@dataclass(frozen=True, slots=True)
class AgentId:
    """The person whose devices stay in sync. Make it by `AgentId.of`, which folds case, as CRM logins do.

    `tag` is its form in keys and channels: both parts percent-encoded and joined by ``/``, so injective, never empty,
    and free of braces and spaces.
    """

    tenant: str
    associate: str
    tag: str

    @classmethod
    def of(cls, tenant: str, associate: str) -> Self:
        """Both parts 1 to 64 characters after NFC and case folding, else `BadRequest`."""
        tenant, associate = _fold(tenant, "tenant"), _fold(associate, "associate")
        return cls(tenant, associate, f"{quote(tenant, safe='')}/{quote(associate, safe='')}")

    def __str__(self) -> str:
        return self.tag


class EventType(IntEnum):
    """The vendor's twelve notification types; the number is the position in the vendor's description."""

    Unknown = 0
    NewTicket = 1
    AppointmentInvitation = 2
    AppointmentMoved = 3
    AppointmentCancelled = 4
    NewTicketMessage = 5
    TicketActivated = 6
    TicketEscalated = 7
    QuoteApprovalRequest = 8
    QuoteApprovalApproved = 9
    QuoteApprovalDenied = 10
    AppointmentDeclined = 11


TYPE_BY_NAME: Final = {t.name: t for t in EventType}
_TYPE_BY_FOLDED: Final = {t.name.lower(): t for t in EventType}
_MEMBER_HEAD: Final = tuple(b"%d:" % t for t in EventType)
_JSON_HEAD: Final = tuple(b'{"Type":"%s","Id":' % t.name.encode() for t in EventType)


def _shown(value: object) -> str:
    """A value for a message: short, and never walked into, since a caller chooses how long and deep it is."""
    if isinstance(value, dict | list):
        return "an object" if isinstance(value, dict) else "an array"
    text = json.dumps(value[:60] if isinstance(value, str) else value)
    return text if len(text) <= 60 else text[:57] + "..."


def _event_type(value: object) -> EventType:
    if isinstance(value, str):
        named = _TYPE_BY_FOLDED.get(value.lower())
        if named is not None and value.isascii():  # the Kelvin sign, too, has a k for its lower case
            return named
        if _DIGITS.fullmatch(value):
            value = int(value)
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < len(EventType):
        return EventType(value)
    raise InvalidEvents(f"Type is {_shown(value)}, it must be one of {', '.join(TYPE_BY_NAME)} or 0 to 11")


def _entity_id(value: object) -> int:
    if isinstance(value, str) and _DIGITS.fullmatch(value):
        value = int(value)
    if isinstance(value, int) and not isinstance(value, bool) and INT32_MIN <= value <= INT32_MAX:
        return value
    raise InvalidEvents(f"Id is {_shown(value)}, it must be a whole number from {INT32_MIN} to {INT32_MAX}")


class Event(NamedTuple):
    """What was handled: a type and the id of the entity (not of the notification: the same pair comes again)."""

    type: EventType
    id: int

    @classmethod
    def parse(cls, type_: object, id_: object) -> Self:
        """`type_`: a name in any case or a position, as number or digits; `id_`: an int32, as number or digits."""
        return cls(_event_type(type_), _entity_id(id_))

    @property
    def member(self) -> bytes:
        """Its form in the store, ``<type number>:<Id>``."""
        return _MEMBER_HEAD[self.type] + b"%d" % self.id

    @property
    def json(self) -> bytes:
        """Its form on the wire, without the closing brace, so that `At` can follow."""
        return _JSON_HEAD[self.type] + b"%d" % self.id

    @classmethod
    def of_member(cls, member: bytes) -> Self:
        """The inverse of `member`."""
        type_, _, id_ = member.partition(b":")
        return cls(EventType(int(type_)), int(id_))


class Batch:
    """The events of one request: duplicates removed, order kept.

    `members` are their forms in the store, `json` the array as it goes on the wire. An empty batch is false.
    """

    __slots__ = ("json", "members")

    def __init__(self, events: Iterable[Event]) -> None:
        unique = dict.fromkeys(events)
        self.members: tuple[bytes, ...] = tuple([_MEMBER_HEAD[t] + b"%d" % i for t, i in unique])
        self.json: bytes = b"[" + b",".join([_JSON_HEAD[t] + b"%d}" % i for t, i in unique]) + b"]"

    @classmethod
    def of_one(cls, type_: EventType, id_: int) -> Self:
        """The batch of one event, in half the time."""
        batch, number = cls.__new__(cls), b"%d" % id_
        batch.members = (_MEMBER_HEAD[type_] + number,)
        batch.json = b"[%b%b}]" % (_JSON_HEAD[type_], number)
        return batch

    def __len__(self) -> int:
        return len(self.members)

    def events(self) -> list[Event]:
        """The events again, in order."""
        return [Event.of_member(m) for m in self.members]


ABSENT: Final = object()


def property_of(raw: dict[str, object], name: str) -> object:
    """The property `name` of a decoded object, in any casing; `ABSENT` where there is none.

    The same property in two casings is ambiguous and refused.
    """
    wanted = name.lower()
    found = [key for key in raw if key.lower() == wanted and key.isascii()]
    if len(found) > 1:
        raise InvalidEvents(f"{name} is given {len(found)} times, as {found[0]} and {found[1]}")
    return raw[found[0]] if found else ABSENT


def check_count(count: int) -> None:
    """`TooLarge` where one batch would have more than `MAX_EVENTS` events."""
    if count > MAX_EVENTS:
        raise TooLarge(f"batch has {count} events, limit is {MAX_EVENTS}")


def parse_batch(raw: Sequence[object]) -> Batch:
    """A batch from decoded objects ``{"Type": …, "Id": …}``, names in any case, unknown properties ignored.

    Raises `InvalidEvents` naming the first event that breaks a rule, `TooLarge` over `MAX_EVENTS`.
    """
    check_count(len(raw))
    events: list[Event] = []
    for index, item in enumerate(raw):
        try:
            if not isinstance(item, dict):
                raise InvalidEvents(f"it is {_shown(item)}, it must be an object with Type and Id")
            type_, id_ = property_of(item, "Type"), property_of(item, "Id")
            for name, value in (("Type", type_), ("Id", id_)):
                if value is None or value is ABSENT:
                    raise InvalidEvents(f"{name} is missing or null")
            events.append(Event.parse(type_, id_))
        except InvalidEvents as error:
            raise InvalidEvents(f"NotificationEvents[{index}]: {error}") from None
    return Batch(events)


@dataclass(frozen=True, slots=True)
class Cursor:
    """A position on the wire: the id of the store that gave it, and an agent's `seq` there. Opaque to devices."""

    store: str
    seq: Seq

    def __str__(self) -> str:
        return f"{self.store}-{self.seq}" if self.store else str(self.seq)

    @classmethod
    def parse(cls, text: str) -> Self:
        """``<store id>-<seq>`` as it was given out, or ``0`` for the beginning of time; else `BadRequest`."""
        if text == "0":
            return cls("", Seq(0))
        match = _CURSOR.fullmatch(text)
        if not match:
            raise BadRequest("cursor must be one that this service gave, or 0")
        return cls(match[1], Seq(int(match[2])))
