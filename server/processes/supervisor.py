"""The parent of all: it owns the public socket, the store and the workers, and handles no device.

1. Up: lock the data directory, bind, start the store, start the workers; what it prints says that all of them serve.
2. Down: at once nothing is ready any more, and everything is served for `server.drain_grace_s`, in which balancers turn
   away. Then the workers drain, then the store ends, then the admin listener. Ctrl-C is a person's, who has no balancer
   to wait for: no grace. A second signal cuts grace and drain short.
3. In between whatever ends unasked is started again. Killed itself, it takes everything along: the workers by the
   end of their control socket, the store by the kernel.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import signal
import socket
import sys
import time
from contextlib import ExitStack
from typing import Final

import msgspec

from server import __version__, logs
from server.broker import binary
from server.broker.embedded import END_S, EmbeddedStore
from server.broker.locks import hold_data_dir
from server.errors import SettingsError, StoreError
from server.metrics import Sample
from server.processes.admin import AdminServer, Readiness, admin_app
from server.processes.banner import banner
from server.processes.children import GRACE_S, WATCH_S, Backoff, Child
from server.processes.control import Overview, Reload, Start
from server.processes.exposition import Measured, exposition
from server.processes.listener import RELEASE_S, bind, url_of
from server.processes.overview import WITHIN_S, overview
from server.processes.systemd import Notifier
from server.settings import Settings, is_loopback

FEW_DESCRIPTORS: Final = 4096
ANSWER_S: Final = 1.0
"""The time in which a worker tells its figures; one that does not is left out of them."""

log = logs.get("clearsync.supervisor")


def serve(settings: Settings) -> None:
    """Serve until a signal ends it. Raises `StartupError` where it does not come up."""
    logs.configure(settings.log.level, settings.log.format)
    _raise_descriptors()
    asyncio.run(_serve(settings))


async def _serve(settings: Settings) -> None:
    try:
        await Supervisor(settings, Notifier(os.environ)).run()
    finally:
        # The loop takes its handlers along, and one more signal would make an end in order look like a crash.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})


def _raise_descriptors() -> None:
    """As many open files as the system lets us have, for us and the workers: each connection is one, and a shell's
    1,024 are soon used up by those who only hold them."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(OSError, ValueError):  # some systems have no limit to give, and refuse this one
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    may, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if resource.RLIM_INFINITY != may < FEW_DESCRIPTORS:
        log.warning("few open files are allowed, so few connections are", limit=may, before=soft)


