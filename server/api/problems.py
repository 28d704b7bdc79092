"""Errors as answers: every one of ours, Starlette's and unforeseen, in the vendor's shape."""

from __future__ import annotations

import asyncio
from typing import Any, Final

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import Receive, Scope, Send

from server.api.formats.accept import error_media
from server.errors import (
    BadRequest,
    ClearsyncError,
    MethodNotAllowed,
    NotFound,
    Refused,
    TooLarge,
    Unauthenticated,
    Unavailable,
)
from server.problems import problem_body

LINGER_S: Final = 2.0
LINGER_BYTES: Final = 8 * 1024 * 1024
_OF_A_PAGE: Final = (("WWW-Authenticate", 'Session realm="clearsync"'),)
"""What a page's request is told, which `Basic` would make its browser ask for a password in a window of its own: that
page has a way to sign in (`/api/v1/session`)."""


class InternalError(ClearsyncError):
    """We failed; the log says why, the caller is not told."""


class Problem:
    """An error answer, in the format that the caller's `Accept` asks for. An ASGI application.

    A caller that is still sending when it is refused gets a while to finish: closed at once, its system would throw
    the answer away with the connection (RFC 9112, 9.6).
    """

    def __init__(self, error: ClearsyncError) -> None:
        self._error = error

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        error = self._error
        status, more = (error.status, error.headers) if isinstance(error, Refused | Unavailable) else (500, ())
        media = error_media(scope["headers"])
        body = problem_body(error, media)
        if isinstance(error, Unauthenticated) and any(name == b"x-xsrf-token" for name, _ in scope["headers"]):
            more = _OF_A_PAGE
        headers = (("content-type", media), ("content-length", str(len(body))), ("vary", "Accept"), *more)
        raw = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers]
        await send({"type": "http.response.start", "status": status, "headers": raw})
        if isinstance(error, TooLarge) and error.unread:
            await send({"type": "http.response.body", "body": body, "more_body": True})
            await _discard(receive)
            body = b""
        await send({"type": "http.response.body", "body": body})


async def _discard(receive: Receive) -> None:
    """Read and forget the rest of the body, bounded in time and bytes."""
    left = LINGER_BYTES
    try:
        async with asyncio.timeout(LINGER_S):
            while left > 0:
                message = await receive()
                left -= len(message.get("body", b""))
                if message["type"] == "http.disconnect" or not message.get("more_body"):
                    return
    except TimeoutError:
        return


async def on_error(request: Request, error: Exception) -> Problem:
    """Starlette's handler for `ClearsyncError`."""
    assert isinstance(error, ClearsyncError)
    return Problem(error)


async def on_http_exception(request: Request, error: Exception) -> Problem:
    """Starlette's own refusals: no such path, wrong method."""
    assert isinstance(error, HTTPException)
    if error.status_code == 404:
        return Problem(NotFound("no such path"))
    if error.status_code == 405:
        allow = (error.headers or {}).get("Allow", "")
        return Problem(MethodNotAllowed(f"method {request.method} is not allowed here", allow))
    return Problem(BadRequest(error.detail))


async def on_crash(request: Request, error: Exception) -> Problem:
    """What nobody foresaw. The log has the trace, the caller has not."""
    return Problem(InternalError("internal error"))


HANDLERS: Final[dict[Any, Any]] = {
    ClearsyncError: on_error,
    HTTPException: on_http_exception,
    Exception: on_crash,
}
