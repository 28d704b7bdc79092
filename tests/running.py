"""The real thing, for tests: a whole `serve` in processes of its own, and a real store that can be hurt."""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeVar

from redis import Redis
from redis.exceptions import RedisError

from server.broker import binary
from server.broker.embedded import arguments, end_with
from server.broker.whereabouts import Whereabouts

T = TypeVar("T")

ROOT: Final = Path(__file__).parents[1]
START_S: Final = 30.0
END_S: Final = 30.0
PORTS: Final = range(20000, 32000)
"""Below those that the kernel gives to whoever connects: a device would take the port of a server that is down."""


def wait_until(predicate: Callable[[], T], timeout_s: float = 10.0, what: str = "") -> T:
    """What `predicate` returns once that is true; AssertionError naming `what` when it is not in time."""
    deadline = time.monotonic() + timeout_s
    while not (result := predicate()):
        assert time.monotonic() < deadline, f"not within {timeout_s:g} s: {what or predicate}"
        time.sleep(0.01)
    return result


def get(url: str) -> tuple[int, Any]:
    """Status and decoded JSON of a GET; status 0 where nobody answers."""
    try:
        with urllib.request.urlopen(url, timeout=5) as response:
            return response.status, json.load(response)
    except urllib.error.HTTPError as refused:
        with refused:
            return refused.code, json.loads(refused.read() or b"null")
    except OSError:
        return 0, None


def free_port() -> int:
    """A port of loopback that nobody listens on."""
    for port in random.sample(PORTS, 100):
        with contextlib.suppress(OSError), socket.socket() as tried:
            tried.bind(("127.0.0.1", port))
            return port
    raise AssertionError("no free port")


def _stat(pid: int) -> list[str]:
    """What the kernel says of a process, from its state on (proc(5)); nothing of one that is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def is_alive(pid: int) -> bool:
    """Whether the process runs; one that has ended and was not waited for does not."""
    return _stat(pid)[:1] not in ([], ["Z"])


def born(pid: int) -> str:
    """What tells the process from a later one of the same number."""
    return _stat(pid)[19] if is_alive(pid) else ""


def kill(pid: int) -> None:
    """`kill -9`, of one that may be gone already."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


