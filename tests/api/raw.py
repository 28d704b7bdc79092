"""HTTP by hand: what a well-behaved client would not send, and every byte of what comes back."""

from __future__ import annotations

import base64
import json
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final, Self

from server.wire import HANDLED_PATH
from tests.running import Running

PATIENCE_S: Final = 10.0
"""Longer than any answer takes, so that a missing one is a failure and not a hang."""

Headers = Iterable[tuple[str, str]]


def basic(user: str, password: str = "dev") -> tuple[str, str]:
    """The header that signs `user` in."""
    return "Authorization", "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def events(*ids: int) -> bytes:
    """A body that clears new tickets."""
    return json.dumps({"NotificationEvents": [{"Type": "NewTicket", "Id": id_} for id_ in ids]}).encode()


def head(method: str, target: str, headers: Headers = ()) -> bytes:
    """The bytes of a request up to its body."""
    lines = [f"{method} {target} HTTP/1.1", "Host: localhost", *(f"{name}: {value}" for name, value in headers), "", ""]
    return "\r\n".join(lines).encode("latin-1")


def post(user: str, body: bytes, *headers: tuple[str, str], target: str = HANDLED_PATH) -> bytes:
    """A whole and proper POST, with `headers` added."""
    own = (basic(user), ("Content-Type", "application/json"), ("Content-Length", str(len(body))))
    return head("POST", target, (*own, *headers)) + body


def chunk(data: bytes) -> bytes:
    """One chunk of a chunked body; of nothing, the last."""
    return b"%x\r\n%b\r\n" % (len(data), data)


@dataclass(frozen=True)
class Answer:
    """One response. Header names are in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        """The body, decoded."""
        return json.loads(self.body)


class Wire:
    """One connection. Everything raises `TimeoutError` after `PATIENCE_S`."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), PATIENCE_S)
        self._buffer = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def fileno(self) -> int:
        """For `select`."""
        return self._socket.fileno()

    def send(self, data: bytes) -> None:
        """All of it."""
        self._socket.sendall(data)

    def finish(self) -> None:
        """Send no more; the other side can still answer."""
        self._socket.shutdown(socket.SHUT_WR)

    def answer(self, *, of_head: bool = False) -> Answer:
        """The next response; `of_head` where it answers a HEAD. A 1xx is a response of its own."""
        lines = self._until(b"\r\n\r\n").decode("latin-1").split("\r\n")[:-2]
        protocol, status, _ = lines[0].split(" ", 2)
        assert protocol == "HTTP/1.1"
        headers: dict[str, str] = {}
        for line in lines[1:]:
            name, _, value = line.partition(":")
            assert name.lower() not in headers, f"{name} twice"
            headers[name.lower()] = value.strip()
        bodiless = of_head or status in ("204", "304") or status.startswith("1")
        if bodiless:
            return Answer(int(status), headers, b"")
        assert "transfer-encoding" not in headers, "answers have a length"
        return Answer(int(status), headers, self._exactly(int(headers["content-length"])))

    def rest(self) -> bytes:
        """What still comes before the other side ends; a reset counts as an end."""
        parts = [self._buffer]
        self._buffer = b""
        try:
            while data := self._socket.recv(65_536):
                parts.append(data)
        except ConnectionError:
            pass
        return b"".join(parts)

    def _until(self, mark: bytes) -> bytes:
        while mark not in self._buffer:
            self._receive()
        found, _, self._buffer = self._buffer.partition(mark)
        return found + mark

    def _exactly(self, length: int) -> bytes:
        while len(self._buffer) < length:
            self._receive()
        found, self._buffer = self._buffer[:length], self._buffer[length:]
        return found

    def _receive(self) -> None:
        data = self._socket.recv(65_536)
        assert data, f"the connection ended after {self._buffer!r}"
        self._buffer += data


def ask(running: Running, *requests: bytes) -> Answer:
    """The answer to one request on a connection of its own, given in parts."""
    with Wire(running.port) as wire:
        for part in requests:
            wire.send(part)
        return wire.answer()
