"""The operators' listener: what is said about all workers together. It lives in the supervisor."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Awaitable, Callable, Generator
from typing import NamedTuple

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from server.processes.exposition import CONTENT_TYPE


class Readiness(NamedTuple):
    """How many workers serve, of how many there should be."""

    ready: int
    expected: int


class AdminServer(uvicorn.Server):
    """Serves `admin_app` on a socket until `stop`, in a loop whose signals are somebody else's."""

    def __init__(self, app: Starlette) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                ws="none",
                lifespan="off",
                log_config=None,
                log_level="warning",  # that it starts and ends is not news: the supervisor says so of everything
                access_log=False,
                server_header=False,
                proxy_headers=False,
                # The environment decides nothing: uvicorn would read FORWARDED_ALLOW_IPS and WEB_CONCURRENCY.
                forwarded_allow_ips=[],
                workers=1,
                timeout_graceful_shutdown=1,
            )
        )

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        try:
            await super().serve(sockets)
        finally:
            # Cancelled, uvicorn leaves them registered with the loop.
            for server in getattr(self, "servers", ()):
                server.close()

    def stop(self) -> None:
        """End; `serve` then returns."""
        self.should_exit = True


def admin_app(readiness: Callable[[], Readiness], scrape: Callable[[], Awaitable[bytes]]) -> Starlette:
    """`GET /live`: this process is. `GET /ready`: 200 only when every worker says that it serves, else 503.
    `GET /metrics`: the figures of all workers, for Prometheus."""

    async def live(request: Request) -> JSONResponse:
        return JSONResponse({"live": True})

    async def ready(request: Request) -> JSONResponse:
        now = readiness()
        whole = now.ready == now.expected
        return JSONResponse(
            {"ready": whole, "workers_ready": now.ready, "workers": now.expected},
            status_code=200 if whole else 503,
            headers={"Cache-Control": "no-store"},
        )

    async def metrics(request: Request) -> Response:
        return Response(await scrape(), media_type=CONTENT_TYPE, headers={"Cache-Control": "no-store"})

    return Starlette(routes=[Route("/live", live), Route("/ready", ready), Route("/metrics", metrics)])
