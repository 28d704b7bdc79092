"""A listener in a thread with a loop of its own, for tests that are not asynchronous."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Final

from tests.gateway.devices import WITHIN_S

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class _Listener:
    """What goes on in the loop."""

    def __init__(self, serve: Serve) -> None:
        self._serve: Final = serve
        self._ended = asyncio.Event()
        self._connections: set[asyncio.Task[None]] = set()
        self.loop: asyncio.AbstractEventLoop | None = None
        self.listening = threading.Event()
        self.url = ""

    async def main(self) -> None:
        """Until `end`."""
        self.loop = asyncio.get_running_loop()
        server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        self.listening.set()
        await self._ended.wait()
        # First nobody is accepted any more: a server that closes loses the one whom it is just about to take in.
        for listener in server.sockets:
            self.loop.remove_reader(listener.fileno())
        await _turns()
        server.close()
        for task in self._connections:
            task.cancel()
        await asyncio.gather(*self._connections)
        await _turns()  # the transports hear of their end

    def end(self) -> None:
        """Cut all connections."""
        assert self.loop is not None
        self.loop.call_soon_threadsafe(self._ended.set)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        try:
            with suppress(asyncio.CancelledError, OSError, EOFError):
                await self._serve(reader, writer)
        finally:
            with suppress(asyncio.CancelledError):
                await ended(writer, at_once=self._ended.is_set())
            writer.transport.abort()
            self._connections.discard(task)


async def _turns() -> None:
    """All that the loop has to do now is done, and what follows from that."""
    for _ in range(10):
        await asyncio.sleep(0)


async def ended(writer: asyncio.StreamWriter, *, at_once: bool) -> None:
    """Close a connection, and wait for that."""
    if at_once:
        writer.transport.abort()
    writer.close()
    with suppress(OSError):
        await writer.wait_closed()


@contextmanager
def listening(serve: Serve) -> Iterator[str]:
    """The address at which `serve` is called with each connection. It may end as it likes, and by cancellation."""
    listener = _Listener(serve)
    thread = threading.Thread(target=lambda: asyncio.run(listener.main(), debug=False), name="listener")
    thread.start()
    try:
        assert listener.listening.wait(WITHIN_S)
        yield listener.url
    finally:
        listener.end()
        thread.join(WITHIN_S)
