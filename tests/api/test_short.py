"""The short way of a POST against the long one: the same answers, byte for byte, and the same effects."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, Final

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from server.wire import HANDLED_PATH
from tests.api import requests_table as table
from tests.api.house import GUESTS, House
from tests.api.houses import Outcome, Pair, pair
from tests.api.raw import basic, chunk, events
from tests.api.requests_table import ADA, BOSS, CRM, MANY, ONE, OTHER, PASSWORD, PLAIN, ROWS, Row, post, shown
from tests.api.sides import Said, Wire
from tests.api.talks import NO_CONTENT


@pytest.fixture(scope="module")
def houses(tmp_path_factory: pytest.TempPathFactory, valkey: str) -> Iterator[Pair]:
    """A worker whose short way is open, and one where it is not; with devices."""
    folder = tmp_path_factory.mktemp("houses")
    with (
        pair(folder, valkey, "table", SERVER__TRUSTED_PROXIES="127.0.0.1") as houses,
        houses.short.listening(),
        houses.long.listening(),
    ):
        yield houses


@pytest.mark.parametrize("row", ROWS, ids=shown)
def test_both_ways_come_out_alike(houses: Pair, row: Row) -> None:
    taken = houses.taken(*row.parts)
    assert row.short in (taken, MANY)


def test_what_a_plain_one_comes_to(houses: Pair) -> None:
    """In so many words, or both could be wrong alike."""
    live = b'HTTP/1.1 200 OK\r\ndate: *\r\ncontent-length: 13\r\ncontent-type: application/json\r\n\r\n{"live":true}'
    assert houses.outcome(post(("X-Device-Id", "desk"))) == Outcome(
        said=Said(NO_CONTENT, live, b"", ""),
        stored={"{acme/ada}": [["1:1"]]},
        counted={
            "posts_total (('result', 'recorded'),)": 1,
            "batches_recorded_total ()": 1,
            "events_recorded_total ()": 1,
            "requests": 2,
        },
        charged={"acme/ada": 1 / 200, "127.0.0.1": 1 / 100},
        held=(0, 0),
        troubled=[],
        cleared={"ada's desk": [], "ada's phone": [{"Type": "NewTicket", "Id": 1}], "bob's phone": []},
    )


def test_the_table_has_every_row_once_and_both_ways() -> None:
    assert len({row.name for row in ROWS}) == len(ROWS) >= 250
    assert sum(row.short > 0 for row in ROWS) >= 80


@pytest.mark.parametrize(
    "request_", [PLAIN, post(("X-Agent-Id", "bob"), who=BOSS), table.JAVA], ids=["plain", "boss", "h2c"]
)
def test_a_request_may_be_cut_at_every_byte(houses: Pair, request_: bytes) -> None:
    """On one connection. Only a body that comes with the end of its head goes the short way."""

    def cut(house: House) -> bytes:
        with Wire(house) as wire:
            for at in range(1, len(request_)):
                wire.send(request_[:at])
                wire.heard()
                wire.send(request_[at:])
                wire.settle()
            return wire.told()

    before = houses.short.taken
    answers = houses.each(cut)
    assert answers == NO_CONTENT * (len(request_) - 1)
    assert houses.short.taken - before == request_.index(b"\r\n\r\n") + 3


def test_a_request_may_come_byte_by_byte(houses: Pair) -> None:
    assert houses.taken(*[bytes([byte]) for byte in PLAIN + OTHER]) == 0


def test_a_connection_serves_many_the_short_way(houses: Pair) -> None:
    def several(house: House) -> bytes:
        with Wire(house) as wire:
            for n in range(200):
                wire.send(post(body=events(n)))
                wire.settle()
            return wire.told()

    before = houses.short.taken
    assert houses.each(several) == NO_CONTENT * 200
    assert houses.short.taken - before == 200


def test_a_head_that_came_before_says_the_same_again(houses: Pair) -> None:
    """Its row a few times on a connection."""
    taken, known = houses.short.taken, houses.short.known
    rows = [row for row in ROWS if row.short == 1 and len(row.parts) == 1 and row not in table.SEVERAL]

    def several(house: House, said: bytes) -> bytes:
        with Wire(house) as wire:
            for _ in range(3):
                wire.send(said)
                wire.settle()
            return wire.told()

    for row in rows:
        answers = houses.each(lambda house, row=row: several(house, row.parts[0]))  # type: ignore[misc]
        assert answers.count(NO_CONTENT) >= 3, row.name
    assert houses.short.taken - taken >= 3 * len(rows)
    assert houses.short.known - known >= 1.8 * len(rows)
    houses.each(House.cleared)


HEAD: Final = PLAIN[: -len(ONE)]
LESS: Final = table.event("1", "1")


@pytest.mark.parametrize(
    ("said", "short"),
    [
        ((HEAD + events(8),), 1),
        ((HEAD + ONE[:-1] + b"x",), 0),
        ((HEAD + table.EMPTY.ljust(len(ONE)),), 0),
        ((HEAD, ONE), 0),
        ((HEAD + ONE[:-1], ONE[-1:]), 0),
        ((HEAD + ONE[:-1],), 0),
        ((HEAD + LESS,), 0),
        ((HEAD + LESS, b" " * (len(ONE) - len(LESS))), 0),
        ((PLAIN + PLAIN,), 1),
        ((PLAIN + b"\r\n",), 1),
        ((PLAIN + PLAIN[:9], PLAIN[9:]), MANY),
        ((b"\r\n" + PLAIN,), 1),
        ((b"\r\n", PLAIN), 1),
        ((b"\r\n\r\n" + PLAIN,), 1),
        ((b"\r\n\r\n" + ONE,), 0),
        ((PLAIN[:1], PLAIN[1:]), 1),
        ((post(body=b"{}" + PLAIN),), 0),
        ((post(body=b"{}" + PLAIN)[: -len(PLAIN)], PLAIN), 0),
        ((post(body=PLAIN, who=("X-None", ""))[: -len(PLAIN)], PLAIN), 0),
        ((table.framed(table.CHUNKED), PLAIN), 0),
        ((table.framed(table.CHUNKED, body=chunk(ONE) + b"0\r\n"), PLAIN), 0),
        ((b"GET /live HTTP/1.1\r\n", PLAIN), 0),
        ((b"GET /live HTTP/1.1\r\nX: ", PLAIN), 0),
        ((table.LIVE, PLAIN), MANY),
        ((post(("Connection", "close")), PLAIN), 0),
        ((b"garbage\r\n\r\n", PLAIN), 0),
        ((table.JAVA, PLAIN), MANY),
    ],
)
def test_a_head_that_came_before_counts_where_it_is_one(houses: Pair, said: tuple[bytes, ...], short: int) -> None:
    """And not where its bytes are something else, or something else follows."""
    for _ in range(2):
        assert houses.taken(PLAIN) == 1
        assert short in (houses.taken(*said), MANY)


def test_credentials_that_are_not_known_yet_are_verified_the_long_way(houses: Pair) -> None:
    for n in range(GUESTS):
        guest = post(who=basic(f"guest-{n}", PASSWORD))
        assert houses.taken(guest) == 0
        assert houses.taken(guest) == 1
    mistaken = post(who=basic("guest-0", "y"))
    assert [houses.taken(mistaken), houses.taken(mistaken)] == [0, 0]


def test_credentials_that_are_taken_back_are_not_known_any_more(houses: Pair) -> None:
    def take_back(house: House) -> None:
        known = house.worker._known
        assert known is not None
        known.chain.revoke(frozenset(known.chain.grants()))

    assert houses.taken(PLAIN) == 1
    for house in houses.houses:
        house.ask(lambda house=house: take_back(house))  # type: ignore[misc]
    assert houses.taken(PLAIN) == 0
    for user in ("ada", "bob", "boss", "zoe"):
        houses.taken(post(who=basic(user, PASSWORD)))


# whatever comes

HEADERS: Final[tuple[table.Header, ...]] = (
    ("X-Device-Id", "desk"),
    ("X-Device-Id", "a b"),
    ("X-Agent-Id", "bob"),
    ("X-Forwarded-For", "192.0.2.1"),
    ("Accept", "text/xml"),
    ("Connection", "close"),
    ("Connection", "Upgrade"),
    ("Upgrade", "h2c"),
    ("Expect", "100-continue"),
    ("Origin", CRM),
    ("Cookie", "a=b"),
    ("Content-Encoding", "gzip"),
    ("Content-Type", "text/xml"),
    ("Content-Length", "3"),
    ("Transfer-Encoding", "chunked"),
    ("Authorization", "Basic x"),
    ("SO-AppToken", "x"),
)
requests = st.builds(
    lambda who, more, body, target: post(*more, who=who, body=body, target=target),
    st.sampled_from([ADA, ADA, ADA, BOSS, basic("reader", PASSWORD), ("X-None", "")]),
    st.lists(st.sampled_from(HEADERS), max_size=2),
    st.sampled_from([ONE, ONE, ONE, events(1, 2), table.EMPTY, b"{}", b"", table.XML, ONE[:-1]]),
    st.sampled_from([HANDLED_PATH] * 4 + [f"/acme{HANDLED_PATH}", f"{HANDLED_PATH}?x", "/live"]),
)
conversations = st.tuples(
    st.lists(
        st.one_of(requests, st.sampled_from([part for row in table.SEVERAL for part in row.parts])),
        min_size=1,
        max_size=4,
    ),
    st.lists(st.integers(1, 2000), max_size=3),
)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(conversation=conversations)
def test_whatever_comes_in_whatever_pieces(houses: Pair, conversation: tuple[list[bytes], list[int]]) -> None:
    said, cuts = b"".join(conversation[0]), sorted({0, *conversation[1]})
    parts = [said[start:end] for start, end in zip(cuts, [*cuts[1:], len(said)], strict=True)]
    outcome = houses.outcome(*[part for part in parts if part], devices=False)
    assert outcome.held == (0, 0)
    assert not outcome.troubled
    houses.outcome(said, devices=False)


def test_an_error_that_nobody_foresaw_is_answered_alike(houses: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(body: bytes) -> Any:
        raise ZeroDivisionError(math.inf)

    for place in ("server.api.short.decoder_for", "server.api.handled.decoder_for"):
        monkeypatch.setattr(place, lambda *_: fails)
    outcome = houses.outcome(PLAIN + OTHER, devices=False)
    assert outcome.said.answers.count(b"HTTP/1.1 500 ") == 1  # after which the connection ends
    assert outcome.held == (0, 0)
    monkeypatch.undo()
    assert houses.taken(PLAIN) == 1
