"""`python -m bench.stages`: where the time of a clear goes inside the worker.

A worker in this process, and connections whose transports swallow what they are given. So what is left is the time of
the interpreter; what the kernel and the event loop take on top is the difference to what `make bench` finds.
"""

from __future__ import annotations

import asyncio
import base64
import gc
import socket
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any, Final, TypeVar

import httpx2
import uvloop

from bench.peers.clearsync import users_file
from bench.peers.installed import PEERS
from bench.site import Site
from bench.tables import table
from server import logs
from server.api.http import BoundedHttp
from server.app import Worker
from server.broker.keys import agent_key
from server.events import AgentId, DeviceId
from server.gateway.connection import Connection
from server.gateway.hub import Hub
from server.session import Session, State
from server.settings import load
from server.wire import HANDLED_PATH

AGENTS: Final = 100
DEVICES: Final = 3
AT_ONCE: Final = 16
"""Requests that come in one turn of the loop."""
TURNS: Final = 250
ROUNDS: Final = 7
"""The fastest counts: nothing that the stages do is slower than it has to be."""
PREFIX: Final = "cs"

T = TypeVar("T")


class Swallows(asyncio.Transport):
    """Takes everything, and gives nothing."""

    def __init__(self, protocol: asyncio.BaseProtocol | None = None) -> None:
        super().__init__({"peername": ("127.0.0.1", 5), "sockname": ("127.0.0.1", 80)})
        self._protocol = protocol

    def write(self, data: bytes | bytearray | memoryview[Any]) -> None: ...

    def is_closing(self) -> bool:
        return False

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None: ...

    def close(self) -> None:
        if isinstance(self._protocol, asyncio.Protocol):
            asyncio.get_running_loop().call_soon(self._protocol.connection_lost, None)


class Stages:
    """What one worker does with requests of agents that are signed in already."""

    def __init__(self, worker: Worker) -> None:
        assert worker._server is not None
        assert worker._broker is not None
        assert worker._hub is not None
        self._hub: Hub = worker._hub
        self._metrics = worker.metrics
        self._link: Any = worker._broker._commands
        self._listener: Any = worker._broker._listener._link
        self._server: Any = worker._server
        self._made = 0
        self._callers = [self._connected() for _ in range(AT_ONCE)]

    def _connected(self) -> BoundedHttp:
        server = self._server
        connection = BoundedHttp(server.config, server.server_state, server.lifespan.state, asyncio.get_running_loop())
        connection.connection_made(Swallows(connection))
        return connection

    async def join(self) -> None:
        """Three devices of each agent, live."""
        server, sessions = self._server, []
        for agent in map(agent_id, range(AGENTS)):
            for number in range(DEVICES):
                sink = Connection(server.config, server.server_state, server.lifespan.state)
                sink._transport = Swallows()
                sessions.append(Session(DeviceId(f"d{number}"), None, sink))
                self._hub.join(agent, sessions[-1])
        await until(lambda: all(session.state is State.LIVE for session in sessions))

    async def round(self, *, unique: bool) -> tuple[float, float, float]:
        """µs a request: from its bytes to the command, from the store's reply to the 204, from the announcement to the
        writes to its devices. `unique`: no head is like another."""
        await until(lambda: not self._link._waiting)
        transport, self._link._transport = self._link._transport, Swallows()
        spent = [0, 0, 0]
        for turn in range(TURNS):
            first = turn * AT_ONCE
            requests = [request(first + n, self._next() if unique else 0) for n in range(AT_ONCE)]
            spent[0] += timed(self._ask, requests)
            replies = b"".join(b"$13\r\n%d\r\n" % (1_700_000_000_000 + n) for n in range(AT_ONCE))
            spent[1] += timed(self._link.data_received, replies)
            announced, before = b"".join(self._announcements(first)), self._metrics.clears_total
            spent[2] += timed(self._listener.data_received, announced)
            assert self._metrics.clears_total == before + AT_ONCE * DEVICES
        self._link._transport = transport
        request_us, reply_us, clear_us = (ns / 1000 / TURNS / AT_ONCE for ns in spent)
        return request_us, reply_us, clear_us

    def _next(self) -> int:
        self._made += 1
        return self._made

    def _ask(self, requests: list[bytes]) -> None:
        for caller, data in zip(self._callers, requests, strict=True):
            caller.data_received(data)
        self._link._flush()
        assert len(self._link._waiting) == AT_ONCE

    def _announcements(self, first: int) -> Iterator[bytes]:
        for number in range(first, first + AT_ONCE):
            agent = agent_id(number % AGENTS)
            last = self._hub._channels[agent.tag].last
            channel = agent_key(PREFIX, agent)
            said = b'%d %d 1700000000000000 - [{"Type":"AppointmentCancelled","Id":%d}]' % (last, last + 1, number)
            yield b">3\r\n$8\r\nsmessage\r\n$%d\r\n%b\r\n$%d\r\n%b\r\n" % (len(channel), channel, len(said), said)


