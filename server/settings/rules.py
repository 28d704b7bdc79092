"""What one setting may be, where its type alone does not say it.

A rule of `RULES` returns the value as it is kept, or raises `ValueError` with what the value must be. Rules between
settings are in `settings.check`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from ipaddress import IPv6Address, ip_address, ip_network
from typing import Any, Final
from urllib.parse import urlsplit

_PASSWORD = re.compile(r"^(\w+://[^:@/]*:)?.*@", re.DOTALL)
_PARAMETER = re.compile(r"(?i)([?&][a-z_]*password=)[^&#]*")


def masked_url(url: str) -> str:
    """A store's URL without its passwords, fit for a message, a log or a dump.

    It may be malformed, then what it hides is more than the password and never less.
    """
    return _PARAMETER.sub(r"\1***", _PASSWORD.sub(r"\1***@", url))


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a listener on `host`. A name other than localhost counts as no."""
    if host.lower() == "localhost":
        return True
    try:
        address = ip_address(host.strip("[]"))
    except ValueError:
        return False
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return (mapped or address).is_loopback


def _host(value: str) -> str:
    value = value[1:-1] if value.startswith("[") and value.endswith("]") else value
    try:
        return str(ip_address(value))
    except ValueError:
        if re.fullmatch(r"(?!-)[A-Za-z0-9_.-]{1,253}", value):
            return value
    raise ValueError("an IP address or a host name")


def split_address(value: str) -> tuple[str, int]:
    """Host and port of ``host:port``; an IPv6 address stands in brackets, and is returned without."""
    host, colon, port = value.rpartition(":")
    if not colon or not re.fullmatch(r"[0-9]{1,5}", port) or int(port) > 65535 or (":" in host and host[0] != "["):
        raise ValueError("host:port, such as 127.0.0.1:9180, or empty")
    return _host(host), int(port)


def _listen(value: str) -> str:
    if value and not is_loopback(split_address(value)[0]):
        raise ValueError("on a loopback host, it is not for the network")
    return value


def _base_path(value: str) -> str:
    path = value.strip("/")
    if path and not re.fullmatch(r"(?!\.)[A-Za-z0-9._~-]+(/(?!\.)[A-Za-z0-9._~-]+)*", path):
        raise ValueError("a path such as /clearsync, of A-Z a-z 0-9 . _ ~ - only")
    return f"/{path}" if path else ""


def _proxies(values: tuple[str, ...]) -> tuple[str, ...]:
    try:
        for value in values:
            ip_network(value)
    except ValueError:
        raise ValueError("addresses or networks, such as 10.1.2.3 or 10.0.0.0/8 (no bits set after the mask)") from None
    return values


def _origins(values: tuple[str, ...]) -> tuple[str, ...]:
    """As a browser writes them: lower case, and no port where it is the scheme's own."""
    kept = []
    for value in values:
        match = re.fullmatch(r"(https?)://([a-z0-9._-]+|\[[0-9a-f:]+\])(?::([0-9]{1,5}))?", value.lower())
        if not match:
            raise ValueError("exact origins, such as https://crm.example.com, without a path")
        scheme, host, port = match.groups()
        own = port is None or int(port) == {"http": 80, "https": 443}[scheme]
        kept.append(f"{scheme}://{host}" if own else f"{scheme}://{host}:{int(port)}")
    return tuple(kept)


def _url(value: str) -> str:
    if value in ("embedded", "memory"):
        return value
    try:
        url = urlsplit(value)
        if url.scheme in ("redis", "rediss") and url.hostname and (url.port is None or url.port):
            if re.fullmatch(r"/?|/[0-9]{1,5}", url.path) and not url.fragment:
                return value
        elif url.scheme == "unix" and not url.hostname and len(url.path) > 1:
            return value
    except ValueError:
        pass
    raise ValueError(
        "embedded, memory, redis://host:port, rediss://host:port or unix:///path (a password percent-encoded)"
    )


def _prefix(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_.-]{1,32}", value):
        raise ValueError("1 to 32 of A-Z a-z 0-9 _ . -")
    return value


def _web_url(value: str) -> str:
    """Of what credentials or keys are fetched from: encrypted, unless it does not leave this machine."""
    try:
        url = urlsplit(value)
        encrypted = url.scheme == "https" or (url.scheme == "http" and is_loopback(url.hostname or ""))
        if not value or (encrypted and url.hostname and url.port != 0 and not (url.username or url.fragment)):
            return value
    except ValueError:
        pass
    raise ValueError("an https:// URL without user and password (http:// on a loopback host only), or empty")


def _hashes(values: tuple[str, ...]) -> tuple[str, ...]:
    # what it is instead is for the caller to hide: it may be the token itself
    if not all(re.fullmatch(r"[0-9a-fA-F]{64}", value) for value in values):
        raise ValueError("SHA-256 hashes, 64 hexadecimal digits each")
    return tuple(value.lower() for value in values)


def _some_of(*known: str) -> Callable[[tuple[str, ...]], tuple[str, ...]]:
    """A list of these, each at most once, in any case."""
    by_folded = {name.lower(): name for name in known}

    def rule(values: tuple[str, ...]) -> tuple[str, ...]:
        if not all(value.lower() in by_folded for value in values):
            raise ValueError(f"a list of {', '.join(known)}")
        return tuple(dict.fromkeys(by_folded[value.lower()] for value in values))

    return rule


JWT_ALGORITHMS: Final = (
    *("HS256", "HS384", "HS512", "RS256", "RS384", "RS512"),
    *("PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"),
)

RULES: Final[Mapping[str, Callable[[Any], object]]] = {
    "server.host": _host,
    "server.base_path": _base_path,
    "server.trusted_proxies": _proxies,
    "server.tls_certificate": os.path.expanduser,
    "server.tls_key": os.path.expanduser,
    "store.url": _url,
    "store.data_dir": os.path.expanduser,
    "store.prefix": _prefix,
    "gateway.allowed_origins": _origins,
    "auth.users_file": os.path.expanduser,
    "auth.app_tokens": _hashes,
    "jwt.keys_file": os.path.expanduser,
    "jwt.jwks_url": _web_url,
    "jwt.algorithms": _some_of(*JWT_ALGORITHMS),
    "upstream.url": _web_url,
    "upstream.schemes": _some_of("basic", "soticket", "bearer"),
    "admin.listen": _listen,
}
