"""`clearsync bench`, as it is typed, against the real server."""

from __future__ import annotations

import asyncio
import io
import json
import os
import pty
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from server.auth.basic import hash_password
from server.cli import main
from server.cli.bench import Progress, read_logins
from server.errors import BadRequest
from server.loadtest import Figures, Load, Login
from tests.loadtest.fake_server import RECORDED, fake_server
from tests.running import Running, command, environment, serving

USERS = {"ada": "secret", "bob": "with:colon "}


pytestmark = pytest.mark.usefixtures("nobody_signed_in")


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """One that knows Ada and Bob, with the limits that a server has, but for a burst."""
    folder = tmp_path_factory.mktemp("serve")
    users = folder / "users.toml"
    entries = (f'[users.{name}]\nhash = "{hash_password(key)}"\ntenant = "acme"\n' for name, key in USERS.items())
    users.write_text("\n".join(entries))
    env = {"CLEARSYNC_AUTH__USERS_FILE": str(users), "CLEARSYNC_LIMITS__REQUESTS_PER_AGENT_BURST": "100"}
    with serving(folder=folder, env=env) as running:
        yield running


@pytest.fixture
def users_file(tmp_path: Path) -> Path:
    path = tmp_path / "users"
    path.write_text("\n".join(f"{name}:{key}" for name, key in USERS.items()))
    return path


