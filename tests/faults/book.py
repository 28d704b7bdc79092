"""The ledger: what callers were told, what devices got, and whether that is the promise.

What was acknowledged is on every device but its origin, and nothing is that was neither acknowledged nor unknown.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Protocol

from tests.gateway.devices import Pair

EXCERPT = 10


class Witness(Protocol):
    """What a ledger asks of a device."""

    agent: str
    name: str
    seen: dict[Pair, int]
    arrived: dict[Pair, float]
    resets: int
    welcomes: int
    failures: list[str]


@dataclass
class Book:
    """The truth about what callers were told. Times are the loop's."""

    acknowledged: dict[str, dict[Pair, float]] = field(default_factory=lambda: defaultdict(dict))
    """By agent: each pair with the time of its 204."""
    unknown: dict[str, set[Pair]] = field(default_factory=lambda: defaultdict(set))
    """Not answered yet, 5xx, out of time, cut off: whole or nothing, so they may be there."""
    origins: dict[str, dict[Pair, str]] = field(default_factory=lambda: defaultdict(dict))
    """By agent: the device that a pair was handled on, where there is one."""
    posted: int = 0
    statuses: Counter[int] = field(default_factory=Counter)
    """How often each was answered; 0 is no answer."""
    slowest_s: float = 0.0
    """The longest a POST took to its answer, whatever that was, or to the end of its connection."""
    unanswered: int = 0
    """POSTs that got no HTTP answer at all."""
    _numbers: count[int] = field(default_factory=lambda: count(1))

    def batch(self, size: int) -> tuple[Pair, ...]:
        """Pairs that nobody has posted before."""
        number = next(self._numbers)
        return tuple(("NewTicket" if i == 0 else "AppointmentMoved", number * 1000 + i) for i in range(size))

    def sent(self, agent: str, pairs: Sequence[Pair], origin: str = "") -> None:
        """They are on their way, so from now on they may be there."""
        self.posted += 1
        self.unknown[agent].update(pairs)
        if origin:
            self.origins[agent].update(dict.fromkeys(pairs, origin))

    def answered(self, agent: str, pairs: Sequence[Pair], status: int, took_s: float, now: float) -> None:
        """What became of them: 204 is recorded, 4xx is not, anything else is not known."""
        self.statuses[status] += 1
        self.unanswered += status == 0
        self.slowest_s = max(self.slowest_s, took_s)
        if status == 204 or 400 <= status < 500:
            self.unknown[agent].difference_update(pairs)
        if status == 204:
            self.acknowledged[agent].update(dict.fromkeys(pairs, now))

    def lacking(self, device: Witness) -> list[Pair]:
        """What the device is owed and has not got."""
        origins = self.origins[device.agent]
        gone = self.acknowledged[device.agent].keys() - device.seen.keys()
        return [pair for pair in gone if origins.get(pair) != device.name]

    def judge(self, devices: Iterable[Witness]) -> Verdict:
        """How it stands now."""
        verdict = Verdict()
        for device in devices:
            acknowledged, agent, name = self.acknowledged[device.agent], device.agent, device.name
            strange = device.seen.keys() - acknowledged.keys() - self.unknown[agent]
            verdict.missing += [(agent, name, pair) for pair in self.lacking(device)]
            verdict.foreign += [(agent, name, pair) for pair in strange]
            verdict.failures += [f"{agent} {name}: {failure}" for failure in device.failures]
            verdict.twice += sum(device.seen.values()) - len(device.seen)
            late = (device.arrived[pair] - acknowledged[pair] for pair in device.arrived.keys() & acknowledged.keys())
            verdict.late_s = max(verdict.late_s, max(late, default=0.0))
            verdict.resets += device.resets
            verdict.reconnects += max(0, device.welcomes - 1)
        return verdict


@dataclass
class Verdict:
    """What a ledger says of all devices."""

    missing: list[tuple[str, str, Pair]] = field(default_factory=list)
    """Agent, device, pair: owed and not there."""
    foreign: list[tuple[str, str, Pair]] = field(default_factory=list)
    """There, and neither acknowledged nor unknown."""
    failures: list[str] = field(default_factory=list)
    """Devices that gave up, or were sent what is no frame, and why."""
    twice: int = 0
    """Arrivals beyond the first."""
    late_s: float = 0.0
    """The latest arrival after its 204, of the pairs that arrived."""
    resets: int = 0
    reconnects: int = 0
    """Welcomes beyond the first of each device."""

    def check(self) -> None:
        """AssertionError with an excerpt where something is missing, is foreign, or a device gave up."""
        bad = (("missing", self.missing), ("foreign", self.foreign), ("failures", self.failures))
        parts = [f"{len(some)} {name}, such as {some[:EXCERPT]}" for name, some in bad if some]
        assert not parts, "; ".join(parts)
