"""`clearsync listen`: as a process where signals, pipes and terminals matter, else as a function."""

from __future__ import annotations

import asyncio
import io
import os
import pty
import re
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest

from server.cli import listen as module
from server.cli import main
from server.cli.listen import default_device, listen
from server.cli.remote import Remote
from server.client import AccessRefused, Received
from server.events import device_id
from tests.client.fake_gateway import FakeGateway, Refuse, clear, gateway, says, says_and_closes, welcome


class Seen:
    """Notes what it is given to show."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.notes: list[str] = []

    def frame(self, received: Received) -> None:
        self.texts.append(received.text)

    def retrying(self, reason: str, wait_s: float) -> None:
        self.notes.append(reason)

    def note(self, text: str) -> None:
        self.notes.append(text)


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An own place for cursors."""
    monkeypatch.setattr(module, "state_dir", lambda: tmp_path / "state")
    return tmp_path / "state"


@pytest.fixture
def broken_state(state: Path) -> Path:
    """A file where the folder should be."""
    state.touch()
    return state


async def _until_refused(fake: FakeGateway, seen: Seen, cursor: str | None = None, device: str = "phone") -> None:
    with pytest.raises(AccessRefused):
        await listen(Remote(fake.url, "ada", "dev"), device, cursor, seen)


@pytest.mark.usefixtures("state")
async def test_a_second_run_goes_on_where_the_first_ended() -> None:
    scenes = [
        says_and_closes(4003, welcome("a-1"), clear("a-2", 1)),
        says_and_closes(4003, welcome("a-2")),
        says_and_closes(4003, welcome("a-9")),
        says_and_closes(4003, welcome("0"), clear("a-5")),
        says_and_closes(4003, welcome("a-5")),
    ]
    async with gateway(*scenes) as fake:
        seen = Seen()
        await _until_refused(fake, seen)
        assert seen.texts == [welcome("a-1"), clear("a-2", 1)]
        await _until_refused(fake, seen)
        await _until_refused(fake, seen, device="desk")
        await _until_refused(fake, seen, cursor="0")
        await _until_refused(fake, seen)
        assert [fake.query(i).get("cursor") for i in range(5)] == [None, "a-2", None, "0", "a-5"]


async def test_where_the_position_cant_be_remembered_it_says_so_once_and_goes_on(broken_state: Path) -> None:
    seen = Seen()
    async with gateway(says_and_closes(4003, welcome("a-1"), clear("a-2"), clear("a-3"))) as fake:
        with pytest.raises(AccessRefused):
            await listen(Remote(fake.url, "ada", "dev"), "phone", "0", seen)
    assert len(seen.texts) == 3
    assert len(seen.notes) == 1
    assert str(broken_state) in seen.notes[0]


TICKET = "cs1." + "t" * 43


def _everything(folder: Path) -> str:
    return "".join(f"{file.name} {file.read_text()}" for file in folder.iterdir())


async def test_each_ticket_has_its_own_position_and_is_nowhere_in_it(state: Path) -> None:
    scenes = [says_and_closes(4003, welcome("a-1"), clear("a-2", 1))] + [says_and_closes(4003, welcome("a-2"))] * 3
    async with gateway(*scenes) as fake:
        for where in (
            Remote(fake.url, ticket=TICKET),
            Remote(fake.url, ticket=TICKET),
            Remote(fake.url, ticket="cs1.other"),
            Remote(fake.url, "ada", "dev"),
        ):
            with pytest.raises(AccessRefused):
                await listen(where, "phone", None, Seen())
        assert [fake.query(i).get("cursor") for i in range(4)] == [None, "a-2", None, None]
        assert fake.requests[0].headers["Authorization"] == f"SoTicket {TICKET}"
    kept = _everything(state)
    assert "a-2" in kept
    assert TICKET not in kept
    assert "ticket" not in kept


def _expiring(seconds: str) -> str:
    return welcome("a-1").replace('"ping"', f'"expires":{seconds},"ping"')


@pytest.mark.usefixtures("state")
async def test_when_the_credentials_expire_is_told_once() -> None:
    seen, before = Seen(), datetime.now(UTC).replace(microsecond=0)
    scenes = [says_and_closes(1012, _expiring("90")), says_and_closes(4003, _expiring("60"))]
    async with gateway(*scenes) as fake:
        await _until_refused(fake, seen)
    told, retried = seen.notes
    match = re.fullmatch(r"the credentials expire at (\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ), in 90 s", told)
    assert match
    assert 90 <= (datetime.fromisoformat(match[1]) - before).total_seconds() <= 100
    assert retried.startswith("restart (1012)")
    assert seen.texts == [_expiring("90"), _expiring("60")]


@pytest.mark.usefixtures("state")
@pytest.mark.parametrize("seconds", [None, "1e18", "-1"])
async def test_what_has_no_end_that_can_be_told_is_not_told(seconds: str | None) -> None:
    seen = Seen()
    scene = says_and_closes(4003, _expiring(seconds) if seconds else welcome("a-1"))
    async with gateway(scene) as fake:
        await _until_refused(fake, seen)
    assert (len(seen.texts), seen.notes) == (1, [])


def test_a_default_device_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    for host in ("laptop", "ada's laptop (2)", "ö" * 300):
        monkeypatch.setattr("socket.gethostname", lambda host=host: host)
        assert device_id(default_device()) == default_device()


