"""Binding an address, and saying in one line why it can't be had."""

from __future__ import annotations

import asyncio
import errno
import socket
from typing import Final

from server.errors import SettingsError
from server.settings import KEYS

BACKLOG: Final = 2048
"""The connections that wait in the kernel while no worker takes them, as during a restart."""
UNSENT_BYTES: Final = 16384
"""What the kernel takes of a connection before it is sent."""
RELEASE_S: Final = 2.0
"""The time in which the workers of a supervisor that was killed let go of an address (see `worker.ORPHAN_S`)."""

OPTIONAL: Final = frozenset({"admin.listen"})
"""Settings of addresses that nothing listens on when they are empty."""

_POLL_S: Final = 0.05


async def bind(key: str, host: str, port: int, patience_s: float = RELEASE_S) -> socket.socket:
    """A socket that listens on the address: port 0 is any free one. The caller closes it.

    It listens from here on, before anybody accepts: SO_REUSEADDR lets two bind one address, and only one listen.
    One that is in use is waited for, `patience_s`. Raises `SettingsError` naming `key`.
    """
    deadline = asyncio.get_running_loop().time() + patience_s
    while True:
        try:
            return _listen(host, port)
        except OSError as problem:
            shown = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
            if problem.errno != errno.EADDRINUSE:
                raise SettingsError(f"{key}: can't listen on {shown}: {problem.strerror}") from None
            if asyncio.get_running_loop().time() > deadline:
                raise SettingsError(
                    f"{key}: {shown} is in use by another process, choose another{_or_none(key)}"
                ) from None
        await asyncio.sleep(_POLL_S)


def _or_none(key: str) -> str:
    return f", or none by an empty value ({KEYS[key].environment}=)" if key in OPTIONAL else ""


def _listen(host: str, port: int) -> socket.socket:
    family, kind, protocol, _, address = socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        _bound_kernel_buffers(listener)
        listener.bind(address)
        listener.listen(BACKLOG)
    except BaseException:
        listener.close()
        raise
    return listener


def _bound_kernel_buffers(listener: socket.socket) -> None:
    """Of all connections that it will have. Else up to 4 MB wait in the kernel for a device that reads slowly: its
    buffer in the worker is empty, so it is pinged, and the ping stands behind all of that for longer than it may take
    to answer."""
    option = getattr(socket, "TCP_NOTSENT_LOWAT", None)
    if option is not None:
        listener.setsockopt(socket.IPPROTO_TCP, option, UNSENT_BYTES)


def url_of(listener: socket.socket, scheme: str = "http") -> str:
    """The URL of what listens there."""
    host, port = listener.getsockname()[:2]
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"