@contextmanager
def paused(pid: int) -> Iterator[None]:
    """Alive to the kernel, and doing nothing meanwhile."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Ours without any setting of clearsync, with this checkout, any free admin port, and `extra`."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("CLEARSYNC_")}
    return clean | {"PYTHONPATH": str(ROOT), "CLEARSYNC_ADMIN__LISTEN": "127.0.0.1:0"} | dict(extra or {})


def command(*args: str) -> list[str]:
    """The command line of `clearsync` with these arguments."""
    return [sys.executable, "-P", "-m", "server", *args]


def run(*args: str, cwd: Path, env: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """`clearsync` to its end, for one that ends by itself."""
    return subprocess.run(
        command(*args), cwd=cwd, env=environment(env), capture_output=True, text=True, timeout=START_S, check=False
    )


@dataclass
class Running:
    """A `serve` that has come up. `url` and `admin_url` are as it printed them."""

    process: subprocess.Popen[bytes]
    data_dir: Path
    out: Path
    err: Path
    url: str = ""
    admin_url: str = ""
    _seen: dict[int, str] = field(default_factory=dict)

    @property
    def ws_url(self) -> str:
        """The same for a websocket."""
        return self.url.replace("http", "ws", 1)

    @property
    def port(self) -> int:
        """The public port."""
        return int(self.url.rsplit(":", 1)[1].split("/")[0])

    @property
    def pid(self) -> int:
        """The supervisor."""
        return self.process.pid

    @property
    def printed(self) -> str:
        """Its standard output so far."""
        return self.out.read_text()

    @property
    def logged(self) -> str:
        """Its standard error so far, that of the workers too."""
        return self.err.read_text()

    def worker_pids(self) -> list[int]:
        """The workers that run, the oldest first."""
        found = []
        for entry in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                child = _stat(int(entry.name))[1:2] == [str(self.pid)]
                if child and b"server.processes.worker" in (entry / "cmdline").read_bytes():
                    found.append(int(entry.name))
        self._seen.update((pid, born(pid)) for pid in found)
        return sorted(found)

    def store_pid(self) -> int:
        """The embedded store, 0 while there is none."""
        noted = Whereabouts.read(self.data_dir)
        if noted is None or not noted.pid or not is_alive(noted.pid):
            return 0
        self._seen[noted.pid] = born(noted.pid)
        return noted.pid

    def store_url(self) -> str:
        """Where the embedded store answers."""
        noted = Whereabouts.read(self.data_dir)
        assert noted, "no store is noted"
        return f"unix://{noted.socket}"

    def ready(self) -> tuple[int, Any]:
        """What the admin listener says about all workers."""
        return get(f"{self.admin_url}/ready")

    def terminate(self) -> int:
        """SIGTERM, and the exit status."""
        if self.process.poll() is None:
            self.process.terminate()
        return self.process.wait(END_S)

    def kill_all(self) -> None:
        """`kill -9` of supervisor, workers and store, and the end of all of them."""
        self.worker_pids(), self.store_pid()
        if self.process.poll() is None:
            self.process.kill()
        pids = [pid for pid, birth in self._seen.items() if birth and born(pid) == birth]
        for pid in pids:
            kill(pid)
        self.process.wait(END_S)
        wait_until(lambda: not any(map(is_alive, pids)), what="all killed processes end")

    def await_line(self) -> None:
        """Wait for `listening on …`."""

        def listening() -> bool:
            assert self.process.poll() is None, f"serve ended with {self.process.returncode}"
            return "\nlistening on " in self.printed

        wait_until(listening, START_S, "serve prints where it listens")
        said = dict(line.rsplit(" on ", 1) for line in self.printed.splitlines() if " on http" in line)
        self.url, self.admin_url = said["listening"], said.get("admin", "")
        self.worker_pids(), self.store_pid()


@contextmanager
def serving(
    *args: str,
    folder: Path,
    workers: int = 1,
    data_dir: Path | None = None,
    env: Mapping[str, str] | None = None,
    expect_exit: int | None = 0,
) -> Iterator[Running]:
    """`serve` with these arguments on free ports, until the context ends; what it prints and logs goes to `folder`.

    At the end SIGTERM, if it still runs, and its exit status has to be `expect_exit` (None: any).
    """
    data_dir = data_dir or folder / "data"
    options = ("--port", "0", "--workers", str(workers), "--data-dir", str(data_dir))
    handle, name = tempfile.mkstemp(".log", "serve-", folder)
    os.close(handle)
    out, err = Path(name).with_suffix(".out"), Path(name)
    with out.open("wb") as stdout, err.open("wb") as stderr:
        process = subprocess.Popen(
            command("serve", *options, *args),
            cwd=folder,
            env=environment(env),
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
            start_new_session=True,
        )
    running = Running(process, data_dir, out, err)
    try:
        running.await_line()
        yield running
        status = running.terminate()
        assert expect_exit is None or status == expect_exit, f"serve ended with {status}, not {expect_exit}"
    except BaseException:
        print(running.printed, running.logged, sep="\n", file=sys.stderr)
        raise
    finally:
        running.kill_all()
        if noted := Whereabouts.read(data_dir):
            noted.remove(data_dir)  # what a killed one leaves for the next to clear up


class RealStore:
    """A real store on a unix socket, which can be killed, paused and started again on the same or earlier files.

    `options` are more of Valkey's settings; they hold from the next start on.
    """

    def __init__(self, folder: Path) -> None:
        self.options: dict[str, str] = {}
        self._folder = folder
        # Not in `folder`, whose path may be too long for a socket.
        self._private = tempfile.mkdtemp(prefix="clearsync-test-", dir="/tmp")
        self._socket = os.path.join(self._private, "s")
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Where it answers, the same after each start."""
        return f"unix://{self._socket}"

    @property
    def pid(self) -> int:
        """Its process."""
        assert self._process, "the store is not running"
        return self._process.pid

    def start(self, *, wait: bool = True) -> None:
        """Start it, and wait until it answers; without `wait` it may still be reading its files."""
        assert self._process is None, "the store is running"
        self._folder.mkdir(parents=True, exist_ok=True)
        more = [part for name, value in self.options.items() for part in (f"--{name}", value)]
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [*arguments(binary.find().path, self._folder, self._socket), *more],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                preexec_fn=end_with(os.getpid()),
            )
        if wait:
            wait_until(lambda: answers(self.url), START_S, "the store answers")

    def snapshot(self) -> Path:
        """A copy of its files, with all that it has answered and nothing that comes later. It is paused meanwhile."""
        with client(self.url) as store:
            wait_until(lambda: store.info("persistence")["aof_buffer_length"] == 0, what="the file has everything")
        copy = Path(tempfile.mkdtemp(prefix="snapshot-", dir=self._private)) / "files"
        self.pause()
        try:
            wait_until(lambda: _stat(self.pid)[:1] == ["T"], what="the store has stopped")
            shutil.copytree(self._folder, copy)
        finally:
            self.resume()
        return copy

    def restore(self, snapshot: Path) -> None:
        """Put the files of a `snapshot` in place of the present ones, of a store that has ended."""
        assert self._process is None, "the store is running"
        shutil.rmtree(self._folder, ignore_errors=True)
        shutil.copytree(snapshot, self._folder)

    def kill(self) -> None:
        """`kill -9`."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """An orderly end."""
        self._end(signal.SIGTERM)

    def restart(self) -> None:
        """An orderly end, and a start."""
        self.stop()
        self.start()

    def pause(self) -> None:
        """Alive to the kernel, and silent: connections are accepted, nothing is answered."""
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """Go on where it was paused."""
        os.kill(self.pid, signal.SIGCONT)

    def close(self) -> None:
        """End it for good; idempotent."""
        if self._process is not None:
            self.kill()
        shutil.rmtree(self._private, ignore_errors=True)

    def _end(self, number: signal.Signals) -> None:
        assert self._process, "the store is not running"
        process, self._process = self._process, None
        process.send_signal(number)
        process.send_signal(signal.SIGCONT)
        process.wait(END_S)


def client(url: str) -> Redis:
    """A client for the test's own look into a store. Close it, or use it as a context."""
    return Redis.from_url(url, socket_timeout=5, socket_connect_timeout=5)


def answers(url: str) -> bool:
    """Whether a store answers, and has read its files."""
    try:
        with client(url) as store:
            return bool(store.ping())
    except (RedisError, OSError):
        return False