class Supervisor:
    """One service. `run` once, from the main thread: the kernel ends the store with the *thread* that forked it."""

    def __init__(self, settings: Settings, systemd: Notifier, *, watch_s: float = WATCH_S) -> None:
        self._settings = settings
        self._systemd = systemd
        self._watch_s = watch_s
        self._public: socket.socket | None = None
        self._children: list[Child] = []
        self._stopping = False
        self._up = False
        self._go = asyncio.Event()
        """The store is up, or there is nothing left to wait for."""
        self._admin_url: str | None = None
        self._store_starts = 0
        self._asking: set[Child] = set()
        self._asked = asyncio.Event()

    async def run(self) -> None:
        """Come up, serve, go down in order. Raises `StartupError`."""
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self._stop, self._settings.server.drain_grace_s)
        loop.add_signal_handler(signal.SIGINT, self._stop, 0.0)
        loop.add_signal_handler(signal.SIGHUP, self._reload)
        with ExitStack() as held:
            store = self._open_store(held)
            server = self._settings.server
            self._public = held.enter_context(await bind("server.port", server.host, server.port))
            if self._settings.dev:
                _check_loopback("server.host", self._public)
            admin = await self._bind_admin(held)
            try:
                await self._run(store, admin)
            except BaseExceptionGroup as group:
                raise _first(group) from None

    def readiness(self) -> Readiness:
        """How many workers serve."""
        return Readiness(sum(child.ready for child in self._children), self._settings.server.workers)

    async def measure(self, within_s: float = ANSWER_S) -> list[Measured]:
        """The figures of all workers, or that there are none, in `within_s`."""
        children = list(self._children)
        answers = await asyncio.gather(*(child.measure(within_s) for child in children))
        return [
            Measured(number, child.ready, samples, child.starts)
            for number, (child, samples) in enumerate(zip(children, answers, strict=True))
        ]

    async def scrape(self) -> bytes:
        """What Prometheus is answered."""
        service = [
            Sample("info", 1, (("version", __version__),)),
            Sample("store_starts_total", self._store_starts),
        ]
        return exposition(await self.measure(), service)

    def _open_store(self, held: ExitStack) -> EmbeddedStore | None:
        if self._settings.store.url != "embedded":
            return None
        data_dir = self._settings.store.data_dir_path
        held.enter_context(hold_data_dir(data_dir))
        store = EmbeddedStore(data_dir, binary.find())
        held.callback(store.close)
        return store

    async def _bind_admin(self, held: ExitStack) -> socket.socket | None:
        address = self._settings.admin.address
        if address is None:
            return None
        try:
            bound = await bind("admin.listen", *address, patience_s=0.0 if self._settings.dev else RELEASE_S)
        except SettingsError:
            if not self._settings.dev:
                raise
            bound = await bind("admin.listen", address[0], 0)  # another one is being tried on this machine
        listener = held.enter_context(bound)
        _check_loopback("admin.listen", listener)
        self._admin_url = url_of(listener)
        return listener

    async def _run(self, store: EmbeddedStore | None, admin: socket.socket | None) -> None:
        # The workers' group is inside the store's: they have ended before it is told to, on failure too.
        async with asyncio.TaskGroup() as others:
            admin_server = AdminServer(admin_app(self.readiness, self.scrape))
            if admin is not None:
                others.create_task(admin_server.serve([admin]))
            keeping = others.create_task(self._keep_store(store))
            watching = [others.create_task(each) for each in (self._watch(), self._tell(), self._systemd.run())]
            await self._go.wait()
            if not self._stopping:
                await self._keep_workers(store.url if store else self._settings.store.url)
            log.info("workers have ended")
            keeping.cancel()
            await asyncio.wait({keeping})
            for task in watching:
                task.cancel()
            admin_server.stop()

    async def _keep_store(self, store: EmbeddedStore | None) -> None:
        if store is None:
            self._go.set()
            return
        backoff, loop = Backoff(), asyncio.get_running_loop()
        while True:
            born = loop.time()
            self._store_starts += 1
            try:
                reason = f"status {await store.live(self._go.set)}"
            except StoreError as problem:
                if not self._go.is_set():
                    raise
                reason = str(problem)
            pause_s = backoff.pause_s(loop.time() - born)
            log.error("store ended", reason=reason, restart_in_s=pause_s)
            await asyncio.sleep(pause_s)

    async def _keep_workers(self, store_url: str) -> None:
        assert self._public is not None
        async with asyncio.TaskGroup() as workers:
            for number in range(self._settings.server.workers):
                start = Start(settings=self._settings, store_url=store_url, worker=number)
                child = Child(
                    start, self._public, on_change=self._changed, on_ask=self._ask_for_all, is_up=lambda: self._up
                )
                self._children.append(child)
                workers.create_task(child.keep())

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(self._watch_s)
            for child in self._children:
                child.look()

    def _ask_for_all(self, child: Child) -> None:
        """Somebody asks `child` for the figures of all workers."""
        self._asking.add(child)
        self._asked.set()

    async def _tell(self) -> None:
        """Answer those who ask, by one measurement for all who asked before it began."""
        while True:
            await self._asked.wait()
            self._asked.clear()
            asking, self._asking = self._asking, set()
            measured, now = await self.measure(WITHIN_S), self.readiness()
            ready = now.ready == now.expected
            body = overview(measured, ready=ready, now_ms=int(time.time() * 1000), version=__version__)
            for child in asking:
                child.send(Overview(msgspec.Raw(body)))

    def _changed(self) -> None:
        now = self.readiness()
        if self._stopping:
            return
        self._systemd.status(f"{now.ready} of {now.expected} workers ready")
        if not self._up and now.ready == now.expected:
            self._up = True
            self._announce()
            self._systemd.ready()

    def _announce(self) -> None:
        assert self._public is not None
        url = url_of(self._public, "https" if self._settings.server.tls_certificate else "http")
        with contextlib.suppress(OSError):  # nobody reads what we print
            print(banner(self._settings, url + self._settings.server.base_path, self._admin_url), flush=True)
            sys.stdout.flush()

    def _stop(self, grace_s: float) -> None:
        if self._stopping:
            log.info("hurrying")
            for child in self._children:
                child.hurry()
            return
        drain_s = self._settings.server.drain_s
        log.info("stopping", grace_s=grace_s, drain_s=drain_s)
        self._stopping = True
        self._systemd.stopping(grace_s + drain_s + GRACE_S + END_S)
        self._systemd.status("stopping")
        self._go.set()
        for child in self._children:
            child.stop(drain_s, grace_s)
        if self._public is not None:
            # Ours is only kept for the workers to come: as long as one of us has it open, the kernel takes connections.
            self._public.close()

    def _reload(self) -> None:
        log.info("reloading the users file, the TLS certificate and key")
        serving = self._up and not self._stopping
        if serving:
            self._systemd.reloading()
        for child in self._children:
            child.send(Reload())
        if serving:
            self._systemd.ready()


def _check_loopback(key: str, listener: socket.socket) -> None:
    """A name is what the resolver makes of it: what counts is what was bound."""
    if not is_loopback(host := listener.getsockname()[0]):
        raise SettingsError(f"{key}: came to listen on {host}, which is beyond loopback")


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """What went wrong first; the others followed from it."""
    first = group.exceptions[0]
    return _first(first) if isinstance(first, BaseExceptionGroup) else first
