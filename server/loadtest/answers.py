"""HTTP answers out of bytes, on a connection that is kept: for POSTs, and for handshakes."""

from __future__ import annotations

from typing import Final

import httptools

MAX_BODY: Final = 4096
"""Bytes of a body that are kept: the server's own words about an error."""


class Answers:
    """Bytes in; after `feed`, `status` is that of an answer that is complete, else 0."""

    def __init__(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self.body = b""
        """Of the last answer, its beginning."""
        self.status = 0
        self.keeps = True
        """Whether the connection is good for another request after the last answer."""

    def feed(self, data: bytes) -> int:
        """The status of the answer that `data` completes; 0 before. A server answers one after the other.

        Raises `httptools.HttpParserError` for what is no HTTP, `httptools.HttpParserUpgrade` for a 101.
        """
        self.status = 0
        self._parser.feed_data(data)
        return self.status

    # what httptools calls

    def on_message_begin(self) -> None:
        self.body = b""

    def on_body(self, data: bytes) -> None:
        if len(self.body) < MAX_BODY:
            self.body = (self.body + data)[:MAX_BODY]

    def on_message_complete(self) -> None:
        self.status = self._parser.get_status_code()
        self.keeps = self._parser.should_keep_alive()  # which the parser forgets once this has returned


class Handshake(Answers):
    """The answer to an upgrade. `rest` is what came behind a 101: frames already."""

    def __init__(self) -> None:
        super().__init__()
        self.rest = b""
        self.headers: dict[bytes, bytes] = {}

    @property
    def retry_after(self) -> str | None:
        """When the server wants to be asked again."""
        value = self.headers.get(b"retry-after")
        return None if value is None else value.decode("latin-1")

    def feed(self, data: bytes) -> int:
        try:
            return super().feed(data)
        except httptools.HttpParserUpgrade as upgrade:
            self.rest = data[upgrade.args[0] :]
            self.status = 101
            return self.status

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers[name.lower()] = value
