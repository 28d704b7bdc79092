"""Credentials that are taken back or run out, and those that are to replace them, while sessions live."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from server.auth.principal import Scope
from server.auth.vault import name_of
from server.broker.keys import vault_key
from tests.auth.issuer import token
from tests.gateway.devices import Raw
from tests.running import Running, client, run, serving, wait_until
from tests.security.callers import alive, ask, basic, bearer, once, refused, report, session, sign_in, sync, ticket
from tests.security.conftest import PASSWORD, replace, users_text
from tests.security.inside import NOTHING, issue, new_id, revoke, where

UNKNOWN = (401, "Unauthenticated")
REVOKED_WITHIN_S = 1.0


async def closed_within(device: Raw, seconds: float) -> int:
    async with asyncio.timeout(seconds):
        return await device.close_code()


def said(header: tuple[str, str | bytes]) -> str:
    value = header[1]
    return value.decode() if isinstance(value, bytes) else value


# revoked


async def test_revoked_ticket_is_out_on_both_servers_within_a_second(
    house: Running, annex: Running, vault_url: str, tmp_path: Path
) -> None:
    """By the command; and all that stands on the ticket falls with it: a browser's session, one-use tickets."""
    secret = issue(vault_url, "acme/leaver")
    other = ticket(issue(vault_url, "acme/leaver"))
    lasting, id_ = ticket(secret), new_id()
    web = sign_in(house, lasting)
    waiting = once(house, "w", lasting)
    by_cookie, by_once = once(annex, "c", *web.own), once(annex, "o", lasting)
    own = ("Origin", f"http://127.0.0.1:{house.port}")
    async with (
        session(house, lasting) as (a, _),
        session(annex, lasting) as (b, _),
        session(house, web.cookie, own) as (c, _),
        session(annex, device="c", query=f"&ticket={by_cookie}") as (d, _),
        session(house, device="o", query=f"&ticket={by_once}") as (e, _),
        session(annex, other) as (stays, _),
    ):
        listed = run("token", "list", "--agent", "acme/leaver", "--json", "--store", vault_url, cwd=tmp_path)
        assert secret not in listed.stdout
        revoke(vault_url, secret)
        began = time.monotonic()
        codes = await asyncio.gather(*(closed_within(device, REVOKED_WITHIN_S) for device in (a, b, c, d, e)))
        assert codes == [4001] * 5
        assert time.monotonic() - began < REVOKED_WITHIN_S
        for running in (house, annex):
            assert report(running, id_, lasting).problem() == UNKNOWN
            assert report(running, id_, *web.own).problem() == UNKNOWN
            assert await refused(running, lasting) == UNKNOWN
        assert await refused(house, target=f"/api/v1/sync?device=w&ticket={waiting}") == UNKNOWN
        assert await alive(stays)
    assert where(vault_url, id_) == NOTHING


async def test_revocation_by_the_command(house: Running, annex: Running, vault_url: str, tmp_path: Path) -> None:
    lasting = ticket(issue(vault_url, "acme/commanded"))
    async with session(house, lasting) as (a, _), session(annex, lasting) as (b, _):
        done = await asyncio.to_thread(
            lambda: run("token", "revoke", "--agent", "acme/commanded", "--store", vault_url, cwd=tmp_path)
        )
        assert done.returncode == 0, done.stderr
        assert [await closed_within(device, REVOKED_WITHIN_S) for device in (a, b)] == [4001, 4001]


async def test_lying_on_the_control_channel_ends_nothing_else(house: Running, vault_url: str) -> None:
    """Whoever can speak there can close sessions; what he says wrongly does no more than be logged."""
    async with session(house, ticket(issue(vault_url, "acme/steady"))) as (device, _):
        with client(vault_url) as store:
            for message in (
                b"",
                b"revoked",
                b"revoked ticket:",
                b"revoked \xff",
                b"revoked ticket:zz\n",
                b"x" * 100_000,
            ):
                store.execute_command("SPUBLISH", "cs:control", message)
        assert await alive(device)


# users


@pytest.fixture
def entries() -> dict[str, str]:
    """Of each user the part of the file."""
    return {name: users_text({name: f"{name}'s"}) for name in ("ada", "bob", "carl")}


@pytest.fixture
def users(tmp_path: Path, entries: dict[str, str]) -> Path:
    path = tmp_path / "users.toml"
    replace(path, "".join(entries.values()))
    return path


@pytest.fixture
def own_house(tmp_path: Path, users: Path, settings: dict[str, str], vault_url: str) -> Iterator[Running]:
    env = settings | {"CLEARSYNC_AUTH__USERS_FILE": str(users)}
    with serving("--store", vault_url, folder=tmp_path, env=env) as running:
        yield running


async def test_users_who_change_or_go_are_out_and_the_others_stay(
    own_house: Running, users: Path, entries: dict[str, str], vault_url: str
) -> None:
    ada, bob, carl = (basic(name, f"{name}'s") for name in entries)
    web, id_ = sign_in(own_house, ada), new_id()
    waiting = once(own_house, "o", ada)
    async with session(own_house, ada) as (a, _), session(own_house, bob) as (b, _), session(own_house, carl) as (c, _):
        replace(users, users_text({"ada": "another"}) + entries["carl"])
        assert await closed_within(a, 5) == 4001
        assert await closed_within(b, 5) == 4001
        for credentials in ((ada,), (bob,), web.own):
            assert report(own_house, id_, *credentials).problem() == UNKNOWN
        assert await refused(own_house, target=f"/api/v1/sync?device=o&ticket={waiting}") == UNKNOWN
        assert report(own_house, new_id(), basic("ada", "another")).status == 204

        replace(users, "[users")  # half a file takes nothing away, and lets nobody in
        own_house.process.send_signal(signal.SIGHUP)
        wait_until(lambda: "is not TOML" in own_house.logged, 5)
        assert sync(own_house, bob).problem() == UNKNOWN
        assert sync(own_house, basic("ada", "another")).status == 200

        replace(users, entries["carl"])
        own_house.process.send_signal(signal.SIGHUP)
        wait_until(lambda: sync(own_house, basic("ada", "another")).status == 401, 5)
        assert await alive(c)
    assert where(vault_url, id_) == NOTHING


