"""Each row runs once for each driver. What can't be had here is skipped; in CI it fails."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from tests.browser import chromium
from tests.conformance.driver import Driver, Peer
from tests.conformance.house import Agent, Server
from tests.running import free_port

DRIVERS: Final = Path(__file__).parent / "drivers"
OWN: Final = os.environ.get("CONFORMANCE_DRIVER", "")
"""The command line of another driver, to be run in place of ours."""
NAMES: Final = ("own",) if OWN else ("python", "node-websocket", "node-sse", "chromium")


def missing(what: str) -> None:
    """Leave the tests out for this; fail where nothing may be left out."""
    if os.environ.get("CI"):
        pytest.fail(what)
    pytest.skip(what)


def command_of(name: str, page_port: int) -> list[str]:
    """How to start a driver."""
    if name == "own":
        return shlex.split(OWN)
    if name == "python":
        return [sys.executable, "-m", "tests.conformance.drivers.python_driver"]
    if name == "chromium":
        if chromium.find() is None:
            missing("there is no Chromium, `make browser` gets one")
        return [sys.executable, "-m", "tests.conformance.drivers.chromium_driver", str(page_port)]
    node = shutil.which("node")
    if not node:
        missing("Node.js is not on PATH")
    if not (DRIVERS.parent / "node_modules" / "ws").is_dir():
        missing("ws is not installed, `make test` does it")
    return [str(node), str(DRIVERS / "node_driver.mjs"), name.removeprefix("node-")]


@pytest.fixture(scope="session")
def page_port() -> int:
    """Where the page of the browser comes from."""
    return free_port()


@pytest.fixture(scope="session", params=NAMES)
def driver(request: pytest.FixtureRequest, page_port: int) -> Iterator[Driver]:
    """The client under test."""
    driver = Driver(command_of(request.param, page_port))
    try:
        yield driver
    finally:
        driver.close()


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory, page_port: int) -> Iterator[Server]:
    """A real server that stays."""
    with Server(tmp_path_factory.mktemp("server"), f"http://127.0.0.1:{page_port}") as server:
        yield server


@pytest.fixture(scope="session")
def mortal(tmp_path_factory: pytest.TempPathFactory, page_port: int) -> Iterator[Server]:
    """A real server that is killed; whoever kills it starts it again."""
    with Server(tmp_path_factory.mktemp("mortal"), f"http://127.0.0.1:{page_port}") as server:
        yield server


@pytest.fixture
def agent(server: Server) -> Agent:
    """Somebody new."""
    return Agent(server.url)


class Connect:
    """Makes clients of one agent, by default at the server that stays."""

    def __init__(self, driver: Driver, agent: Agent) -> None:
        self.driver = driver
        self.agent = agent
        self.peers: list[Peer] = []

    def __call__(self, **options: Any) -> Peer:
        self.peers.append(self.agent.client(self.driver, **options))
        return self.peers[-1]


@pytest.fixture
def connect(driver: Driver, agent: Agent) -> Iterator[Connect]:
    """Clients of `agent`, closed at the end."""
    connect = Connect(driver, agent)
    yield connect
    for peer in connect.peers:
        peer.do("close")
