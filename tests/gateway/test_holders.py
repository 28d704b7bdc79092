"""Which connections stand on which grants."""

from __future__ import annotations

import random

from structlog.testing import capture_logs

from server.auth.principal import DEFAULT_SCOPES, Principal
from server.events import AgentId
from server.gateway.holders import Holder, Holders


def standing_on(*grants: str) -> Principal:
    return Principal(AgentId.of("acme", "ada"), DEFAULT_SCOPES, None, grants)


class Connection:
    """Counts how often it is ended; `holders` forget it at once where it is asked to leave by itself."""

    def __init__(self, holders: Holders | None = None, principal: Principal | None = None) -> None:
        self.ended = 0
        self._holders = holders
        self._principal = principal

    def revoked(self) -> None:
        self.ended += 1
        if self._holders is not None and self._principal is not None:
            self._holders.discard(self, self._principal)


class Broken:
    """One that can't be ended."""

    def revoked(self) -> None:
        raise RuntimeError("unforeseen")


def test_any_grant_of_a_principal_ends_its_connection() -> None:
    holders, both, one = Holders(), Connection(), Connection()
    holders.add(both, standing_on("ticket:1", "web:1"))
    holders.add(one, standing_on("ticket:1"))
    assert holders.grants() == {"ticket:1", "web:1"}
    holders.revoke(frozenset({"web:1", "web:2"}))
    assert (both.ended, one.ended) == (1, 0)
    holders.revoke(frozenset({"ticket:1"}))
    assert (both.ended, one.ended) == (2, 1)


def test_who_stands_on_nothing_is_not_held() -> None:
    holders, connection = Holders(), Connection()
    holders.add(connection, standing_on())
    assert holders.grants() == set()
    holders.discard(connection, standing_on())
    holders.revoke(frozenset({""}))
    assert connection.ended == 0


def test_who_has_gone_is_not_ended() -> None:
    holders, here, gone = Holders(), Connection(), Connection()
    principal = standing_on("ticket:1")
    for connection in (here, gone):
        holders.add(connection, principal)
    for _ in range(2):  # idempotent
        holders.discard(gone, principal)
    holders.revoke(frozenset(principal.grants))
    assert (here.ended, gone.ended) == (1, 0)
    holders.discard(here, principal)
    assert holders.grants() == set(), "nothing is kept of grants that nobody stands on"


def test_those_who_leave_as_they_are_ended_do_not_disturb_the_others() -> None:
    holders, principal = Holders(), standing_on("ticket:1", "web:1")
    connections = [Connection(holders, principal) for _ in range(10)]
    for connection in connections:
        holders.add(connection, principal)
    holders.revoke(frozenset(principal.grants))
    assert [connection.ended for connection in connections] == [1] * 10
    assert holders.grants() == set()


def test_one_that_can_not_be_ended_spares_the_others() -> None:
    holders = Holders()
    first, last = Connection(), Connection()
    everybody: list[Holder] = [first, *(Broken() for _ in range(10)), last]
    for holder in everybody:
        holders.add(holder, standing_on("ticket:1"))
    with capture_logs() as lines:
        holders.revoke(frozenset({"ticket:1"}))
    assert (first.ended, last.ended) == (1, 1)
    assert [(line["event"], line["log_level"]) for line in lines] == [("connection could not be ended", "error")] * 10


def test_at_random_it_is_as_if_all_were_looked_at() -> None:
    dice, holders = random.Random(7), Holders()
    names = [f"ticket:{number}" for number in range(5)]
    stands: dict[Connection, Principal] = {}
    for _ in range(500):
        if dice.random() < 0.5:
            connection = Connection()
            stands[connection] = standing_on(*dice.sample(names, dice.randrange(4)))
            holders.add(connection, stands[connection])
        elif stands:
            connection = dice.choice(list(stands))
            holders.discard(connection, stands.pop(connection))
        assert holders.grants() == {grant for principal in stands.values() for grant in principal.grants}
    for name in names:
        before = {connection: connection.ended for connection in stands}
        holders.revoke(frozenset({name}))
        assert {c for c in stands if c.ended > before[c]} == {c for c, p in stands.items() if name in p.grants}
