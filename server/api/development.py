"""What guards a server on which anybody may sign in."""

from __future__ import annotations

from starlette.types import ASGIApp, Receive, Scope, Send

from server.api.problems import Problem
from server.auth.address import is_local_host
from server.errors import Forbidden


class LocalHosts:
    """Lets pass what names this machine in its `Host` header, see `is_local_host`."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            hosts = [value.decode("latin-1") for name, value in scope["headers"] if name == b"host"]
            if not all(map(is_local_host, hosts)):
                problem = Problem(Forbidden("in development the Host must be localhost or a loopback address"))
                await problem(scope, receive, send)
                return
        await self._app(scope, receive, send)
