"""The composition root of a worker: settings to store, broker, hub, authentication, routes; start, serve, drain."""

from __future__ import annotations

import asyncio
import contextlib
import math
import resource
import socket
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, Final

import uvicorn
from starlette.applications import Starlette

from server import logs
from server.api.application import application
from server.api.bounds import connections_allowed
from server.api.http import BoundedHttp, RequestBounds
from server.api.overview import Overviews
from server.auth.address import Way
from server.auth.build import Authentication, build
from server.auth.revocation import Revocations
from server.broker.endpoint import Endpoint
from server.broker.leases import Leases
from server.broker.memory import memory_store
from server.broker.redis import RedisBroker
from server.gateway.door import Door
from server.gateway.eventstream import EventStreams
from server.gateway.holders import Holders
from server.gateway.hub import Hub
from server.gateway.keepalive import Wheel
from server.gateway.websocket import Gateway
from server.limits import pace
from server.metrics import TRANSPORTS, Metrics, Sample, samples
from server.settings import Settings

STORE_WITHIN_S: Final = 10.0
KEEP_ALIVE_S: Final = 75
"""Longer than nginx keeps its upstream connections (60 s), so that it never writes into one we just closed."""
REQUESTS_END_WITHIN_S: Final = 4
"""Less than the time that the supervisor gives us on top of the drain (`children.GRACE_S`)."""
HURRIED_REQUESTS_END_WITHIN_S: Final = 1
BACKLOG: Final = 4096

_log = logs.get("clearsync.worker")


class _Server(uvicorn.Server):
    """uvicorn's server, ended by its owner and not by signals; sessions are drained before connections are closed."""

    def __init__(
        self, config: uvicorn.Config, on_started: Callable[[], None], drain: Callable[[], Awaitable[None]]
    ) -> None:
        super().__init__(config)
        self._on_started = on_started
        self._drain = drain

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._on_started()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for server in self.servers:
            server.close()
        await self._drain()
        await super().shutdown(sockets)


