"""Keeping a link through a long outage."""

from __future__ import annotations

import asyncio

import pytest

from server.broker import upkeep
from server.errors import StoreError


class Enough(Exception):
    """The test has seen what it wanted."""


async def test_an_outage_of_any_length_is_survived(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []

    async def pause(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 3000:
            raise Enough

    async def live() -> None:
        raise ConnectionRefusedError

    monkeypatch.setattr(asyncio, "sleep", pause)
    with pytest.raises(Enough):
        await upkeep.keep("test", live, lambda problem: None)
    assert max(pauses) <= upkeep.LONGEST_PAUSE_S
    assert max(pauses[:3]) <= 8 * upkeep.FIRST_PAUSE_S, "the first come quickly"


async def test_a_store_that_will_not_do_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[StoreError] = []

    async def live() -> None:
        raise StoreError("too old")

    def unusable(problem: StoreError) -> None:
        told.append(problem)
        raise Enough

    with pytest.raises(Enough):
        await upkeep.keep("test", live, unusable)
    assert [str(problem) for problem in told] == ["too old"]
