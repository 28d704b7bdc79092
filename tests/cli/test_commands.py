"""The commands against the real server: what a person sees who follows the README."""

from __future__ import annotations

import asyncio
import signal
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path

import httpx2
import msgspec
import pytest

from server.auth.basic import hash_password
from server.client import Clear, Client, HandledEvent, Reset, Welcome
from server.events import Event, EventType
from server.wire import HANDLED_PATH
from tests.conftest import Serve
from tests.running import command, environment

CANCELLED = {"Type": "AppointmentCancelled", "Id": 699}
TICKET = {"Type": "NewTicket", "Id": 12}


async def _typed(url: str, folder: Path, *words: str) -> Process:
    name, *rest = words
    return await asyncio.create_subprocess_exec(
        *command(name, "--url", url, "--user", "ada", *rest),
        stdout=PIPE,
        stderr=PIPE,
        stdin=asyncio.subprocess.DEVNULL,
        cwd=folder,
        env=environment({"HOME": str(folder), "XDG_STATE_HOME": str(folder)}),
    )


class Device:
    """A `clearsync listen` whose output is read."""

    def __init__(self, process: Process) -> None:
        self._process = process

    async def frame(self) -> dict[str, object]:
        """The next line."""
        assert self._process.stdout is not None
        frame: dict[str, object] = msgspec.json.decode(await self._process.stdout.readline())
        return frame

    async def events(self) -> object:
        """The events of the next line, which has to be a clear."""
        frame = await self.frame()
        assert frame["type"] == "clear"
        return frame["events"]


@asynccontextmanager
async def listening(url: str, folder: Path, device: str, *flags: str) -> AsyncIterator[Device]:
    """Connected when it begins, ended by Ctrl-C, which has to end it well."""
    process = await _typed(url, folder, "listen", "--device", device, *flags)
    try:
        found = Device(process)
        assert (await found.frame())["type"] == "welcome"
        yield found
        process.send_signal(signal.SIGINT)
        out, err = await process.communicate()
        assert (process.returncode, out, err) == (0, b"", b"")
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()


async def handled(url: str, folder: Path, *words: str) -> None:
    """`clearsync handled`, which has to succeed."""
    process = await _typed(url, folder, "handled", *words)
    out, err = await process.communicate()
    assert (process.returncode, err) == (0, b"")
    assert out.startswith(b"handled ")


async def post_sample(url: str, device: str) -> None:
    """The vendor's sample request, in which one event stands twice."""
    body = msgspec.json.encode({"NotificationEvents": [CANCELLED, CANCELLED]})
    headers = {"Content-Type": "application/json; charset=utf-8", "X-Device-Id": device}
    async with httpx2.AsyncClient(auth=("ada", "dev"), trust_env=False) as http:
        answer = await http.post(f"{url}{HANDLED_PATH}", content=body, headers=headers)
    assert (answer.status_code, answer.content) == (204, b"")


async def test_what_one_device_handled_disappears_from_the_others(serve: Serve, tmp_path: Path) -> None:
    with serve("--dev") as running:
        url = running.url
        async with listening(url, tmp_path, "desk") as desk, listening(url, tmp_path, "phone") as phone:
            await post_sample(url, device="phone")
            # What comes after shows that before it there was nothing more.
            await handled(url, tmp_path, "NewTicket:12")
            assert await desk.events() == [CANCELLED]
            assert await desk.events() == [TICKET]
            assert await phone.events() == []
            assert await phone.events() == [TICKET]


async def test_a_second_run_catches_up(serve: Serve, tmp_path: Path) -> None:
    with serve("--dev") as running:
        url = running.url
        async with listening(url, tmp_path, "desk") as desk:
            await handled(url, tmp_path, "NewTicket:12")
            assert await desk.events() == [TICKET]
        await handled(url, tmp_path, "--device", "phone", "AppointmentCancelled:699", "4:699", "NewTicket:13")
        async with listening(url, tmp_path, "desk") as desk:
            events = await desk.events()
            assert isinstance(events, list)
            assert {(e["Type"], e["Id"]) for e in events} == {("AppointmentCancelled", 699), ("NewTicket", 13)}
            assert all(e["At"] > 0 for e in events)
        async with listening(url, tmp_path, "desk", "--cursor", "0") as desk:
            assert (await desk.frame())["type"] == "reset"
            events = await desk.events()
            assert isinstance(events, list)
            assert {e["Id"] for e in events} == {12, 13, 699}


@pytest.fixture
def users_file(tmp_path: Path) -> Path:
    """In which Ada has a password."""
    path = tmp_path / "users.toml"
    path.write_text(f'[users.ada]\nhash = "{hash_password("secret")}"\ntenant = "acme"\n')
    return path


async def test_the_password_that_nobody_gave_is_refused_with_a_hint(
    serve: Serve, tmp_path: Path, users_file: Path
) -> None:
    with serve(env={"CLEARSYNC_AUTH__USERS_FILE": str(users_file)}) as running:
        for words in (["handled", "NewTicket:12"], ["listen"]):
            process = await _typed(running.url, tmp_path, *words)
            out, err = await process.communicate()
            assert (process.returncode, out) == (1, b"")
            assert b"'dev' was tried: give --password or CLEARSYNC_PASSWORD" in err
        await handled(running.url, tmp_path, "--password", "secret", "NewTicket:12")


@pytest.fixture
def agent(tmp_path: Path) -> str:
    """A name that no other test uses."""
    return f"eva-{tmp_path.name}"


async def test_the_python_client_against_the_real_server(serve: Serve, agent: str) -> None:
    ticket, cancelled = Event(EventType.NewTicket, 12), Event(EventType.AppointmentCancelled, 699)
    with serve("--dev") as running:
        async with Client(running.url, user=agent, password="x", device="desk", cursor="0") as client:
            async with aclosing(client.frames()) as frames:
                assert isinstance((await anext(frames)).frame, Welcome)
                assert isinstance((await anext(frames)).frame, Reset)
                await client.handled([ticket, ticket])
                own = (await anext(frames)).frame
                await client.handled([cancelled], device="phone")
                others = (await anext(frames)).frame
                checked = await client.check([ticket, Event(EventType.NewTicket, 13)])
            assert isinstance(own, Clear)
            assert isinstance(others, Clear)
            assert own.events == ()
            assert others.events == (HandledEvent("AppointmentCancelled", 699),)
            assert checked == (HandledEvent("NewTicket", 12, own.at),)
            # The last frame was not applied: it comes again, its own batch does not.
            async with aclosing(client.frames()) as frames:
                welcome = (await anext(frames)).frame
                assert isinstance(welcome, Welcome)
                assert welcome.cursor == own.cursor
                again = (await anext(frames)).frame
                assert isinstance(again, Clear)
                assert again.cursor == others.cursor
                assert again.events == (HandledEvent("AppointmentCancelled", 699, others.at),)


async def test_a_restart_of_the_server_is_survived(serve: Serve, tmp_path: Path, agent: str) -> None:
    reasons: list[str] = []
    with serve("--dev") as running:
        url, port = running.url, running.port
        client = Client(
            url,
            user=agent,
            password="x",
            device="desk",
            on_retry=lambda reason, _: reasons.append(reason),
            random=lambda: 0.05,
        )
        async with client, aclosing(client.frames()) as frames:
            await anext(frames)
            waiting = asyncio.ensure_future(anext(frames))
            assert await asyncio.to_thread(running.terminate) == 0
            with serve("--dev", "--port", str(port)) as running:
                assert isinstance((await waiting).frame, Welcome)
                await client.close()  # the server would wait for it, and this test for the server
    assert reasons[0].startswith("restart (1012)")
