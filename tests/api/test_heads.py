"""Heads that came before: what they said is known by their bytes, and by nothing less."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from server.api.bodies import decoder_for
from server.api.heads import MOST_BYTES, Heads, Reading
from server.api.http import BoundedHttp
from tests.api.houses import Pair, pair
from tests.api.raw import events
from tests.api.requests_table import MANY, OTHER, PLAIN, ROWS, Row, post, shown

HEAD = b"POST /x HTTP/1.1\r\nHost: a\r\nAuthorization: Basic eA==\r\nContent-Length: 5\r\n\r\n"


def reading(length: int = 5) -> Reading:
    return Reading(b"key", (), None, None, None, (), decoder_for(b"application/json"), length)


def test_it_is_found_with_whatever_body_of_its_length() -> None:
    heads, said = Heads(), reading()
    assert heads.find(HEAD + b"12345") is None
    heads.put(HEAD + b"12345", said)
    for body in (b"12345", b"\r\n\r\n1", b"abcde"):
        assert heads.find(HEAD + body) == (said, len(HEAD))


@pytest.mark.parametrize("body", [b"", b"1234", b"123456", b"12345" + HEAD + b"12345"])
def test_it_is_not_found_where_something_else_than_its_body_follows(body: bytes) -> None:
    heads = Heads()
    heads.put(HEAD + b"12345", reading())
    assert heads.find(HEAD + body) is None


@pytest.mark.parametrize("at", range(len(HEAD)))
def test_no_byte_may_differ(at: int) -> None:
    heads = Heads()
    heads.put(HEAD + b"12345", reading())
    other = HEAD[:at] + bytes([HEAD[at] ^ 0x20]) + HEAD[at + 1 :]
    assert heads.find(other + b"12345") is None


def test_one_that_is_cut_is_not_found() -> None:
    heads = Heads()
    heads.put(HEAD + b"12345", reading())
    assert not any(heads.find((HEAD + b"12345")[:end]) for end in range(len(HEAD) + 5))


def test_one_whose_end_is_elsewhere_is_not_kept() -> None:
    """As where its lines end with LF alone, and the blank line that ends with CR LF is in the body."""
    heads = Heads()
    loose = HEAD.replace(b"\r\n", b"\n") + b"1\r\n\r\n"
    heads.put(loose, reading())
    assert heads.find(loose) is None


def test_a_long_one_is_not_kept() -> None:
    heads = Heads()
    for size, kept in ((MOST_BYTES, True), (MOST_BYTES + 1, False)):
        data = HEAD.replace(b"Host: a", b"Host: " + b"a" * (size - len(HEAD) + 1)) + b"12345"
        heads.put(data, reading())
        assert (heads.find(data) is not None) == kept


def test_no_more_than_so_many_are_kept() -> None:
    heads = Heads(most=3)
    several = [HEAD.replace(b"/x", b"/%d" % number) + b"12345" for number in range(5)]
    for data in several:
        heads.put(data, reading())
    assert [heads.find(data) is not None for data in several] == [False, False, True, True, True]


@pytest.fixture(scope="module")
def houses(tmp_path_factory: pytest.TempPathFactory, valkey: str) -> Iterator[Pair]:
    with (
        pair(tmp_path_factory.mktemp("heads"), valkey, "heads", SERVER__TRUSTED_PROXIES="127.0.0.1") as houses,
        houses.short.listening(),
        houses.long.listening(),
    ):
        yield houses


@pytest.mark.parametrize("row", [row for row in ROWS if row.short not in (0, MANY)], ids=shown)
def test_what_came_before_comes_out_alike(houses: Pair, row: Row) -> None:
    """The second time the parser is not asked, and all comes out as it does the long way; after another's as well."""
    first = houses.outcome(*row.parts)
    for _ in range(2):
        assert houses.outcome(*row.parts).said == first.said
        houses.taken(PLAIN)


def test_the_parser_is_asked_once(houses: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    parsed, parse = list[bytes](), BoundedHttp._parse

    def counted(connection: BoundedHttp, data: bytes) -> None:
        parsed.append(data)
        parse(connection, data)

    monkeypatch.setattr(BoundedHttp, "_parse", counted)
    requests = [post(("X-Request-Id", "once"), body=events(number)) for number in (1, 2, 3)]
    for request in requests:
        assert houses.taken(request) == 1
    assert [parsed.count(request) for request in requests] == [2, 1, 1], "the long way asks it each time"
    houses.taken(requests[0] + OTHER)
    assert parsed.count(requests[0] + OTHER) == 2, "what follows it is for the parser"
