"""What is called well."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from server.loadtest.figures import Figures

WELL = Figures(opened=2, posts=3, clears=6, expected=6)


@pytest.mark.parametrize("also", [{}, {"twice": 3}, {"reconnects": 2}, {"unsent": 5}, {"ended": "interrupted"}])
def test_it_is_well_where_all_that_was_recorded_came(also: dict[str, Any]) -> None:
    assert replace(WELL, **also).ok


@pytest.mark.parametrize("not_well", [{"refused": 1}, {"bad": {429: 1}}, {"missing": 1}, {"strayed": 1}, {"posts": 0}])
def test_it_is_not_where_anything_was_refused_or_lost_or_nothing_done(not_well: dict[str, Any]) -> None:
    assert not replace(WELL, **not_well).ok
