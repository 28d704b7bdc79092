"""A whole worker (`server.app.Worker`) in this process, on a loop in a thread of its own, with a real socket and a real
store, and with its short way open or not."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Self, TypeVar

import argon2
import pytest
import uvloop
from redis import Redis
from websockets.sync.client import ClientConnection, connect

from server.api.bounds import InFlight
from server.api.short import Answer, ShortRequest, ShortWay
from server.app import Worker
from server.metrics import samples
from server.settings import load
from server.wire import HANDLED_ONE_PATH, SYNC_PATH
from tests.api.raw import PATIENCE_S, basic, head
from tests.api.requests_table import JSON, PASSWORD
from tests.api.sides import Connection, Wire
from tests.running import client

T = TypeVar("T")

GUESTS: Final = 5
"""Users whose credentials nobody has shown yet; each is good for one test of that."""
_HASH: Final = argon2.PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash(PASSWORD)
_USERS: Final = {
    "ada": "",
    "bob": "",
    "boss": "scopes = ['handled:write', 'sync:read', 'agents:write']",
    "reader": "scopes = ['sync:read']",
    **{f"guest-{n}": "" for n in range(GUESTS)},
}
_ELSEWHERE: Final = {"zoe": "Zoë & Co", "quentin": "a?b"}
_COUNTED: Final = (
    "posts_total",
    "batches_recorded_total",
    "events_recorded_total",
    "limited_total",
    "sign_ins_total",
    "recorded_again_total",
)
_NOW: Final = 1000.0


def users_file(folder: Path) -> Path:
    """All users of these tests, whose password is `PASSWORD`."""
    path = folder / "users.toml"
    entries = [f"[users.{name}]\nhash = '{_HASH}'\ntenant = 'acme'\n{more}\n" for name, more in _USERS.items()]
    entries += [f"[users.{name}]\nhash = '{_HASH}'\ntenant = '{tenant}'\n" for name, tenant in _ELSEWHERE.items()]
    path.write_text("\n".join(entries))
    return path


class Counted(ShortWay):
    """Counts what it recorded."""

    taken = known = 0

    def again(self, data: bytes) -> ShortRequest | None:
        request = super().again(data)
        self.known += request is not None
        return request

    def record(self, request: ShortRequest, peer: str, answer: Answer) -> bool:
        took = super().record(request, peer, answer)
        self.taken += took
        return took


class _Troubles(logging.Handler):
    """Errors that a thread logs, by their first line."""

    def __init__(self, thread: str) -> None:
        super().__init__(logging.ERROR)
        self._thread = thread
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        if record.threadName == self._thread:
            self.lines.append(record.getMessage().partition("\n")[0])


class House:
    """A worker. `short`: whether the short way is open."""

    def __init__(
        self, folder: Path, store_url: str, name: str, env: Mapping[str, str], *, short: bool, keep_alive_s: float = 75
    ) -> None:
        self.prefix = name
        self.met: dict[int, Connection] = {}
        self.ways: list[Counted] = []
        self.in_flight: InFlight
        self._short = short
        self._keep_alive_s = keep_alive_s
        environ = {
            "CLEARSYNC_AUTH__USERS_FILE": str(users_file(folder)),
            "CLEARSYNC_STORE__PREFIX": name,
            "CLEARSYNC_LIMITS__REQUESTS_PER_ADDRESS_S": "100",
            "CLEARSYNC_LIMITS__FAILED_LOGINS_PER_MINUTE": "0",
        }
        self._settings = load(None, {**environ, **env}, {})
        self._store_url = store_url
        self._listen = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listen.getsockname()[1]
        self.base = self._settings.server.base_path
        self._troubles = _Troubles(name)
        self._up = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name)
        self.worker: Worker
        self.loop: asyncio.AbstractEventLoop
        self._store: Redis
        self._sentinel: Wire
        self._devices: dict[str, ClientConnection] = {}
        self._sentinels = 0

    # life

    @contextmanager
    def open(self) -> Iterator[Self]:
        """It serves, with the credentials of its users in its cache (but for the guests')."""
        logging.getLogger().addHandler(self._troubles)
        with client(self._store_url) as self._store, self._listen:
            self._thread.start()
            try:
                assert self._up.wait(PATIENCE_S), "the worker serves"
                self.ask(self._freeze)
                self._sign_in()
                yield self
            finally:
                self.stop()
                self.ended()
                logging.getLogger().removeHandler(self._troubles)

    def stop(self) -> None:
        """Begin an orderly end; idempotent."""
        with contextlib.suppress(RuntimeError):  # it has ended
            self.loop.call_soon_threadsafe(self.worker.stop, 0.0)

    def ended(self) -> None:
        """Wait for its end."""
        self._thread.join(PATIENCE_S)
        assert not self._thread.is_alive(), "the worker ends"

    def _run(self) -> None:
        with asyncio.Runner(debug=True, loop_factory=uvloop.new_event_loop) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        self.loop, self._ready = asyncio.get_running_loop(), asyncio.Event()
        self.loop.slow_callback_duration = PATIENCE_S  # others have the processor, too
        self.worker = Worker(self._settings, self._store_url, self._listen, self._on_ready)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("server.app.BoundedHttp", type("Connection", (Connection,), {"house": self}))
            patch.setattr("server.api.application.ShortWay", self._way)
            patch.setattr("server.api.application.InFlight", self._bound)
            patch.setattr("server.app.KEEP_ALIVE_S", self._keep_alive_s)
            serving, up = asyncio.ensure_future(self.worker.run()), asyncio.ensure_future(self._ready.wait())
            await asyncio.wait((serving, up), return_when=asyncio.FIRST_COMPLETED)
            up.cancel()
        self._up.set()
        await serving

    def _on_ready(self, ready: bool) -> None:
        if ready:
            self._ready.set()

    def _way(self, *args: Any, **more: Any) -> ShortWay | None:
        if not self._short:
            return None
        self.ways.append(Counted(*args, **more))
        return self.ways[0]

    def _bound(self, *args: Any, **more: Any) -> InFlight:
        self.in_flight = InFlight(*args, **more)
        return self.in_flight

    def _freeze(self) -> None:
        """Quotas are counted by a clock that stands, so that they can be compared."""
        self.now = _NOW
        self.quota._clock = lambda: self.now

    def _sign_in(self) -> None:
        with Wire(self) as wire:
            for name in (*_USERS, *_ELSEWHERE):
                if not name.startswith("guest"):
                    wire.send(head("GET", f"{self.base}{SYNC_PATH}?device=x", [basic(name, PASSWORD)]))
                    wire.settle()

    # what is in it

    def ask(self, question: Callable[[], T]) -> T:
        """What it says on its loop."""

        async def asked() -> T:
            return question()

        return asyncio.run_coroutine_threadsafe(asked(), self.loop).result(PATIENCE_S)

    def until(self, question: Callable[[], bool], what: str) -> None:
        """Until that is so, as seen on its loop, and what was written by then has gone out."""
        deadline = time.monotonic() + PATIENCE_S
        while not self.ask(question):
            assert time.monotonic() < deadline, f"{self.prefix}: not in time: {what}"
            time.sleep(0.0002)
        for _ in range(2):
            self.ask(lambda: None)

    @property
    def quota(self) -> Any:
        """Its quotas."""
        assert self.worker._known is not None
        return self.worker._known.quota

    @property
    def taken(self) -> int:
        """Requests that were recorded the short way."""
        return sum(way.taken for way in self.ways)

    @property
    def known(self) -> int:
        """Those whose head had come before."""
        return sum(way.known for way in self.ways)

    def held(self) -> tuple[int, int]:
        """Requests in flight, and the bytes of their bodies."""
        return self.in_flight.requests, self.in_flight.body_bytes

    def charged(self) -> dict[str, float]:
        """What is still to be paid, in seconds by agent and address."""
        paid = {**self.quota._agents._paid, **self.quota._addresses._paid}
        return {key: round(until - self.now, 6) for key, until in paid.items()}

    def forget_charges(self) -> None:
        """Nobody owes anything."""
        self.quota._agents._paid.clear()
        self.quota._addresses._paid.clear()

    def counted(self) -> dict[str, float]:
        """What is counted where a request is answered."""
        figures = {f"{s.name} {s.labels}": s.value for s in samples(self.worker.metrics) if s.name in _COUNTED}
        assert self.worker._server is not None
        return figures | {"requests": self.worker._server.server_state.total_requests}

    def marks(self) -> dict[bytes, float]:
        """The last position of each agent."""
        keys = self._keys()
        with self._store.pipeline(transaction=False) as asked:
            for key in keys:
                asked.zrange(key, -1, -1, withscores=True)
            return {key: last[0][1] for key, last in zip(keys, asked.execute(), strict=True)}

    def stored(self, since: dict[bytes, float]) -> dict[str, list[list[str]]]:
        """By agent, the batches that were recorded after these marks, in their order."""
        keys = self._keys()
        with self._store.pipeline(transaction=False) as asked:
            for key in keys:
                asked.zrangebyscore(key, f"({since.get(key, 0):.0f}", "+inf", withscores=True)
            found = dict(zip(keys, asked.execute(), strict=True))
        return {key.decode().partition(":")[2]: _batches(entries) for key, entries in found.items() if entries}

    def _keys(self) -> list[bytes]:
        return sorted(self._store.scan_iter(f"{self.prefix}:{{*}}", 1000, "zset"))

    def troubled(self) -> list[str]:
        """Errors that were logged since it was asked last."""
        lines, self._troubles.lines = self._troubles.lines, []
        return lines

    # devices

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Two devices of ada, and one of bob."""
        with contextlib.ExitStack() as stack:
            for user, device in (("ada", "desk"), ("ada", "phone"), ("bob", "phone")):
                url = f"ws://127.0.0.1:{self.port}{self.base}{SYNC_PATH}?device={device}"
                headers = [basic(user, PASSWORD)]
                connecting = connect(
                    url, additional_headers=headers, compression=None, max_queue=None, ping_interval=None
                )
                listens = self._devices[f"{user}'s {device}"] = stack.enter_context(connecting)
                assert json.loads(listens.recv(PATIENCE_S))["type"] == "welcome"
            self._sentinel = stack.enter_context(Wire(self))
            self.cleared()
            yield
            self._devices.clear()

    def cleared(self) -> dict[str, list[Any]]:
        """What the devices were sent since they were asked last: up to a batch that is now sent after it."""
        if not self._devices:
            return {}
        self._sentinels += 1
        body = b'{"NotificationEventType":"QuoteApprovalDenied","Id":%d}' % self._sentinels
        for user in ("ada", "bob"):
            headers = (basic(user, PASSWORD), JSON, ("Content-Length", str(len(body))))
            self._sentinel.send(head("POST", f"{self.base}{HANDLED_ONE_PATH}", headers) + body)
        self._sentinel.settle()
        assert self._sentinel.told().count(b"HTTP/1.1 204") == 2
        last = {"Type": "QuoteApprovalDenied", "Id": self._sentinels}
        return {name: _until(device, last) for name, device in self._devices.items()}


def _batches(entries: list[tuple[bytes, float]]) -> list[list[str]]:
    """The events of each position."""
    found: dict[float, list[str]] = {}
    for member, position in entries:
        found.setdefault(position, []).append(member.decode())
    return [sorted(found[position]) for position in sorted(found)]


def _until(device: ClientConnection, last: Any) -> list[Any]:
    """The events of all clears up to this one; where one ends and the next begins is not said."""
    events: list[Any] = []
    while last not in events:
        frame = json.loads(device.recv(PATIENCE_S))
        events += frame.get("events", ())
        if frame["type"] == "reset":
            events.append("reset")
    assert events[-1] == last
    return events[:-1]
