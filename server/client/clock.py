"""The server's clock, as far as a client knows it."""

from __future__ import annotations

import time
from collections.abc import Callable


class ServerClock:
    """Goes on from the last `welcome.now`; before the first it is this machine's.

    `monotonic` gives seconds that no one sets: a clock that is put right here must not make old notifications new.
    """

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._offset_ms: int | None = None

    @property
    def known(self) -> bool:
        """Whether a server has told it."""
        return self._offset_ms is not None

    def set(self, now_ms: int) -> None:
        """It is `now_ms` there, or was a moment ago: what is late on the way makes this clock slow, never fast."""
        self._offset_ms = now_ms - int(self._monotonic() * 1000)

    def now(self) -> int:
        """Milliseconds since 1970."""
        if self._offset_ms is None:
            return int(time.time() * 1000)
        return self._offset_ms + int(self._monotonic() * 1000)
