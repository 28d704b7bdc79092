"""How deep JSON may be nested before its decoder gives up: another depth in each version of Python."""

from __future__ import annotations

import bisect

import msgspec


def _too_deep(depth: int) -> bool:
    try:
        msgspec.json.decode(b"[" * depth + b"]" * depth)
    except RecursionError:
        return True
    return False


def deepest_decoded() -> int:
    """The most levels that are decoded, from about this depth of the stack."""
    return bisect.bisect_left(range(100_000), True, key=_too_deep) - 1
