"""Rows about where a device is: what it starts from, what it is handed, and when its cursor moves."""

from __future__ import annotations

from tests.client.fake_gateway import clear, welcome
from tests.conformance.conftest import Connect
from tests.conformance.driver import Driver
from tests.conformance.house import Agent, ticket
from tests.conformance.scripted import says, scripted


def test_c01_without_a_cursor_it_starts_from_now(connect: Connect, agent: Agent) -> None:
    agent.handled(ticket(1))
    peer = connect()
    peer.live()
    peer.until("stored")
    agent.handled(ticket(2))
    assert list(peer.clear()) == [ticket(2)]


def test_c02_a_clear_comes_at_once_with_the_time_in_every_event(connect: Connect, agent: Agent) -> None:
    peer = connect()
    peer.live()
    agent.handled(ticket(1), ("AppointmentCancelled", -699))
    found = peer.clear()
    assert list(found) == [ticket(1), ("AppointmentCancelled", -699)]
    assert found == peer.check(*found)


def test_c03_the_cursor_is_stored_once_the_app_has_applied_it(connect: Connect, agent: Agent) -> None:
    peer = connect(hold=True)
    peer.live()
    start = peer.until("stored")
    agent.handled(ticket(1))
    cursor = peer.until("clear")["cursor"]
    peer.settle()
    assert peer.told("stored") == [start]
    peer.do("applied", ok=True)
    assert peer.until("stored")["cursor"] == cursor


def test_c04_what_the_app_failed_to_apply_comes_again(connect: Connect, agent: Agent) -> None:
    peer = connect(hold=True)
    peer.live()
    start = peer.until("stored")
    agent.handled(ticket(1))
    first = peer.clear()
    peer.do("applied", ok=False)
    peer.waiting()
    assert peer.clear() == first
    assert {stored["cursor"] for stored in peer.told("stored")} == {start["cursor"]}
    peer.do("applied", ok=True)
    peer.until("stored")


def test_c05_one_at_a_time_in_the_order_in_which_they_came(connect: Connect, agent: Agent) -> None:
    peer = connect(hold=True)
    peer.live()
    for id_ in (1, 2, 1):
        agent.handled(ticket(id_))
    order = []
    for number in range(3):
        order += list(peer.clear())
        peer.settle()
        assert len(peer.told("clear")) == number + 1
        peer.do("applied", ok=True)
    assert order == [ticket(1), ticket(2), ticket(1)]


def test_c06_what_was_handled_here_is_not_shown_here_and_moves_the_cursor(connect: Connect, agent: Agent) -> None:
    peer, other = connect(), connect()
    peer.live(), other.live()
    peer.until("stored")
    peer.handled(ticket(1))
    assert list(other.clear()) == [ticket(1)]
    peer.until("stored")
    agent.handled(ticket(2))
    assert list(peer.clear()) == [ticket(2)]
    assert len(peer.told("clear")) == 1


def test_c07_the_cursor_is_kept_under_server_agent_and_device(driver: Driver, agent: Agent) -> None:
    bob = Agent(agent.url)
    with scripted() as one, scripted() as two:
        for fake, who, device, expected in (
            (one, agent, "phone", None),
            (one, agent, "phone", "a-2"),
            (two, agent, "phone", None),
            (one, bob, "phone", None),
            (one, agent, "desk", None),
            (one, agent, "phone", "a-2"),
        ):
            fake.scenes.append(says(welcome("a-1"), clear("a-2", 1)))
            with who.client(driver, url=fake.url, device=device) as peer:
                assert fake.next().cursor == expected
                if expected is None:
                    peer.until("stored", cursor="a-2")
                else:
                    peer.clear()


def test_c08_a_reset_is_handed_over_and_then_what_is_retained(connect: Connect, agent: Agent) -> None:
    agent.handled(ticket(1))
    agent.handled(ticket(2))
    peer = connect(cursor="0", hold=True)
    peer.until("reset")
    peer.settle()
    assert [stored["cursor"] for stored in peer.told("stored")] == ["0"]  # the welcome's, the one that was given
    assert not peer.told("clear")
    peer.do("applied", ok=True)
    peer.until("stored")
    assert not peer.told("clear")
    assert list(peer.clear()) == [ticket(1), ticket(2)]


def test_c09_a_cursor_that_is_none_ends_it(connect: Connect) -> None:
    # A websocket of a browser does not tell why it was refused; the other transport does.
    transport = "auto" if "fallback" in connect.driver.can else None
    connect(cursor="of another make", transport=transport).stopped()


def test_c10_a_cursor_that_is_given_beats_the_stored_one(connect: Connect, agent: Agent) -> None:
    device = f"{agent.name}-phone"
    agent.handled(ticket(1))
    with agent.client(connect.driver, device=device) as peer:
        peer.until("stored")
    peer = connect(device=device, cursor="0")
    peer.until("reset")
    assert list(peer.clear()) == [ticket(1)]