@pytest.mark.usefixtures("state")
async def test_ctrl_c_where_the_password_is_asked_for_is_no_ordinary_end(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(prompt: str) -> str:
        raise KeyboardInterrupt

    terminal = io.StringIO()
    monkeypatch.setattr(terminal, "isatty", lambda: True)
    monkeypatch.setattr(sys, "stdin", terminal)
    monkeypatch.setattr("getpass.getpass", interrupted)
    for name in ("USER", "PASSWORD", "TICKET", "APP_TOKEN"):
        monkeypatch.delenv(f"CLEARSYNC_{name}", raising=False)
    async with gateway(Refuse(401, "who")) as fake:
        words = ["listen", "--url", fake.url, "--user", "ada", "--device", "phone"]
        # In a thread, because the command has its own event loop and the gateway needs this one.
        assert await asyncio.to_thread(main, words) == 130
        assert len(fake.requests) == 1


@asynccontextmanager
async def _run(
    fake: FakeGateway, tmp_path: Path, *flags: str, stdout: int = PIPE, ticket: str = ""
) -> AsyncIterator[Process]:
    who = [] if ticket else ["--user", "ada"]
    words = ["-m", "server", "listen", "--url", fake.url, *who, "--device", "phone", *flags]
    # Without what would change its output: it has to flush by itself.
    changing = ("NO_COLOR", "PYTHONUNBUFFERED")
    environment = {k: v for k, v in os.environ.items() if not k.startswith("CLEARSYNC_") and k not in changing}
    environment["XDG_STATE_HOME"] = environment["HOME"] = str(tmp_path)
    if ticket:
        environment["CLEARSYNC_TICKET"] = ticket
    process = await asyncio.create_subprocess_exec(
        sys.executable, *words, stdout=stdout, stderr=PIPE, stdin=asyncio.subprocess.DEVNULL, env=environment
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def test_piped_it_prints_frames_at_once_and_ctrl_c_ends_it_quietly(tmp_path: Path) -> None:
    frames = [welcome("a-1"), clear("a-2", 12), '{"type":"soon",  "x":"ø"}']
    async with gateway(says(*frames)) as fake, _run(fake, tmp_path) as process:
        assert process.stdout is not None
        assert [(await process.stdout.readline()).decode() for _ in frames] == [f + "\n" for f in frames]
        process.send_signal(signal.SIGINT)
        out, err = await process.communicate()
    assert (process.returncode, out, err) == (0, b"", b"")
    async with gateway(says(welcome("a-2"))) as fake:
        # Another port is another server, so another position.
        async with _run(fake, tmp_path) as process:
            assert process.stdout is not None
            await process.stdout.readline()
        assert "cursor" not in fake.query(0)


async def test_a_refusal_is_one_line_and_exit_code_1(tmp_path: Path) -> None:
    async with gateway(says_and_closes(4003, reason="not you")) as fake, _run(fake, tmp_path, "--json") as process:
        out, err = await process.communicate()
    assert (process.returncode, out, err) == (1, b"", b"clearsync: forbidden (4003): not you\n")


async def test_a_ticket_that_expires_is_told_on_stderr_and_what_to_do_then(tmp_path: Path) -> None:
    scene = says_and_closes(4001, _expiring("1.4"), reason="credentials have expired")
    async with gateway(scene) as fake, _run(fake, tmp_path, ticket=TICKET) as process:
        out, err = await process.communicate()
    assert (process.returncode, out.decode()) == (1, _expiring("1.4") + "\n")
    told, refused = err.decode().splitlines()
    assert re.fullmatch(r"clearsync: the credentials expire at .*, in 1 s", told)
    assert refused == (
        "clearsync: credentials expired (4001): credentials have expired; "
        "make a ticket with `clearsync token issue` and give it in CLEARSYNC_TICKET"
    )
    assert TICKET not in err.decode()


async def test_a_lost_connection_is_told_on_stderr(tmp_path: Path) -> None:
    scenes = [says_and_closes(1012, welcome("a-1")), says(welcome("a-1"))]
    async with gateway(*scenes) as fake, _run(fake, tmp_path) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert (await process.stderr.readline()).startswith(b"clearsync: restart (1012), reconnecting in 0.")
        assert len([await process.stdout.readline() for _ in range(2)]) == 2


async def test_a_reader_that_goes_away_ends_it_quietly(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    scene = says(welcome("a-1"), *[clear(f"a-{i}", i) for i in range(2, 2000)])
    async with gateway(scene) as fake, _run(fake, tmp_path, stdout=writing) as process:
        os.close(writing)
        os.close(reading)
        _, err = await process.communicate()
    assert (process.returncode, err) == (0, b"")


async def test_in_a_terminal_it_is_for_people(tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    async with gateway(says(welcome("a-1"), clear("a-2", 12))) as fake:
        async with _run(fake, tmp_path, stdout=theirs):
            os.close(theirs)
            shown = b""
            while b"NewTicket 12" not in shown:
                shown += await asyncio.to_thread(os.read, ours, 4096)
        assert f"\x1b[2mconnected: ada's phone at {fake.url}\x1b[0m".encode() in shown
    os.close(ours)
