"""The process of a worker: it takes orders from the supervisor, and ends with it.

    python -m server.processes.worker <descriptor of the control socket> <descriptor of the listening socket>

1. The supervisor decides. Ctrl-C and a hang-up reach every process of the group and are ignored here.
2. SIGTERM to a worker alone drains it, a second one hurries; the supervisor starts another. SIGTERM to the whole group
   is one, though the supervisor's order follows it.
3. No supervisor, no worker: the end of the control socket closes all sessions, and a second later the process ends
   whatever its loop is doing.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Final, Protocol

from server import logs
from server.app import Worker
from server.errors import StartupError
from server.processes import garbage
from server.processes.control import (
    Answer,
    Ask,
    Figures,
    Hurry,
    Order,
    Overview,
    Reload,
    Report,
    Start,
    Stop,
    line,
    lines,
    order_of,
    start_of,
)

ORPHAN_S: Final = 1.0
"""The time in which a worker says goodbye to its devices once the supervisor has gone."""


class Obedient(Protocol):
    """What an order can ask of a worker. Called on its loop."""

    def stop(self, drain_s: float, grace_s: float) -> None: ...

    def hurry(self) -> None: ...

    def reload(self) -> None: ...

    def measure(self) -> None: ...

    def told(self, overview: bytes) -> None: ...


class Orders(threading.Thread):
    """Hands the supervisor's orders to the worker, on the worker's loop.

    A thread and not a reader of the loop, so that a loop that is stuck outlives nobody.
    """

    def __init__(self, control: socket.socket, received: Iterator[bytes], worker: Obedient) -> None:
        super().__init__(daemon=True)
        self._control = control
        self._received = received
        self._worker = worker
        self._loop = asyncio.get_running_loop()
        self._ended = False

    def run(self) -> None:
        try:
            for received in self._received:
                self._tell(order_of(received))
        finally:  # nothing that goes wrong here may leave a worker that nobody can end
            if not self._ended:
                self._tell(Hurry())
                time.sleep(ORPHAN_S)
                os._exit(1)

    def end(self) -> None:
        """Take no more orders; idempotent."""
        self._ended = True
        with contextlib.suppress(OSError):
            self._control.shutdown(socket.SHUT_RD)

    def _tell(self, order: Order) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has ended
            self._loop.call_soon_threadsafe(self._do, order)

    def _do(self, order: Order) -> None:
        if isinstance(order, Stop):
            self._worker.stop(order.drain_s, order.grace_s)
        elif isinstance(order, Hurry):
            self._worker.hurry()
        elif isinstance(order, Reload):
            self._worker.reload()
        elif isinstance(order, Overview):
            self._worker.told(bytes(order.body))
        else:
            self._worker.measure()


class Service:
    """The life of one worker, reported to the supervisor."""

    def __init__(self, start: Start, control: socket.socket, listen: socket.socket) -> None:
        self._server = start.settings.server
        self._control = control
        self._worker = Worker(start.settings, start.store_url, listen, self._on_ready, self._ask)
        self._garbage = garbage.Policy(self._worker.metrics)
        self._life: asyncio.Task[None] | None = None
        self._given_up = False
        self._terminated = False

    async def run(self, received: Iterator[bytes]) -> int:
        """Serve until `stop`; the exit status. The orders still to come are read from `received`."""
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self._terminate)
        orders = Orders(self._control, received, self)
        self._life = loop.create_task(self._worker.run())
        orders.start()
        try:
            await self._life
        except asyncio.CancelledError:
            if not self._given_up:
                raise
        except StartupError as problem:
            self._say(Report(failed=str(problem), exit_code=problem.exit_code))
            return problem.exit_code
        finally:
            orders.end()
            self._garbage.stop()
        return 0

    def stop(self, drain_s: float, grace_s: float) -> None:
        """Serve on for `grace_s`, drain over `drain_s`, end. An unfinished start is given up: it may be long."""
        if self._worker.serving:
            self._worker.stop(drain_s, grace_s)
        else:
            self._give_up()

    def hurry(self) -> None:
        """End without grace and drain, or with no more of them."""
        if self._worker.serving:
            self._worker.hurry()
        else:
            self._give_up()

    def reload(self) -> None:
        """Read the users file and the TLS files again."""
        self._worker.reload()

    def measure(self) -> None:
        """Tell the supervisor what is counted."""
        self._say(Figures(list(self._worker.figures())))

    def told(self, overview: bytes) -> None:
        """The figures of all workers, which somebody asked this one for."""
        self._worker.overviews.answered(overview)

    def _ask(self) -> None:
        self._say(Ask())

    def _give_up(self) -> None:
        if self._life is not None and not self._given_up:
            self._given_up = True
            self._life.cancel()

    def _terminate(self) -> None:
        if self._terminated:
            self.hurry()
        self._terminated = True
        self.stop(self._server.drain_s, self._server.drain_grace_s)

    def _on_ready(self, ready: bool) -> None:
        self._garbage.start()  # all that it needs is there now
        self._say(Report(ready=ready))

    def _say(self, message: Answer) -> None:
        # Some kilobytes into an almost empty buffer do not block: questions come and go one at a time. A supervisor
        # that has gone is the orders' business.
        with contextlib.suppress(OSError):
            self._control.sendall(line(message))


def main() -> int:
    """Serve until told to stop; the exit status."""
    for ignored in (signal.SIGINT, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)
    control, listen = (_inherited(argument) for argument in sys.argv[1:3])
    with control, listen:
        received = lines(control)
        if (first := next(received, None)) is None:
            return 0
        start = start_of(first)
        logs.configure(start.settings.log.level, start.settings.log.format)
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            return runner.run(_serve(start, control, received, listen))


async def _serve(start: Start, control: socket.socket, received: Iterator[bytes], listen: socket.socket) -> int:
    return await Service(start, control, listen).run(received)


def _inherited(descriptor: str) -> socket.socket:
    os.set_inheritable(int(descriptor), False)
    return socket.socket(fileno=int(descriptor))


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop


if __name__ == "__main__":
    sys.exit(main())
