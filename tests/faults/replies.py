"""What a store says, in RESP3, cut into replies without reading them."""

from __future__ import annotations


def reply_end(data: bytes | bytearray) -> int:
    """Where the first RESP3 reply in `data` ends, with all that is nested in it; -1 while it is not whole."""
    at, left = 0, 1
    while left:
        end = data.find(b"\r\n", at)
        if end < 0:
            return -1
        kind, left = data[at], left - 1
        if kind in b"$=!*~>%|":
            count = max(-1, int(data[at + 1 : end]))
            if kind in b"$=!":
                end += count + 2 if count >= 0 else 0
            else:
                left += max(0, count) * (2 if kind in b"%|" else 1) + (kind == ord("|"))
        at = end + 2
    return at if at <= len(data) else -1


class Replies:
    """Cuts a stream of RESP3 into its top-level replies."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[bytes]:
        """The replies that `data` completes."""
        self._buffer += data
        whole = []
        while (end := reply_end(self._buffer)) > 0:
            whole.append(bytes(self._buffer[:end]))
            del self._buffer[:end]
        return whole


def is_message(reply: bytes) -> bool:
    """Whether a reply is a message of a sharded channel."""
    return reply.startswith(b">") and b"\r\nsmessage\r\n" in reply[:24]
