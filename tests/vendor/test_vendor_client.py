"""The vendor's own client against a running server: what a CRM front end sends is understood."""

from __future__ import annotations

import pytest

from tests.conftest import Serve
from tests.vendor.vendor import Vendor, basic, device, received

pytestmark = pytest.mark.vendor

ADA = {"user": "ada", "password": "dev"}
HEADER = basic("ada", "dev")


def test_clears_the_other_devices(serve: Serve, vendor: Vendor) -> None:
    with (
        serve("--dev") as running,
        device(running.url, "phone", HEADER) as phone,
        device(running.url, "desk", HEADER) as desk,
    ):
        events = [["NewTicket", 12], ["AppointmentCancelled", 699], ["AppointmentCancelled", 699]]
        vendor.succeeds(running.url, ADA, events, "desk")

        clear = received(phone)
        assert clear["type"] == "clear"
        assert clear["events"] == [{"Type": "NewTicket", "Id": 12}, {"Type": "AppointmentCancelled", "Id": 699}]

        # the device that handled them is told the position and nothing to dismiss
        own = received(desk)
        assert (own["type"], own["events"], own["cursor"]) == ("clear", [], clear["cursor"])


def test_every_type_of_the_vendor_arrives_by_its_name(serve: Serve, vendor: Vendor) -> None:
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
    with serve("--dev") as running, device(running.url, "phone", HEADER) as phone:
        vendor.succeeds(running.url, ADA, [[name, number] for number, name in enumerate(names)])
        assert received(phone)["events"] == [{"Type": name, "Id": number} for number, name in enumerate(names)]


def test_one_event_alone_and_none(serve: Serve, vendor: Vendor) -> None:
    with (
        serve("--dev") as running,
        device(running.url, "phone", HEADER) as phone,
        device(running.url, "desk", HEADER) as desk,
    ):
        vendor.succeeds(running.url, ADA, [])  # is no error, and nobody is told
        vendor.succeeds(running.url, ADA, ["NewTicket", 12], "desk")
        assert received(phone)["events"] == [{"Type": "NewTicket", "Id": 12}]
        assert received(desk)["events"] == []


def test_a_refusal_reaches_its_caller_in_the_vendors_shape(serve: Serve, vendor: Vendor) -> None:
    with serve("--dev") as running:
        status, error = vendor.refused(running.url, ADA | {"password": ""})
        assert (status, error["ErrorType"]) == (401, "Unauthenticated")
