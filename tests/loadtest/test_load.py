"""A load has bounds, whoever asks for it."""

from __future__ import annotations

import math
from typing import Any

import pytest

from server.errors import BadRequest
from server.events import MAX_EVENTS
from server.loadtest.load import MAX_PUBLISHERS, MAX_RATE, MAX_SECONDS, MAX_SESSIONS, Load, Login

URL = "http://127.0.0.1:8080"


def _logins(count: int) -> tuple[Login, ...]:
    return tuple(Login(f"a{number}", {}) for number in range(count))


@pytest.mark.parametrize(
    "bounds",
    [
        {},
        {"devices": MAX_SESSIONS // 2},
        {"publishers": MAX_PUBLISHERS, "rate": MAX_RATE, "seconds": MAX_SECONDS, "events": MAX_EVENTS},
        {"devices": 1, "publishers": 1, "rate": 0, "seconds": 0.1, "events": 1, "drain_s": 0},
    ],
)
def test_what_is_within_the_bounds_is_taken(bounds: dict[str, Any]) -> None:
    Load(URL, _logins(2), **bounds)


@pytest.mark.parametrize(
    ("what", "value"),
    [
        ("devices", 0),
        ("devices", MAX_SESSIONS + 1),
        ("publishers", 0),
        ("publishers", MAX_PUBLISHERS + 1),
        ("rate", -1),
        ("rate", math.nan),
        ("rate", math.inf),
        ("rate", MAX_RATE * 2),
        ("seconds", 0),
        ("seconds", math.nan),
        ("seconds", MAX_SECONDS + 1),
        ("events", 0),
        ("events", MAX_EVENTS + 1),
        ("drain_s", -1),
        ("drain_s", math.inf),
    ],
)
def test_what_is_not_is_named_with_its_bounds(what: str, value: float) -> None:
    bounds: dict[str, Any] = {what: value}
    with pytest.raises(BadRequest, match=rf"^{what.removesuffix('_s')} is \S+, it must be from \S+ to \S+$"):
        Load(URL, _logins(1), **bounds)


def test_sessions_are_bounded_together() -> None:
    with pytest.raises(BadRequest, match="agents times devices is 30000"):
        Load(URL, _logins(3), devices=10_000)
    with pytest.raises(BadRequest, match="agents is 0"):
        Load(URL, ())


def test_an_agent_is_there_once_in_whatever_case() -> None:
    with pytest.raises(BadRequest, match="a0 is there 2 times"):
        Load(URL, (*_logins(2), Login("A0", {})))


@pytest.mark.parametrize(
    "url", ["sync.example.com", "http://h/a b", "http://h/ä", "http://ä.example.com", "http://h/?a"]
)
def test_a_url_is_what_can_be_written_into_a_request(url: str) -> None:
    with pytest.raises(BadRequest, match="url"):
        Load(url, _logins(1))


def test_credentials_are_not_shown() -> None:
    assert "secret" not in repr(Load(URL, (Login("ada", {"Authorization": "secret"}),)))
