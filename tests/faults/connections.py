"""Who is connected to which worker, as the kernel knows it."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Final

from tests.faults.device import Device

_ESTABLISHED: Final = "01"


def peers_of(pid: int) -> set[int]:
    """The ports at the other ends of a process's TCP connections (IPv4; proc(5))."""
    sockets = set()
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(OSError):  # closed meanwhile
            sockets.add(os.readlink(descriptor))
    peers = set()
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        _, _, remote, state, _, _, _, _, _, inode, *_ = line.split()
        if state == _ESTABLISHED and f"socket:[{inode}]" in sockets:
            peers.add(int(remote.rpartition(":")[2], 16))
    return peers


def devices_on(pid: int, devices: list[Device]) -> list[Device]:
    """Those of `devices` that are connected to the worker `pid`."""
    peers = peers_of(pid)
    return [device for device in devices if port_of(device) in peers]


def port_of(device: Device) -> int:
    """Its end of the connection; 0 where it has none."""
    transport = device._socket._transport if device._socket is not None else None
    return transport.get_extra_info("sockname")[1] if transport is not None else 0
