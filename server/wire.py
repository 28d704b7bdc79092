"""The wire protocol: frames to values and back, and the close codes. Pure: bytes in, bytes out.

A frame is compact JSON text. What devices send is decoded leniently (fields we do not know are ignored), what we send
is built from parts that are already JSON: a clear is encoded once a batch and written to every session.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import IntEnum
from typing import Any, Final, NamedTuple
from urllib.parse import parse_qsl

import msgspec

from server.errors import BadRequest
from server.events import Cursor, DeviceId, Event, EventType, Seq, device_id

SYNC_PATH: Final = "/api/v1/sync"
TICKET_PATH: Final = "/api/v1/sync/ticket"
OVERVIEW_PATH: Final = "/api/v1/admin/overview"
SESSION_PATH: Final = "/api/v1/session"
HANDLED_PATH: Final = "/api/v1/Agents/Pocket/NotificationsHandled"
HANDLED_ONE_PATH: Final = "/api/v1/Agents/Pocket/NotificationHandled"
SUBPROTOCOL: Final = "clearsync.v1"
PAGE_EVENTS = 500
"""The most events of one catch-up frame; more only where one score has more (a batch is never split)."""
MAX_REF: Final = 64
_JSON_HEADS: Final = {b"%d" % t: Event(t, 0).json.removesuffix(b"0") for t in EventType}


class CloseCode(IntEnum):
    """Why a session ended, and whether to come back."""

    GOING_AWAY = 1001
    """The other side leaves."""
    POLICY_VIOLATION = 1008
    """The device sent more frames than it may: come back after a minute or more."""
    TOO_BIG = 1009
    """The device sent a frame over the limit: do not come back before it is mended."""
    INTERNAL_ERROR = 1011
    """We failed: come back with backoff."""
    RESTART = 1012
    """This worker drains: come back, with jitter."""
    CREDENTIALS_EXPIRED = 4001
    """Come back with new credentials."""
    FORBIDDEN = 4003
    """Known, and not allowed: do not come back."""
    TOO_MANY_SESSIONS = 4008
    """Too many sessions, or sign-ins that failed: come back after a minute or more."""
    PROTOCOL_ERROR = 4009
    """The device sent what is no frame: do not come back before it is mended."""

    @property
    def reconnect(self) -> bool:
        """Whether a client should connect again by itself."""
        return self not in (CloseCode.TOO_BIG, CloseCode.FORBIDDEN, CloseCode.PROTOCOL_ERROR)


class ErrorCode:
    """The `code` of an `error` frame."""

    BAD_EVENTS: Final = "bad_events"
    FORBIDDEN: Final = "forbidden"
    BUSY: Final = "busy"
    UNAVAILABLE: Final = "unavailable"
    UNKNOWN_TYPE: Final = "unknown_type"


class Frame:
    """One frame on its way to devices, made once, whatever the number of sessions.

    `websocket` is `json` as one unmasked text frame (RFC 6455, 5.2). `seq` is the position a session has reached once
    it is written; `floor`, of a `reset` only, the floor that it was for.
    """

    __slots__ = ("floor", "json", "seq", "websocket")

    def __init__(self, json: bytes, seq: int = -1, floor: int = -1) -> None:
        self.json = json
        self.seq = Seq(seq)
        self.floor = floor
        self.websocket = _text_head(len(json)) + json


class Frames(Frame):
    """Several `parts` in order, as one write: `seq` is that of the last."""

    __slots__ = ("parts",)

    def __init__(self, parts: Sequence[Frame]) -> None:
        self.json, self.seq, self.floor = b"", parts[-1].seq, -1
        self.parts = parts
        self.websocket = b"".join([part.websocket for part in parts])


_SHORT_HEADS: Final = tuple(bytes((0x81, length)) for length in range(126))


def _text_head(length: int) -> bytes:
    if length < 126:
        return _SHORT_HEADS[length]
    if length < 65536:
        return b"\x81\x7e" + length.to_bytes(2, "big")
    return b"\x81\x7f" + length.to_bytes(8, "big")


_encode = msgspec.json.encode


def welcome(cursor: Cursor, now: int, ping_s: float, expires_s: float | None = None) -> Frame:
    """Always the first frame. `now`: the store's clock in ms; `ping_s`: after so long without a frame, ask;
    `expires_s`: the credentials do, None is never."""
    said: dict[str, object] = {"type": "welcome", "cursor": str(cursor), "now": now, "ping": max(1, round(ping_s))}
    return Frame(_encode(said | _expiry(expires_s)), cursor.seq)


def _expiry(expires_s: float | None) -> dict[str, object]:
    return {} if expires_s is None else {"expires": max(0, int(expires_s))}


def clear(store: str, seq: int, events: bytes, *, at: int | None = None) -> Frame:
    """A live clear: `events` is the JSON array of the batch. `at` (ms, by default `seq`) is when it was handled."""
    time = seq if at is None else at
    return Frame(b'{"type":"clear","cursor":"%b-%d","at":%d,"events":%b}' % (store.encode(), seq, time, events), seq)


def reset(store: str, seq: int, floor: int = -1) -> Frame:
    """History is gone: the device refetches its list; what is retained follows."""
    return Frame(b'{"type":"reset","cursor":"%b-%d"}' % (store.encode(), seq), seq, floor)


def handled_at(entries: Iterable[tuple[bytes, int]]) -> bytes:
    """Entries (member, score) as a JSON array of events that each carry when they were handled, `At`, in ms."""
    return b"[%b]" % joined(entries)


def joined(entries: Iterable[tuple[bytes, int]]) -> bytes:
    """The inside of that array. 0.25 µs an entry: a page of 500 holds the loop for 0.13 ms."""
    known = []
    for member, at in entries:
        type_, _, id_ = member.partition(b":")
        try:
            known.append(b'%b%d,"At":%d}' % (_JSON_HEADS[type_], int(id_), at))
        except (KeyError, ValueError):
            continue  # a newer release wrote it: one that we do not know must not hide the others
    return b",".join(known)


def snapshot(cursor: Cursor, *, reset: bool, parts: Iterable[bytes]) -> bytes:
    """The one-shot answer: what a websocket would have been sent, as one JSON object. `parts`: of `joined`."""
    head = b'{"cursor":"%b","reset":%b,"events":[' % (str(cursor).encode(), b"true" if reset else b"false")
    return head + b",".join(filter(None, parts)) + b"]}"


def _with_ref(kind: str, ref: str | None) -> dict[str, object]:
    return {"type": kind} if ref is None else {"type": kind, "ref": ref}


def pong() -> Frame:
    """The answer to a device's `ping`."""
    return Frame(b'{"type":"pong"}')


