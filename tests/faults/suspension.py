"""A coroutine that something happens to at its n-th await: what a cancellation, or a lost connection, may hit."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Generator
from typing import Any, Final, Generic, TypeVar

T = TypeVar("T")

MOST: Final = 200
"""More awaits than any path under test has: one that has more does not end."""


class Stepped(Awaitable[T], Generic[T]):
    """`work`, to which `strike` happens at its await number `at` (from 1).

    By default as it begins to wait. `late`: as what it waits for has just come, and before it is woken; a cancellation
    then takes the place of an answer that was given.
    """

    def __init__(
        self, work: Coroutine[Any, Any, T], at: int, strike: Callable[[], object], *, late: bool = False
    ) -> None:
        assert at <= MOST, "the path under test does not end"
        self._work = work
        self._at = at
        self._strike = strike
        self._late = late
        self._count = 0
        self.struck = False

    def __await__(self) -> Generator[Any, Any, T]:
        step: Callable[[Any], Any] = self._work.send
        value: Any = None
        while True:
            try:
                awaited = step(value)
            except StopIteration as done:
                result: T = done.value
                return result
            self._count += 1
            if self._count == self._at:
                self._prepare(awaited)
            try:
                value = yield awaited
                step = self._work.send
            except BaseException as thrown:
                step, value = self._work.throw, thrown

    def _prepare(self, awaited: object) -> None:
        if self._late and isinstance(awaited, asyncio.Future):
            awaited.add_done_callback(lambda _: self._happen())  # before the task's own, so ahead of its wake-up
        else:
            self._happen()

    def _happen(self) -> None:
        self.struck = True
        self._strike()


async def cancelled_at(
    work: Coroutine[Any, Any, object], at: int, *, late: bool = False, then: Callable[[], object] = lambda: None
) -> bool:
    """Run `work` in a task that is cancelled at its await number `at`, and do `then`; False where it had fewer awaits.

    AssertionError where the cancellation was swallowed.
    """
    task: asyncio.Task[None]

    async def run() -> None:
        await stepped

    def cancel() -> None:
        task.cancel()
        then()

    stepped = Stepped(work, at, cancel, late=late)
    task = asyncio.get_running_loop().create_task(run())
    await asyncio.wait({task})
    if not stepped.struck:
        task.result()
        return False
    assert task.cancelled(), f"cancelled at await {at}, it ended with {task.exception() or 'a result'}"
    return True
