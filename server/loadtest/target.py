"""Where a load goes: one address of the server, and what its requests are."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final, TypeVar
from urllib.parse import urlsplit

from server.client import ServerUnavailable, base_url
from server.client.retry import check_trust, reason_of

CONNECT_S: Final = 10.0

_P = TypeVar("_P", bound=asyncio.BaseProtocol)


@dataclass(frozen=True, slots=True)
class Target:
    """A server, connected to directly: no proxy of the environment lies between. `address` is numeric once it is
    `found`."""

    url: str
    address: str
    port: int
    tls: ssl.SSLContext | None

    @classmethod
    def of(cls, url: str) -> Target:
        """From a base URL. Raises `BadRequest`. TLS trusts what the system does (``SSL_CERT_FILE``)."""
        url = base_url(url)
        parts = urlsplit(url)
        tls = ssl.create_default_context() if parts.scheme == "https" else None
        return cls(url, parts.hostname or "", parts.port or (443 if tls else 80), tls)

    async def found(self) -> Target:
        """With the first address that takes a connection. Raises `ServerUnavailable`, `UntrustedServer`."""
        failure: Exception = OSError("no address")
        try:
            async with asyncio.timeout(CONNECT_S):
                loop = asyncio.get_running_loop()
                infos = await loop.getaddrinfo(self.address, self.port, type=socket.SOCK_STREAM)
                for address in dict.fromkeys(str(info[4][0]) for info in infos):
                    found = replace(self, address=address)
                    try:
                        await self._tried(found)
                    except OSError as error:
                        failure = error
                        continue
                    return found
        except (OSError, TimeoutError) as error:
            failure = error
        check_trust(failure)
        raise ServerUnavailable(f"{self.url} gave no answer ({reason_of(failure)})") from None

    async def _tried(self, found: Target) -> None:
        transport = await found.connect(asyncio.Protocol)
        transport.close()

    async def connect(self, protocol: Callable[[], _P]) -> asyncio.Transport:
        """A connection, given to a new protocol. Raises OSError."""
        name = urlsplit(self.url).hostname if self.tls else None
        transport, _ = await asyncio.get_running_loop().create_connection(
            protocol, self.address, self.port, ssl=self.tls, server_hostname=name
        )
        return transport
