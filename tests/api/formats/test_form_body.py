"""Forms: how their fields are bound to events."""

from __future__ import annotations

from typing import Final

import pytest

from server.api.bodies import Shape
from server.errors import InvalidEvents
from tests.api.written import (
    FORM,
    Outcome,
    decoded,
    refusal,
)


def form(*fields: str) -> bytes:
    return "&".join(fields).encode()


FIRST: Final = ("NotificationEvents[0].Type=NewTicket", "NotificationEvents[0].Id=12")
SECOND: Final = ("NotificationEvents[1].Type=AppointmentCancelled", "NotificationEvents[1].Id=699")
THIRD: Final = ("NotificationEvents[2].Type=Unknown", "NotificationEvents[2].Id=3")
BOTH: Final = [("NewTicket", 12), ("AppointmentCancelled", 699)]


@pytest.mark.parametrize(
    ("body", "outcome"),
    [
        pytest.param(form(*FIRST, *SECOND), BOTH, id="dots"),
        pytest.param(
            form(*FIRST, *SECOND).replace(b"].Type", b"][Type]").replace(b"].Id", b"][Id]"), BOTH, id="jQuery"
        ),
        pytest.param(form(*FIRST, *SECOND).replace(b"[", b"%5B").replace(b"]", b"%5d"), BOTH, id="encoded brackets"),
        pytest.param(form(*FIRST, *SECOND).replace(b".", b"%2e").replace(b"N", b"%4E"), BOTH, id="encoded letters"),
        pytest.param(form(*SECOND[::-1], *FIRST[::-1]), BOTH, id="in another order"),
        pytest.param(form(SECOND[0], *FIRST, SECOND[1]), BOTH, id="interleaved"),
        pytest.param(
            form(*FIRST, *SECOND).replace(b"NotificationEvents[1]", b"NOTIFICATIONevents[1]"), BOTH, id="casings"
        ),
        pytest.param(form("", *FIRST, "", "=", "=x", *SECOND, ""), BOTH, id="empty fields"),
        pytest.param(
            form(*FIRST, *SECOND, "x=1", "x=2", "NotificationEvent=3", "NotificationEventsX[0].Id=4"),
            BOTH,
            id="unknown",
        ),
        pytest.param(form(*FIRST, *SECOND, "NotificationEvents[1].Time=x"), BOTH, id="unknown of an event"),
        pytest.param(
            form(*FIRST, *SECOND).replace(b"=", b"=+%20").replace(b"&", b"+&"), BOTH, id="blanks around values"
        ),
        pytest.param(form(*FIRST, *SECOND, "x=100%", "y=%zz", "z=%e"), BOTH, id="a percent sign that escapes nothing"),
        pytest.param(form(*FIRST, *SECOND, *THIRD[:1]).replace(b"[2]", b"[3]"), BOTH, id="ends at a gap"),
        pytest.param(form(*THIRD, *FIRST), BOTH[:1], id="ends at the first gap"),
        pytest.param(form(*SECOND), [], id="does not begin at 0"),
        pytest.param(form(*FIRST, *SECOND).replace(b"[1]", b"[01]"), BOTH[:1], id="01 is not 1"),
        pytest.param(
            form("NotificationEvents.index=b", "NotificationEvents.index=A+1", *FIRST, *SECOND, *THIRD)
            .replace(b"[0]", b"[B]")
            .replace(b"[1]", b"[a 1]"),
            BOTH,
            id="indices of its own",
        ),
        pytest.param(form("notificationEvents.Index=1", *FIRST, *SECOND), BOTH[1:], id="an index leaves out the other"),
        pytest.param(
            form(*(f"NotificationEvents.index={n}" for n in (0, 1, 0)), *FIRST, *SECOND), BOTH, id="an index twice"
        ),
        pytest.param(form("NotificationEvents="), [], id="an empty list"),
        pytest.param(form("NotificationEvents"), [], id="an empty list without a sign"),
        pytest.param(form("NotificationEvents[]="), [], id="jQuery's empty list"),
        pytest.param(b"\xef\xbb\xbf" + form(*FIRST), BOTH[:1], id="a byte order mark"),
    ],
)
def test_a_form_that_is_taken(body: bytes, outcome: Outcome) -> None:
    assert decoded(FORM, body) == outcome


