"""What a check found: ok, warn or fail, what was seen, and what to change."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class Status(StrEnum):
    """How it is. SKIPPED: not looked at, for a reason; neither good nor bad."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"
    SKIPPED = "skipped"


Figure = str | float | int | bool | None


@dataclass(frozen=True, slots=True)
class Finding:
    """Of one check. `seen`: in words, with figures; `cure`: what to change, the line or setting by its name, empty
    where nothing is wrong. `figures`: the same for machines, the unit in the name."""

    status: Status
    seen: str
    cure: str = ""
    figures: Mapping[str, Figure] = field(default_factory=dict)
    check: str = ""
    """Its name; whoever ran it writes it in."""


class Skip(Exception):
    """A check can't be made here; the message says why."""


class Broken(Exception):
    """A check ended where it stood: that alone is its finding, a failure."""

    def __init__(self, seen: str, cure: str) -> None:
        super().__init__(seen)
        self.seen = seen
        self.cure = cure


def ok(seen: str, **figures: Figure) -> Finding:
    """All is well."""
    return Finding(Status.OK, seen, figures=figures)


def warn(seen: str, cure: str, **figures: Figure) -> Finding:
    """It works, and may not for long, or not for all."""
    return Finding(Status.WARN, seen, cure, figures)


def fail(seen: str, cure: str, **figures: Figure) -> Finding:
    """It does not work."""
    return Finding(Status.FAIL, seen, cure, figures)
