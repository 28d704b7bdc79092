"""The goals that clearsync has for its speed, and whether this benchmark met them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from bench.results import Results

OURS: Final = "clearsync"


@dataclass(frozen=True, slots=True)
class Goal:
    """`met` is None where it was not measured."""

    text: str
    found: str
    met: bool | None


def goals(results: Results) -> Iterator[Goal]:
    """All of them, in the order of their importance."""
    for peer, least in (("starlette", 4.0), ("socketio", 2.5), ("nchan-redis", 2.5), ("node-ws", 1.0)):
        yield _ahead(results, "closed", "posts_per_s", peer, least, "posts/s, closed loop")
    yield _tail(results)
    yield _within(results, "no more than 20 ms at p999 with 2,000 posts/s", "open", "p999_ms", 20.0, "ms")
    yield _ahead(results, "storm", "frames_per_s", "nchan", 1.2, "clears/s, one agent with 3,000 devices")
    yield _within(results, "no more than 8 kB a connection, idle", "memory", "kb_each", 8.0, "kB")
    yield _within(
        results, "no more than 2 % of a core for 18,000 idle connections", "idle", "server_cpu", 2.0, "%", 100
    )
    yield _ahead(results, "memory", "connects_per_s", "starlette", 1.5, "connects/s")
    text = "10,000 devices back and caught up within 4 s, two workers"
    yield _within(results, text, "reconnect", "connect_s", 4.0, "s", value=2)
    yield _flat(results)
    text = "a catch-up of 10,000 pairs costs the server no more than 20 ms"
    yield _within(results, text, "catchup", "server_ms_each", 20.0, "ms")
    yield _stall(results)


def _name(results: Results, slug: str) -> str:
    return next((entry.name for entry in results.candidates if entry.slug == slug), slug)


def _ahead(results: Results, measure: str, figure: str, peer: str, least: float, what: str) -> Goal:
    """So many times what a peer does in the same benchmark."""
    text = f"{what}: {'ahead of' if least == 1 else f'{least:g}×'} {_name(results, peer)}"
    ours, theirs = (results.median(slug, measure, figure) for slug in (OURS, peer))
    if not ours or not theirs:
        return Goal(text, "not measured", None)
    ratio = ours / theirs
    return Goal(text, f"{ratio:.2f}× ({ours:,.0f} and {theirs:,.0f})", ratio >= least)


def _within(
    results: Results,
    text: str,
    measure: str,
    figure: str,
    most: float,
    unit: str,
    scale: float = 1.0,
    value: int | None = None,
) -> Goal:
    """No more than so much."""
    found = results.median(OURS, measure, figure, value)
    if found is None:
        return Goal(text, "not measured", None)
    return Goal(text, f"{found * scale:.3g} {unit}", found * scale <= most)


def _tail(results: Results) -> Goal:
    text = f"p99 at 2,000 posts/s no longer than that of {_name(results, 'nchan-redis')}"
    ours, theirs = (results.median(slug, "open", "p99_ms") for slug in (OURS, "nchan-redis"))
    if ours is None or theirs is None:
        return Goal(text, "not measured", None)
    return Goal(text, f"{ours:.2f} ms and {theirs:.2f} ms", ours <= theirs)


def _flat(results: Results) -> Goal:
    """A tenth is what one run differs from the next."""
    text = "the cost of a batch does not grow with the agents (within a tenth, from 1,000 to 100,000)"
    few, many = (results.median(OURS, "agents", "posts_per_s", agents) for agents in (1_000, 100_000))
    if not few or not many:
        return Goal(text, "not measured", None)
    return Goal(text, f"{few:,.0f} posts/s and {many:,.0f}", many >= 0.9 * few)


def _stall(results: Results) -> Goal:
    """What others see at the worst, less what they see without it."""
    text = "a catch-up of 10,000 pairs blocks others for no longer than 2 ms"
    calm, disturbed = (results.median(OURS, "catchup", f"{when}_max_ms") for when in ("calm", "disturbed"))
    if calm is None or disturbed is None:
        return Goal(text, "not measured", None)
    more = disturbed - calm
    return Goal(text, f"longest latency of others {disturbed:.2f} ms with it, {calm:.2f} ms without", more <= 2.0)
