"""The bytes of requests, made ready so that a post costs one formatting."""

from __future__ import annotations

from typing import Final
from urllib.parse import urlencode, urlsplit

from server import __version__
from server.loadtest.ledger import FIRST_ID, TYPE
from server.loadtest.load import Login
from server.wire import HANDLED_PATH, SUBPROTOCOL, SYNC_PATH

_EVENT: Final = b'{"Type":"%b","Id":%%d}' % TYPE.encode()


class Requests:
    """Those of one agent at the server at `url`, each post with so many `events`."""

    def __init__(self, url: str, login: Login, events: int) -> None:
        parts = urlsplit(url)
        self._path = parts.path
        fields = {"Host": parts.netloc, "User-Agent": f"clearsync-bench/{__version__}"} | login.headers
        self._head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        self._events = events
        body = b'{"NotificationEvents":[%b]}' % b",".join([_EVENT] * events)
        length = len(body % tuple([FIRST_ID] * events))  # of any: all have as many digits
        head = (
            f"POST {self._path}{HANDLED_PATH} HTTP/1.1\r\n{self._head}"
            f"Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
        )
        self._post = head.encode("ascii").replace(b"%", b"%%") + body

    def post(self, first_id: int) -> bytes:
        """One batch, of `first_id` and those that follow it."""
        return self._post % tuple(range(first_id, first_id + self._events))

    def upgrade(self, device: str, cursor: str, key: str) -> bytes:
        """The handshake of a device; no `cursor` is from now on."""
        query = urlencode({"device": device} | ({"cursor": cursor} if cursor else {}))
        return (
            f"GET {self._path}{SYNC_PATH}?{query} HTTP/1.1\r\n{self._head}"
            "Connection: Upgrade\r\nUpgrade: websocket\r\n"
            f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n"
            f"Sec-WebSocket-Protocol: {SUBPROTOCOL}\r\n\r\n"
        ).encode("ascii")
