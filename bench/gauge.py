"""What processes take: CPU time and memory, as the kernel counts them (proc(5))."""

from __future__ import annotations

import contextlib
import os
import re
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

_TICKS_PER_S: Final = os.sysconf("SC_CLK_TCK")


def cpu_s(pids: Iterable[int]) -> float:
    """CPU time of processes and all their threads so far; nothing of those that are gone. Exact to 10 ms each."""
    total = 0
    for pid in pids:
        with contextlib.suppress(OSError):
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            total += int(fields[11]) + int(fields[12])
    return total / _TICKS_PER_S


def memory_kb(pids: Iterable[int]) -> int:
    """Memory of processes, what they share counted once (PSS), or each time (RSS) where PSS can't be read."""
    return sum(_memory_kb(pid) for pid in pids)


def _memory_kb(pid: int) -> int:
    for name, field in (("smaps_rollup", "Pss"), ("status", "VmRSS")):
        with contextlib.suppress(OSError):
            found = re.search(rf"^{field}:\s+(\d+) kB", Path(f"/proc/{pid}/{name}").read_text(), re.MULTILINE)
            if found:
                return int(found[1])
    return 0


class Watch:
    """Which share of a core a server and its store take between `begin` and `end`."""

    def __init__(self, pids: Callable[[], list[int]], store_pid: int | None) -> None:
        self._pids = pids
        self._store = [] if store_pid is None else [store_pid]
        self._before = self._after = (0.0, 0.0, 0.0)

    def _now(self) -> tuple[float, float, float]:
        return time.monotonic(), cpu_s(self._pids()), cpu_s(self._store)

    def begin(self) -> None:
        """From now on."""
        self._before = self._now()

    def end(self) -> None:
        """Until now."""
        self._after = self._now()

    @property
    def server_s(self) -> float:
        """CPU seconds of the server."""
        return self._after[1] - self._before[1]

    def shares(self) -> dict[str, float | None]:
        """Of the server and its store, of one core; the store is None where there is none, or inside the server."""
        passed, server, store = (after - before for before, after in zip(self._before, self._after, strict=True))
        if passed <= 0:
            return {"server_cpu": None, "store_cpu": None}
        return {"server_cpu": server / passed, "store_cpu": store / passed if self._store else None}
