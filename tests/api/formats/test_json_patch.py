"""JSON patches: what they make of an empty request."""

from __future__ import annotations

import json
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.api.bodies import Shape
from server.errors import InvalidEvents
from tests.api.written import (
    CANCELLED,
    PATCH,
    TICKET,
    Request,
    add,
    decoded,
    events,
    refusal,
)


def patch(*operations: Any) -> bytes:
    return json.dumps(operations).encode()


ALL: Final = "/NotificationEvents"
END: Final = f"{ALL}/-"
BEGUN: Final = add(ALL, [])


@pytest.mark.parametrize(
    "operations",
    [
        pytest.param([BEGUN, add(END, TICKET), add(END, CANCELLED)], id="at the end"),
        pytest.param([BEGUN, add(f"{ALL}/0", CANCELLED), add(f"{ALL}/0", TICKET)], id="at an index"),
        pytest.param([add("", events(TICKET, CANCELLED))], id="the whole request"),
        pytest.param([add(ALL, [{}, CANCELLED]), add(f"{ALL}/0/Type", 1), add(f"{ALL}/0/Id", 12)], id="properties"),
        pytest.param(
            [add(ALL, [TICKET, TICKET]), {"op": "replace", "path": f"{ALL}/1", "value": CANCELLED}], id="replace"
        ),
        pytest.param([add(ALL, [TICKET, 1, CANCELLED]), {"op": "remove", "path": f"{ALL}/1"}], id="remove"),
        pytest.param([add("/x", [TICKET, CANCELLED]), {"op": "move", "from": "/x", "path": ALL}], id="move"),
        pytest.param(
            [add("/x~1~0", CANCELLED), add(ALL, [TICKET]), {"op": "copy", "from": "/x~1~0", "path": END}], id="copy"
        ),
        pytest.param(
            [add(ALL, [TICKET, CANCELLED]), {"op": "test", "path": f"{ALL}/0", "value": {"Id": 12.0, **TICKET}}],
            id="test",
        ),
        pytest.param([add("/notificationevents", [TICKET, CANCELLED]) | {"more": 1}], id="another casing"),
    ],
)
def test_what_a_patch_makes_is_the_request(operations: list[Request]) -> None:
    assert decoded(PATCH, patch(*operations)) == [("NewTicket", 12), ("AppointmentCancelled", 699)]


def test_the_plain_request_is_taken_for_a_patch() -> None:
    assert decoded(PATCH, json.dumps(events(TICKET)).encode()) == [("NewTicket", 12)]
    single = json.dumps({"NotificationEventType": "NewTicket", "Id": 12}).encode()
    assert decoded(PATCH, single, Shape.SINGLE) == [("NewTicket", 12)]


@pytest.mark.parametrize(
    ("operations", "says"),
    [
        ([add(END, TICKET)], "operation 0: path '/NotificationEvents/-' can't be applied"),
        ([BEGUN, add("/notificationEvents/-", TICKET)], "operation 1: path '/notificationEvents/-' can't be applied"),
        ([BEGUN, add(f"{ALL}/1", TICKET)], "operation 1: path"),
        ([BEGUN, add(f"{ALL}/00", TICKET)], "operation 1: path"),
        ([BEGUN, add(f"{ALL}/{'9' * 5_000}", TICKET)], "operation 1: path"),
        ([BEGUN, {"op": "remove", "path": f"{END}"}], "operation 1: path"),
        ([BEGUN, {"op": "remove", "path": ""}], "operation 1: path"),
        ([BEGUN, {"op": "move", "from": "", "path": "/x"}], "operation 1: from '' path '/x' can't"),
        ([BEGUN, {"op": "copy", "from": END, "path": "/x"}], "operation 1: from"),
        ([BEGUN, {"op": "copy", "from": "/y", "path": "/x"}], "operation 1: from '/y' path '/x' can't"),
        ([BEGUN, {"op": "test", "path": ALL, "value": [1]}], "operation 1: the test failed"),
        ([BEGUN, {"op": "test", "path": "/x", "value": None}], "operation 1: the test failed"),
        ([add("/x", 1), {"op": "test", "path": "/x", "value": True}], "operation 1: the test failed"),
        ([add("x", 1)], "operation 0: path 'x' can't"),
        ([add("/~2", 1)], "operation 0: path '/~2' can't"),
        ([add("/é\n\u202e" + "x" * 1_000, 1), add("/x/x", 1)], "operation 1"),
        ([{"op": "add", "path": "/x"}], "operation 0: add must have a value"),
        ([{"op": "add", "value": 1}], "operation 0: path must be a string"),
        ([{"op": "add", "path": 1, "value": 1}], "operation 0: path must be a string"),
        ([{"op": "move", "path": "/x"}], "operation 0: from must be a string"),
        ([{"op": "append", "path": "/x", "value": "y"}], "operation 0: op must be one of add, copy, move, remove"),
        ([{"op": ["add"], "path": "/x"}], "operation 0: op must be one of"),
        ([{"path": "/x"}], "operation 0: op must be one of"),
        ([BEGUN, 1], "operation 1: it must be an object with op and path"),
        ([TICKET], "operation 0: op must be one of"),
        ([add("", [TICKET])], "body must be an object with NotificationEvents"),
        ([add("", "x"), add("/0", "y")], "operation 1: path"),
    ],
)
def test_a_patch_that_can_not_be_applied_is_refused(operations: list[Any], says: str) -> None:
    assert refusal(PATCH, patch(*operations)).startswith(says)


def test_an_empty_patch_makes_an_empty_request() -> None:
    assert refusal(PATCH, b"[]", InvalidEvents) == "NotificationEvents is missing"


_VALUES = st.recursive(
    st.none() | st.integers(-5, 5) | st.sampled_from(["NewTicket", "4", "x"]),
    lambda below: (
        st.lists(below, max_size=3) | st.dictionaries(st.sampled_from(["Type", "Id", "x"]), below, max_size=3)
    ),
    max_leaves=8,
)
_PATHS = st.lists(st.sampled_from(["NotificationEvents", "0", "1", "-", "Type", "x", "~1", "~", "01"]), max_size=4).map(
    lambda parts: "".join(f"/{part}" for part in parts)
)
_OPERATIONS = st.fixed_dictionaries(
    {"op": st.sampled_from(["add", "remove", "replace", "move", "copy", "test"]), "path": _PATHS},
    optional={"from": _PATHS, "value": _VALUES},
)


@given(st.lists(_OPERATIONS, max_size=6))
def test_any_patch_is_a_batch_or_a_refusal(operations: list[Request]) -> None:
    decoded(PATCH, patch(add("", events({"x": [TICKET]})), *operations))
