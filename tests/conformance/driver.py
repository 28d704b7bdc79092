"""A driver, the small program around a client under test, and the clients in it.

What it takes and gives is written in `clients/conformance.md`: JSON lines, commands in, answers and events out.
"""

from __future__ import annotations

import json
import queue
import subprocess
import threading
from collections.abc import Callable, Sequence
from itertools import count
from typing import Any, Final, Self

from tests.gateway.devices import WITHIN_S, Pair, events_of
from tests.running import ROOT

Said = dict[str, Any]

QUICK: Final = {"backoffBaseMs": 10, "backoffCapMs": 40, "answerMs": 2000}
"""Pauses of a test, in ms."""


class Refused(Exception):
    """A command that failed, as it has to where a promise is rejected. `code` is the client's, if it has one."""

    def __init__(self, error: Said) -> None:
        super().__init__(error.get("message", ""))
        self.code = error.get("code")


class Driver:
    """The process. It serves all tests, each with clients of its own."""

    def __init__(self, command: Sequence[str]) -> None:
        self._process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self._ids = count(1)
        self._answers: dict[int, queue.SimpleQueue[Said]] = {}
        self._clients: dict[str, queue.SimpleQueue[Said]] = {}
        self._hello: queue.SimpleQueue[Said] = queue.SimpleQueue()
        self._reader = threading.Thread(target=self._read, name="driver", daemon=True)
        self._reader.start()
        hello = self._hello.get(timeout=30)
        assert hello.get("on") == "ready", hello
        self.transport: str = hello["transport"]
        self.can = frozenset(hello.get("can", ()))

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            said: Said = json.loads(line)
            if "id" in said:
                self._answers.pop(said["id"]).put(said)
            else:
                self._clients.get(said.get("client", ""), self._hello).put(said)
        self._hello.put({"on": "end"})
        for waiting in self._answers.values():
            waiting.put({"error": {"message": "the driver has ended"}})

    def ask(self, do: str, client: str, **more: Any) -> Callable[[], Any]:
        """Send a command; the answer is waited for by who calls what this returns. It raises `Refused`."""
        id_, answer = next(self._ids), queue.SimpleQueue[Said]()
        self._answers[id_] = answer
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"id": id_, "do": do, "client": client, **more}).encode() + b"\n")
        self._process.stdin.flush()

        def wait() -> Any:
            said = answer.get(timeout=2 * WITHIN_S)
            if "error" in said:
                raise Refused(said["error"])
            return said.get("ok")

        return wait

    def client(self, **options: Any) -> Peer:
        """A client that connects."""
        name = f"c{next(self._ids)}"
        self._clients[name] = queue.SimpleQueue()
        self.ask("connect", name, **options)()
        return Peer(self, name, self._clients[name])

    def close(self) -> None:
        """It ends when nobody talks to it any more."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(10)
        finally:
            self._process.kill()
            self._process.wait()
            self._reader.join(5)
            assert self._process.stdout is not None
            self._process.stdout.close()


class Peer:
    """One client in a driver. `seen` is all that it has told so far."""

    def __init__(self, driver: Driver, name: str, events: queue.SimpleQueue[Said]) -> None:
        self._driver = driver
        self._name = name
        self._events = events
        self._unread: list[Said] = []
        self.seen: list[Said] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.do("close")

    def until(self, on: str, **fields: Any) -> Said:
        """The next event of this kind, with these values; what comes before it is only noted in `seen`."""
        while True:
            try:
                said = self._events.get(timeout=WITHIN_S)
            except queue.Empty:
                raise AssertionError(f"no {on} {fields} came; there were {self.seen}") from None
            self.seen.append(said)
            if said["on"] == on and fields.items() <= said.items():
                return said

    def live(self) -> Said:
        """Wait for a connection that stands."""
        return self.until("state", state="live")

    def waiting(self) -> float:
        """Wait for a pause between tries; how long it is, in ms."""
        return float(self.until("state", state="waiting")["inMs"])

    def stopped(self) -> Said:
        """Wait for the end that comes without a `close`."""
        return self.until("state", state="stopped")

    def down(self) -> Said:
        """Wait until there is no connection, and maybe none to come."""
        while (said := self.until("state"))["state"] not in ("waiting", "stopped"):
            pass
        return said

    def clear(self) -> dict[Pair, int]:
        """The next clear, which has events: each pair with its time."""
        clear = self.until("clear")
        assert clear["events"], "an app has nothing to do for an empty clear"
        return {(event["Type"], event["Id"]): event["At"] for event in clear["events"]}

    def cleared(self, *pairs: Pair) -> dict[Pair, int]:
        """Clears up to one that has the last of `pairs`; by then all of them came."""
        found: dict[Pair, int] = {}
        while not set(pairs) <= found.keys():
            found |= self.clear()
        return found

    def settle(self) -> None:
        """Note all that was told up to now."""
        self.do("now")
        while not self._events.empty():
            self.seen.append(self._events.get())

    def told(self, on: str) -> list[Said]:
        """All events of this kind so far."""
        return [said for said in self.seen if said["on"] == on]

    def do(self, do: str, **more: Any) -> Any:
        """A command and its answer."""
        return self._driver.ask(do, self._name, **more)()

    def begin(self, do: str, **more: Any) -> Callable[[], Any]:
        """A command; its answer is what calling this gives."""
        return self._driver.ask(do, self._name, **more)

    def handled(self, *pairs: Pair) -> Any:
        """Report these."""
        return self.do("handled", events=events_of(pairs))

    def check(self, *pairs: Pair) -> dict[Pair, int]:
        """Those of the pairs that are handled, with when."""
        return {(e["Type"], e["Id"]): e["At"] for e in self.do("check", events=events_of(pairs))}

    def should_dismiss(self, pair: Pair, time: int | None = None) -> bool:
        """Whether a notification of this pair that arrives now was handled."""
        more = {} if time is None else {"time": time}
        dismiss = self.do("shouldDismiss", event=events_of([pair])[0], **more)
        assert isinstance(dismiss, bool)
        return dismiss
