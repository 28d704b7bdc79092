"""GET /live, /ready, /version: for balancers, supervisors and people."""

from __future__ import annotations

from collections.abc import Callable

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from server import __version__


class Status:
    """`ready` says whether this worker can serve: the store answers, the listener is alive, and it is not draining."""

    def __init__(self, ready: Callable[[], bool]) -> None:
        self._ready = ready

    async def live(self, request: Request) -> Response:
        """The process runs and its loop turns."""
        return JSONResponse({"live": True})

    async def ready(self, request: Request) -> Response:
        """Whether to send requests here."""
        ready = self._ready()
        return JSONResponse({"ready": ready}, 200 if ready else 503)

    async def version(self, request: Request) -> Response:
        """What serves."""
        return JSONResponse({"name": "clearsync", "version": __version__})
