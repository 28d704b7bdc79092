"""The client with a ticket against a real server: how long it is good for, its renewal, and its end."""

from __future__ import annotations

import asyncio
import hashlib
from asyncio.subprocess import PIPE
from contextlib import aclosing
from pathlib import Path

import msgspec
import pytest

from server.auth.vault import name_of
from server.client import Clear, Client, CredentialsRefused, HandledEvent, RequestRefused, Welcome
from server.events import Event, EventType
from tests.conftest import Serve
from tests.running import Running, command, environment, run

TICKET = Event(EventType.NewTicket, 12)


def issue(running: Running, folder: Path, agent: str, ttl: str) -> str:
    """A ticket as an operator makes one."""
    done = run(
        *("token", "issue", "--agent", agent, "--ttl", ttl, "--data-dir", str(running.data_dir)),
        cwd=folder,
        env={"CLEARSYNC_AUTH__TICKETS": "true"},
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.strip()


def revoke(running: Running, folder: Path, ticket: str) -> None:
    id_ = name_of("ticket", ticket).partition(":")[2]
    assert run("token", "revoke", id_, "--data-dir", str(running.data_dir), cwd=folder).returncode == 0


async def test_a_ticket_is_renewed_on_the_open_connection_and_ends_with_its_revocation(
    serve: Serve, tmp_path: Path
) -> None:
    with serve("--dev") as running:
        short, long, other = (
            f"SoTicket {issue(running, tmp_path, agent, ttl)}"
            for agent, ttl in (("acme/ada", "1h"), ("acme/ada", "2h"), ("acme/bob", "2h"))
        )
        client = Client(running.url, authorization=short, device="phone")
        async with client, aclosing(client.frames()) as frames:
            welcome = (await anext(frames)).frame
            assert isinstance(welcome, Welcome)
            assert welcome.expires is not None
            assert 3500 < welcome.expires <= 3600
            with pytest.raises(RequestRefused, match="another agent"):
                await client.refresh(other)
            expires_s = await client.refresh(long)
            assert expires_s is not None
            assert 7100 < expires_s <= 7200
            await asyncio.to_thread(
                revoke, running, tmp_path, short.removeprefix("SoTicket ")
            )  # the connection stands on the other by now
            await client.handled([TICKET], device="desk")
            cleared = (await anext(frames)).frame
            assert isinstance(cleared, Clear)
            assert cleared.events == (HandledEvent("NewTicket", 12),)
            await asyncio.to_thread(revoke, running, tmp_path, long.removeprefix("SoTicket "))
            with pytest.raises(CredentialsRefused, match="4001"):
                await anext(frames)
            with pytest.raises(CredentialsRefused, match="401"):
                await client.handled([TICKET])


async def test_where_an_application_token_is_wanted_it_is_said_and_can_be_given(serve: Serve, tmp_path: Path) -> None:
    token = "app-1"
    wanted = {
        "CLEARSYNC_AUTH__TICKETS": "true",
        "CLEARSYNC_AUTH__APP_TOKENS": hashlib.sha256(token.encode()).hexdigest(),
    }
    with serve(env=wanted) as running:
        ticket = issue(running, tmp_path, "acme/ada", "1h")

        def handled(app_token: str) -> tuple[int, str, str]:
            mine = environment({"CLEARSYNC_TICKET": ticket, "CLEARSYNC_APP_TOKEN": app_token})
            done = run("handled", "--url", running.url, "NewTicket:12", cwd=tmp_path, env=mine)
            return done.returncode, done.stdout, done.stderr

        refused = "clearsync: SO-AppToken is missing or not known, SoTicket needs it here (401); give"
        assert await asyncio.to_thread(handled, "") == (
            *(1, ""),
            f"{refused} the application's token in CLEARSYNC_APP_TOKEN, or with --app-token\n",
        )
        assert await asyncio.to_thread(handled, "app-2") == (
            *(1, ""),
            f"{refused} the right one in CLEARSYNC_APP_TOKEN, or with --app-token\n",
        )
        assert await asyncio.to_thread(handled, token) == (0, "handled 1 event\n", "")
        client = Client(running.url, authorization=f"SoTicket {ticket}", app_token=token, device="phone")
        async with client, aclosing(client.frames()) as frames:
            assert isinstance((await anext(frames)).frame, Welcome)
            assert await client.refresh(f"SoTicket {issue(running, tmp_path, 'acme/ada', '2h')}")


async def test_the_commands_with_a_ticket(serve: Serve, tmp_path: Path) -> None:
    with serve("--dev") as running:
        ticket = issue(running, tmp_path, "acme/ada", "1h")
        mine = environment({"HOME": str(tmp_path), "XDG_STATE_HOME": str(tmp_path), "CLEARSYNC_TICKET": ticket})
        listening = await asyncio.create_subprocess_exec(
            *command("listen", "--url", running.url, "--device", "desk"),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=PIPE,
            stderr=PIPE,
            env=mine,
        )
        try:
            assert listening.stdout is not None
            assert msgspec.json.decode(await listening.stdout.readline())["type"] == "welcome"
            words = ("handled", "--url", running.url, "NewTicket:12")
            done = await asyncio.to_thread(run, *words, cwd=tmp_path, env=mine)
            assert (done.returncode, done.stdout, done.stderr) == (0, "handled 1 event\n", "")
            frame = msgspec.json.decode(await listening.stdout.readline())
            assert frame["events"] == [{"Type": "NewTicket", "Id": 12}]
            await asyncio.to_thread(revoke, running, tmp_path, ticket)
            _, err = await listening.communicate()
        finally:
            if listening.returncode is None:
                listening.kill()
                await listening.communicate()
        assert listening.returncode == 1
        told, refused = err.decode().splitlines()
        assert told.startswith("clearsync: the credentials expire at ")
        assert "(4001)" in refused
        assert "make a ticket with `clearsync token issue`" in refused
        assert ticket not in err.decode()
