"""The bytes of requests, read as a server reads them."""

from __future__ import annotations

from urllib.parse import parse_qs, urlsplit

import httptools
import msgspec
import pytest

from server.events import INT32_MAX, MAX_EVENTS
from server.loadtest.ledger import FIRST_ID
from server.loadtest.load import Login
from server.loadtest.requests import Requests
from server.wire import HANDLED_PATH, SUBPROTOCOL, SYNC_PATH

ADA = Login("ada", {"Authorization": "Basic 100%d", "SO-AppToken": "t"})


class Parsed:
    """One request, complete."""

    def __init__(self, data: bytes) -> None:
        self.headers: dict[str, str] = {}
        self.url = self.body = b""
        self.complete = False
        parser = httptools.HttpRequestParser(self)
        try:
            parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            assert self.complete
        self.method = parser.get_method()

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        assert name.decode() not in self.headers
        self.headers[name.decode()] = value.decode()

    def on_body(self, body: bytes) -> None:
        self.body += body

    def on_message_complete(self) -> None:
        assert not self.complete
        self.complete = True


@pytest.mark.parametrize("events", [1, 3, MAX_EVENTS])
@pytest.mark.parametrize("first", [FIRST_ID, INT32_MAX + 1 - MAX_EVENTS])
@pytest.mark.parametrize("base", ["", "/a%20b"])
def test_a_post_is_a_batch_of_these_events(events: int, first: int, base: str) -> None:
    post = Parsed(Requests(f"http://sync.example.com:81{base}", ADA, events).post(first))
    assert (post.method, post.url, post.complete) == (b"POST", f"{base}{HANDLED_PATH}".encode(), True)
    assert post.headers["Host"] == "sync.example.com:81"
    assert ADA.headers.items() <= post.headers.items()
    told = [{"Type": "Unknown", "Id": first + i} for i in range(events)]
    assert msgspec.json.decode(post.body) == {"NotificationEvents": told}


@pytest.mark.parametrize("cursor", ["", "a-1"])
def test_a_handshake_asks_from_where_the_device_was(cursor: str) -> None:
    upgrade = Parsed(Requests("http://[::1]/base", ADA, 1).upgrade("bench-1", cursor, "a2V5"))
    assert (upgrade.method, upgrade.complete) == (b"GET", True)
    path, query = urlsplit(upgrade.url.decode())[2:4]
    assert path == f"/base{SYNC_PATH}"
    assert parse_qs(query) == {"device": ["bench-1"]} | ({"cursor": [cursor]} if cursor else {})
    assert upgrade.headers["Host"] == "[::1]"
    assert upgrade.headers["Sec-WebSocket-Key"] == "a2V5"
    assert upgrade.headers["Sec-WebSocket-Protocol"] == SUBPROTOCOL
    assert ADA.headers.items() <= upgrade.headers.items()
