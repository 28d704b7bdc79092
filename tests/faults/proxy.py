"""A proxy that breaks as networks do: between the server and its store, or between devices and the server.

It lives in a thread with a loop of its own, so a test may be asynchronous or not, and hurt it from where it stands.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable
from typing import Any, Final, Self, TypeVar, cast
from urllib.parse import urlsplit

from tests.faults.replies import Replies, is_message

T = TypeVar("T")
WITHIN_S: Final = 10.0


class _End(asyncio.Protocol):
    """One end of a connection. What comes in on it leaves at `other`, later where there is latency."""

    def __init__(self, network: _Network, *, near: bool) -> None:
        self.network = network
        self.near = near
        self.silent = self.deaf = False
        self.other: _End | None = None
        self.transport: asyncio.Transport | None = None
        self._replies = Replies()
        self._late: deque[tuple[float, bytes]] = deque()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.network.made(self)

    def data_received(self, data: bytes) -> None:
        network = self.network
        if self.silent:
            return
        if not self.near and network.resp:
            replies = self._replies.feed(data)
            kept = [reply for reply in replies if not (self.deaf and is_message(reply))]
            network.dropped += len(replies) - len(kept)
            for reply in kept:
                self._send(reply, network.latency_s + network.message_latency_s * is_message(reply))
        else:
            self._send(data, network.latency_s)

    def _send(self, data: bytes, latency_s: float) -> None:
        if latency_s or self._late:
            loop = asyncio.get_running_loop()
            due = max(loop.time() + latency_s, self._late[-1][0] if self._late else 0.0)
            self._late.append((due, data))
            loop.call_at(due, self._release)
        else:
            self._pass_on(data)

    def _release(self) -> None:
        now = asyncio.get_running_loop().time()
        while self._late and self._late[0][0] <= now + 0.001:
            self._pass_on(self._late.popleft()[1])

    def _pass_on(self, data: bytes) -> None:
        if self.other is None or self.other.transport is None or self.silent:
            return
        if self.near:
            self.other.transport.write(data)
        else:
            self.network.write_near(self.other.transport, data)

    def pause_writing(self) -> None:
        if self.other is not None and self.other.transport is not None:
            self.other.transport.pause_reading()

    def resume_writing(self) -> None:
        if self.other is not None and self.other.transport is not None:
            self.other.transport.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        self.network.gone(self)
        self.transport = None
        if self.other is not None and self.other.transport is not None and not self.silent:
            self.other.transport.close()


class _Network:
    """What goes on in the proxy's loop."""

    def __init__(self, target: str) -> None:
        self.target = urlsplit(target)
        self.resp = self.target.scheme != "http"
        self.ends: set[_End] = set()
        self.accepted = self.dropped = self.port = 0
        self.latency_s = self.message_latency_s = 0.0
        self.silent = False
        self._budget: int | None = None
        self._server: asyncio.Server | None = None
        self._connecting: set[asyncio.Task[None]] = set()
        self._nobody = asyncio.Event()

    async def listen(self) -> None:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: _End(self, near=True), "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    def refuse(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None

    async def close(self) -> None:
        self.refuse()
        self.cut()
        for task in self._connecting:
            task.cancel()
        await asyncio.gather(*self._connecting, return_exceptions=True)
        if self.ends:
            self._nobody.clear()
            await self._nobody.wait()

    def made(self, end: _End) -> None:
        self.ends.add(end)
        if end.near:
            self.accepted += 1
            end.silent = self.silent
            if not end.silent:
                assert end.transport is not None
                end.transport.pause_reading()
                task = asyncio.get_running_loop().create_task(self._connect(end))
                self._connecting.add(task)
                task.add_done_callback(self._connecting.discard)

    def gone(self, end: _End) -> None:
        self.ends.discard(end)
        if not self.ends:
            self._nobody.set()

    async def _connect(self, near: _End) -> None:
        loop, where, far = asyncio.get_running_loop(), self.target, _End(self, near=False)
        near.other, far.other, far.silent = far, near, near.silent
        try:
            if where.scheme == "unix":
                await loop.create_unix_connection(lambda: far, where.path)
            else:
                await loop.create_connection(lambda: far, where.hostname or "", where.port or 0)
        except OSError:
            if near.transport is not None:
                near.transport.abort()
        else:
            if near.transport is not None:
                near.transport.resume_reading()
            elif far.transport is not None:
                far.transport.abort()  # near is gone meanwhile

    def set_silent(self, silent: bool) -> None:
        self.silent = silent
        for end in self.ends if silent else ():
            end.silent = True

    def set_deaf(self) -> None:
        for end in self.ends:
            end.deaf = True

    def cut(self) -> None:
        for end in list(self.ends):
            if end.transport is not None:
                end.transport.abort()

    def cut_after(self, count: int) -> None:
        self._budget = count

    def write_near(self, transport: asyncio.Transport, data: bytes) -> None:
        if self._budget is None:
            transport.write(data)
            return
        transport.write(data[: self._budget])
        self._budget -= min(self._budget, len(data))
        if self._budget == 0:
            self._budget = None
            for end in list(self.ends):
                if end.transport is not None:
                    end.transport.close()  # what was written goes out first


