"""What a load showed."""

from __future__ import annotations

from dataclasses import dataclass, field

from server.loadtest.histogram import Histogram


@dataclass(frozen=True, slots=True)
class Latency:
    """In ms, up to 1.6 % too long, `max` exact; all 0 where there was none."""

    p50: float = 0.0
    p90: float = 0.0
    p99: float = 0.0
    p999: float = 0.0
    max: float = 0.0

    @classmethod
    def of(cls, histogram: Histogram) -> Latency:
        """The percentiles of what was counted so far."""
        p50, p90, p99, p999 = (histogram.percentile(share) / 1000 for share in (0.5, 0.9, 0.99, 0.999))
        return cls(p50, p90, p99, p999, histogram.max_us / 1000)


@dataclass(frozen=True, slots=True)
class Figures:
    """A clear is one post that reached one device whole. Latencies count from when a post was due, and include what
    came after `seconds`; rates are of those `seconds` only."""

    seconds: float = 0.0
    """How long was posted."""
    opened: int = 0
    """Devices that had their welcome."""
    refused: int = 0
    """Devices that did not get in."""
    connects_per_s: float = 0.0
    posts: int = 0
    """Answered 204."""
    bad: dict[int, int] = field(default_factory=dict)
    """Other answers, by status; 0 is none."""
    unsent: int = 0
    """Posts that were due and found no publisher free before the end: the server falls short of the rate."""
    posts_per_s: float = 0.0
    clears: int = 0
    clears_per_s: float = 0.0
    expected: int = 0
    """Clears of the posts that were answered 204."""
    missing: int = 0
    """Of these, what had not come at the end."""
    twice: int = 0
    """Events that a device was told again; clients have to bear that, so it is no failure."""
    strayed: int = 0
    """Events that came to another login's device."""
    foreign: int = 0
    """Events that this load did not make: somebody else works with these agents."""
    reconnects: int = 0
    post_ms: Latency = Latency()
    clear_ms: Latency = Latency()
    over_20ms: int = 0
    """Clears later than 20 ms."""
    cpu: float = 0.0
    """What the generator itself took, of one core."""
    said: str = ""
    """What the server said to the first thing that it refused."""
    ended: str = ""
    """Why it ended before its time."""

    @property
    def ok(self) -> bool:
        """All got in, something was posted, nothing was refused, is missing or went astray."""
        return bool(self.posts) and not (self.refused or self.bad or self.missing or self.strayed)
