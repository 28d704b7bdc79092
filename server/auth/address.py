"""Where a request comes from: one answer for HTTP and websockets."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from urllib.parse import urlsplit

from server.settings import is_loopback

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Forwarded = tuple[tuple[str, str], ...]
"""Names and values of the headers in which proxies say whom they stand for."""
Headers = Iterable[tuple[str, str]]
"""Names in lower case, and values."""


class Way:
    """How requests come here: by which proxies, whose headers are believed, and by TLS of our own or theirs."""

    def __init__(self, trusted_proxies: Sequence[str] = (), *, tls: bool = False) -> None:
        """`trusted_proxies`: addresses or networks. `tls`: it ends here."""
        self._networks = [ipaddress.ip_network(proxy, strict=False) for proxy in trusted_proxies]
        self._tls = tls

    def address(self, peer: str, headers: Headers) -> str:
        """The client's. ``X-Forwarded-For`` is read from its end: each trusted hop vouches for the one before it, the
        first that is not trusted is the client. Whatever is no address is not believed."""
        if not self._networks or not self._trusted(peer):
            return peer
        hops = [hop.strip() for name, value in headers if name == "x-forwarded-for" for hop in value.split(",")]
        for hop in map(_hop, reversed(hops)):
            if not hop:
                return peer
            peer = hop
            if not self._trusted(hop):
                break
        return peer

    def forwarded(self, headers: Iterable[tuple[bytes, bytes]]) -> Forwarded:
        """Those of `headers` that `address` reads."""
        if not self._networks:
            return ()
        return tuple((name.decode(), value.decode("latin-1")) for name, value in headers if name == b"x-forwarded-for")

    def encrypted(self, peer: str, headers: Headers) -> bool:
        """Whether the client is known to have come by TLS: ours, or that of a trusted proxy that says so."""
        if self._tls:
            return True
        said = [value.split(",")[-1].strip().lower() for name, value in headers if name == "x-forwarded-proto"]
        return said[-1:] in (["https"], ["wss"]) and self._trusted(peer)

    def _trusted(self, address: str) -> bool:
        try:
            parsed: Address = ipaddress.ip_address(address)
        except ValueError:
            return False
        mapped = parsed.ipv4_mapped if isinstance(parsed, ipaddress.IPv6Address) else None
        return any((mapped or parsed) in network for network in self._networks)


_HOP = re.compile(r"\[([0-9A-Fa-f:.]+)\](?::[0-9]{1,5})?|([0-9.]+)(?::[0-9]{1,5})?|([0-9A-Fa-f:.]+)")


def _hop(text: str) -> str:
    """The address of one hop, which some proxies write with a port; empty for what is none."""
    match = _HOP.fullmatch(text)
    address = next(filter(None, match.groups()), "") if match else ""
    try:
        ipaddress.ip_address(address)
    except ValueError:
        return ""
    return address


@lru_cache(maxsize=4096)  # 2.5 µs, for each request of each caller
def network_of(address: str) -> str:
    """What counts as one address where something is counted. Of IPv6 a customer has a /56: his hosts choose as they
    like among the addresses of a /64, and he among 256 of these."""
    try:
        parsed: Address = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv4Address):
        return address
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.ip_network((int(parsed) >> 72 << 72, 56)))


def is_local_host(host: str) -> bool:
    """Whether a `Host` header names this machine as only this machine does. In development anybody may sign in, so a
    page whose name was made to lead to loopback (DNS rebinding) must not count as our own."""
    try:
        return is_loopback(urlsplit(f"//{host}").hostname or "")
    except ValueError:
        return False
