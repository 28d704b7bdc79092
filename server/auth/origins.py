"""Which browser pages may open a session, or change something: the defence against cross-site requests by cookie, and
against cross-site websocket hijacking (RFC 6455, 10.2)."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import urlsplit

_DEFAULT_PORT = {"http": 80, "https": 443}


def origin_allowed(origin: str, host: str, allowed: Sequence[str], *, encrypted: bool = False) -> bool:
    """Whether a page of `origin` may connect: one of the list, or of the host and port in the request's `Host`.

    `encrypted`: the request came by TLS. Then a page that did not is another site's: whoever sits on the line can write
    what it shows.
    """
    if origin.rstrip("/").lower() in {a.rstrip("/").lower() for a in allowed}:
        return True
    try:
        page = urlsplit(origin)
        here = urlsplit(f"{page.scheme}://{host}")
        default = _DEFAULT_PORT.get(page.scheme)
        return (
            default is not None
            and not (encrypted and page.scheme == "http")
            and bool(page.hostname)
            and (page.hostname, page.port or default) == (here.hostname, here.port or default)
        )
    except ValueError:
        return False
