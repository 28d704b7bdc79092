"""The vendor's own client against a running server: what a CRM front end sends is understood.

`make test` installs it. Without Node.js, or without the client, these are skipped; in CI they fail.
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from websockets.sync.client import ClientConnection, connect

from tests.conftest import Serve

pytestmark = pytest.mark.vendor

HERE = Path(__file__).parent
WITHIN_S = 10.0


@pytest.fixture(scope="module")
def node() -> str:
    """The path of Node.js, where the vendor's client is installed too."""
    found = shutil.which("node")
    missing = (
        "Node.js is not on PATH"
        if not found
        else "the vendor's client is not installed, `make test` does it"
        if not (HERE / "node_modules" / "@superoffice" / "webapi").is_dir()
        else ""
    )
    if found and not missing:
        return found
    if os.environ.get("CI"):
        pytest.fail(missing)
    pytest.skip(missing)


def handled(node: str, url: str, *arguments: str, password: str = "dev") -> subprocess.CompletedProcess[str]:
    """The vendor's client marks notifications as handled, as user ada."""
    return subprocess.run(
        [node, str(HERE / "handled.cjs"), url, "ada", *arguments],
        env={**os.environ, "VENDOR_PASSWORD": password},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


@contextmanager
def device(url: str, name: str) -> Iterator[ClientConnection]:
    """A connected device of ada's, past its welcome."""
    credentials = base64.b64encode(b"ada:dev").decode()
    with connect(
        f"{url.replace('http', 'ws', 1)}/api/v1/sync?device={name}",
        additional_headers={"Authorization": f"Basic {credentials}"},
        proxy=None,
    ) as websocket:
        assert received(websocket)["type"] == "welcome"
        yield websocket


def received(websocket: ClientConnection) -> dict[str, Any]:
    frame = json.loads(websocket.recv(timeout=WITHIN_S))
    assert isinstance(frame, dict)
    return frame


def test_clears_the_other_devices(serve: Serve, node: str) -> None:
    with serve("--dev") as running, device(running.url, "phone") as phone, device(running.url, "desk") as desk:
        pairs = [["NewTicket", 12], ["AppointmentCancelled", 699], ["AppointmentCancelled", 699]]
        done = handled(node, running.url, json.dumps(pairs), "desk")
        assert (done.returncode, done.stderr) == (0, "")

        clear = received(phone)
        assert clear["type"] == "clear"
        assert clear["events"] == [{"Type": "NewTicket", "Id": 12}, {"Type": "AppointmentCancelled", "Id": 699}]

        # the device that handled them is told the position and nothing to dismiss
        own = received(desk)
        assert (own["type"], own["events"], own["cursor"]) == ("clear", [], clear["cursor"])


def test_every_type_of_the_vendor_arrives_by_its_name(serve: Serve, node: str) -> None:
    names = [
        "Unknown",
        "NewTicket",
        "AppointmentInvitation",
        "AppointmentMoved",
        "AppointmentCancelled",
        "NewTicketMessage",
        "TicketActivated",
        "TicketEscalated",
        "QuoteApprovalRequest",
        "QuoteApprovalApproved",
        "QuoteApprovalDenied",
        "AppointmentDeclined",
    ]
    with serve("--dev") as running, device(running.url, "phone") as phone:
        done = handled(node, running.url, json.dumps([[name, number] for number, name in enumerate(names)]))
        assert (done.returncode, done.stderr) == (0, "")
        assert received(phone)["events"] == [{"Type": name, "Id": number} for number, name in enumerate(names)]


def test_no_events_are_no_error(serve: Serve, node: str) -> None:
    with serve("--dev") as running:
        done = handled(node, running.url, "[]")
        assert (done.returncode, done.stderr) == (0, "")


def test_a_refusal_reaches_its_caller_in_the_vendors_shape(serve: Serve, node: str) -> None:
    with serve("--dev") as running:
        done = handled(node, running.url, '[["NewTicket", 12]]', password="")
        assert done.returncode == 1
        status, _, body = done.stderr.partition(" ")
        assert status == "401"
        assert json.loads(body)["Error"] is True
        assert json.loads(body)["ErrorSource"] == "clearsync"
