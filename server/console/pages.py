"""The console's files over HTTP: read once, kept in memory, served with what keeps the page to itself.

1. Nothing is taken from another host, nothing inline runs, nobody frames the page (`POLICY`).
2. A browser asks each time and is mostly told 304: after an upgrade no file of the old version is left.
3. What is no file of the page does not exist; a path never reaches the disk.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from server import __version__
from server.errors import NotFound

STATIC: Final = Path(__file__).parent / "static"
INDEX: Final = "index.html"
ABOUT: Final = "about.json"
MEDIA: Final = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json; charset=utf-8",
    ".svg": "image/svg+xml; charset=utf-8",
}
POLICY: Final = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
    )
)
HEADERS: Final = {
    "cache-control": "no-cache",
    "content-security-policy": POLICY,
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}


@dataclass(frozen=True, slots=True)
class File:
    """One file of the page; `etag` follows from its bytes."""

    body: bytes
    media: str
    etag: str

    @classmethod
    def of(cls, name: str, body: bytes) -> File:
        """The file of that name; its ending says what it is."""
        return cls(body, MEDIA[Path(name).suffix], f'"{hashlib.sha256(body).hexdigest()[:32]}"')


def files(*, dev: bool) -> dict[str, File]:
    """All files of the page by their names. `about.json` tells it what serves it, and whether anybody may sign in."""
    found = {path.name: File.of(path.name, path.read_bytes()) for path in STATIC.iterdir() if path.suffix in MEDIA}
    about = msgspec.json.encode({"version": __version__, "dev": dev})
    return found | {ABOUT: File.of(ABOUT, about)}


class Pages:
    """GET of the page and its files. An ASGI application; `NotFound` for any other name."""

    def __init__(self, known: dict[str, File]) -> None:
        self._known = known

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        file = self._known.get(scope["path_params"].get("name", INDEX))
        if file is None or scope["path"].endswith("\n"):  # which the end of a route's pattern lets pass
            raise NotFound("no such path")
        headers = HEADERS | {"content-type": file.media, "etag": file.etag}
        asked = [value.decode("latin-1") for name, value in scope["headers"] if name == b"if-none-match"]
        if any(_names(value, file.etag) for value in asked):
            del headers["content-type"]
            response = Response(status_code=304, headers=headers)
        else:
            response = Response(file.body, media_type=None, headers=headers)
        await response(scope, receive, send)


def console(base: str, *, dev: bool) -> Iterator[Route]:
    """The routes of the console under the base path `base`."""

    async def to_the_folder(_: object) -> Response:
        return RedirectResponse(f"{base}/console/", headers={"cache-control": "no-cache"})

    pages = Pages(files(dev=dev))
    yield Route(f"{base}/console", to_the_folder, methods=["GET"])
    yield Route(f"{base}/console/", pages, methods=["GET"])
    yield Route(f"{base}/console/{{name}}", pages, methods=["GET"])


def _names(if_none_match: str, etag: str) -> bool:
    """Whether the header has that tag; a proxy that compresses makes it a weak one (RFC 9110, 13.1.2)."""
    return any(each.strip().removeprefix("W/") in (etag, "*") for each in if_none_match.split(","))
