"""Questions to the supervisor: one at a time, shared, and never waited for longer than a second."""

from __future__ import annotations

import asyncio

import pytest

from server.api import overview
from server.api.overview import Overviews
from server.errors import Unavailable


class Supervisor:
    """Counts what it is asked, and answers when it is told to."""

    def __init__(self) -> None:
        self.asked = 0
        self.overviews = Overviews(self._ask)

    def _ask(self) -> None:
        self.asked += 1


async def asking(supervisor: Supervisor, times: int) -> list[asyncio.Task[bytes]]:
    """So many who wait for the answer."""
    tasks = [asyncio.create_task(supervisor.overviews.get()) for _ in range(times)]
    await asyncio.sleep(0)
    return tasks


async def test_who_asks_meanwhile_shares_the_answer() -> None:
    supervisor = Supervisor()
    waiting = await asking(supervisor, 3)
    assert supervisor.asked == 1
    supervisor.overviews.answered(b"all")
    assert await asyncio.gather(*waiting) == [b"all"] * 3
    waiting = await asking(supervisor, 1)
    assert supervisor.asked == 2, "who comes later wants to know what is true then"
    supervisor.overviews.answered(b"more")
    assert await waiting[0] == b"more"


async def test_one_that_does_not_answer_is_not_asked_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(overview, "ANSWER_S", 0.01)
    supervisor = Supervisor()
    for _ in range(3):
        with pytest.raises(Unavailable):
            await supervisor.overviews.get()
    assert supervisor.asked == 1
    supervisor.overviews.answered(b"late")
    supervisor.overviews.answered(b"nobody asked")
    (waiting,) = await asking(supervisor, 1)
    supervisor.overviews.answered(b"new")
    assert await waiting == b"new"


async def test_a_question_that_was_forgotten_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(overview, "ANSWER_S", 0.01)
    monkeypatch.setattr(overview, "FORGOTTEN_S", -1.0)
    supervisor = Supervisor()
    for _ in range(2):
        with pytest.raises(Unavailable):
            await supervisor.overviews.get()
    assert supervisor.asked == 2


async def test_one_who_gives_up_does_not_take_the_answer_along() -> None:
    supervisor = Supervisor()
    first, second = await asking(supervisor, 2)
    first.cancel()
    await asyncio.sleep(0)
    supervisor.overviews.answered(b"all")
    assert await second == b"all"