async def until(condition: Callable[[], bool]) -> None:
    """Nothing tells of it."""
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110  there is no event to wait for
            await asyncio.sleep(0.001)


def timed(work: Callable[[T], None], what: T) -> int:
    """ns of CPU."""
    began = time.process_time_ns()
    work(what)
    return time.process_time_ns() - began


def agent_id(number: int) -> AgentId:
    return AgentId.of("acme", f"a{number}")


def request(number: int, unique: int) -> bytes:
    """What a caller sends for agent `number`, as the benchmark's generator does."""
    user = base64.b64encode(b"a%d:x" % (number % AGENTS))
    body = b'{"NotificationEvents":[{"Type":"AppointmentCancelled","Id":%d}]}' % (1_000_000 + number)
    more = b"X-Request-Id: %d\r\n" % unique if unique else b""
    return (
        b"POST %b HTTP/1.1\r\nHost: 127.0.0.1:80\r\nAuthorization: Basic %b\r\n%b"
        b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%b"
    ) % (HANDLED_PATH.encode(), user, more, len(body), body)


@asynccontextmanager
async def worker_on(site: Site) -> AsyncIterator[Worker]:
    """One that serves, and knows all agents' credentials."""
    users, ready = users_file(site, AGENTS), asyncio.Event()
    settings = load(PEERS / "clearsync" / "clearsync.toml", {}, {"auth.users_file": str(users)})
    with socket.create_server(("127.0.0.1", 0)) as listen:
        worker = Worker(settings, f"unix://{site.store().socket}", listen, lambda is_ready: ready.set())
        serving = asyncio.create_task(worker.run())
        await asyncio.wait_for(ready.wait(), 20)
        async with httpx2.AsyncClient(base_url=f"http://127.0.0.1:{listen.getsockname()[1]}") as client:
            for number in range(AGENTS):
                answer = await client.post(HANDLED_PATH, auth=(f"a{number}", "x"), json={"NotificationEvents": []})
                answer.raise_for_status()
        try:
            yield worker
        finally:
            worker.stop(0.0)
            await serving


STAGES: Final = ("request → command to the store", "reply of the store → 204", "announcement → 3 devices")


async def measured() -> dict[str, tuple[float, ...]]:
    """µs of each stage, for heads that came before and for heads that never did."""
    with Site() as site:
        async with worker_on(site) as worker:
            stages = Stages(worker)
            await stages.join()
            gc.collect()
            gc.freeze()
            found = {}
            for name, unique in (("a head as before", False), ("a new head", True)):
                rounds = [await stages.round(unique=unique) for _ in range(ROUNDS)]
                found[name] = tuple(map(min, zip(*rounds, strict=True)))
            return found


def main() -> None:
    """A table, in Markdown."""
    logs.configure("critical", "text")  # devices that heard of what is not in the store
    found = uvloop.run(measured())
    print(table(["µs a request, in the interpreter", *STAGES, "in all"], rows(found)))


def rows(found: dict[str, tuple[float, ...]]) -> Iterator[list[str]]:
    for name, figures in found.items():
        yield [name, *(f"{figure:.1f}" for figure in (*figures, sum(figures)))]


if __name__ == "__main__":
    main()
