"""GET /api/v1/admin/overview: the figures of all workers, for an operator's screen.

A worker knows its own only. It asks the supervisor, by the socket that they share, for those of all:

1. One question is under way at most, and whoever asks meanwhile shares its answer: a supervisor that does not answer is
   not sent more than it will read, which would block the loop that writes.
2. Nobody waits longer than `ANSWER_S`. A question that is older than `FORGOTTEN_S` will not be answered any more.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from starlette.types import Receive, Send
from starlette.types import Scope as AsgiScope

from server.api.callers import Callers
from server.api.head import read_head
from server.auth.principal import Scope
from server.errors import Unavailable
from server.problems import JSON

ANSWER_S: Final = 1.0
FORGOTTEN_S: Final = 30.0


class Overviews:
    """This worker's questions. `ask` sends one, and does not wait for what comes back by `answered`."""

    def __init__(self, ask: Callable[[], None]) -> None:
        self._ask = ask
        self._question: asyncio.Future[bytes] | None = None
        self._asked = 0.0

    async def get(self) -> bytes:
        """All workers' figures, as JSON. Raises `Unavailable` where they do not come."""
        now = asyncio.get_running_loop().time()
        if self._question is None or now - self._asked > FORGOTTEN_S:
            self._question, self._asked = asyncio.get_running_loop().create_future(), now
            self._ask()
        question = self._question
        await asyncio.wait({question}, timeout=ANSWER_S)
        if not question.done():
            raise Unavailable("the supervisor did not answer, try again")
        return question.result()

    def answered(self, body: bytes) -> None:
        """The supervisor has said it."""
        question, self._question = self._question, None
        if question is not None:
            question.set_result(body)


class Overview:
    """The ASGI shell."""

    def __init__(self, callers: Callers, overviews: Overviews) -> None:
        self._callers = callers
        self._overviews = overviews

    async def __call__(self, scope: AsgiScope, receive: Receive, send: Send) -> None:
        head = read_head(scope["headers"], self._callers.cookie)
        await self._callers.caller(scope, head, Scope.ADMIN)
        body = await self._overviews.get()
        headers = [
            (b"content-type", JSON.encode()),
            (b"content-length", b"%d" % len(body)),
            (b"cache-control", b"no-store"),
        ]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})