def recorded(ref: str | None) -> Frame:
    """The answer to `handled`. It carries no cursor: it overtakes clears that were recorded before it."""
    return Frame(_encode(_with_ref("recorded", ref)))


def refreshed(ref: str | None, expires_s: float | None) -> Frame:
    """The answer to `refresh`: the session goes on with the new credentials, for `expires_s` seconds."""
    return Frame(_encode(_with_ref("refreshed", ref) | _expiry(expires_s)))


def checked(ref: str | None, entries: Iterable[tuple[bytes, int]]) -> Frame:
    """The answer to `check`: those of the asked events that are handled, with the time."""
    return Frame(_encode({**_with_ref("checked", ref), "events": msgspec.Raw(handled_at(entries))}))


def error(ref: str | None, code: str, message: str) -> Frame:
    """A device's frame was refused; the session goes on."""
    return Frame(_encode({**_with_ref("error", ref), "code": code, "message": message}))


def close(code: CloseCode, reason: str) -> Frame:
    """The last frame of an event stream, which has no other way to say why it ends. It carries no cursor."""
    return Frame(_encode({"type": "close", "code": int(code), "reason": reason}))


class _Positioned(msgspec.Struct, frozen=True):
    cursor: str | None = None


_ONE_LINE: Final = bytes.maketrans(b"\r\n", b"  ")
_positioned: Final = msgspec.json.Decoder(_Positioned)


def event(frame: Frame) -> bytes:
    """A frame as an event stream writes it (WHATWG HTML, 9.2): its cursor is the event's id. 0.6 µs."""
    if isinstance(frame, Frames):
        return b"".join([event(part) for part in frame.parts])
    text = frame.json
    if b"\n" in text or b"\r" in text:  # blanks between values, of an announcement that is not ours
        text = text.translate(_ONE_LINE)
    cursor = _positioned.decode(text).cursor
    return b"data: %b\n\n" % text if cursor is None else b"id: %b\ndata: %b\n\n" % (cursor.encode(), text)


class DeviceFrame(msgspec.Struct, frozen=True):
    """What a device sends. `events` and `authorization` are None where absent; unknown fields are ignored."""

    type: Any = None
    ref: Any = None
    events: Any = None
    authorization: Any = None


_decoder = msgspec.json.Decoder(DeviceFrame)


class _Event(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    Type: str
    Id: int


check_events: Final = msgspec.json.Decoder(list[_Event]).decode
"""Raises ValueError for bytes that are no array of events, as a clear carries them."""


class NotAFrame(ValueError):
    """What a device sent is not a frame at all (close code 4009)."""


def decode(text: bytes) -> DeviceFrame:
    """A device's frame, or `NotAFrame` for what is no JSON object, or has a `ref` that can't be given back."""
    try:
        frame = _decoder.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as problem:
        raise NotAFrame(f"not a frame: {problem}"[:100]) from None
    if frame.ref is not None and not (isinstance(frame.ref, str) and len(frame.ref) <= MAX_REF):
        raise NotAFrame(f"ref must be a string of at most {MAX_REF} characters")
    return frame


def position(cursor: Cursor | None, store: str) -> Seq | None:
    """Where to read from for a device at `cursor`: nowhere without one, the beginning with another store's."""
    if cursor is None:
        return None
    return cursor.seq if cursor.store == store else Seq(0)


class SyncQuery(NamedTuple):
    """What the query string of a sync asks for. `cursor`: None is from now on. `ticket`: a one-use ticket."""

    device: DeviceId
    cursor: Cursor | None
    ticket: str | None


def sync_query(query: str) -> SyncQuery:
    """``device`` (required), ``cursor`` and ``ticket`` of a query string; `BadRequest` where they are malformed."""
    fields = _fields(query)
    cursor = fields.get("cursor", "")
    return SyncQuery(_device(fields), Cursor.parse(cursor) if cursor else None, fields.get("ticket"))


def device_of(query: str) -> DeviceId:
    """``device`` of a query string; `BadRequest` where it is missing or malformed."""
    return _device(_fields(query))


def _fields(query: str) -> dict[str, str]:
    try:
        return dict(parse_qsl(query, keep_blank_values=True, errors="strict", max_num_fields=20))
    except ValueError:
        raise BadRequest("the query string is malformed") from None


def _device(fields: dict[str, str]) -> DeviceId:
    if "device" not in fields:
        raise BadRequest("device is missing from the query string")
    return device_id(fields["device"])
