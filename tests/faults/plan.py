"""What will go wrong, and when: all of it drawn from a seed before anything begins, so that it can be repeated."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Final

Span = tuple[float, float]

TRACKS: Final[dict[str, tuple[Span, dict[str, Span]]]] = {
    "store": (
        (1.0, 5.0),
        {
            "store killed": (0.0, 1.5),
            "store silent": (0.5, 6.0),
            "store restarted": (0.0, 0.0),
            "store full": (0.5, 4.0),
            "subscriptions killed": (0.0, 0.0),
            "links killed": (0.0, 0.0),
            "small output buffers": (0.5, 3.0),
        },
    ),
    "servers": ((2.0, 8.0), {"worker killed": (0.0, 0.0), "server restarted": (0.0, 1.0)}),
    "devices": ((1.0, 4.0), {"devices cut": (0.0, 0.0), "devices held": (1.0, 10.0)}),
}
"""What can happen to whom: the pause before each fault, and how long each lasts, from and to in seconds. Those of one
track follow each other, those of different tracks meet as they like."""


@dataclass(frozen=True)
class Fault:
    """One fault: when it begins, counted from the start, and how long it lasts. `lot`, from 0 to 1, decides whom of
    many it meets; `number` tells it from others of its track."""

    number: int
    kind: str
    at_s: float
    for_s: float
    lot: float

    @property
    def end_s(self) -> float:
        """When it is over."""
        return self.at_s + self.for_s

    def __str__(self) -> str:
        return f"{self.at_s:7.2f} s  {self.kind}" + (f" for {self.for_s:.2f} s" if self.for_s else "")


Plan = dict[str, list[Fault]]


def plan(seed: int, seconds: float) -> Plan:
    """For each track its faults in their order; all are over by `seconds`. No kind comes again before all have come."""
    made: Plan = {}
    for track, (pause, kinds) in TRACKS.items():
        chance = random.Random(f"{seed} {track}")
        made[track] = []
        at_s, bag = chance.uniform(*pause), list[str]()
        while True:
            bag = bag or chance.sample(sorted(kinds), len(kinds))
            kind = bag.pop()
            fault = Fault(len(made[track]), kind, at_s, chance.uniform(*kinds[kind]), chance.random())
            if fault.end_s > seconds:
                break
            made[track].append(fault)
            at_s = fault.end_s + chance.uniform(*pause)
    return made


def in_order(faults: Plan) -> list[Fault]:
    """Of all tracks, by the time."""
    return sorted((fault for track in faults.values() for fault in track), key=lambda fault: fault.at_s)
