"""The same conversation with two workers, in steps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from tests.api.house import House
from tests.api.houses import Pair
from tests.api.sides import Wire

NO_CONTENT: Final = b"HTTP/1.1 204 No Content\r\ndate: *\r\n\r\n"
THE_LAST: Final = b"HTTP/1.1 204 No Content\r\ndate: *\r\nconnection: close\r\n\r\n"
TIMEOUT_S: Final = 1.0
"""`store.timeout_s` of workers whose store is hurt."""


class Talks:
    """A connection to each house, on which the same is said."""

    def __init__(self, houses: Pair) -> None:
        self.houses = houses
        self.wires = [Wire(house) for house in houses.houses]

    def __enter__(self) -> Talks:
        return self

    def __exit__(self, *_: object) -> None:
        for wire in self.wires:
            wire.__exit__()

    def say(self, *parts: bytes) -> None:
        """And wait until it is heard."""
        for wire in self.wires:
            for part in parts:
                wire.send(part)
                wire.heard()

    def each(self, act: Callable[[Wire], object]) -> None:
        """Do it on both."""
        for wire in self.wires:
            act(wire)

    def told(self) -> bytes:
        """What was answered, when nothing is left to be done; the same to both."""
        self.each(Wire.settle)
        return self._same(Wire.told)

    def rest(self) -> bytes:
        """All up to the end, the same to both."""
        return self._same(Wire.rest)

    def _same(self, ask: Callable[[Wire], bytes]) -> bytes:
        short, long = (ask(wire) for wire in self.wires)
        assert short == long
        return short


def well(houses: Pair) -> None:
    """Both have a store again."""
    for house in houses.houses:
        house.until(lambda house=house: house.worker.ready, "it is ready again")  # type: ignore[misc]  # its default is its type
        house.troubled()


def given_back(houses: Pair) -> None:
    """Nothing is held, and nothing unforeseen was logged."""
    for house in houses.houses:
        house.until(lambda house=house: house.held() == (0, 0), "all is given back")  # type: ignore[misc]  # its default is its type
    assert houses.each(House.troubled) == []
