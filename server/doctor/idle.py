"""Do connections live on while nothing is said on them but the server's pings."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final

import httpx2
from websockets.exceptions import ConnectionClosed

from server.client.frames import Unreadable
from server.client.retry import printable
from server.doctor.findings import Broken, Finding, Skip, ok, warn
from server.doctor.patient import READ, WRITE, Patient
from server.doctor.roundtrip import is_ours, recorded
from server.doctor.signin import welcomed
from server.doctor.sockets import Socket
from server.doctor.streams import Stream

LATE_S: Final = 10.0
"""By which a ping may be late before something on the way is taken to hold it back."""
CUT: Final = (
    "`proxy_read_timeout 75s;` and `proxy_send_timeout 75s;` (nginx; 60 s where they are not set), and every other "
    "idle timeout on the way, must be longer than gateway.ping_interval_s"
)
SAID: Final = "it was the server that ended it, or a proxy that says so: the log of the server has each end and why"
FORGOTTEN: Final = (
    "something on the way (NAT, a firewall) forgets idle connections without a word: lower gateway.ping_interval_s "
    "below its time"
)
HELD: Final = "the proxy must pass pings and comment lines on as they come (proxy_buffering off); devices judge by them"


@dataclass
class _Watched:
    """What happened to one connection: `pings` when it was pinged, `lost_s` after how long it was lost, and how."""

    name: str
    began: float = field(default_factory=time.monotonic)
    lost_s: float | None = None
    how: str = ""

    def lost(self, how: str) -> None:
        self.lost_s, self.how = time.monotonic() - self.began, how


async def idle(patient: Patient) -> Finding:
    """A websocket and an event stream, idle for `idle_s`, are there afterwards, and told what comes."""
    if not patient.idle_s:
        raise Skip("left out (--quick)")
    patient.need(READ)
    async with AsyncExitStack() as stack:
        socket = await stack.enter_async_context(patient.socket("idle-socket"))
        await welcomed(socket)
        stream = await _stream(patient, stack)
        watched = [_Watched("the websocket"), *([_Watched("the event stream")] if stream is not None else [])]
        await _pass_time(patient, socket, stream, watched)
        began = watched[0].began
        silences = {"websocket": _silence(began, socket.pings)}
        if stream is not None:
            silences["stream"] = _silence(began, stream.heartbeats)
        await _still_there(patient, socket, stream)
    return _judged(patient, silences)


async def _stream(patient: Patient, stack: AsyncExitStack) -> Stream | None:
    """One that has had its welcome; None where there is none to be had, which another check has said."""
    try:
        stream = await stack.enter_async_context(patient.stream("idle-stream"))
        if stream.is_stream:
            await stream.frame()
            return stream
    except (TimeoutError, EOFError, httpx2.HTTPError):
        pass
    return None


async def _pass_time(patient: Patient, socket: Socket, stream: Stream | None, watched: Sequence[_Watched]) -> None:
    """Until it is over, or a connection is. Raises `Broken` for one that is lost."""
    readers = [_socket_lost(socket, watched[0])]
    if stream is not None:
        readers.append(_stream_lost(stream, watched[1]))
    tasks = [asyncio.ensure_future(reader) for reader in readers]
    end = time.monotonic() + patient.idle_s
    try:
        while (left_s := end - time.monotonic()) > 0 and not any(task.done() for task in tasks):
            patient.progress(f"idle connections: {patient.idle_s - left_s:.0f} of {patient.idle_s:g} s")
            await asyncio.wait(tasks, timeout=min(1.0, left_s), return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
    for one in watched:
        if one.lost_s is not None:
            told = one.how.startswith("closed with ")
            raise Broken(f"{one.name} was cut after {one.lost_s:.1f} s idle ({one.how})", SAID if told else CUT)


async def _socket_lost(socket: Socket, watched: _Watched) -> None:
    try:
        while True:
            await socket.frame(within_s=3600)
    except ConnectionClosed:
        watched.lost(printable(socket.end))


async def _stream_lost(stream: Stream, watched: _Watched) -> None:
    try:
        while True:
            await stream.frame(within_s=3600)
    except (EOFError, httpx2.HTTPError, Unreadable) as end:
        watched.lost(printable(str(end)) or type(end).__name__)


def _silence(began: float, heard: Sequence[float]) -> float:
    """The longest time without a ping."""
    times = [began, *heard, time.monotonic()]
    return max(later - before for before, later in pairwise(times))


async def _still_there(patient: Patient, socket: Socket, stream: Stream | None) -> None:
    """Each is asked, or told something: half-open connections look alive."""
    dead = f"looks open and is dead after {patient.idle_s:g} s idle"
    try:
        await socket.answers()
    except (TimeoutError, ConnectionClosed):
        raise Broken(f"the websocket {dead}", FORGOTTEN) from None
    if stream is None or patient.read_only or WRITE not in patient.rights:
        return
    await recorded(patient, "origin")
    try:
        while not is_ours(patient, await stream.frame()):
            pass
    except (TimeoutError, EOFError, httpx2.HTTPError):
        raise Broken(f"the event stream {dead}", FORGOTTEN) from None


def _judged(patient: Patient, silences: dict[str, float]) -> Finding:
    ping_s = patient.welcome.ping if patient.welcome is not None else 0.0
    longest = max(silences.values())
    figures = {f"{name}_silence_s": silence for name, silence in silences.items()}
    names = " and ".join({"websocket": "websocket", "stream": "event stream"}[name] for name in silences)
    seen = f"{names} lived through {patient.idle_s:g} s, at most {longest:.1f} s without a ping"
    if patient.idle_s <= ping_s:
        return ok(f"{seen} (they come every {ping_s:g} s: give a longer --idle)", idle_s=patient.idle_s, **figures)
    if longest > ping_s + LATE_S:
        return warn(f"{seen}, where one is due every {ping_s:g} s", HELD, idle_s=patient.idle_s, **figures)
    return ok(seen, idle_s=patient.idle_s, **figures)