class Worker:
    """One serving process. `on_ready` is told each change of readiness, `ask` asks the supervisor for all workers'
    figures, which come back by `overviews.answered`."""

    def __init__(
        self,
        settings: Settings,
        store_url: str,
        listen: socket.socket,
        on_ready: Callable[[bool], None],
        ask: Callable[[], None] = lambda: None,
    ) -> None:
        self._settings = settings
        self._store_url = store_url
        self._listen = listen
        self._on_ready = on_ready
        self._was_ready = False
        self._serving = False
        self._drain_s = 0.0
        self._ends_at = math.inf
        self._ending: asyncio.TimerHandle | None = None
        self._hurry = asyncio.Event()
        self.metrics = Metrics()
        self.overviews = Overviews(ask)
        self._server: _Server | None = None
        self._broker: RedisBroker | None = None
        self._hub: Hub | None = None
        self._known: Authentication | None = None

    async def run(self) -> None:
        """Serve until `stop`. `StoreError` where the store can't be used at the start."""
        with contextlib.ExitStack() as stack:
            url = self._store_url
            if url == "memory":
                url = stack.enter_context(memory_store())
            await self._run(Endpoint.parse(url))

    async def _run(self, endpoint: Endpoint) -> None:
        settings, metrics, holders = self._settings, self.metrics, Holders()
        self._hub = hub = Hub(metrics, ping_s=settings.gateway.ping_interval_s)

        def revoked(grants: frozenset[str]) -> None:
            known.chain.revoke(grants)
            holders.revoke(grants)

        def held() -> set[str]:
            return holders.grants() | known.chain.grants()

        def forgotten(tag: str) -> None:
            broker.forget(tag)
            hub.forget(tag)

        revocations = Revocations(on_revoked=revoked, on_forgotten=forgotten, held=held)
        self._broker = broker = RedisBroker(
            endpoint,
            prefix=settings.store.prefix,
            max_events=settings.store.max_events_per_agent,
            retention_days=settings.store.retention_days,
            timeout_s=settings.store.timeout_s,
            on_store=hub.store_changed,
            on_change=self._changed,
            control=revocations,
            probe_interval_s=settings.store.probe_interval_s,
            record_again_s=settings.store.record_again_s,
            metrics=metrics,
        )
        hub.attach(broker)
        self._known = known = build(settings, broker.vault, metrics, revoked)
        leases = Leases(broker.command_link, settings.store.prefix, known.limits.sessions_per_agent)
        wheel = Wheel(settings.gateway.ping_interval_s, settings.gateway.ping_timeout_s, metrics)
        limits = settings.limits
        bounds = RequestBounds(
            limits.header_bytes,
            limits.header_timeout_s,
            limits.body_timeout_s,
            connections_allowed(limits.connections_per_worker),
            metrics,
        )
        work = (broker.run(), hub.run(), wheel.run(), bounds.run(), leases.run())
        async with _background(*work, known.chain.run(), revocations.run(broker.vault)) as tasks:
            await broker.start(STORE_WITHIN_S)
            door = Door(
                hub=hub,
                broker=broker,
                authenticator=known.chain,
                holders=holders,
                quota=known.quota,
                leases=leases,
                wheel=wheel,
                tasks=tasks,
                way=Way(settings.server.trusted_proxies, tls=bool(settings.server.tls_certificate)),
                base_path=settings.server.base_path,
                allowed_origins=settings.gateway.allowed_origins,
                cookie=known.cookie,
                max_frame_bytes=settings.gateway.max_frame_bytes,
                max_sessions=limits.sessions_per_worker,
                frames=pace(limits.frames_per_session_s, limits.frames_per_session_burst),
                local_only=settings.dev,
            )
            state = {"door": door, "bounds": bounds}
            streams, more = EventStreams(door), self.overviews
            app = application(settings, known, broker, metrics, door.way, lambda: self.ready, state, streams, more)
            self._server = _Server(_uvicorn_config(settings, app), self._started, self._drain)
            try:
                await self._server.serve(sockets=[self._listen])
            finally:
                await known.chain.close()

    # what the supervisor asks

    @property
    def ready(self) -> bool:
        """The store answers, the listener is alive, and we are not draining."""
        return self._serving and self._broker is not None and self._broker.ready

    @property
    def serving(self) -> bool:
        """It has come up, ready or not: there may be callers and devices."""
        return self._server is not None and self._server.started

    def stop(self, drain_s: float, grace_s: float = 0.0) -> None:
        """Begin an orderly end: readiness red at once, everything served on for `grace_s`, then no new connections, and
        the sessions closed with 1012 over `drain_s`. Called again, only an earlier end counts."""
        self._serving = False
        self._changed()
        loop = asyncio.get_running_loop()
        ends_at = loop.time() + grace_s
        if ends_at >= self._ends_at:
            return
        if self._ending is not None:
            self._ending.cancel()
        self._drain_s = drain_s
        self._ends_at, self._ending = ends_at, loop.call_at(ends_at, self._end)

    def hurry(self) -> None:
        """End now: what is left of grace and drain is left out, and requests have a second to finish."""
        self.stop(0.0)
        self._hurry.set()
        if self._server is not None:
            self._server.config.timeout_graceful_shutdown = HURRIED_REQUESTS_END_WITHIN_S
            asyncio.get_running_loop().call_later(HURRIED_REQUESTS_END_WITHIN_S, self._end_of_patience, self._server)

    def figures(self) -> Iterator[Sample]:
        """What it has counted, what it holds at this moment (`metrics.GAUGES`), and what the kernel knows of it."""
        yield from samples(self.metrics)
        hub, server = self._hub, self._server
        for transport in TRANSPORTS:
            count = 0 if hub is None else hub.by_transport[transport]
            yield Sample("sessions", count, (("transport", transport),))
        yield Sample("lagging_sessions", 0 if hub is None else hub.lagging_count)
        yield Sample("channels", 0 if hub is None else hub.channel_count)
        yield Sample("connections", 0 if server is None else len(server.server_state.connections))
        yield Sample("tasks", len(asyncio.all_tasks()))
        yield Sample("resident_bytes", _resident_bytes())
        yield Sample("cpu_seconds_total", time.process_time())

    def reload(self) -> None:
        """Read the users file again, and the TLS certificate and key; new connections get these."""
        if self._known is not None:
            self._known.reload()
        context = self._server.config.ssl if self._server is not None else None
        if context is not None:
            server = self._settings.server
            try:
                # First into one that nobody uses: it takes the certificate before it finds that the key is another's.
                ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(server.tls_certificate, server.tls_key)
                context.load_cert_chain(server.tls_certificate, server.tls_key)
                _log.info("TLS certificate reloaded")
            except OSError as problem:
                _log.error("TLS certificate not reloaded, the old one stays", error=str(problem))

    def _end(self) -> None:
        if self._server is not None:
            self._server.should_exit = True

    def _end_of_patience(self, server: _Server) -> None:
        """Where uvicorn has begun to wait for requests, for as long as it had been told then."""
        server.force_exit = True

    def _started(self) -> None:
        self._serving = True
        self._changed()

    def _changed(self) -> None:
        if self.ready != self._was_ready:
            self._was_ready = self.ready
            _log.info("ready" if self.ready else "not ready")
            self._on_ready(self.ready)

    async def _drain(self) -> None:
        assert self._hub is not None
        draining = asyncio.ensure_future(self._hub.drain(self._drain_s))
        hurrying = asyncio.ensure_future(self._hurry.wait())
        await asyncio.wait((draining, hurrying), return_when=asyncio.FIRST_COMPLETED)
        draining.cancel()
        hurrying.cancel()
        await asyncio.gather(draining, hurrying, return_exceptions=True)
        await self._hub.drain(0.0)


@contextlib.asynccontextmanager
async def _background(*work: Any) -> AsyncIterator[asyncio.TaskGroup]:
    """Run `work` while the context lasts, cancelled at its end. What fails in it ends the context, unwrapped."""
    try:
        async with asyncio.TaskGroup() as tasks:
            running = [tasks.create_task(each) for each in work]
            yield tasks
            for task in running:
                task.cancel()
    except BaseExceptionGroup as group:
        raise group.exceptions[0] from None


def _resident_bytes() -> int:
    """Memory of this process (proc(5)); 0 where the system does not tell."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
    except OSError:
        return 0


def _uvicorn_config(settings: Settings, app: Starlette) -> uvicorn.Config:
    server = settings.server
    return uvicorn.Config(
        app,
        http=BoundedHttp,
        ws=Gateway,
        lifespan="on",
        loop="none",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        forwarded_allow_ips="",
        server_header=False,
        workers=1,
        backlog=BACKLOG,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=REQUESTS_END_WITHIN_S,
        ssl_certfile=server.tls_certificate or None,
        ssl_keyfile=server.tls_key or None,
    )
