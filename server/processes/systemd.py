"""What systemd is told about the service (sd_notify(3), the protocol of `Type=notify`).

The watchdog is fed by the supervisor's loop and by nothing else. A stuck worker does not starve it: that one is killed
and replaced (`children.py`, rule 4), while systemd would end all the others with it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import time
from collections.abc import MutableMapping
from typing import Final

from server import logs

_TIMEOUT_S: Final = 0.5
"""What news may wait for systemd to read what came before. The watchdog's food does not wait, there is more to come."""

log = logs.get("clearsync.supervisor")


class Notifier:
    """Tells systemd, where it has asked to be told; otherwise every call does nothing.

    Takes what systemd has put there out of `environ`: it is for this process, not for its children.
    """

    def __init__(self, environ: MutableMapping[str, str]) -> None:
        self._address = _address(environ.pop("NOTIFY_SOCKET", ""))
        for_whom, period_us = environ.pop("WATCHDOG_PID", ""), environ.pop("WATCHDOG_USEC", "")
        ours = for_whom in ("", str(os.getpid())) and period_us.isdecimal() and bool(self._address)
        self.watchdog_s = int(period_us) / 1_000_000 if ours else 0.0
        """The time after which systemd takes us for dead if it hears nothing; 0 where it does not watch."""
        self._is_up = False

    def status(self, text: str) -> None:
        """What `systemctl status` shows."""
        self._tell(f"STATUS={text}")

    def ready(self) -> None:
        """The service is up, or up again after `reloading`."""
        self._is_up = True
        self._tell("READY=1")

    def reloading(self) -> None:
        """It reads its files again; `ready` follows."""
        self._tell("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self, within_s: float) -> None:
        """It ends, and takes up to `within_s`, even where the unit's TimeoutStopSec is less."""
        self._tell("STOPPING=1", f"EXTEND_TIMEOUT_USEC={int(within_s * 1_000_000)}")

    async def run(self) -> None:
        """Feed the watchdog, if there is one, until cancelled. It begins to count with `ready`."""
        while self.watchdog_s:
            await asyncio.sleep(self.watchdog_s / 2)
            if self._is_up:
                self._tell("WATCHDOG=1", timeout_s=0.0)

    def _tell(self, *lines: str, timeout_s: float = _TIMEOUT_S) -> None:
        if not self._address:
            return
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.settimeout(timeout_s)
            sender.sendto("\n".join(lines).encode(), self._address)


def _address(place: str) -> str:
    """Of a unix socket: a path, or with @ a name in the abstract namespace."""
    if place.startswith("@"):
        return f"\0{place[1:]}"
    if place and not place.startswith("/"):
        log.warning("NOTIFY_SOCKET is no unix socket, systemd is told nothing", socket=place)
        return ""
    return place
