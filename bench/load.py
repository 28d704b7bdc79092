"""What a generator is asked for, and what it found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

PHASES: Final = ("connected", "hold", "held", "measure", "measured")
"""What a generator says when a part of its work begins: all websockets are open, nothing but pings from now on, that
is over, the load with figures begins, it is over (what is missing may still come)."""


@dataclass(frozen=True, slots=True)
class Load:
    """`devices` websockets of each of `agents`, numbered from `first_agent` on, and posts for those agents.

    `rate`: posts a second, due whatever the server does (open loop); 0: each answer is followed by a post (closed
    loop), with never more than `outstanding` posts whose events have not all come, if that is given. Without `seconds`
    nothing is posted. Latencies count from when a post was due.
    """

    agents: int = 1000
    devices: int = 3
    first_agent: int = 0
    window: int = 256
    """Handshakes under way at a time; with `catchup` those that wait for it count as well."""
    cursor: str = ""
    """With which each websocket is opened."""
    catchup: int = 0
    """Events that come to each websocket before anything is posted."""
    hold_s: float = 0.0
    """How long the websockets are only held, before anything is posted."""
    publishers: int = 16
    rate: float = 0.0
    outstanding: int = 0
    batch: int = 1
    unique_heads: bool = False
    warmup_s: float = 0.0
    seconds: float = 0.0
    drain_s: float = 10.0
    """How long is waited for what is missing, at most."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a generator found; None where nothing was counted.

    A frame is one event that reached one device. Rates are of the load's `seconds`, totals include its warm-up.
    """

    elapsed_s: float
    cpu: float
    """The generator's own, of one core, while it measured."""
    posts_per_s: float
    frames_per_s: float
    wanted: int
    opened: int
    failed: int
    closed: int
    connect_s: float
    connects_per_s: float
    sent: int
    posts: int
    bad: int
    lost: int
    unsent: int
    late: int
    """Posts sent more than 1 ms after they were due."""
    redialled: int
    frames: int
    expected: int
    missing: int
    other_frames: int
    unwanted: int
    caught_up: int
    p50_ms: float | None
    p90_ms: float | None
    p99_ms: float | None
    p999_ms: float | None
    max_ms: float | None
    post_p50_ms: float | None
    post_p99_ms: float | None
    catchup_p50_ms: float | None
    catchup_max_ms: float | None
    pauses: int
    """Frames later than 20 ms."""

    def problems(self, load: Load) -> list[str]:
        """All that keeps this from being a good run; empty for one."""
        found = {
            "websockets not opened": self.wanted - self.opened,
            "websockets closed": self.closed,
            "posts refused": self.bad,
            "posts without an answer": self.lost,
            "posts due and never sent": self.unsent,
            "frames missing": max(self.missing, 0),
            "frames too many": max(-self.missing, 0),
            "devices told to begin anew": self.unwanted,
            "devices not caught up": self.wanted - self.caught_up if load.catchup else 0,
            "posts at all: none": int(bool(load.seconds) and not self.posts),
        }
        return [f"{count} {what}" for what, count in found.items() if count]
