"""Rows about which notifications go: not too few, and never a new one."""

from __future__ import annotations

import time

from tests.client.fake_gateway import welcome
from tests.conformance.conftest import Connect
from tests.conformance.driver import Peer
from tests.conformance.house import Agent, ticket
from tests.conformance.scripted import NOW, says, scripted
from tests.gateway.devices import Pair
from tests.running import wait_until


def test_c24_a_notification_that_comes_after_its_clear_is_dismissed(connect: Connect, agent: Agent) -> None:
    peer = connect()
    peer.live()
    assert not peer.should_dismiss(ticket(1), 1)
    agent.handled(ticket(1))
    at = peer.clear()[ticket(1)]
    assert [peer.should_dismiss(ticket(1), at - early) for early in (0, 1, 0)] == [True] * 3
    assert not peer.should_dismiss(ticket(2), at)
    assert not peer.should_dismiss(("NewTicketMessage", 1), at)


def test_c25_a_newer_notification_is_shown_and_takes_the_memory_of_the_clear_away(
    connect: Connect, agent: Agent
) -> None:
    peer = connect()
    peer.live()
    agent.handled(ticket(1))
    at = peer.clear()[ticket(1)]
    assert not peer.should_dismiss(ticket(1), at + 1)
    assert not peer.should_dismiss(ticket(1), at)


class Shown:
    """The notifications that an app shows, each with its own time."""

    def __init__(self, shown: dict[Pair, int]) -> None:
        self.now = shown

    def apply(self, cleared: dict[Pair, int]) -> None:
        """Dismiss what is not later than its event."""
        self.now = {pair: own for pair, own in self.now.items() if own > cleared.get(pair, 0)}


def test_c26_a_new_notification_of_a_pair_that_was_cleared_before_survives_the_catch_up(
    connect: Connect, agent: Agent
) -> None:
    device = f"{agent.name}-phone"
    away = connect(device=device)
    away.live()
    away.until("stored")
    away.do("close")
    old = _milliseconds()
    agent.handled(ticket(1))  # the old notification
    new = _later(_milliseconds())  # the next message of the same ticket
    _later(new)
    agent.handled(ticket(2))  # so that the catch-up as a whole is later than the new notification
    back = connect(device=device)
    found = back.cleared(ticket(1), ticket(2))
    assert old <= found[ticket(1)] < new < found[ticket(2)]
    shown = Shown({ticket(1): new, ticket(2): new})
    shown.apply(found)
    assert shown.now == {ticket(1): new}
    assert _dismissed(back, old, new) == (True, False)


def _dismissed(peer: Peer, *times: int) -> tuple[bool, ...]:
    return tuple(peer.should_dismiss(ticket(1), time) for time in times)


def _milliseconds() -> int:
    return int(time.time() * 1000)


def _later(than: int) -> int:
    """A time after that one, once it is that late."""
    return wait_until(lambda: now if (now := _milliseconds()) > than + 1 else 0)


def test_c27_what_has_no_time_of_its_own_came_now_by_the_servers_clock(connect: Connect) -> None:
    hour = 3_600_000
    past, ahead = (
        f'{{"type":"clear","cursor":"a-{at}","at":{at},"events":[{{"Type":"NewTicket","Id":{id_}}}]}}'
        for id_, at in ((1, NOW - 1), (2, NOW + hour))
    )
    with scripted(says(welcome("a-1"), past, ahead)) as fake:
        peer = connect(url=fake.url)
        peer.cleared(ticket(1), ticket(2))
        assert NOW <= peer.do("now") < NOW + hour  # the clock of this machine is ahead of that by far more
        assert not peer.should_dismiss(ticket(1))
        assert peer.should_dismiss(ticket(2))


def test_c28_what_was_handled_here_is_dismissed_where_its_notification_comes_late(connect: Connect) -> None:
    peer = connect()
    peer.live()
    before = peer.do("now")
    peer.handled(ticket(1))
    assert peer.should_dismiss(ticket(1), before)
    assert not peer.should_dismiss(ticket(1), peer.do("now") + 1000)
