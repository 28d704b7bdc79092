"""HTTP answers out of bytes."""

from __future__ import annotations

import httptools
import pytest

from server.loadtest.answers import MAX_BODY, Answers, Handshake

RECORDED = b"HTTP/1.1 204 No Content\r\nx: y\r\n\r\n"
REFUSED = b"HTTP/1.1 429 Too Many Requests\r\nContent-Length: 2\r\nRetry-After: 7\r\n\r\n{}"
CHUNKED = b"HTTP/1.1 503 No\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"
SWITCHED = b"HTTP/1.1 101 Switching\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: k\r\n\r\n"


@pytest.mark.parametrize(
    ("data", "status", "body"), [(RECORDED, 204, b""), (REFUSED, 429, b"{}"), (CHUNKED, 503, b"{}")]
)
@pytest.mark.parametrize("kind", [Answers, Handshake])
def test_an_answer_is_complete_at_its_last_byte(kind: type[Answers], data: bytes, status: int, body: bytes) -> None:
    for at in range(1, len(data)):
        answers = kind()
        assert answers.feed(data[:at]) == 0
        assert answers.feed(data[at:]) == status
        assert (answers.body, answers.keeps) == (body, True)


def test_one_comes_after_the_other_on_a_connection_that_is_kept() -> None:
    answers = Answers()
    assert [answers.feed(data) for data in (REFUSED, RECORDED, CHUNKED)] == [429, 204, 503]
    assert answers.feed(RECORDED[:9]) == 0
    assert answers.feed(RECORDED[9:]) == 204
    assert answers.body == b""


@pytest.mark.parametrize(
    "data", [b"HTTP/1.1 204 No\r\nConnection: close\r\n\r\n", b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n"]
)
def test_a_connection_that_is_not_kept_is_told(data: bytes) -> None:
    answers = Answers()
    assert answers.feed(data)
    assert not answers.keeps


def test_of_a_long_body_the_beginning_is_kept() -> None:
    answers = Answers()
    answers.feed(b"HTTP/1.1 500 No\r\nContent-Length: %d\r\n\r\n" % (3 * MAX_BODY))
    answers.feed(b"a" * (MAX_BODY - 1))
    assert answers.feed(b"b" * (2 * MAX_BODY + 1)) == 500
    assert answers.body == b"a" * (MAX_BODY - 1) + b"b"


def test_what_is_no_http_is_an_error() -> None:
    with pytest.raises(httptools.HttpParserError):
        Answers().feed(b"SSH-2.0-OpenSSH\r\n")
    with pytest.raises(httptools.HttpParserUpgrade):
        Answers().feed(SWITCHED)  # to a POST


def test_behind_a_handshake_frames_begin() -> None:
    frames = b"\x81\x02{}\r\n"
    for at in range(1, len(SWITCHED)):
        handshake = Handshake()
        assert handshake.feed(SWITCHED[:at]) == 0
        assert handshake.feed(SWITCHED[at:] + frames) == 101
        assert handshake.rest == frames
        assert handshake.headers[b"sec-websocket-accept"] == b"k"


def test_a_refused_handshake_says_when_to_come_back() -> None:
    handshake = Handshake()
    assert handshake.feed(REFUSED) == 429
    assert handshake.retry_after == "7"
    assert Handshake().retry_after is None
