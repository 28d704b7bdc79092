"""Nothing secret is written anywhere: all ways to sign in, good and bad, at the level that says the most."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import pytest

from server.wire import HANDLED_PATH, SESSION_PATH, SYNC_PATH
from tests.auth.issuer import token
from tests.gateway.devices import masked
from tests.running import RealStore, Running, client, run, serving
from tests.security.callers import (
    Header,
    ask,
    basic,
    bearer,
    call,
    knocking,
    once,
    refused,
    report,
    session,
    sign_in,
    sign_out,
    sync,
    ticket,
)
from tests.security.conftest import PASSWORD
from tests.security.inside import everything, issue, revoke
from tests.security.test_tokens import claims

GUESS: Final = "a guess that is wrong"
MARK: Final = 1_987_654_321
"""The id of an event: bodies are not logged either."""
QUERY: Final = "what-people-put-into-queries"
AGENT: Final = ("X-Agent-Id", "somebody-else")


@pytest.fixture
def bare(tmp_path: Any) -> Iterator[RealStore]:
    store = RealStore(tmp_path / "bare")
    try:
        store.start()
        yield store
    finally:
        store.close()


@pytest.fixture(params=["json", "text"])
def talkative(
    request: pytest.FixtureRequest, tmp_path: Any, settings: dict[str, str], bare: RealStore
) -> Iterator[Running]:
    env = settings | {"CLEARSYNC_LOG__FORMAT": request.param, "CLEARSYNC_GATEWAY__ALLOWED_ORIGINS": "https://a.example"}
    with serving("--store", bare.url, folder=tmp_path, env=env) as running:
        yield running


async def test_no_secret_is_in_log_or_store(
    talkative: Running, bare: RealStore, signing_key: Any, tmp_path: Any
) -> None:
    running, url = talkative, bare.url
    lasting, second, app = issue(url, "acme/ada"), issue(url, "acme/ada"), "app-token-4711"
    good = token(signing_key, "RS256", claims()).decode()
    forged = good[:-8] + "AAAAAAAA"
    ways: list[Header] = [basic("ada", PASSWORD), ticket(lasting), bearer(good)]
    wrong: list[Header] = [basic("ada", GUESS), ticket("cs1." + "w" * 43), bearer(forged), ("Authorization", GUESS)]
    secrets = [lasting, second, app, good, forged, PASSWORD, GUESS, "w" * 43, QUERY, str(MARK)]
    secrets += [str(way[1]).partition(" ")[2] for way in (*ways, *wrong)]
    for way in (*ways, *wrong):
        report(running, MARK, way, ("SO-AppToken", app))
        report(running, MARK, way, AGENT)
        report(running, MARK, way, target=f"{HANDLED_PATH}?ticket={lasting}&password={PASSWORD}")
        sync(running, way, ("Origin", "https://evil.example"))
        call(running, "POST", f"/globex{SESSION_PATH}", way)
        await knock(running, way)
    webs = [sign_in(running, way) for way in ways]
    for web in webs:
        secrets += [web.secret, web.xsrf]
        report(running, MARK, *web.own)
        report(running, MARK, web.cookie)
        secrets.append(first := once(running, "a", *web.own))
        async with session(running, web.cookie, ("Origin", "https://a.example")) as (device, _):
            assert (await ask(device, type="refresh", authorization=f"SoTicket {second}"))["type"] == "refreshed"
            for authorization in (GUESS, f"Basic {GUESS}", f"Bearer {forged}"):
                assert (await ask(device, type="refresh", authorization=authorization))["code"] == "forbidden"
            await device.send(masked(f'{{"type":"handled","events":[{{"Type":"NewTicket","Id":{MARK}}}]}}'.encode()))
            assert await device.frame()
            await device.send(masked(f'{{"type":"refresh","authorization":"{GUESS}",'.encode()))
            assert await device.close_code() == 4009
        async with session(running, device="a", query=f"&ticket={first}"):
            await refused(running, target=f"{SYNC_PATH}?device=a&ticket={first}")
    with client(url) as store:
        kept = everything(store)
        assert {key.split(b":")[1] for key in store.scan_iter("cs:*:*")} >= {b"ticket", b"web"}
        revoke(url, second)
        kept = (kept + everything(store)).replace(b"1:%d" % MARK, b"")
    for web in webs:
        sign_out(running, *web.own)
    for command in (("token", "list"), ("token", "list", "--json"), ("token", "revoke", "--agent", "acme/ada")):
        done = run(*command, "--store", url, cwd=tmp_path)
        assert not [each for each in secrets if each in done.stdout + done.stderr]

    logged, printed = running.logged, running.printed
    assert logged.count("sign-in refused") >= 10
    for secret in secrets:
        assert secret not in logged, secret
        assert secret not in printed
        assert secret.encode() not in kept, secret
    assert "Traceback" not in logged


async def knock(running: Running, way: Header) -> None:
    """At the gateway, as a program and as a page of one site and another, with what is no ticket in the query."""
    for more in ((), (("Origin", "https://a.example"),), (("Origin", "https://evil.example"),), (AGENT,)):
        async with knocking(running, way, *more, target=f"{SYNC_PATH}?device=a&SoTicket={QUERY}") as device:
            await device.until(b"\r\n\r\n")
