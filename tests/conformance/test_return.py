"""Rows about coming back: when, how fast, from where, and when not."""

from __future__ import annotations

from typing import Any

import pytest

from tests.client.fake_gateway import clear, welcome
from tests.conformance.blocking import blocking
from tests.conformance.conftest import Connect
from tests.conformance.driver import QUICK, Driver
from tests.conformance.house import Agent, Server, ticket
from tests.conformance.scripted import Connection, Refuse, says, says_and_closes, scripted, stay
from tests.faults.proxy import Proxy


def test_c11_what_was_handled_while_the_server_was_killed_comes_after_it(driver: Driver, mortal: Server) -> None:
    agent = Agent(mortal.url)
    # The proxy keeps the device away until all of it has happened.
    with Proxy(mortal.url) as proxy, agent.client(driver, url=proxy.url) as peer:
        peer.live()
        agent.handled(ticket(1))
        first = peer.cleared(ticket(1))
        proxy.refuse()
        peer.waiting()
        agent.handled(ticket(2))
        mortal.kill()
        mortal.start()
        agent.handled(ticket(3), ticket(1))
        proxy.accept()
        found = peer.cleared(ticket(1), ticket(2), ticket(3))
        assert found == peer.check(ticket(1), ticket(2), ticket(3))
        assert found[ticket(1)] > first[ticket(1)]


def test_c12_a_pause_is_anywhere_below_a_ceiling_that_doubles_and_starts_over_after_a_welcome(connect: Connect) -> None:
    timing = QUICK | {"backoffBaseMs": 8, "backoffCapMs": 32}
    with scripted(*[Refuse(502)] * 5, says_and_closes(1012, welcome("a-1")), Refuse(502)) as fake:
        peer = connect(url=fake.url, timing=timing, random=0.5)
        assert [peer.waiting() for _ in range(5)] == pytest.approx([4, 8, 16, 16, 16])
        peer.live()
        assert [peer.waiting() for _ in range(2)] == pytest.approx([4, 8])
        peer.live()
    with scripted(Refuse(502), Refuse(502)) as fake:
        peer = connect(url=fake.url, timing=timing, random=0)
        assert [peer.waiting() for _ in range(2)] == [0, 0]


def test_c13_a_connection_that_ended_is_made_again_from_the_stored_cursor(connect: Connect) -> None:
    codes = [1001, 1006, 1011, 1012, 4567]
    scenes = [says_and_closes(code, welcome(f"a-{n}0"), clear(f"a-{n}1", n)) for n, code in enumerate(codes)]
    with scripted(*scenes) as fake:
        peer = connect(url=fake.url)
        fake.next()
        for n in range(len(codes)):
            assert list(peer.clear()) == [ticket(n)]
            assert fake.next().cursor == f"a-{n}1"


def test_c14_the_server_says_when_to_come_back(connect: Connect) -> None:
    with scripted(Refuse(503, headers={"Retry-After": "7"})) as fake:
        assert 7000 <= connect(url=fake.url).waiting() <= 7000 + QUICK["backoffCapMs"]


@pytest.mark.parametrize("scene", [Refuse(429), says_and_closes(4008), says_and_closes(1008, welcome("a-1"))])
def test_c15_after_too_many_it_waits_a_minute_or_more(connect: Connect, scene: Any) -> None:
    with scripted(scene) as fake:
        assert connect(url=fake.url).waiting() >= 60_000


def test_c16_a_silent_server_is_asked_and_then_given_up(connect: Connect, driver: Driver) -> None:
    asked: list[Any] = []

    async def scene(connection: Connection) -> None:
        await connection.send(welcome("a-1", ping=0.01))
        if driver.transport == "websocket":
            asked.append(await connection.receive())
            await connection.send('{"type":"pong"}')
            asked.append(await connection.receive())
        await stay(connection)

    with scripted(scene) as fake:
        peer = connect(url=fake.url, timing=QUICK | {"pingMarginMs": 60, "answerMs": 400})
        fake.next()
        peer.waiting()
        assert fake.next().cursor == "a-1"
    if driver.transport == "websocket":
        assert asked == [{"type": "ping"}] * 2


def test_c17_when_the_network_is_back_it_comes_at_once(connect: Connect, driver: Driver) -> None:
    if "wake" not in driver.can:
        pytest.skip("it is not told of networks")
    with scripted(Refuse(502), says(welcome("a-1"))) as fake:
        peer = connect(url=fake.url, timing=QUICK | {"backoffBaseMs": 60_000, "backoffCapMs": 60_000}, random=1)
        assert peer.waiting() == 60_000
        peer.do("wake")
        peer.live()


def test_c18_where_websockets_are_blocked_it_takes_the_event_stream(
    connect: Connect, driver: Driver, agent: Agent
) -> None:
    if "fallback" not in driver.can:
        pytest.skip("it has one transport")
    with blocking(agent.url) as url:
        peer = connect(url=url, transport="auto")
        assert peer.live()["transport"] == "sse"
        agent.handled(ticket(1))
        assert list(peer.clear()) == [ticket(1)]


STOPPING = [Refuse(400), Refuse(403), Refuse(404), *(says_and_closes(c, welcome("a-1")) for c in (4003, 4009, 1009))]


@pytest.mark.parametrize("scene", STOPPING, ids=["400", "403", "404", "4003", "4009", "1009"])
def test_c19_where_the_same_would_be_refused_again_it_stops(connect: Connect, scene: Any) -> None:
    with scripted(scene) as fake:
        peer = connect(url=fake.url)
        fake.next()
        peer.stopped()
        peer.settle()
        assert fake.came.empty()
        assert not [said for said in peer.told("state") if said["state"] == "waiting"]


def test_c20_close_is_final(connect: Connect, agent: Agent) -> None:
    peer, other = connect(), connect()
    peer.live(), other.live()
    peer.do("close")
    peer.settle()
    before = len(peer.seen)
    agent.handled(ticket(1))
    other.clear()
    peer.settle()
    assert [said for said in peer.seen[before:] if said["on"] in ("clear", "stored")] == []
    with pytest.raises(Exception, match=r".+"):
        peer.handled(ticket(2))
    peer.do("close")
    assert other.check(ticket(2)) == {}


def test_c20_close_is_final_while_it_waits_for_its_next_try_too(connect: Connect) -> None:
    patient = {"timing": QUICK | {"backoffBaseMs": 500, "backoffCapMs": 500}, "random": 1}
    with scripted(Refuse(502), Refuse(502)) as fake:
        peer = connect(url=fake.url, **patient)
        peer.waiting()
        peer.do("close")
        other = connect(url=fake.url, **patient)  # waits as long, from now on
        other.waiting()
        other.live()
        peer.settle()
        assert not [said for said in peer.told("state") if said["state"] == "live"]