EVENT_0: Final = "NotificationEvents[0]: "


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (form(*FIRST, FIRST[1]), f"{EVENT_0}Id is given twice"),
        (form(*FIRST, "NotificationEvents[0][Id]=12"), f"{EVENT_0}Id is given twice"),
        (form(*FIRST, "NotificationEvents[0].id=12"), f"{EVENT_0}Id is given 2 times, as Id and id"),
        (form("NotificationEvents=", "NotificationEvents="), "NotificationEvents is given twice"),
        (form("NotificationEvents=", "notificationEvents="), "NotificationEvents is given 2 times"),
        (form("NotificationEvents=x"), "NotificationEvents must be an array"),
        (form("NotificationEvents=", *FIRST), "NotificationEvents is given as a value and as events"),
        (form("NotificationEvents[]=", *FIRST), "NotificationEvents is given as a value and as events"),
        (form("NotificationEvents[0]=x"), f'{EVENT_0}it is "x", it must be an object'),
        (form("NotificationEvents[0]=x", *FIRST), f"{EVENT_0}it is "),
        (form(*FIRST, "NotificationEvents[0]="), f'{EVENT_0}it is ""'),
        (form("NotificationEvents[0].Time=x"), f"{EVENT_0}Type is missing or null"),
        (form("NotificationEvents.index=7", *FIRST), f"{EVENT_0}it is null"),
        (
            form("NotificationEvents[][Type]=NewTicket", "NotificationEvents[][Id]=1"),
            "field is 'NotificationEvents[][Type]'",
        ),
        (form("NotificationEvents.0.Type=NewTicket"), "field is 'NotificationEvents.0.Type', it must be"),
        (form("NotificationEvents.Type=NewTicket"), "field is 'NotificationEvents.Type'"),
        (form("NotificationEvents[0].Type.x=NewTicket"), "field is 'NotificationEvents[0].Type.x'"),
        (form("NotificationEvents[0.Type=NewTicket"), "field is 'NotificationEvents[0.Type'"),
        (form("NotificationEvents[0] .Type=NewTicket"), "field is"),
        (form("x=1"), "NotificationEvents is missing"),
        (form(" NotificationEvents="), "NotificationEvents is missing"),
        (form("NotificationEvent\u017f[0].Type=NewTicket"), "NotificationEvents is missing"),
        (b'{"NotificationEvents":[]}', "NotificationEvents is missing"),
        (form(*FIRST).replace(b"&", b";"), f"{EVENT_0}Id is missing"),
    ],
)
def test_a_form_that_is_refused(body: bytes, says: str) -> None:
    assert refusal(FORM, body, InvalidEvents).startswith(says)


def test_a_forms_charset_is_that_of_what_its_percent_signs_stand_for() -> None:
    latin = form(*FIRST, "x=%E9", "y=caf") + b"\xe9"
    assert decoded(f"{FORM}; charset=iso-8859-1", latin) == BOTH[:1]
    assert refusal(FORM, latin) == "body is not UTF-8"
    assert refusal(f"{FORM}; charset=us-ascii", latin) == "body is not ASCII"
    assert decoded(f"{FORM}; charset=utf-16", form(*FIRST, "x=%C3%A9").decode().encode("utf-16")) == BOTH[:1]


def test_a_single_form_says_a_field_once() -> None:
    body = form("NotificationEventType=NewTicket", "Id=12", "Id=13")
    assert refusal(FORM, body, InvalidEvents, Shape.SINGLE) == "Id is given twice"
    assert decoded(FORM, form("id=+12", "notificationeventtype=1"), Shape.SINGLE) == BOTH[:1]
