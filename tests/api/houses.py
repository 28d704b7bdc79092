"""Two workers that differ in one thing: in one of them the short way is off. What is said to both has to come out
alike, byte for byte, with the same effects."""

from __future__ import annotations

import contextlib
import logging
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import pytest

from tests.api.house import House
from tests.api.sides import Said, speak

T = TypeVar("T")


class Outcome(NamedTuple):
    """All that came of a row. `stored`: by agent, the batches in their order. `charged`: what agents and addresses will
    have to pay. `held`: of the requests in flight. `troubled`: what was logged as an error."""

    said: Said
    stored: dict[str, list[list[str]]]
    counted: dict[str, float]
    charged: dict[str, float]
    held: tuple[int, int]
    troubled: list[str]
    cleared: dict[str, list[Any]]


class Pair:
    """Two houses over one store."""

    def __init__(self, short: House, long: House) -> None:
        self.short, self.long = short, long

    @property
    def houses(self) -> tuple[House, House]:
        """Both."""
        return self.short, self.long

    def each(self, act: Callable[[House], T]) -> T:
        """What comes of it in both, which has to be the same."""
        short, long = (act(house) for house in self.houses)
        assert short == long, _difference(short, long)
        return short

    def outcome(self, *parts: bytes, devices: bool = True) -> Outcome:
        """What comes of these parts of a conversation in both, which has to be the same."""
        return self.each(lambda house: outcome(house, lambda: speak(house, parts), devices=devices))

    def taken(self, *parts: bytes) -> int:
        """How much of it went the short way. All that was taken is given back, and nothing was unforeseen."""
        before = self.short.taken
        outcome = self.outcome(*parts)
        assert outcome.held == (0, 0)
        assert not outcome.troubled
        return self.short.taken - before


def outcome(house: House, act: Callable[[], Said], *, devices: bool = True) -> Outcome:
    """What comes of an act; `devices`: to those that listen, too."""
    house.ask(house.forget_charges)
    counted, marks = house.ask(house.counted), house.marks()
    said = act()
    after = house.ask(house.counted)
    return Outcome(
        said,
        house.stored(marks),
        {name: value - counted[name] for name, value in after.items() if value != counted[name]},
        house.ask(house.charged),
        house.ask(house.held),
        house.troubled(),
        house.cleared() if devices else {},
    )


def _difference(short: object, long: object) -> str:
    """Where they are not the same, as far as it can be read."""
    if isinstance(short, tuple) and isinstance(long, tuple) and len(short) == len(long):
        return "\n".join(_difference(a, b) for a, b in zip(short, long, strict=True) if a != b)
    return f"the short way: {short!r:.1000}\nthe long way:  {long!r:.1000}"


@contextmanager
def pair(folder: Path, store_url: str, name: str, keep_alive_s: float = 75.0, /, **env: str) -> Iterator[Pair]:
    """Two houses with these settings, given as `SECTION__KEY`; `name` tells them from others' in the store.

    That reading a heavy body costs its agent more is left out: it depends on the time that it takes."""
    environ = {f"CLEARSYNC_{key}": value for key, value in env.items()}
    with contextlib.ExitStack() as stack:
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        patch.setattr("server.api.handled.REQUEST_COST_S", math.inf)
        patch.setattr("server.api.http._log", logging.getLogger("clearsync.http"))  # where `House.troubled` hears it
        houses = [
            House(folder, store_url, f"{name}-{way}", environ, short=way == "short", keep_alive_s=keep_alive_s)
            for way in ("short", "long")
        ]
        yield Pair(*[stack.enter_context(house.open()) for house in houses])
