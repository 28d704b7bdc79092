"""Rows about what a device tells and asks: `handled` and `check`."""

from __future__ import annotations

import pytest

from server.events import MAX_EVENTS
from tests.client.fake_gateway import welcome
from tests.conformance.conftest import Connect
from tests.conformance.driver import Driver, Refused
from tests.conformance.house import Agent, Server, ticket
from tests.conformance.scripted import Connection, Refuse, scripted
from tests.gateway.devices import events_of, tickets


def test_c29_check_tells_what_is_handled_and_when(connect: Connect, agent: Agent) -> None:
    agent.handled(ticket(1), ticket(2))
    peer = connect()
    peer.live()
    agent.handled(ticket(3))
    at = peer.clear()[ticket(3)]
    found = peer.check(ticket(2), ticket(3), ticket(4))
    assert found.keys() == {ticket(2), ticket(3)}
    assert found[ticket(2)] < found[ticket(3)] == at


def test_c30_what_was_reported_is_in_the_store_and_told_to_the_others(connect: Connect) -> None:
    peer, other = connect(), connect()
    peer.live(), other.live()
    peer.handled(ticket(1), ticket(2), ticket(1))
    assert peer.check(ticket(1), ticket(2)).keys() == {ticket(1), ticket(2)}
    assert list(other.clear()) == [ticket(1), ticket(2)]


def test_c31_a_report_is_made_again_until_it_is_recorded(driver: Driver, mortal: Server) -> None:
    agent = Agent(mortal.url)
    with agent.client(driver) as peer:
        peer.live()
        mortal.kill()
        reported = peer.begin("handled", events=events_of([ticket(1)]))
        peer.waiting()
        mortal.start()
        reported()
        peer.live()
        assert peer.check(ticket(1)).keys() == {ticket(1)}


def test_c31_a_report_of_which_nobody_knows_is_made_again(connect: Connect) -> None:
    asked: list[str] = []

    async def scene(connection: Connection) -> None:
        await connection.send(welcome("a-1"))
        while True:
            frame = await connection.receive()
            asked.append(frame["type"])
            answer = '"type":"error","code":"unavailable","message":"x"' if len(asked) < 3 else '"type":"recorded"'
            await connection.send(f'{{{answer},"ref":"{frame["ref"]}"}}')

    async def stream(connection: Connection) -> None:
        await connection.send(welcome("a-1"))
        await connection.gone()

    with scripted(stream if connect.driver.transport == "sse" else scene) as fake:
        fake.reports.extend([Refuse(503), None, Refuse(500, headers={"Retry-After": "0"})])
        peer = connect(url=fake.url)
        peer.live()
        peer.handled(ticket(1))
        assert len(asked) == 3 or len(fake.posted()) == 4


def test_c32_a_report_that_breaks_a_rule_is_refused_and_not_made_again(connect: Connect, agent: Agent) -> None:
    peer = connect()
    peer.live()
    with pytest.raises(Refused):
        peer.do("handled", events=[{"Type": "NewTicket", "Id": 1}, {"Type": "Nonsense", "Id": 2}])
    with pytest.raises(Refused):
        peer.handled(*tickets(range(MAX_EVENTS + 1)))
    assert peer.check(ticket(1)) == {}
    agent.handled(ticket(3))
    assert list(peer.clear()) == [ticket(3)]


def test_c33_who_may_not_report_is_told_so(connect: Connect, agent: Agent, server: Server) -> None:
    peer = connect(credentials=[{"authorization": server.issue(agent, "--scope", "sync:read")}])
    peer.live()
    with pytest.raises(Refused):
        peer.handled(ticket(1))
    assert peer.check(ticket(1)) == {}
