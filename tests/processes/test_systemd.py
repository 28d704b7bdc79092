"""What systemd is told, on a datagram socket as it makes one, by a whole `serve`; and the unit in `config/`."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import secrets
import signal
import socket
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from server.broker.embedded import END_S
from server.cli import main
from server.errors import SettingsError
from server.processes.children import GRACE_S
from server.processes.systemd import Notifier
from server.settings import Settings
from tests.conftest import Serve
from tests.running import kill
from tests.test_packaging import known_settings, read

UP = ["STATUS=1 of 2 workers ready", "STATUS=2 of 2 workers ready", "READY=1"]


class Systemd:
    """The receiving end. `place` is what NOTIFY_SOCKET says."""

    def __init__(self, place: str) -> None:
        self.place = place
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(place.replace("@", "\0", 1))
        self._socket.settimeout(20)

    def next(self) -> str:
        """The next message."""
        return self._socket.recv(4096).decode()

    def next_news(self) -> str:
        """The next one that does not just feed the watchdog."""
        while (message := self.next()) == "WATCHDOG=1":
            pass
        return message

    def all(self) -> list[str]:
        """What has come so far."""
        self._socket.setblocking(False)
        messages = []
        try:
            while True:
                messages.append(self.next())
        except BlockingIOError:
            return messages

    def close(self) -> None:
        self._socket.close()


@pytest.fixture(params=["path", "abstract"])
def systemd(request: pytest.FixtureRequest) -> Iterator[Systemd]:
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        place = f"{folder}/notify" if request.param == "path" else f"@clearsync-test-{secrets.token_hex(8)}"
        with closing(Systemd(place)) as receiver:
            yield receiver


def environment_of(pid: int) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/environ").read_bytes().decode().split("\0")
    return dict(line.split("=", 1) for line in lines if "=" in line)


# --- a whole service ---


@pytest.mark.faults
def test_it_is_told_how_the_service_is(serve: Serve, systemd: Systemd) -> None:
    env = {"NOTIFY_SOCKET": systemd.place, "CLEARSYNC_SERVER__DRAIN_GRACE_S": "2", "CLEARSYNC_SERVER__DRAIN_S": "0"}
    with serve("--dev", workers=2, env=env) as running:
        assert [systemd.next() for _ in UP] == UP
        first, second = running.worker_pids()
        for pid in (first, second, running.store_pid()):
            assert not environment_of(pid).keys() & {"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"}

        kill(first)
        assert [systemd.next() for _ in UP[:2]] == UP[:2]

        before = time.monotonic_ns() // 1000
        os.kill(running.pid, signal.SIGHUP)
        reloading, at = systemd.next().split("\nMONOTONIC_USEC=")
        assert reloading == "RELOADING=1"
        assert before <= int(at) <= time.monotonic_ns() // 1000
        assert systemd.next() == "READY=1"

        running.process.terminate()
        within_us = int((2 + GRACE_S + END_S) * 1_000_000)
        assert systemd.next() == f"STOPPING=1\nEXTEND_TIMEOUT_USEC={within_us}"
        assert systemd.next() == "STATUS=stopping"
        assert running.process.wait(30) == 0
        assert systemd.all() == []


@pytest.mark.faults
@pytest.mark.parametrize("systemd", ["path"], indirect=True)
def test_the_watchdog_is_fed_until_the_end(serve: Serve, systemd: Systemd) -> None:
    env = {"NOTIFY_SOCKET": systemd.place, "WATCHDOG_USEC": "200000", "CLEARSYNC_SERVER__DRAIN_GRACE_S": "2"}
    with serve("--dev", env=env) as running:
        assert [systemd.next() for _ in range(2)] == ["STATUS=1 of 1 workers ready", "READY=1"]
        assert [systemd.next() for _ in range(5)] == ["WATCHDOG=1"] * 5
        running.process.terminate()
        assert systemd.next_news().startswith("STOPPING=1")
        assert systemd.next_news() == "STATUS=stopping"
        assert [systemd.next() for _ in range(5)] == ["WATCHDOG=1"] * 5


@pytest.mark.faults
@pytest.mark.parametrize("systemd", ["path"], indirect=True)
async def test_a_watchdog_that_reads_nothing_holds_nobody_up(systemd: Systemd) -> None:
    """The kernel keeps so many datagrams for it, then a sender has to wait."""
    told = Notifier({"NOTIFY_SOCKET": systemd.place, "WATCHDOG_USEC": "200"})
    told.ready()
    feeding = asyncio.create_task(told.run())
    with closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)) as other:
        other.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while True:
                other.sendto(b"x", systemd.place)
    begun = time.monotonic()
    for _ in range(20):
        await asyncio.sleep(0.001)
    assert not feeding.done()
    assert time.monotonic() - begun < 3.0, "20 times the wait of news would be 10 s"
    feeding.cancel()


# --- the notifier ---


def notifier(**environ: str) -> Notifier:
    return Notifier({"NOTIFY_SOCKET": "/nowhere", **environ})


def test_the_watchdog_is_ours_where_systemd_means_us() -> None:
    assert notifier(WATCHDOG_USEC="30000000").watchdog_s == 30.0
    assert notifier(WATCHDOG_USEC="30000000", WATCHDOG_PID=str(os.getpid())).watchdog_s == 30.0
    assert notifier(WATCHDOG_USEC="30000000", WATCHDOG_PID="1").watchdog_s == 0.0
    assert notifier(WATCHDOG_USEC="soon").watchdog_s == 0.0
    assert notifier().watchdog_s == 0.0
    assert Notifier({"WATCHDOG_USEC": "30000000"}).watchdog_s == 0.0


async def test_the_watchdog_is_fed_twice_as_often_as_it_must(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []

    async def no_pause(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 3:
            raise asyncio.CancelledError

    monkeypatch.setattr("server.processes.systemd.asyncio.sleep", no_pause)
    with pytest.raises(asyncio.CancelledError):
        await notifier(WATCHDOG_USEC="30000000").run()
    assert pauses == [15.0] * 3
    await notifier().run()  # nobody watches


def test_what_is_for_us_is_taken_out_of_the_environment() -> None:
    environ = {"NOTIFY_SOCKET": "/nowhere", "WATCHDOG_PID": "1", "WATCHDOG_USEC": "1", "HOME": "/"}
    Notifier(environ)
    assert environ == {"HOME": "/"}


@pytest.mark.parametrize("place", [None, "", "/nowhere/to/be/found", "vsock:2:1", "@nobody-listens"])
def test_without_anybody_to_tell_nothing_happens(place: str | None) -> None:
    told = Notifier({} if place is None else {"NOTIFY_SOCKET": place})
    told.status("x")
    told.ready()
    told.reloading()
    told.stopping(1.0)


# --- the unit ---


def unit() -> dict[str, list[str]]:
    """What its `[Service]` says, each key with its values in order."""
    section, found = "", dict[str, list[str]]()
    for line in read("config/clearsync.service").splitlines():
        if not line or line.startswith("#"):
            continue
        if match := re.fullmatch(r"\[(\w+)\]", line):
            section = match[1]
        elif section == "Service":
            key, equals, value = line.partition("=")
            assert equals, line
            found.setdefault(key, []).append(value)
    return found


def seconds(text: str) -> float:
    number, what = re.fullmatch(r"(\d+)(s|min)", text).groups()  # type: ignore[union-attr]  # the test fails there
    return timedelta(**{{"s": "seconds", "min": "minutes"}[what]: int(number)}).total_seconds()


def unit_settings() -> Settings:
    return known_settings(dict(value.split("=", 1) for value in unit()["Environment"]))


def test_the_unit_sets_what_there_is_to_set() -> None:
    settings = unit_settings()
    assert settings.store.url == "embedded"
    (state,) = unit()["StateDirectory"]
    assert settings.store.data_dir == f"%S/{state}"
    assert unit()["ProtectSystem"] == ["strict"]
    assert unit()["PrivateTmp"] == ["yes"], "the folder of the store's socket is in /tmp"
    (configuration,) = unit()["ConfigurationDirectory"]
    assert Path(settings.auth.users_file).parent == Path("/etc", configuration)


def test_the_unit_leaves_time_for_an_end_in_order() -> None:
    server = unit_settings().server
    assert server.drain_grace_s > 0
    assert seconds(unit()["TimeoutStopSec"][0]) > server.drain_grace_s + server.drain_s + GRACE_S + END_S
    assert unit()["KillMode"] == ["mixed"]


def test_the_unit_speaks_the_protocol() -> None:
    there = unit()
    assert (there["Type"], there["NotifyAccess"]) == (["notify"], ["main"])
    assert there["ExecReload"] == ["/bin/kill -HUP $MAINPID"]
    assert seconds(there["WatchdogSec"][0]) >= 10
    assert there["Restart"] == ["on-failure"]
    assert there["RestartPreventExitStatus"] == [str(SettingsError.exit_code)]
    assert int(there["LimitNOFILE"][0]) >= 65536


def test_what_the_unit_starts_is_a_command(monkeypatch: pytest.MonkeyPatch) -> None:
    program, *arguments = unit()["ExecStart"][0].split()
    assert Path(program).name == "clearsync"
    called: list[Any] = []
    monkeypatch.setattr("server.cli.serve.run", called.append)
    assert main(arguments) == 0
    assert called
