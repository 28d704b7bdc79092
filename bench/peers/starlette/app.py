"""The straightforward server: a socket list an agent, redis-py, one task that reads what is published.

It records with clearsync's own script, so both do the same work in the store, and asks nobody who they are.
"""

import asyncio
import json
import os
import time
from collections import defaultdict
from contextlib import asynccontextmanager
from pathlib import Path

from redis.asyncio import Redis
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

TYPES = (
    "Unknown",
    "NewTicket",
    "AppointmentInvitation",
    "AppointmentMoved",
    "AppointmentCancelled",
    "NewTicketMessage",
    "TicketActivated",
    "TicketEscalated",
    "QuoteApprovalRequest",
    "QuoteApprovalApproved",
    "QuoteApprovalDenied",
    "AppointmentDeclined",
)
NUMBERS = {name: number for number, name in enumerate(TYPES)}
MAX_EVENTS = 10_000
RETENTION_MS = 30 * 86_400_000
DEADLINE_MS = 2000

# hiredis is installed, so replies are parsed in C
redis = Redis.from_url(os.environ["STORE_URL"], decode_responses=True)
record = redis.register_script(Path(os.environ["RECORD_SCRIPT"]).read_text())  # EVALSHA
pubsub = redis.pubsub()
sockets: defaultdict[str, set[WebSocket]] = defaultdict(set)


def channel_of(agent: str) -> str:
    return f"cs:{{{agent}}}"


async def handled(request: Request) -> Response:
    try:
        events = (await request.json())["NotificationEvents"]
        members = [f"{NUMBERS[event['Type']]}:{int(event['Id'])}" for event in events]
    except (ValueError, KeyError, TypeError):
        return PlainTextResponse("not a batch of events", 400)
    channel = channel_of(request.path_params["agent"])
    now = time.time()
    deadline = int(now * 1000) + DEADLINE_MS
    said = [MAX_EVENTS, RETENTION_MS, deadline, channel, "-", int(now * 1e6), json.dumps(events)]
    await record(keys=[channel], args=[*said, *members])
    return Response(status_code=204)


async def sync(socket: WebSocket) -> None:
    channel = channel_of(socket.path_params["agent"])
    await socket.accept()
    there = sockets[channel]
    there.add(socket)
    try:
        if len(there) == 1:
            await pubsub.ssubscribe(channel)
        while True:
            await socket.receive_text()
    except WebSocketDisconnect:
        pass
    finally:
        there.discard(socket)
        if not there and sockets.pop(channel, None) is not None:
            await pubsub.sunsubscribe(channel)


async def fan_out() -> None:
    async for message in pubsub.listen():
        if message["type"] != "smessage":
            continue
        _, position, _, _, events = message["data"].split(" ", 4)
        text = json.dumps({"type": "clear", "cursor": position, "events": json.loads(events)})
        for socket in list(sockets.get(message["channel"], ())):
            try:
                await socket.send_text(text)
            except (WebSocketDisconnect, RuntimeError):  # it has just gone
                sockets[message["channel"]].discard(socket)


@asynccontextmanager
async def lifespan(app: Starlette):
    await pubsub.ssubscribe("cs:{}")  # so that there is something to listen to before the first device
    reading = asyncio.create_task(fan_out())
    yield
    reading.cancel()
    await redis.aclose()


routes = [
    Route("/agents/{agent}/handled", handled, methods=["POST"]),
    WebSocketRoute("/agents/{agent}/sync", sync),
]
app = Starlette(routes=routes, lifespan=lifespan)
