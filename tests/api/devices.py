"""The other side of a POST: devices that listen, and a look at what is recorded."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from websockets.exceptions import ConnectionClosedError
from websockets.sync.client import ClientConnection, connect

from server.wire import SYNC_PATH, CloseCode
from tests.api.raw import PATIENCE_S, ask, basic, events, head, post
from tests.running import Running

SENTINEL: Final = 4_711
"""The Id of the batch that proves silence: had something been sent before it, that would come first."""


class Device:
    """A device that listens; its welcome has been read."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection
        self.welcome = self.frame()
        assert self.welcome["type"] == "welcome"

    def text(self) -> str:
        """The next frame as it came."""
        text = self._connection.recv(PATIENCE_S)
        assert isinstance(text, str)
        return text

    def frame(self) -> Any:
        """The next frame."""
        return json.loads(self.text())

    def send(self, text: str) -> None:
        """A frame of its own."""
        self._connection.send(text)

    def frame_or_close(self) -> Any:
        """The next frame, None where the server closes the session as a protocol error instead."""
        try:
            return self.frame()
        except ConnectionClosedError as error:
            closed = error.rcvd
        assert closed is not None
        assert closed.code == CloseCode.PROTOCOL_ERROR
        return None

    def cleared(self) -> list[tuple[str, int]]:
        """The events of the next frame, which has to be a clear."""
        frame = self.frame()
        assert frame["type"] == "clear"
        return [(event["Type"], event["Id"]) for event in frame["events"]]


@contextmanager
def listening(running: Running, user: str, device: str = "phone", query: str = "") -> Iterator[Device]:
    """A device of `user` that listens from now on."""
    url = f"{running.ws_url}{SYNC_PATH}?device={device}{query}"
    with connect(url, additional_headers=[basic(user)], compression=None) as connection:
        yield Device(connection)


def recorded(running: Running, user: str) -> list[tuple[str, int]]:
    """All events that are recorded for `user`."""
    answer = ask(running, head("GET", f"{SYNC_PATH}?device=look&cursor=0", [basic(user)]))
    assert answer.status == 200
    return [(event["Type"], event["Id"]) for event in answer.json()["events"]]


def tickets(*ids: int) -> list[tuple[str, int]]:
    """What a batch of `raw.events(*ids)` is for a device."""
    return [("NewTicket", id_) for id_ in ids]


def nothing_happened(running: Running, user: str, device: Device) -> None:
    """Nothing was recorded for `user` before this, nor sent to `device`; and a good request is served."""
    assert ask(running, post(user, events(SENTINEL))).status == 204
    assert device.cleared() == tickets(SENTINEL)
    assert recorded(running, user) == tickets(SENTINEL)