def test_the_figures_of_one_agent_are_a_table(running: Running, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("--user", "ada", "--password", "secret", "--devices", "2", "--rate", "100", "--seconds", "0.3")
    assert main(["bench", "--url", running.url, *words]) == 0
    out, err = capsys.readouterr()
    lines = out.splitlines()
    assert lines[0] == "1 agent, 2 devices each, 16 publishers, 1 event a post, 100 posts a second, for 0.3 s"
    assert lines[2].split() == ["TOTAL", "PER", "S", "P50", "MS", "P90", "P99", "P99.9", "MAX"]
    (posts, clears), missing = (int(line.split()[1]) for line in lines[3:5]), lines[6].split()
    assert clears == 2 * posts > 0
    assert missing == ["missing", "0", "of", str(clears), "clears"]
    assert err.splitlines() == [
        f"clearsync: posting to {running.url} for 0.3 s",
        "clearsync: these events are really recorded, for ada: type Unknown, ids from 1073741824 up",
    ]


def test_many_agents_are_lines_of_a_file_and_figures_json(
    running: Running, users_file: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLEARSYNC_TICKET", "cs1.x")  # flags are over it
    words = ("--users", str(users_file), "--events", "3", "--publishers", "2", "--seconds", "0.3", "--json")
    assert main(["bench", "--url", running.url, *words]) == 0
    out, err = capsys.readouterr()
    figures = json.loads(out)
    assert figures["ok"] is True
    assert figures["opened"] == 6
    assert figures["clears"] == figures["expected"] == 3 * figures["posts"] > 0
    assert figures["clear_ms"]["p50"] > 0
    assert "for ada and 1 other: type" in err


def test_more_than_the_server_takes_of_an_agent_is_no_success(
    running: Running, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("--user", "bob", "--password", USERS["bob"], "--devices", "1", "--rate", "0", "--seconds", "0.3")
    assert main(["bench", "--url", running.url, *words]) == 1
    out = capsys.readouterr().out
    assert "with 429" in out
    assert "first thing that went wrong: this agent sends more than 200 requests a second" in out
    assert "missing     0 of" in out


def test_refused_credentials_are_told_as_other_commands_do(
    running: Running, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["bench", "--url", running.url, "--user", "ada"]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert "'dev' was tried: give --password or CLEARSYNC_PASSWORD" in err


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (("--url", "https://sync.example.com", "--user", "ada", "--password", "secret"), "give --yes if you mean it"),
        (("--url", "http://sync.example.com", "--user", "ada", "--password", "secret", "--yes"), "--insecure-http"),
        (("--user", "ada", "--devices", "0"), "devices is 0, it must be from 1 to 20000"),
        (("--user", "ada", "--rate", "nan"), "rate is nan"),
        (("--user", "ada", "--users", "x"), "give --users, or --user"),
        (("--ticket", "cs1.x", "--users", "x"), "give --users, or --user"),
        (("--user", "ada", "--app-token", " "), "app_token must be printable"),
        ((), "user is missing"),
    ],
)
def test_what_can_not_be_meant_is_refused_before_anything_is_sent(
    words: tuple[str, ...], problem: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("server.cli.bench.run_load", None)
    assert main(["bench", *words]) == 1
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert problem in err
    assert "secret" not in err


def test_beyond_this_machine_the_consent_is_asked_for_before_the_password(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    monkeypatch.setattr("getpass.getpass", None)
    monkeypatch.setenv("CLEARSYNC_URL", "https://sync.example.com")
    assert main(["bench", "--user", "ada"]) == 1
    assert "give --yes" in capsys.readouterr().err


def test_a_ticket_is_one_agent(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Load] = []

    async def run_load(load: Load, *_: object) -> Figures:
        asked.append(load)
        return Figures(posts=1)

    monkeypatch.setattr("server.cli.bench.run_load", run_load)
    words = ("--url", "https://sync.example.com", "--ticket", "cs1.x", "--app-token", "a", "--yes", "--events", "2")
    assert main(["bench", *words]) == 0
    assert [login.headers for login in asked[0].logins] == [{"Authorization": "SoTicket cs1.x", "SO-AppToken": "a"}]
    assert (asked[0].url, asked[0].rate, asked[0].events) == ("https://sync.example.com", 100.0, 2)
    assert "cs1.x" not in capsys.readouterr().err


def test_a_users_file_has_a_line_for_each(tmp_path: Path) -> None:
    path = tmp_path / "users"
    path.write_bytes("ada:x\r\n\nbøb:a:b \n".encode())
    assert read_logins(path) == [("ada", "x"), ("bøb", "a:b ")]


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (None, "can't be read: No such file or directory"),
        (b"", "has no users"),
        (b"ada:x\nsecret\n", "line 2: it must be name:password"),
        (b"ada:\n", "line 1: it must be"),
        (b":secret\n", "line 1: it must be"),
        (b"\xff:x\n", "must be UTF-8"),
    ],
)
def test_a_users_file_that_is_none_is_told_without_its_secrets(
    content: bytes | None, problem: str, tmp_path: Path
) -> None:
    path = tmp_path / "users"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(BadRequest) as refused:
        read_logins(path)
    assert problem in str(refused.value)
    assert "secret" not in str(refused.value).removeprefix(str(tmp_path))


def test_progress_is_a_line_that_is_written_over() -> None:
    out = io.StringIO()
    progress = Progress(out, Load("http://x", (Login("ada", {}),), devices=3))
    progress(Figures(opened=2))
    progress(Figures(opened=3, seconds=1.2, posts=12, clears=30, missing=6))
    progress(Figures(opened=3, seconds=2.0, posts=12, clears=30, missing=6, ended="interrupted"))
    progress.close()
    assert out.getvalue().split("\r\x1b[K") == [
        "",
        "2 of 3 devices connected",
        "1 of 10 s: 12 posts, 30 clears, 6 to come",
        "ending: 12 posts, 30 clears, 6 to come; Ctrl-C ends it at once",
        "",
    ]
    assert "\n" not in out.getvalue()


class Terminal:
    """The command in one, from its start to its end."""

    def __init__(self, process: asyncio.subprocess.Process, screen: int) -> None:
        self._process = process
        self._screen = screen

    async def shows(self, text: bytes) -> None:
        """Returns once it does."""
        shown = b""
        while text not in shown:
            shown += await asyncio.to_thread(os.read, self._screen, 4096)

    def interrupt(self) -> None:
        """Ctrl-C."""
        self._process.send_signal(signal.SIGINT)

    async def ended(self) -> tuple[int | None, bytes]:
        """The exit status, and what went to stdout, which is no terminal."""
        out, _ = await self._process.communicate()
        return self._process.returncode, out


@asynccontextmanager
async def terminal(url: str, folder: Path) -> AsyncIterator[Terminal]:
    ours, theirs = pty.openpty()
    process = await asyncio.create_subprocess_exec(
        *command("bench", "--url", url, "--user", "ada", "--rate", "20", "--seconds", "60"),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=theirs,
        cwd=folder,
        env=environment({"CLEARSYNC_PASSWORD": "secret"}),
    )
    os.close(theirs)
    try:
        yield Terminal(process, ours)
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()
        os.close(ours)


async def test_in_a_terminal_it_shows_progress_and_ctrl_c_ends_it_with_what_there_is(
    running: Running, tmp_path: Path
) -> None:
    async with terminal(running.url, tmp_path) as shown:
        await shown.shows(b" of 60 s: ")
        shown.interrupt()
        status, out = await shown.ended()
    assert status == 0
    assert b"it ended before its time: interrupted" in out
    assert b"missing     0 of" in out


async def test_a_second_ctrl_c_ends_it_at_once(tmp_path: Path) -> None:
    posted = asyncio.Event()

    def post(agent: str, ids: list[int]) -> bytes:
        posted.set()
        return RECORDED  # and the clears never come

    async with fake_server() as fake:
        fake.post = post
        async with terminal(fake.url, tmp_path) as shown:
            await posted.wait()
            shown.interrupt()
            await shown.shows(b"ending: ")
            shown.interrupt()
            assert await shown.ended() == (130, b"")
