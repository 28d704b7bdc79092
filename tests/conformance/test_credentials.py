"""Rows about who is asking: credentials that end, that are refused, and where they must not go."""

from __future__ import annotations

from typing import Any

from tests.client.fake_gateway import clear, welcome
from tests.conformance.conftest import Connect
from tests.conformance.driver import Driver
from tests.conformance.house import Agent, Server, ticket
from tests.conformance.scripted import Connection, Refuse, says, scripted
from tests.gateway.devices import basic

WRONG = {"authorization": "SoTicket cs1.none"}


def test_c34_credentials_that_have_ended_are_asked_for_again(connect: Connect, agent: Agent, server: Server) -> None:
    first, second = server.issue(agent), basic(agent.name)
    peer = connect(credentials=[{"authorization": first}, {"authorization": second}])
    peer.live()
    peer.until("stored")
    server.revoke_all(agent)
    peer.until("asked")
    peer.live()
    agent.handled(ticket(1))
    assert list(peer.clear()) == [ticket(1)]
    assert len(peer.told("asked")) == 2


def test_c35_credentials_that_are_refused_are_asked_for_again_once(connect: Connect, agent: Agent) -> None:
    peer = connect(credentials=[WRONG, {"authorization": basic(agent.name)}])
    peer.live()
    assert len(peer.told("asked")) == 2

    peer = connect(credentials=[WRONG, WRONG, {"authorization": basic(agent.name)}])
    peer.stopped()
    assert len(peer.told("asked")) == 2


def test_c35_credentials_that_were_given_once_and_are_refused_end_it(connect: Connect) -> None:
    peer = connect(credentials=WRONG)
    peer.stopped()
    assert not [said for said in peer.told("state") if said["state"] == "waiting"]


def expiring(seconds: float) -> str:
    return welcome("a-1").replace('"ping"', f'"expires":{seconds},"ping"')


def test_c36_shortly_before_they_end_others_are_shown_on_the_open_connection(connect: Connect, driver: Driver) -> None:
    questions: list[Any] = []

    async def scene(connection: Connection) -> None:
        await connection.send(expiring(0.2))
        if driver.transport == "websocket":
            questions.append(await connection.receive())
            await connection.send(f'{{"type":"refreshed","ref":"{questions[0]["ref"]}"}}')
        else:  # nothing can be shown there: it ends, and that is no matter
            return await connection.close(4001)
        await connection.send(clear("a-2", 1))
        return await connection.gone()

    with scripted(scene, says(welcome("a-1"), clear("a-2", 1))) as fake:
        peer = connect(url=fake.url, credentials=[{"authorization": "Bearer a"}, {"authorization": "Bearer b"}])
        peer.clear()
        if driver.transport == "websocket":
            assert [(q["type"], q["authorization"]) for q in questions] == [("refresh", "Bearer b")]
            assert len(peer.told("state")) <= 2  # connecting, live


def test_c37_who_may_not_listen_is_told_so(connect: Connect, agent: Agent, server: Server) -> None:
    peer = connect(credentials=[{"authorization": server.issue(agent, "--scope", "handled:write")}])
    peer.stopped()
    assert len(peer.told("asked")) == 1


def test_c38_credentials_go_to_the_address_that_was_given_only(connect: Connect) -> None:
    with scripted() as other:
        away = {"Location": f"{other.url.removeprefix('http:')}/api/v1/sync?device=phone"}
        with scripted(Refuse(307, headers=away)) as fake:
            peer = connect(url=fake.url)
            fake.next()
            peer.down()
        assert other.asked == []
