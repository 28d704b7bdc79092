"""Which browser pages may open a session: the defence against cross-site websocket hijacking (RFC 6455, 10.2)."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import urlsplit

_DEFAULT_PORT = {"http": 80, "https": 443}


def origin_allowed(origin: str, host: str, allowed: Sequence[str]) -> bool:
    """Whether a page of `origin` may connect. Without a list: pages of the host and port in the request's `Host`."""
    if allowed:
        return origin.rstrip("/").lower() in {a.rstrip("/").lower() for a in allowed}
    try:
        page = urlsplit(origin)
        here = urlsplit(f"{page.scheme}://{host}")
        default = _DEFAULT_PORT.get(page.scheme)
        return (
            default is not None
            and bool(page.hostname)
            and (page.hostname, page.port or default) == (here.hostname, here.port or default)
        )
    except ValueError:
        return False
