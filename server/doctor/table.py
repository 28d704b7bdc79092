"""Findings as people read them. Pure."""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Sequence
from typing import Final

from server.client.retry import printable
from server.doctor.findings import Finding, Status

NAME: Final = 14
"""Columns for a check's name, and for its status."""
STATUS: Final = 9
_LEAST_WIDTH: Final = 60
_COLORS: Final = {Status.OK: "32", Status.WARN: "33", Status.FAIL: "31", Status.SKIPPED: "2"}


def row(finding: Finding, width: int, *, color: bool) -> str:
    """A check, its status, what was seen, and below that what to change; at most `width` columns, no newline at the
    end."""
    margin = " " * (NAME + STATUS)
    room = max(_LEAST_WIDTH, width) - len(margin)
    lines = _wrapped(printable(finding.seen), room)
    if finding.cure:
        lines += [f"{'  ' if n else '→ '}{line}" for n, line in enumerate(_wrapped(finding.cure, room - 2))]
    status = finding.status.ljust(STATUS)
    shown = f"\x1b[{_COLORS[finding.status]}m{status}\x1b[0m" if color else status
    return "\n".join([f"{finding.check.ljust(NAME)}{shown}{lines[0]}", *(f"{margin}{line}" for line in lines[1:])])


def summary(findings: Sequence[Finding]) -> str:
    """How many of what."""
    counts = Counter(finding.status for finding in findings)
    return ", ".join(f"{counts[status]} {status}" for status in Status if counts[status])


def _wrapped(text: str, width: int) -> list[str]:
    return textwrap.wrap(text, width, break_on_hyphens=False) or [""]
