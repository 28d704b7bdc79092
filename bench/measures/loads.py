"""Posts and pushes: as fast as it goes, at a rate, and to one agent with thousands of devices."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from bench.load import Load
from bench.measures.run import Reading, Scene, Take, under_load

RATE: Final = 2000.0
STORM_DEVICES: Final = 3000
STORM_OUTSTANDING: Final = 16
"""Posts whose pushes have not all come. Without a bound a server that answers before it pushes would only pile up."""


def load_of(seconds: float, **more: Any) -> Load:
    """A load of so many seconds, and a quarter of that before them, for caches and compilers to warm up."""
    return Load(seconds=seconds, warmup_s=seconds / 4, **more)


def of(load: Load) -> Take:
    """The measure that is nothing but this load."""

    def take(scene: Scene) -> Reading:
        return under_load(scene, load)

    return take


def closed(seconds: float) -> Load:
    """1,000 agents with 3 devices each, 16 connections that post as soon as they were answered."""
    return load_of(seconds)


def open_loop(seconds: float) -> Load:
    """The same at 2,000 posts a second. What a server owes at the end of the warm-up is not waited for long."""
    return load_of(seconds, rate=RATE, publishers=64)


def storm(seconds: float) -> Load:
    """One agent with 3,000 devices, and 16 posts under way to all of them."""
    return load_of(seconds, agents=1, devices=STORM_DEVICES, outstanding=STORM_OUTSTANDING, drain_s=20.0)


LOADS: Final[dict[str, Callable[[float], Load]]] = {"closed": closed, "open": open_loop, "storm": storm}
