"""The websocket frames of a server, out of bytes (RFC 6455, 5.2). Pure; as little work as can be, for thousands a
second."""

from __future__ import annotations

from typing import Final

from websockets.frames import Opcode

from server.client.frames import Unreadable

MAX_MESSAGE: Final = 4 * 2**20
"""Bytes. A catch-up frame of 1,000 events has about 70 kB."""
_FINAL: Final = 0x80
_RESERVED: Final = 0x70
_CONTROL: Final = 0x08


class Frames:
    """Bytes in, whole messages out: opcode and payload. The parts of a message are put together."""

    __slots__ = ("_kind", "_parts", "_rest")

    def __init__(self) -> None:
        self._rest = b""
        self._kind = 0
        self._parts = b""

    def feed(self, data: bytes) -> list[tuple[int, bytes]]:
        """What `data` completes, in order. Raises `Unreadable` for what no server may send, or over `MAX_MESSAGE`."""
        if self._rest:
            data = self._rest + data
        messages: list[tuple[int, bytes]] = []
        at, end = 0, len(data)
        while end - at >= 2:
            head, length = data[at], data[at + 1]
            start = at + 2
            if length > 125:
                size = 2 if length == 126 else 8
                if length > 127:
                    raise Unreadable("a masked frame came, a server does not mask")
                if end - start < size:
                    break
                length = int.from_bytes(data[start : start + size], "big")
                start += size
            if length + len(self._parts) > MAX_MESSAGE:
                raise Unreadable(f"a message of more than {MAX_MESSAGE} bytes came")
            at_next = start + length
            if at_next > end:
                break
            self._frame(head, data[start:at_next], messages)
            at = at_next
        self._rest = data[at:]
        return messages

    def _frame(self, head: int, payload: bytes, messages: list[tuple[int, bytes]]) -> None:
        if head & _RESERVED:
            raise Unreadable("a frame with reserved bits came, no extension was agreed on")
        kind = head & 0x0F
        if kind & _CONTROL and (not head & _FINAL or len(payload) > 125):
            raise Unreadable("a control frame came in parts, or longer than one may be")
        if kind & _CONTROL or (head & _FINAL and kind and not self._kind):
            messages.append((kind, payload))
            return
        if bool(kind) == bool(self._kind):  # a new message within another, or the rest of none
            raise Unreadable("the parts of a message came out of order")
        self._kind = kind or self._kind
        self._parts += payload
        if head & _FINAL:
            messages.append((self._kind, self._parts))
            self._kind, self._parts = int(Opcode.CONT), b""