class Proxy:
    """Stands before `target` (``unix://``, ``redis://`` or ``http://host:port``) while the context lasts.

    The *near* side is who connects to it. It passes everything on until told otherwise.
    """

    def __init__(self, target: str) -> None:
        self._network = _Network(target)
        self._scheme = "redis" if self._network.resp else "http"
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ended: asyncio.Event | None = None
        self._listening = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._main(), debug=False), name="proxy")

    @property
    def url(self) -> str:
        """Where it listens, the same for its whole life."""
        return f"{self._scheme}://127.0.0.1:{self._network.port}"

    @property
    def accepted(self) -> int:
        """Connections that it has accepted so far."""
        return self._network.accepted

    @property
    def dropped(self) -> int:
        """Messages that were not passed on for deafness."""
        return self._network.dropped

    def silence(self) -> None:
        """Half-open: the connections there are, and those to come, are accepted, swallow everything and end never."""
        self._call(lambda: self._network.set_silent(True))

    def speak(self) -> None:
        """Pass on again, on connections to come: what those of the silence have lost would garble them."""
        self._call(lambda: self._network.set_silent(False))

    def delay(self, latency_s: float, *, messages_s: float = 0.0) -> None:
        """So many seconds each way from now on, and `messages_s` more for messages of channels. Nothing overtakes."""

        def change() -> None:
            self._network.latency_s, self._network.message_latency_s = latency_s, messages_s

        self._call(change)

    def lead_to(self, target: str) -> None:
        """Connections to come lead to another target; those there are stay where they are."""
        self._call(lambda: setattr(self._network, "target", urlsplit(target)))

    def cut(self) -> None:
        """Reset all connections."""
        self._call(self._network.cut)

    def cut_after(self, count: int) -> None:
        """Pass `count` more bytes on to the near side, of all connections together, and end them all there."""
        self._call(lambda: self._network.cut_after(count))

    def refuse(self) -> None:
        """Reset all connections, and refuse new ones."""
        self.refuse_new()
        self.cut()

    def refuse_new(self) -> None:
        """Refuse new connections; those there are stay."""
        self._call(self._network.refuse)

    def accept(self) -> None:
        """Listen again where it did."""
        assert self._loop is not None
        asyncio.run_coroutine_threadsafe(self._network.listen(), self._loop).result(WITHIN_S)

    def deafen(self) -> None:
        """On the connections there are, replies go through and messages of channels do not; new ones hear."""
        self._call(self._network.set_deaf)

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._listening.wait(WITHIN_S), "the proxy does not listen"
        return self

    def __exit__(self, *_: object) -> None:
        assert self._ended is not None
        self._call(self._ended.set)
        self._thread.join(WITHIN_S)

    async def _main(self) -> None:
        self._loop, self._ended = asyncio.get_running_loop(), asyncio.Event()
        await self._network.listen()
        self._listening.set()
        await self._ended.wait()
        await self._network.close()

    def _call(self, action: Callable[[], T]) -> T:
        assert self._loop is not None, "the proxy is not running"

        async def act() -> Any:
            return action()

        return cast(T, asyncio.run_coroutine_threadsafe(act(), self._loop).result(WITHIN_S))
