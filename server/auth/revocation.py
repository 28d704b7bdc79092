"""Credentials that were taken back, as a worker learns of it.

1. Most at once: every worker hears of a revocation on the control channel.
2. Pub/sub is at most once: after each subscription, and once a minute anyway, what live sessions stand on is compared
   with the store. What is gone there ends them, by revocation or because its time is over.
3. ``user:`` names the users file's, which are not in the store and are not compared.
"""

from __future__ import annotations

import asyncio
import random
import re
from collections.abc import Callable, Iterable
from typing import Final, NoReturn

from server import logs
from server.auth.vault import Vault
from server.errors import Unavailable

COMPARE_EVERY_S: Final = 60.0
FIRST_PAUSE_S: Final = 0.1
LONGEST_PAUSE_S: Final = 5.0

_KEPT: Final = ("ticket:", "web:")
_USER: Final = "user:"
_REVOKED: Final = re.compile(rb"revoked ([a-z]{1,16}:[0-9a-f]{1,128})")
_FORGOTTEN: Final = re.compile(rb"forgotten ([A-Za-z0-9_.~%/-]{1,2000})")
_log = logs.get("clearsync.auth")


class Revocations:
    """Implements `Control` of the broker. The callbacks are called on the loop, raise nothing and may be called twice
    for the same; `run` owns the comparing."""

    def __init__(
        self,
        *,
        on_revoked: Callable[[frozenset[str]], None],
        on_forgotten: Callable[[str], None],
        held: Callable[[], set[str]],
        every_s: float = COMPARE_EVERY_S,
    ) -> None:
        """`on_revoked` gets names of grants, `on_forgotten` an agent's tag; `held` are the names of all grants that
        sessions here stand on."""
        self._on_revoked = on_revoked
        self._on_forgotten = on_forgotten
        self._held = held
        self._every_s = every_s
        self._due = asyncio.Event()

    def told(self, message: bytes) -> None:
        """What the control channel says."""
        if match := _REVOKED.fullmatch(message):
            self._on_revoked(frozenset((match[1].decode(),)))
        elif match := _FORGOTTEN.fullmatch(message):
            self._on_forgotten(match[1].decode())
        else:
            _log.warning("control message not understood", length=len(message))

    def missed(self) -> None:
        """Something may have been said that was not heard."""
        self._due.set()

    async def run(self, vault: Vault) -> NoReturn:
        """Compare when something was missed and once in `every_s`, until cancelled. Not all workers at one time."""
        pause_s = FIRST_PAUSE_S
        while True:
            try:
                async with asyncio.timeout(random.uniform(0.75, 1.25) * self._every_s):
                    await self._due.wait()
            except TimeoutError:
                pass
            self._due.clear()
            try:
                await self._compare(vault)
                pause_s = FIRST_PAUSE_S
                continue
            except Unavailable:
                pass
            except Exception:
                _log.exception("grants could not be compared with the store")
            self._due.set()
            await asyncio.sleep(random.uniform(0, pause_s))
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)

    async def _compare(self, vault: Vault) -> None:
        gone = await vault.gone([name for name in self._held() if name.startswith(_KEPT)])
        if gone:
            _log.info("grants gone", count=len(gone))
            self._on_revoked(frozenset(gone))


async def standing(vault: Vault, users: Callable[[str], bool], names: Iterable[str]) -> bool:
    """Whether all grants stand: those of the users file by `users(name)`, those that are kept by the vault.

    One of any other kind does not stand. Raises `Unavailable`.
    """
    kept = []
    for name in names:
        if name.startswith(_KEPT):
            kept.append(name)
        elif not (name.startswith(_USER) and users(name)):
            return False
    return not kept or not await vault.gone(kept)
