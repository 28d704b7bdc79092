"""Merge patches: the plain request, but for null."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from tests.api.written import (
    JSON,
    MERGE,
    Request,
    decoded,
)

_VALUES = st.recursive(
    st.none() | st.integers(-5, 5) | st.sampled_from(["NewTicket", "4", "x"]),
    lambda below: (
        st.lists(below, max_size=3) | st.dictionaries(st.sampled_from(["Type", "Id", "x"]), below, max_size=3)
    ),
    max_leaves=8,
)


def merged(target: Any, patch: Any) -> Any:
    """RFC 7396, 2."""
    if not isinstance(patch, dict):
        return patch
    target = target if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            target.pop(name, None)
        else:
            target[name] = merged(target.get(name), value)
    return target


@given(st.dictionaries(st.sampled_from(["NotificationEvents", "notificationEvents", "x"]), _VALUES, max_size=2))
def test_a_merge_patch_is_the_plain_request_but_for_null(patch: Request) -> None:
    body = json.dumps(patch).encode()
    if None not in patch.values():
        assert decoded(MERGE, body) == decoded(JSON, json.dumps(merged({}, patch)).encode())
    assert decoded(MERGE, body) == decoded(JSON, body)
