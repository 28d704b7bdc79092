"""The pauses between tries, which the end of the client cuts short."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, TypeVar

from server.client.retry import Backoff, Retry

_T = TypeVar("_T")
Sleep = Callable[[float], Coroutine[Any, Any, None]]


class Pauses:
    """`closed` is for good. `on_retry` is told why there is a pause, and its seconds."""

    def __init__(self, backoff: Backoff, sleep: Sleep, on_retry: Callable[[str, float], None] | None) -> None:
        self.closed = False
        self._backoff = backoff
        self._sleep = sleep
        self._on_retry = on_retry
        self._scopes: set[asyncio.Timeout] = set()

    def reset(self) -> None:
        """It worked: the next pause is the first again."""
        self._backoff.reset()

    async def before(self, retry: Retry) -> None:
        """Wait for the next try; over at once where there will be none."""
        wait_s = retry.at_least_s + self._backoff.next_s()
        if self._on_retry is not None:
            self._on_retry(retry.reason, wait_s)
        with suppress(TimeoutError):
            await self.until_closed(self._sleep(wait_s))

    async def until_closed(self, work: Coroutine[Any, Any, _T]) -> _T:
        """What `work` gives; TimeoutError once it is closed."""
        async with asyncio.timeout(0 if self.closed else None) as scope:
            self._scopes.add(scope)
            try:
                return await work
            finally:
                self._scopes.discard(scope)

    def close(self) -> None:
        """Cut short what runs in `until_closed`. Idempotent."""
        self.closed = True
        scopes, self._scopes = self._scopes, set()
        for scope in scopes:
            scope.reschedule(0)
