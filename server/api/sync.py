"""GET /api/v1/sync without an upgrade: an event stream for whoever asks for one, else the same read as one JSON answer,
for a device that is awake for a moment."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Final

from starlette.types import ASGIApp, Receive, Send
from starlette.types import Scope as AsgiScope

from server import wire
from server.api.callers import Callers
from server.api.formats.accept import takes
from server.api.head import read_head
from server.auth.principal import Scope
from server.broker.base import Broker
from server.events import AgentId, Cursor, Seq
from server.problems import JSON
from server.session import Handled

EVENT_STREAM: Final = "text/event-stream"


class Sync:
    """Which of the two is asked for. What waits in memory for its answer is one of the requests in flight, a stream is
    a session and none."""

    def __init__(self, once: ASGIApp, event_streams: ASGIApp) -> None:
        self._once = once
        self._event_streams = event_streams

    async def __call__(self, scope: AsgiScope, receive: Receive, send: Send) -> None:
        asks = scope["method"] == "GET" and takes(scope["headers"], EVENT_STREAM, rather_than="application/json")
        await (self._event_streams if asks else self._once)(scope, receive, send)


class SyncOnce:
    """The ASGI shell. The answer's ETag is its cursor: asked again with ``If-None-Match``, nothing new is a 304."""

    def __init__(self, callers: Callers, broker: Broker) -> None:
        self._callers = callers
        self._broker = broker

    async def __call__(self, scope: AsgiScope, receive: Receive, send: Send) -> None:
        head = read_head(scope["headers"], self._callers.cookie)
        principal = await self._callers.caller(scope, head, Scope.SYNC_READ)
        asked = wire.sync_query(scope["query_string"].decode("latin-1"))
        read = await self._read(principal.agent, asked.cursor)
        here = Cursor(read.store, Seq(read.seq))
        tag = f'"{here}{"-reset" if read.reset else ""}"'.encode()
        tags = [t.strip() for name, value in scope["headers"] if name == b"if-none-match" for t in value.split(b",")]
        # compared weakly (RFC 9110, 13.1.2): a proxy that compresses makes the tag a weak one
        unchanged = b"*" in tags or tag in [t.removeprefix(b"W/") for t in tags]
        parts = [] if unchanged else [part async for part in _parts(read.entries)]
        body = b"" if unchanged else wire.snapshot(here, reset=read.reset, parts=parts)
        headers = [
            (b"etag", tag),
            (b"cache-control", b"private, no-cache"),
            (b"vary", b"Authorization, Cookie, Accept"),
        ]
        if not unchanged:
            headers += [(b"content-type", JSON.encode()), (b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": 304 if unchanged else 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def _read(self, agent: AgentId, cursor: Cursor | None) -> Handled:
        """All pages as one. What is handled again meanwhile stands where it was handled last, once."""
        read = await self._broker.read(agent, wire.position(cursor, self._broker.store_id))
        reset, floor, entries = read.reset, read.floor if read.reset else -1, dict(read.entries)
        while read.page_end is not None:
            another = read.store != self._broker.store_id  # it knows nothing of our position, which is void
            read = await self._broker.read(agent, 0 if another else read.page_end, floor)
            if read.reset or another:  # what is behind us was dropped: from the beginning
                reset, floor = True, read.floor
                entries.clear()
            for member, score in read.entries:
                entries.pop(member, None)
                entries[member] = score
        return read._replace(reset=reset, entries=list(entries.items()))


async def _parts(entries: list[tuple[bytes, int]]) -> AsyncIterator[bytes]:
    """The events of the answer, in slices between which others have the loop."""
    for start in range(0, len(entries), wire.PAGE_EVENTS):
        yield wire.joined(entries[start : start + wire.PAGE_EVENTS])
        await asyncio.sleep(0)
