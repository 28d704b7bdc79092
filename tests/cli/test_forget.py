"""``clearsync forget``: after it nothing says that there was such a person."""

from __future__ import annotations

import asyncio
import io
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from server.auth.principal import DEFAULT_SCOPES, Principal
from server.auth.vault import Grant, encode, name_of
from server.broker.whereabouts import Whereabouts
from server.cli import main
from server.events import AgentId, Batch, Event, EventType
from tests.broker.conftest import broker_on
from tests.broker.test_control import Heard
from tests.cli.conftest import Shell
from tests.conftest import Serve
from tests.running import RealStore, client, command, environment, run, wait_until

ADA, EVA = AgentId.of("acme", "Ådå"), AgentId.of("acme", "eva")
WHO = "acme/ådå"
BATCH = Batch([Event(EventType.NewTicket, number) for number in range(3)])


def keep(raw: Any, agent: AgentId) -> set[str]:
    """A grant of each kind; their names."""
    grant = encode(Grant.of(Principal(agent, DEFAULT_SCOPES), time.time(), time.time() + 3600))
    names = {name_of(kind, agent.tag) for kind in ("ticket", "web", "once")}
    raw.mset({f"cs:{name}": grant for name in names})
    return names


async def test_all_of_one_agent_is_erased_and_everybody_told(shell: Shell, store_url: str, raw: Any) -> None:
    heard = Heard()
    async with broker_on(store_url, control=heard) as broker:
        cursor = await broker.record(ADA, BATCH, None)
        await broker.record(EVA, BATCH, None)
        for agent in (ADA, EVA):
            raw.zadd(f"cs:{{{agent.tag}}}:sessions", {"device": 1})
        names, others = keep(raw, ADA), keep(raw, EVA)
        out = await asyncio.to_thread(shell, "forget", "--agent", WHO, "--yes")
        assert (shell.status, shell.err) == (0, "")
        assert out == "erased acme/ådå: 3 handled events, 1 ticket, 1 browser session, 1 one-use ticket\n"
        await heard.until(lambda: len(heard.messages) == 4, within_s=1)
        assert {bytes(message).decode() for message in heard.messages[:3]} == {f"revoked {name}" for name in names}
        assert heard.messages[3] == b"forgotten acme/%C3%A5d%C3%A5"
        assert set(raw.keys()) == {
            b"cs:store", b"cs:{acme/eva}", b"cs:{acme/eva}:sessions", *(f"cs:{name}".encode() for name in others)
        }  # fmt: skip
        again = await broker.read(ADA, cursor)
        assert (again.reset, again.entries) == (True, []), "a device that comes back begins anew"


def test_to_repeat_it_is_no_mistake(shell: Shell, raw: Any) -> None:
    keep(raw, ADA)
    shell("forget", "--agent", WHO, "--yes")
    assert shell.out.startswith("erased acme/ådå: 0 handled events, 1 ticket,")
    for _ in range(2):
        shell("forget", "--agent", WHO, "--yes")
        assert (shell.status, shell.out, shell.err) == (0, "nothing was found of acme/ådå\n", "")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("answer", "kept"), [("y\n", 0), ("Yes\n", 0), ("n\n", 3), ("\n", 3), ("", 3), ("yesterday\n", 3)]
)
def test_in_a_terminal_it_asks(shell: Shell, raw: Any, answer: str, kept: int, monkeypatch: pytest.MonkeyPatch) -> None:
    keep(raw, ADA)
    monkeypatch.setattr(sys, "stdin", Terminal(answer))
    shell("forget", "--agent", WHO)
    assert raw.dbsize() == kept
    assert shell.status == (1 if kept else 0)
    assert shell.out.startswith("nothing was erased" if kept else "erased")
    assert shell.err == "erase everything of acme/ådå, for good? [y/N] "


def test_without_one_it_must_be_told(shell: Shell, raw: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    keep(raw, ADA)
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n"))
    shell("forget", "--agent", WHO)
    assert (shell.status, shell.out) == (1, "")
    assert "give --yes" in shell.err
    assert raw.dbsize() == 3


def test_whom_must_be_said(shell: Shell) -> None:
    with pytest.raises(SystemExit):
        shell("forget", "--yes")
    shell("forget", "--yes", "--agent", "ada")
    assert shell.status == 1
    assert "it must be TENANT/NAME" in shell.err


def test_the_file_of_the_embedded_store_forgets_too(
    real_store: RealStore, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def in_files(text: str) -> bool:
        files = [path.read_bytes() for path in (tmp_path / "store").rglob("*") if path.is_file() and path.name != "log"]
        return any(text.encode() in content for content in files)

    monkeypatch.delenv("CLEARSYNC_CONFIG", raising=False)
    Whereabouts(real_store.url.removeprefix("unix://")).write(tmp_path)
    with client(real_store.url) as raw:
        raw.config_set("rdbcompression", "no")  # else nothing could be found
        keep(raw, ADA), keep(raw, EVA)
        assert in_files(f'"{ADA.associate}"'), "appended at once"
        raw.execute_command("ACL", "SETUSER", "default", "-bgrewriteaof")  # refused as while one is under way
        assert main(["forget", "--agent", WHO, "--yes", "--data-dir", str(tmp_path)]) == 0
        assert "repeat this in a minute" in capsys.readouterr().err
        raw.execute_command("ACL", "SETUSER", "default", "+bgrewriteaof")
        assert main(["forget", "--agent", WHO, "--yes", "--data-dir", str(tmp_path)]) == 0
        assert not capsys.readouterr().err
    wait_until(lambda: not in_files(f'"{ADA.associate}"'), what="the store's file is written anew")
    assert in_files('"eva"')


def test_an_agent_of_a_service_that_runs(serve: Serve, tmp_path: Path) -> None:
    with serve("--dev") as running:
        where = ("--data-dir", str(running.data_dir))
        assert run("handled", "--url", running.url, "--user", "Ada", "4:1", "4:2", cwd=tmp_path).returncode == 0
        done = run("forget", "--agent", "dev/ada", "--yes", *where, cwd=tmp_path)
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.startswith("erased dev/ada: 2 handled events, 0 tickets,")
        with client(running.store_url()) as raw:
            assert raw.keys() == [b"cs:store"]


async def test_a_device_that_listens_is_told_what_happened_and_what_to_do(serve: Serve, tmp_path: Path) -> None:
    with serve("--dev") as running:
        listening = await asyncio.create_subprocess_exec(
            *command("listen", "--url", running.url, "--user", "ada", "--password", "x", "--device", "desk"),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=environment({"HOME": str(tmp_path), "XDG_STATE_HOME": str(tmp_path)}),
        )
        try:
            assert listening.stdout is not None
            await listening.stdout.readline()
            words = ("forget", "--agent", "dev/ada", "--yes", "--data-dir", str(running.data_dir))
            await asyncio.to_thread(run, *words, cwd=tmp_path)
            _, err = await listening.communicate()
        finally:
            if listening.returncode is None:
                listening.kill()
                await listening.communicate()
    assert (listening.returncode, err.decode()) == (
        1,
        "clearsync: credentials expired (4001): this agent was forgotten; "
        "what was kept of it is erased, start again to begin anew\n",
    )
