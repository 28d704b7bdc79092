"""A site: where its processes run, what is said of one that fails, and that nothing of them is left."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis import Redis

from bench import site as site_module
from bench.site import Site, SiteError, family
from tests.running import ROOT, is_alive, kill, wait_until

# a parent with a child, both asleep
PARENT = "import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)']).wait()"
DEAF = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); time.sleep(60)"


def python(program: str) -> list[str]:
    return [sys.executable, "-c", program]


@pytest.fixture
def site() -> Iterator[Site]:
    with Site() as site:
        yield site


def with_child(site: Site, core: int) -> list[int]:
    """A process started on that core, and its own child."""
    process = site.start(python(PARENT), core=core)
    return wait_until(lambda: found if len(found := family(process.pid)) == 2 else [], what="a child")


def fail_in_a_site(seen: list[int], folders: list[Path]) -> None:
    with Site() as site:
        folders.append(site.folder)
        seen += with_child(site, site.server_core)
        seen.append(site.store().pid)
        assert all(map(is_alive, seen))
        raise ZeroDivisionError


def test_nothing_is_left_after_an_exception() -> None:
    seen: list[int] = []
    folders: list[Path] = []
    with pytest.raises(ZeroDivisionError):
        fail_in_a_site(seen, folders)
    assert len(seen) == 3
    wait_until(lambda: not any(map(is_alive, seen)), what="all have ended")
    assert not folders[0].exists()


def test_one_that_does_not_end_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(site_module, "END_S", 0.1)
    with Site() as site:
        pid = site.start(python(DEAF), core=site.server_core).pid
        wait_until(lambda: "deaf" in "".join(log.read_text() for log in site.folder.glob("*.log")), what="it is deaf")
    assert not is_alive(pid)


def test_a_scope_ends_what_was_started_in_it_and_no_more(site: Site) -> None:
    before = site.start(python(PARENT), core=site.server_core).pid
    with site.scope():
        within = with_child(site, site.server_core)
    wait_until(lambda: not any(map(is_alive, within)), what="they have ended")
    assert is_alive(before)


def test_processes_end_with_a_run_that_is_killed() -> None:
    program = """
        import sys, time
        from bench.site import Site
        with Site() as site:
            process = site.start([sys.executable, "-c", "import time; time.sleep(60)"], core=site.server_core)
            print(process.pid, site.folder, flush=True)
            time.sleep(60)
    """
    command = python(textwrap.dedent(program))
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as run:
        assert run.stdout is not None
        pid, folder = run.stdout.readline().split()
        assert is_alive(int(pid))
        kill(run.pid)
    wait_until(lambda: not is_alive(int(pid)), what="it ends with the run")
    for log in Path(folder).iterdir():
        log.unlink()
    Path(folder).rmdir()


def test_processes_run_on_their_core_and_nowhere_else(site: Site) -> None:
    for core in (site.server_core, site.load_core):
        assert [os.sched_getaffinity(pid) for pid in with_child(site, core)] == [{core}] * 2


def test_one_that_ends_early_leaves_its_last_words(site: Site) -> None:
    program = "import sys; print('x' * 5000, flush=True); sys.exit('no such thing')"
    with pytest.raises(SiteError, match=r"ended with 1 before: port \d+ accepts\n(.|\n)*no such thing") as raised:
        site.start(python(program), core=site.server_core, port=site.free_port())
    assert len(str(raised.value)) < 2200


def test_one_that_never_listens_is_given_up(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(site_module, "START_S", 0.1)
    with pytest.raises(SiteError, match=r"not within 0.1 s: port \d+ accepts"):
        site.start(python(PARENT), core=site.server_core, port=site.free_port())


def test_one_that_can_not_be_started_is_named(site: Site) -> None:
    with pytest.raises(SiteError, match=r"nobody/here can't be started"):
        site.start(["/nobody/here"], core=site.server_core)


def test_one_that_listens_is_waited_for(site: Site) -> None:
    port = site.free_port()
    listening = f"import socket, time; s = socket.create_server(('127.0.0.1', {port})); time.sleep(60)"
    site.start(python(listening), core=site.server_core, port=port)
    with socket.create_connection(("127.0.0.1", port), timeout=5):
        pass


def test_settings_of_ours_reach_no_candidate(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLEARSYNC_SERVER__PORT", "1")
    monkeypatch.setenv("NODE_OPTIONS", "--inspect")
    program = "import os; print([name for name in os.environ if name.startswith(('CLEARSYNC', 'NODE', 'GIVEN'))])"
    process = site.start(python(program), core=site.server_core, env={"GIVEN": "1"})
    assert process.wait(10) == 0
    assert [log.read_text().strip() for log in site.folder.glob("*.log")] == ["['GIVEN']"]


def test_a_store_answers_at_both_places_and_writes_no_file(site: Site) -> None:
    store = site.store()
    with Redis(unix_socket_path=str(store.socket)) as near, Redis(port=store.port) as far:
        near.set("a", "1")
        assert far.get("a") == b"1"
        assert near.config_get("save", "appendonly", "bind") == {"save": "", "appendonly": "no", "bind": "127.0.0.1"}
    assert os.sched_getaffinity(store.pid) == {site.load_core}
    assert family(store.pid) == [store.pid]
