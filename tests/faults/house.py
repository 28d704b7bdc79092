"""A worker's parts in this process, on a real store: the application, the gateway and all that they hold."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final, cast

import argon2
import redis
import uvicorn
from starlette.applications import Starlette
from uvicorn.server import ServerState

from server.api.application import application
from server.auth.address import Way
from server.auth.build import Authentication, build
from server.broker.leases import Leases
from server.broker.redis import RedisBroker
from server.events import AgentId
from server.gateway.channel import Channel
from server.gateway.door import Door
from server.gateway.eventstream import EventStreams
from server.gateway.holders import Holders
from server.gateway.hub import Hub
from server.gateway.keepalive import Wheel
from server.gateway.websocket import Gateway
from server.metrics import Metrics
from server.settings import Settings, load
from tests.broker.conftest import broker_on
from tests.faults.conftest import until
from tests.faults.suspension import Stepped
from tests.gateway.devices import knock
from tests.running import Running, client

ADA: Final = AgentId.of("acme", "ada")
_KEY: Final = "cs:{acme/ada}:sessions"
_USER: Final = "[users.ada]\nhash = '{}'\ntenant = 'acme'\n"
_CHEAP: Final = argon2.PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
_CONFIG: Final = uvicorn.Config("none", log_config=None)


class Tasks:
    """What connections have done in tasks: each is `struck` as it was set for the next one."""

    def __init__(self) -> None:
        self.all: list[asyncio.Task[None]] = []
        self.step: Callable[[Coroutine[Any, Any, None]], Coroutine[Any, Any, None]] | None = None

    def create_task(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """As a task group's."""
        step, self.step = self.step, None
        task = asyncio.get_running_loop().create_task(step(work) if step is not None else work)
        self.all.append(task)
        return task


class SteppedHub(Hub):
    """One of its reads may be struck."""

    _next: tuple[int, Callable[[], object], asyncio.Future[bool]] | None = None

    def strike_next(self, at: int, strike: Callable[[], object]) -> asyncio.Future[bool]:
        """`strike` happens at await number `at` of the next read; the future has whether it had so many, at its end."""
        ended: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._next = at, strike, ended
        return ended

    async def _read(self, channel: Channel) -> bool:
        struck, self._next = self._next, None
        if struck is None:
            return await super()._read(channel)
        at, strike, ended = struck
        stepped = Stepped(super()._read(channel), at, strike)
        try:
            return await stepped
        finally:
            ended.set_result(stepped.struck)


class _Asked(Gateway):
    """Reads its own handshake, which comes in one piece; elsewhere the HTTP protocol class hands it over."""

    def data_received(self, data: bytes) -> None:
        if self._address:
            super().data_received(data)
        else:
            knock(self, data)


class House:
    """The parts of one worker. One user, `ada` with the password `x`, may have one session."""

    def __init__(self, settings: Settings, hub: SteppedHub, broker: RedisBroker, store: redis.Redis) -> None:
        self.hub, self.broker, self.store = hub, broker, store
        self.holders, self.wheel, self.tasks = Holders(), Wheel(25, 10), Tasks()
        self.known: Authentication = build(settings, broker.vault, hub.metrics, self.holders.revoke)
        self.leases = Leases(broker.command_link, "cs", self.known.limits.sessions_per_agent)
        self.server_state = ServerState()
        self.gateways: list[Gateway] = []
        self.port = 0
        self.door = Door(
            hub=hub,
            broker=broker,
            authenticator=self.known.chain,
            holders=self.holders,
            quota=self.known.quota,
            leases=self.leases,
            wheel=self.wheel,
            tasks=cast(asyncio.TaskGroup, self.tasks),
            way=Way(),
            base_path="",
            allowed_origins=(),
            cookie="clearsync",
            max_frame_bytes=65536,
            max_sessions=0,
        )
        self.app: Starlette = application(
            settings, self.known, broker, hub.metrics, Way(), lambda: True, {}, EventStreams(self.door)
        )

    @property
    def running(self) -> Running:
        """As much of a `serve` as devices of the tests ask for: where it listens."""
        return cast(Running, SimpleNamespace(port=self.port))

    def connect(self) -> Gateway:
        """The protocol of a connection that has just come."""
        self.gateways.append(_Asked(_CONFIG, self.server_state, {"door": self.door}))
        return self.gateways[-1]

    def forget_credentials(self) -> None:
        """Whoever comes next is verified anew."""
        self.known.chain.revoke(frozenset(self.known.chain.grants()))

    def held(self) -> dict[str, object]:
        """What connections hold in this worker and in the store; nothing, once all of them have gone."""
        held: dict[str, object] = {
            "holders": self.holders.grants(),
            "leases": len(self.leases),
            "leases in the store": self.store.zrange(_KEY, 0, -1),
            "wheel": sum(map(len, self.wheel._slots)),
            "sessions": self.hub.session_count,
            "sessions of channels": list(self.hub.sessions()),
            "connections": len(self.server_state.connections),
        }
        return {name: value for name, value in held.items() if value}

    async def empty(self) -> None:
        """Wait until nothing is held."""
        with suppress(AssertionError):
            await until(lambda: not self.held(), 5)
        assert not self.held()


@asynccontextmanager
async def house_on(store_url: str, folder: Path, *, hub_runs: bool = True) -> AsyncIterator[House]:
    """A house on the store there. Where the hub does not run, the test reads for it."""
    users = folder / "users.toml"
    users.write_text(_USER.format(_CHEAP.hash("x")))
    environ = {
        "CLEARSYNC_AUTH__USERS_FILE": str(users),
        "CLEARSYNC_LIMITS__REQUESTS_IN_FLIGHT": "1",
        "CLEARSYNC_LIMITS__BODIES_IN_FLIGHT_BYTES": "1048576",
        "CLEARSYNC_LIMITS__SESSIONS_PER_AGENT": "1",
        "CLEARSYNC_LIMITS__FAILED_LOGINS_PER_MINUTE": "1",
    }
    hub = SteppedHub(Metrics(), ping_s=25)
    with client(store_url) as store:
        async with broker_on(store_url, on_store=hub.store_changed) as broker:
            hub.attach(broker)
            house = House(load(None, environ, {}), hub, broker, store)
            server = await asyncio.get_running_loop().create_server(house.connect, "127.0.0.1", 0)
            house.port = server.sockets[0].getsockname()[1]
            running = asyncio.ensure_future(hub.run()) if hub_runs else None
            try:
                yield house
            finally:
                server.close()
                if running is not None:
                    running.cancel()
                    with suppress(asyncio.CancelledError):
                        await running
                await house.known.chain.close()
