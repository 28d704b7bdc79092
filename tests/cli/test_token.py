"""``clearsync token``, on a real store and on that of a running service."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path
from typing import Any

import pytest

from server.auth.principal import DEFAULT_SCOPES, Scope
from server.auth.tickets import Tickets
from server.auth.vault import Grant, decode, encode, name_of
from server.errors import Unauthenticated
from server.events import AgentId
from tests.broker.conftest import broker_on
from tests.broker.test_control import Heard
from tests.cli.conftest import TICKET, Shell, everything, id_of
from tests.conftest import Serve
from tests.running import client, run

DAY_S = 86_400


# issue


def test_a_ticket_is_printed_alone_and_kept_as_a_hash(shell: Shell, raw: Any) -> None:
    ticket = shell.issue(agent="Acme/Ada")
    assert (shell.out, shell.err) == (f"{ticket}\n", "")
    key = f"cs:{name_of('ticket', ticket)}"
    grant = decode(raw.get(key))
    assert grant.principal("x").agent == AgentId.of("acme", "ada")
    assert frozenset(grant.scopes) == DEFAULT_SCOPES
    assert grant.expires_at - grant.issued_at == pytest.approx(30 * DAY_S)
    assert 30 * DAY_S - 60 < raw.ttl(key) <= 30 * DAY_S
    assert ticket[4:].encode() not in everything(raw)


async def test_a_service_takes_it_until_it_is_revoked(shell: Shell, store_url: str) -> None:
    ticket = shell.issue("acme/ada", "1h", "--scope", "admin", "--scope", "sync:read")
    heard = Heard()
    async with broker_on(store_url, control=heard) as broker:
        tickets = Tickets(broker.vault)
        principal = await tickets.verify(ticket.encode(), None)
        assert (principal.agent, principal.scopes) == (
            AgentId.of("acme", "ada"),
            frozenset({Scope.ADMIN, Scope.SYNC_READ}),
        )
        await asyncio.to_thread(shell, "token", "revoke", id_of(ticket))
        await heard.until(lambda: bool(heard.messages), within_s=1)
        assert heard.messages == [f"revoked {name_of('ticket', ticket)}".encode()]
        with pytest.raises(Unauthenticated):
            await tickets.verify(ticket.encode(), None)


@pytest.mark.parametrize(
    ("ttl", "seconds"),
    [("1s", 1), ("90s", 90), ("15m", 900), ("12h", 43_200), ("30d", 30 * DAY_S), ("3650d", 3650 * DAY_S)],
)
def test_how_long_it_is_good_for(shell: Shell, raw: Any, ttl: str, seconds: int) -> None:
    key = f"cs:{name_of('ticket', shell.issue(ttl=ttl))}"
    assert seconds * 1000 - 900 < raw.pttl(key) <= seconds * 1000


@pytest.mark.parametrize("ttl", ["", "0s", "30", "d", "-1d", "1.5h", "3651d", "99999999999s", "30D", "1w", "٣d", "1d "])
def test_a_time_that_is_none_is_refused(shell: Shell, raw: Any, ttl: str) -> None:
    shell("token", "issue", "--agent", "acme/ada", f"--ttl={ttl}")
    assert (shell.status, shell.out) == (1, "")
    assert f"ttl is {ttl!r}, it must be" in shell.err
    assert not raw.dbsize()


@pytest.mark.parametrize("words", ["--agent acme/ada", "--ttl 1d", "--agent acme/ada --ttl 1d --scope all"])
def test_what_it_is_for_must_be_said(shell: Shell, words: str) -> None:
    with pytest.raises(SystemExit) as ended:
        shell("token", "issue", *words.split())
    assert ended.value.code == 2


def test_one_that_the_service_may_refuse_comes_with_a_warning(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLEARSYNC_AUTH__TICKETS", "false")
    shell.issue()
    assert shell.err == (
        "clearsync: auth.tickets is off in these settings: a service with the same refuses this ticket, "
        "unless it runs with --dev\n"
    )


# list


def test_the_table_shows_all_but_the_tickets(shell: Shell, raw: Any) -> None:
    assert shell("token", "list").split() == ["ID", "AGENT", "SCOPES", "ISSUED", "EXPIRES"]
    eva, ada = shell.issue("acme/eva"), shell.issue("acme/ada", "1d", "--scope", "sync:read")
    lines = shell("token", "list").splitlines()
    assert len(lines) == 3
    assert [line.split()[:2] for line in lines[1:]] == [[id_of(ada), "acme/ada"], [id_of(eva), "acme/eva"]]
    assert re.fullmatch(r"\w{12}  acme/ada  sync:read +\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ  \d{4}-\d\d-\d\dT\S+Z", lines[1])
    assert "handled:write sync:read" in lines[2]
    for ticket in (eva, ada):
        assert ticket[4:] not in shell.out
        assert ticket[4:].encode() not in everything(raw)


def test_the_lines_of_json(shell: Shell) -> None:
    eva = shell.issue("acme/eva")
    shell.issue("acme/ada")
    shell.issue("other/eva")
    line = json.loads(shell("token", "list", "--json", "--agent", "ACME/eva"))
    assert line.pop("issued") < line.pop("expires")
    assert line == {"id": id_of(eva), "agent": "acme/eva", "scopes": ["handled:write", "sync:read"]}
    assert len(shell("token", "list", "--json").splitlines()) == 3


def test_what_is_no_grant_is_left_out_with_a_word(shell: Shell, raw: Any) -> None:
    nonsense = [f"cs:ticket:{number:064x}" for number in range(4)]
    raw.set(nonsense[0], b"\xff")
    raw.set(nonsense[1], b"{}")
    raw.lpush(nonsense[2], "x")
    raw.set(nonsense[3], encode(Grant(tenant="", agent="x", scopes=(), issued_at=0, expires_at=1)))
    raw.set("cs:ticket:short", "another's")
    raw.set("cs:ticket:" + "0" * 65, "another's")
    raw.set("cs2:ticket:" + "0" * 64, "another's")
    ticket = shell.issue()
    assert [line.split()[0] for line in shell("token", "list").splitlines()[1:]] == [id_of(ticket)]
    assert (shell.status, shell.err.count("is no grant, left out")) == (0, 4)


def test_many_are_listed_once_each(shell: Shell, raw: Any) -> None:
    value = encode(Grant(tenant="acme", agent="ada", scopes=(), issued_at=0, expires_at=9e9))
    raw.mset({f"cs:ticket:{number:064x}": value for number in range(1203)})
    assert len(shell("token", "list", "--json").splitlines()) == 1203
    assert len(shell("token", "revoke", "--agent", "acme/ada").splitlines()) == 1203
    assert not raw.dbsize()


# revoke


def test_those_that_are_named_end_and_no_other(shell: Shell) -> None:
    one, two, three = (shell.issue() for _ in range(3))
    out = shell("token", "revoke", id_of(one).upper(), id_of(two, 8), id_of(two, 64))
    assert (shell.status, out) == (0, f"revoked {id_of(one)} acme/ada\nrevoked {id_of(two)} acme/ada\n")
    assert [line.split()[0] for line in shell("token", "list").splitlines()[1:]] == [id_of(three)]


def test_what_is_not_found_does_not_keep_the_rest_alive(shell: Shell) -> None:
    ticket = shell.issue()
    out = shell("token", "revoke", "00000000", id_of(ticket))
    assert (shell.status, out) == (1, f"revoked {id_of(ticket)} acme/ada\n")
    assert shell.err == "clearsync: no ticket 00000000\n"
    shell("token", "revoke", id_of(ticket))
    assert (shell.status, shell.out) == (1, "")


def test_an_id_that_begins_two_ends_none(shell: Shell, raw: Any) -> None:
    value = encode(Grant(tenant="acme", agent="ada", scopes=(), issued_at=0, expires_at=9e9))
    raw.mset({f"cs:ticket:{'ab' * 4}{number:056x}": value for number in range(2)})
    shell("token", "revoke", "ab" * 4)
    assert (shell.status, shell.out) == (1, "")
    assert "abababab begins 2 tickets" in shell.err
    assert raw.dbsize() == 2
    shell("token", "revoke", f"{'ab' * 4}{1:056x}")
    assert (shell.status, raw.dbsize()) == (0, 1)


def test_all_of_an_agent_end(shell: Shell) -> None:
    shell.issue("acme/ada"), shell.issue("acme/Ada")
    eva = shell.issue("acme/eva")
    assert len(shell("token", "revoke", "--agent", "acme/ada").splitlines()) == 2
    assert [line.split()[0] for line in shell("token", "list").splitlines()[1:]] == [id_of(eva)]
    shell("token", "revoke", "--agent", "acme/ada")
    assert (shell.status, shell.err) == (1, "clearsync: acme/ada has no tickets\n")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("", "give ids or --agent"),
        ("abcdefab --agent acme/ada", "give ids or --agent"),
        ("abcdefa", "8 digits or more"),
        ("nothexno", "8 digits or more"),
        ("********", "8 digits or more"),
    ],
)
def test_a_revocation_that_is_not_clear_is_refused(shell: Shell, words: str, said: str) -> None:
    shell.issue()
    shell("token", "revoke", *words.split())
    assert (shell.status, shell.out) == (1, "")
    assert said in shell.err
    assert len(shell("token", "list").splitlines()) == 2


def test_a_ticket_in_place_of_an_id_is_not_shown(shell: Shell) -> None:
    ticket = shell.issue()
    shell("token", "revoke", ticket)
    assert shell.status == 1
    assert ticket[4:] not in shell.err


def test_tickets_of_a_service_that_runs(serve: Serve, tmp_path: Path) -> None:
    """As a person types it, on the store that the service brought along."""

    def typed(*words: str) -> str:
        where = ("--data-dir", str(running.data_dir))
        done = run("token", *words, *where, cwd=tmp_path, env={"CLEARSYNC_AUTH__TICKETS": "true"})
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout

    with serve("--dev") as running:
        printed = typed("issue", "--agent", "acme/ada", "--ttl", "1h")
        assert TICKET.fullmatch(printed)
        ticket = printed.rstrip()
        secret = ticket[4:]
        table = typed("list")
        assert id_of(ticket) in table
        assert secret not in table
        with client(running.store_url()) as raw:
            assert name_of("ticket", ticket).encode() in everything(raw)
            assert secret.encode() not in everything(raw)
        assert secret not in running.logged + running.printed
        assert typed("revoke", id_of(ticket)) == f"revoked {id_of(ticket)} acme/ada\n"
        assert id_of(ticket) not in typed("list")
        running.terminate()
        done = run("token", "list", "--data-dir", str(running.data_dir), cwd=tmp_path)
        assert (done.returncode, done.stdout) == (4, "")
        assert f"no service runs on {running.data_dir}" in done.stderr
