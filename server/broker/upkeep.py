"""Keeping a link: connected again when it is lost, aborted when it is silent."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Final, NoReturn

import hiredis

from server import logs
from server.broker.link import Link
from server.errors import StoreError, Unavailable

EXPIRE_EVERY_S: Final = 0.1
PULSE_EVERY_S: Final = 1.0
FIRST_PAUSE_S: Final = 0.05
LONGEST_PAUSE_S: Final = 2.0
"""A life longer than this starts the pauses anew."""

_log = logs.get("clearsync.store")


async def keep(name: str, live: Callable[[], Awaitable[None]], on_unusable: Callable[[StoreError], None]) -> NoReturn:
    """Run `live` (connect, be of use, return once lost) again and again, with full-jitter pauses, until cancelled.

    `on_unusable`: the store answers, and will not do as it is.
    """
    loop = asyncio.get_running_loop()
    pause_s, failures = FIRST_PAUSE_S, 0
    while True:
        born = loop.time()
        try:
            await live()
            failures = 0
            _log.warning("store connection lost", link=name)
        except StoreError as problem:
            _log.error("store unusable", link=name, error=str(problem))
            on_unusable(problem)
        except (OSError, Unavailable, hiredis.HiredisError) as problem:  # TimeoutError is an OSError
            if failures & (failures - 1) == 0:  # the first, second, fourth …: an outage is not a flood
                _log.warning("store unreachable", link=name, error=str(problem) or type(problem).__name__)
            failures += 1
        pause_s = FIRST_PAUSE_S if loop.time() - born > LONGEST_PAUSE_S else min(2 * pause_s, LONGEST_PAUSE_S)
        await asyncio.sleep(random.uniform(0, pause_s))


async def pulse(link: Link, timeout_s: float, ask: Callable[[], None]) -> None:
    """Until `link` is lost: `ask` something once a second, so that an idle link shows it is alive, and abort a silent
    one. Whoever waits on it is told within `timeout_s`: `expire` takes two looks."""
    loop = asyncio.get_running_loop()
    due, bound = loop.time(), max(timeout_s / 2, timeout_s - 3 * EXPIRE_EVERY_S)
    while not link.lost.done():
        if loop.time() >= due:
            due = loop.time() + PULSE_EVERY_S
            ask()
        link.expire(bound)
        await asyncio.wait((link.lost,), timeout=EXPIRE_EVERY_S)
