"""Who makes the load."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

from bench.candidate import Target
from bench.load import Load, Outcome

At = Mapping[str, Callable[[], None]]
"""What to do when a phase begins (`bench.load.PHASES`)."""


class GeneratorError(Exception):
    """No figures; the text says why."""


class Generator(Protocol):
    """Puts a load on a server."""

    @property
    def name(self) -> str:
        """What it is, for whoever reads the results."""
        ...

    def lacks(self, target: Target, load: Load) -> str:
        """What of this it can't do; empty where it can."""
        ...

    def run(self, target: Target, load: Load, core: int, at: At) -> Outcome:
        """Do it on `core`, calling `at[phase]` as each phase begins. Raises `GeneratorError`."""
        ...
