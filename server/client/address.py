"""Where a server is, and whether credentials may go there."""

from __future__ import annotations

from ipaddress import ip_address
from urllib.parse import urlsplit

from server.errors import BadRequest


def base_url(url: str) -> str:
    """The address of a server as the client uses it, without a slash at its end; else `BadRequest`."""
    try:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.port == 0:
            raise ValueError
    except ValueError:
        raise BadRequest(f"url is {url!r}, it must be like http://host:8080 or https://host") from None
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise BadRequest("url must have neither credentials nor a query: give the user and the password apart from it")
    return f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/')}"


def is_loopback(url: str) -> bool:
    """Whether `url` names this machine. No proxy leads there."""
    host = urlsplit(url).hostname or ""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def check_exposure(url: str, *, insecure: bool, remedy: str = "insecure=True") -> None:
    """`BadRequest` where credentials would leave this machine by plain http, unless `insecure` says so.

    `remedy`: how the caller says so, for the message.
    """
    if url.startswith("http:") and not insecure and not is_loopback(url):
        raise BadRequest(
            f"url is {url} and the credentials would cross the network in the clear: "
            f"use https, or {remedy} where the network can be trusted"
        )
