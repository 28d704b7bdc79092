"""What a load showed, as people read it. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from server.loadtest.figures import Figures, Latency
from server.loadtest.load import Load

BUSY: Final = 0.9
"""Of a core. Above it the generator waits for itself, and what it measures is itself."""
_HEAD: Final = ("", "TOTAL", "PER S", "P50 MS", "P90", "P99", "P99.9", "MAX")


def table(load: Load, figures: Figures) -> str:
    """Lines without a newline at their end: what was asked, rates and latencies, counts, and what to beware of."""
    return "\n".join((_asked(load), "", *_rates(figures), "", *_counts(load, figures), *_warnings(figures)))


def counted(count: int, what: str) -> str:
    """``1 post``, ``2 posts``."""
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def _asked(load: Load) -> str:
    pace = f"{load.rate:g} posts a second" if load.rate else "each posts as soon as it is answered"
    parts = (
        counted(len(load.logins), "agent"),
        f"{counted(load.devices, 'device')} each",
        counted(load.publishers, "publisher"),
        f"{counted(load.events, 'event')} a post",
        f"{pace}, for {load.seconds:g} s",
    )
    return ", ".join(parts)


def _rates(figures: Figures) -> Iterator[str]:
    rows = (
        _HEAD,
        ("posts", str(figures.posts), f"{figures.posts_per_s:.1f}", *_latency(figures.post_ms)),
        ("clears", str(figures.clears), f"{figures.clears_per_s:.1f}", *_latency(figures.clear_ms)),
    )
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for name, *cells in rows:
        yield "  ".join((name.ljust(widths[0]), *map(str.rjust, cells, widths[1:])))


def _latency(latency: Latency) -> Iterable[str]:
    return (f"{ms:.2f}" for ms in (latency.p50, latency.p90, latency.p99, latency.p999, latency.max))


def _counts(load: Load, figures: Figures) -> Iterator[str]:
    wanted = len(load.logins) * load.devices
    answers = (f"{count} with {status}" if status else f"{count} not at all" for status, count in figures.bad.items())
    yield f"missing     {figures.missing} of {counted(figures.expected, 'clear')}"
    yield f"twice       {counted(figures.twice, 'event')}"
    yield f"refused     {counted(figures.refused, 'device')}, {counted(sum(figures.bad.values()), 'post')}"
    if figures.bad:
        yield f"answered    {', '.join(answers)}"
    if load.rate:
        yield f"unsent      {counted(figures.unsent, 'post')}"
    yield f"connected   {figures.opened} of {counted(wanted, 'device')}, {figures.connects_per_s:.0f} a second"
    yield f"reconnects  {figures.reconnects}"
    yield f"generator   {figures.cpu:.2f} of a core"


def _warnings(figures: Figures) -> Iterator[str]:
    told = (
        (figures.ended, f"it ended before its time: {figures.ended}"),
        (figures.said, f"first thing that went wrong: {figures.said}"),
        (not figures.posts, "nothing was recorded"),
        (figures.strayed, f"{counted(figures.strayed, 'event')} came to another login's device: are two one agent?"),
        (figures.foreign, f"{counted(figures.foreign, 'event')} came of somebody else who works with these agents"),
        (figures.unsent, "posts were due and no publisher was free: the server, or --publishers, fall short of --rate"),
        (
            figures.cpu > BUSY,
            f"the generator took {figures.cpu:.2f} of the one core it can use: it was itself the bottleneck, "
            "the server can do more than this",
        ),
    )
    warnings = [text for true, text in told if true]
    if warnings:
        yield ""
    yield from warnings
