"""The real servers of the suite, and who reports to them."""

from __future__ import annotations

import base64
import http.client
import json
from contextlib import AbstractContextManager, ExitStack
from itertools import count
from pathlib import Path
from typing import Any, Final, Self

from server.wire import HANDLED_PATH
from tests.conformance.driver import QUICK, Driver, Peer
from tests.gateway.devices import WITHIN_S, Pair, events_of
from tests.running import Running, free_port, run, serving

_NUMBERS: Final = count(1)


def ticket(id_: int) -> Pair:
    """An event."""
    return ("NewTicket", id_)


class Agent:
    """Somebody of whom the server has never heard, and what is reported for him from elsewhere."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.name = f"agent-{next(_NUMBERS)}"
        self.credentials: dict[str, str] = {"user": self.name, "password": "x"}

    def handled(self, *pairs: Pair, url: str | None = None) -> None:
        """Another device has handled these."""
        host = (url or self.url).removeprefix("http://")
        basic = base64.b64encode(f"{self.name}:x".encode()).decode()
        headers = {"Authorization": f"Basic {basic}", "Content-Type": "application/json", "X-Device-Id": "elsewhere"}
        connection = http.client.HTTPConnection(host, timeout=WITHIN_S)
        try:
            connection.request("POST", HANDLED_PATH, json.dumps({"NotificationEvents": events_of(pairs)}), headers)
            answer = connection.getresponse()
            assert answer.status == 204, answer.read()
        finally:
            connection.close()

    def client(self, driver: Driver, **more: Any) -> Peer:
        """A client for this agent, with a device of its own unless told otherwise."""
        options: dict[str, Any] = {"url": self.url, "agent": self.name, "device": f"device-{next(_NUMBERS)}"}
        options |= {"credentials": self.credentials, "timing": QUICK}
        return driver.client(**options | more)


class Server(AbstractContextManager["Server"]):
    """A real one, which may be killed and comes back on the same port with the same data."""

    def __init__(self, folder: Path, *origins: str) -> None:
        self._folder = folder
        self._port = free_port()
        self._env = {"CLEARSYNC_GATEWAY__ALLOWED_ORIGINS": ",".join(origins)}
        self._stack = ExitStack()
        self.running: Running | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @property
    def url(self) -> str:
        """Where it listens, the same for its whole life."""
        return f"http://127.0.0.1:{self._port}"

    def start(self) -> None:
        """Once more."""
        serve = serving("--dev", "--port", str(self._port), folder=self._folder, env=self._env, expect_exit=None)
        self.running = self._stack.enter_context(serve)

    def kill(self) -> None:
        """SIGKILL for all of it, the store too."""
        assert self.running
        self.running.kill_all()
        self._stack.close()

    def issue(self, agent: Agent, *more: str) -> str:
        """A ticket of an agent of `--dev`, as an `Authorization`."""
        words = ("token", "issue", "--agent", f"dev/{agent.name}", "--ttl", "1h", *more)
        return f"SoTicket {self._run(*words).strip()}"

    def revoke_all(self, agent: Agent) -> None:
        """No ticket of his is good any more."""
        self._run("token", "revoke", "--agent", f"dev/{agent.name}")

    def _run(self, *words: str) -> str:
        assert self.running
        settings = {"CLEARSYNC_AUTH__TICKETS": "true"}
        done = run(*words, "--data-dir", str(self.running.data_dir), cwd=self._folder, env=settings)
        assert done.returncode == 0, done.stderr
        return done.stdout