# run out, and refreshed


async def test_session_ends_with_its_token(house: Running, signing_key: Any) -> None:
    ends_at = time.time() + 1.5
    claims = {"sub": "brief", "tenant": "acme", "aud": "clearsync", "exp": ends_at}
    async with session(house, bearer(token(signing_key, "RS256", claims))) as (device, welcome):
        assert welcome["expires"] in (0, 1)
        assert await closed_within(device, 3) == 4001
        assert abs(time.time() - ends_at) < 0.5


async def test_session_ends_with_its_ticket_and_refresh_prolongs_it(house: Running, vault_url: str) -> None:
    short, longer = (ticket(issue(vault_url, "acme/guest", ttl)) for ttl in (1.5, 600))
    async with session(house, short) as (stays, welcome), session(house, short, device="b") as (goes, _):
        assert welcome["expires"] in (0, 1)
        answer = await ask(stays, type="refresh", ref="r", authorization=said(longer))
        assert (answer["type"], answer["ref"]) == ("refreshed", "r")
        assert 590 <= answer["expires"] <= 600
        assert await closed_within(goes, 3) == 4001
        assert await alive(stays)


async def test_after_a_refresh_only_the_new_ticket_counts(house: Running, vault_url: str) -> None:
    old, new = (issue(vault_url, "acme/changer") for _ in range(2))
    async with session(house, ticket(old)) as (device, _), session(house, ticket(old), device="b") as (witness, _):
        answer = await ask(device, type="refresh", authorization=said(ticket(new)))
        assert answer["type"] == "refreshed"
        revoke(vault_url, old)
        assert await closed_within(witness, REVOKED_WITHIN_S) == 4001
        assert await alive(device)
        revoke(vault_url, new)
        assert await closed_within(device, REVOKED_WITHIN_S) == 4001


async def test_refused_refresh_changes_nothing(house: Running, vault_url: str) -> None:
    secret = issue(vault_url, "acme/firm")
    no_listening = issue(vault_url, "acme/firm", scopes=[Scope.HANDLED_WRITE])
    other_tenant, gone = issue(vault_url, "globex/firm"), issue(vault_url, "acme/firm")
    revoke(vault_url, gone)
    one_use = once(house, "a", ticket(secret))
    web = sign_in(house, ticket(secret))
    refusals: list[object] = [
        said(basic("ada", PASSWORD)),
        said(basic("ada", "wrong")),
        *(said(ticket(each)) for each in (no_listening, other_tenant, gone, one_use, web.secret, "")),
        "",
        " ",
        "SoTicket",
        f"SoTicket {secret}\r\nX: y",
        f"SoTicket {secret}\u00e9",
        f"Cookie {web.secret}",
        f"web {web.secret}",
        "\n",
        None,
        7,
        [f"SoTicket {secret}"],
        {"scheme": "SoTicket"},
    ]
    async with session(house, ticket(secret)) as (device, _):
        for authorization in refusals:
            answer = await ask(device, type="refresh", ref="x", authorization=authorization)
            assert (answer["type"], answer.get("code"), answer["ref"]) == ("error", "forbidden", "x"), authorization
        assert await alive(device)
        revoke(vault_url, secret)
        assert await closed_within(device, REVOKED_WITHIN_S) == 4001


async def test_refresh_takes_rights_away_where_the_new_have_fewer(house: Running, vault_url: str) -> None:
    reader, id_ = issue(vault_url, "acme/lesser", scopes=[Scope.SYNC_READ]), new_id()
    async with session(house, ticket(issue(vault_url, "acme/lesser"))) as (device, _):
        assert (await ask(device, type="refresh", authorization=said(ticket(reader))))["type"] == "refreshed"
        answer = await ask(device, type="handled", events=[{"Type": "NewTicket", "Id": id_}])
        assert answer["code"] == "forbidden"
        assert where(vault_url, id_) == NOTHING


# revoked, and not heard


async def test_revocation_that_was_not_heard_ends_sessions_when_the_listener_is_back(
    house: Running, vault_url: str
) -> None:
    async with session(house, ticket(secret := issue(vault_url, "acme/unheard"))) as (device, _):
        unheard(vault_url, secret)
        assert await closed_within(device, 5) == 4001


async def test_revocation_that_was_not_heard_ends_what_is_remembered_too(house: Running, vault_url: str) -> None:
    """Else requests, and sessions that begin, go on for as long as the cache remembers: five minutes."""
    witness, secret = issue(vault_url, "acme/unheard"), issue(vault_url, "acme/unheard")
    async with session(house, ticket(witness)) as (device, _):
        assert sync(house, ticket(secret)).status == 200
        unheard(vault_url, secret, witness)
        assert await closed_within(device, 5) == 4001
        assert sync(house, ticket(secret)).problem() == UNKNOWN


def unheard(store_url: str, *secrets: str) -> None:
    """Revoked while no worker listens; they will be back at once."""
    with client(store_url) as store:
        store.delete(*(vault_key("cs", name_of("ticket", secret)) for secret in secrets))
        store.execute_command("CLIENT", "KILL", "TYPE", "PUBSUB")
