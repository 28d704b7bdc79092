"""Where a request comes from: one answer for HTTP and websockets."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable, Sequence
from urllib.parse import urlsplit

from server.settings import is_loopback

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
ClientAddress = Callable[[str, Iterable[tuple[str, str]]], str]
"""(peer, headers with lower-case names) → the client's address."""


def client_address(trusted_proxies: Sequence[str]) -> ClientAddress:
    """A function that believes ``X-Forwarded-For`` from these proxies (addresses or networks) only.

    The list is read from its end: each trusted hop vouches for the one before it, the first that is not trusted is the
    client. Whatever is no address is not believed.
    """
    networks = [ipaddress.ip_network(proxy, strict=False) for proxy in trusted_proxies]

    def trusted(address: str) -> bool:
        try:
            parsed: Address = ipaddress.ip_address(address)
        except ValueError:
            return False
        return any(parsed in network for network in networks)

    def address_of(peer: str, headers: Iterable[tuple[str, str]]) -> str:
        if not networks or not trusted(peer):
            return peer
        hops = [hop.strip() for name, value in headers if name == "x-forwarded-for" for hop in value.split(",")]
        for hop in reversed(hops):
            try:
                ipaddress.ip_address(hop)
            except ValueError:
                return peer
            peer = hop
            if not trusted(hop):
                break
        return peer

    return address_of


def is_local_host(host: str) -> bool:
    """Whether a `Host` header names this machine as only this machine does. In development anybody may sign in, so a
    page whose name was made to lead to loopback (DNS rebinding) must not count as our own."""
    try:
        return is_loopback(urlsplit(f"//{host}").hostname or "")
    except ValueError:
        return False
