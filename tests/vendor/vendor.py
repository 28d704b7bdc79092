"""What the tests of the vendor's client share: the client itself, and a device that listens."""

from __future__ import annotations

import base64
import json
import os
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from websockets.sync.client import ClientConnection, connect

HERE: Final = Path(__file__).parent
WITHIN_S: Final = 10.0

Credentials = Mapping[str, str]
"""What `handled.cjs` takes: user and password, ticket or token, and appToken."""


@dataclass(frozen=True)
class Vendor:
    """The vendor's client, as a CRM front end uses it."""

    node: str

    def handled(
        self, url: str, credentials: Credentials, events: Sequence[object], device: str = ""
    ) -> subprocess.CompletedProcess[str]:
        """Mark pairs of type and id as handled; one pair that stands alone goes by the call for one event."""
        return subprocess.run(
            [self.node, str(HERE / "handled.cjs"), url, json.dumps(events), device],
            env={**os.environ, "VENDOR_CREDENTIALS": json.dumps(dict(credentials))},
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )

    def succeeds(self, url: str, credentials: Credentials, events: Sequence[object], device: str = "") -> None:
        """The same, which has to be taken."""
        done = self.handled(url, credentials, events, device)
        assert (done.returncode, done.stderr) == (0, "")

    def refused(self, url: str, credentials: Credentials) -> tuple[int, dict[str, Any]]:
        """The same, which has to be refused: the status, and the error in the vendor's shape."""
        done = self.handled(url, credentials, [["NewTicket", 12]])
        assert done.returncode == 1, "it was taken"
        status, _, body = done.stderr.partition(" ")
        error = json.loads(body)
        assert error.keys() == {"Error", "ErrorType", "ErrorMessage", "ErrorSource"}
        assert (error["Error"], error["ErrorSource"]) == (True, "clearsync")
        return int(status), error


def basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


@contextmanager
def device(url: str, name: str, authorization: str) -> Iterator[ClientConnection]:
    """A connected device, past its welcome."""
    with connect(
        f"{url.replace('http', 'ws', 1)}/api/v1/sync?device={name}",
        additional_headers={"Authorization": authorization},
        proxy=None,
    ) as websocket:
        assert received(websocket)["type"] == "welcome"
        yield websocket


def received(websocket: ClientConnection) -> dict[str, Any]:
    frame = json.loads(websocket.recv(timeout=WITHIN_S))
    assert isinstance(frame, dict)
    return frame
