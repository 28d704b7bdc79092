"""What people read of a load."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from server.loadtest.figures import Figures, Latency
from server.loadtest.load import Load, Login
from server.loadtest.table import counted, table

LOAD = Load("http://x", (Login("ada", {}), Login("bob", {})), devices=3, publishers=1, rate=50, events=2)
FIGURES = Figures(
    seconds=10.0,
    opened=6,
    connects_per_s=1234.5,
    posts=500,
    posts_per_s=50.0,
    clears=1500,
    clears_per_s=149.96,
    expected=1500,
    post_ms=Latency(1.0, 2.25, 3.5, 10.125, 12.5),
    clear_ms=Latency(1.5, 2.5, 4.0, 100.0, 1234.567),
    cpu=0.123,
)
WHOLE = """\
2 agents, 3 devices each, 1 publisher, 2 events a post, 50 posts a second, for 10 s

        TOTAL  PER S  P50 MS   P90   P99   P99.9      MAX
posts     500   50.0    1.00  2.25  3.50   10.12    12.50
clears   1500  150.0    1.50  2.50  4.00  100.00  1234.57

missing     0 of 1500 clears
twice       0 events
refused     0 devices, 0 posts
unsent      0 posts
connected   6 of 6 devices, 1234 a second
reconnects  0
generator   0.12 of a core"""


def test_a_table_of_a_load_that_went_well() -> None:
    assert table(LOAD, FIGURES) == WHOLE


def test_what_went_wrong_is_counted() -> None:
    wrong = replace(FIGURES, missing=7, twice=1, refused=2, bad={0: 3, 429: 40}, reconnects=5)
    lines = table(replace(LOAD, rate=0), wrong).splitlines()
    assert lines[0].endswith("each posts as soon as it is answered, for 10 s")
    assert {
        "missing     7 of 1500 clears",
        "twice       1 event",
        "refused     2 devices, 43 posts",
        "answered    3 not at all, 40 with 429",
        "reconnects  5",
    } <= set(lines)
    assert not any(line.startswith("unsent") for line in lines)


@pytest.mark.parametrize(
    ("what", "warning"),
    [
        ({"cpu": 0.91}, "0.91 of the one core it can use: it was itself the bottleneck"),
        ({"ended": "interrupted"}, "before its time: interrupted"),
        ({"said": "too many (429)"}, "went wrong: too many (429)"),
        ({"posts": 0}, "nothing was recorded"),
        ({"strayed": 1}, "1 event came to another login's device"),
        ({"foreign": 2}, "2 events came of somebody else"),
        ({"unsent": 2}, "fall short of --rate"),
    ],
)
def test_what_to_beware_of_stands_at_the_end(what: dict[str, Any], warning: str) -> None:
    *rest, blank, last = table(LOAD, replace(FIGURES, **what)).splitlines()
    assert warning in last
    assert blank == ""
    assert len(rest) == len(WHOLE.splitlines())


def test_a_generator_that_had_time_is_no_bottleneck() -> None:
    assert table(LOAD, replace(FIGURES, cpu=0.9)).endswith("generator   0.90 of a core")


def test_one_has_no_plural() -> None:
    assert [counted(n, "post") for n in (0, 1, 2)] == ["0 posts", "1 post", "2 posts"]
