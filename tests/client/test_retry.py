"""What a failure means: which error ends it, or how long to wait."""

from __future__ import annotations

import ssl

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.exceptions import ConnectionClosedError
from websockets.frames import Close

from server.client.frames import Unreadable
from server.client.retry import (
    AccessRefused,
    Backoff,
    ClientError,
    CredentialsRefused,
    RequestRefused,
    Retry,
    Silent,
    UntrustedServer,
    judge,
    judge_status,
    reason_of,
)


@given(st.lists(st.floats(0, 1, exclude_max=True), min_size=1, max_size=2000))
def test_full_jitter_spreads_from_nothing_to_the_growing_ceiling(draws: list[float]) -> None:
    left = iter(draws)
    backoff = Backoff(0.5, 30.0, lambda: next(left))
    for n, draw in enumerate(draws):
        ceiling = min(30.0, 0.5 * 2 ** min(n, 10))
        assert backoff.next_s() == pytest.approx(draw * ceiling)


def test_a_success_makes_the_next_failure_the_first() -> None:
    backoff = Backoff(0.5, 30.0, lambda: 1.0)
    assert [backoff.next_s() for _ in range(8)] == [0.5, 1, 2, 4, 8, 16, 30, 30]
    backoff.reset()
    assert backoff.next_s() == 0.5


def _closed(code: int, reason: str = "") -> ConnectionClosedError:
    return ConnectionClosedError(Close(code, reason), None)


@pytest.mark.parametrize(
    ("code", "error"),
    [(1009, RequestRefused), (4001, CredentialsRefused), (4003, AccessRefused), (4009, RequestRefused)],
)
def test_close_codes_that_end_it(code: int, error: type[ClientError]) -> None:
    with pytest.raises(error, match=rf"\({code}\): because$") as caught:
        judge(_closed(code, "because"))
    assert caught.value.code == code


@pytest.mark.parametrize("code", [1000, 1001, 1011, 1012, 4000, 4999])
def test_close_codes_to_come_back_after(code: int) -> None:
    retry = judge(_closed(code))
    assert (retry.at_least_s, retry.code) == (0, code)


def test_a_frame_of_the_servers_that_is_too_big_is_not_said_to_be_ours() -> None:
    ours, echo = Close(1009, "frame exceeds limit of 9 bytes"), Close(1009, "")
    for failure in (ConnectionClosedError(None, ours), ConnectionClosedError(echo, ours, rcvd_then_sent=False)):
        with pytest.raises(UntrustedServer, match=r"the server sends more .*limit of 9 bytes"):
            judge(failure)
    with pytest.raises(RequestRefused):
        judge(ConnectionClosedError(ours, echo, rcvd_then_sent=True))


def test_a_reason_that_says_nothing_more_is_left_out() -> None:
    assert judge(_closed(1012, "restart")).reason == "restart (1012)"
    assert judge(_closed(1012, "\x1b[2J")).reason == "restart (1012): ?[2J"


@pytest.mark.parametrize("code", [4008, 1008])
def test_too_many_sessions_or_frames_wait_a_minute_or_more(code: int) -> None:
    assert judge(_closed(code)).at_least_s >= 60


def test_a_cut_connection_is_made_again() -> None:
    assert judge(ConnectionClosedError(None, None)) == Retry("the connection was lost")


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, RequestRefused),
        (401, CredentialsRefused),
        (403, AccessRefused),
        (404, RequestRefused),
        (301, RequestRefused),
        (413, RequestRefused),
        (499, RequestRefused),
    ],
)
def test_statuses_that_end_it(status: int, error: type[ClientError]) -> None:
    with pytest.raises(error, match=rf"^no and no \({status}\)$") as caught:
        judge_status(status, b'{"ErrorMessage":"no and no"}', None)
    assert caught.value.code == status


@pytest.mark.parametrize(
    ("status", "retry_after", "at_least_s"),
    [
        (503, None, 0),
        (503, "7", 7),
        (503, "Fri, 31 Dec 1999 23:59:59 GMT", 0),
        (503, "-1", 0),
        (503, "9" * 400, 300),
        (500, None, 0),
        (502, "2", 2),
        (408, None, 0),
        (429, None, 60),
        (429, "90", 90),
        (429, "2", 2),
        (429, "soon", 60),
        (429, "9" * 400, 300),
    ],
)
def test_statuses_to_try_again_after(status: int, retry_after: str | None, at_least_s: float) -> None:
    assert judge_status(status, b"", retry_after).at_least_s == at_least_s


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b'{"ErrorMessage":null}', b'{"ErrorMessage":5}', b"\xff"])
def test_a_status_without_the_servers_words_has_its_own(body: bytes) -> None:
    with pytest.raises(RequestRefused, match=r"^not found \(404\)$"):
        judge_status(404, body, None)


def test_a_status_that_nobody_named_is_still_told() -> None:
    assert judge_status(599, b"", None).reason == "answered (599)"


def test_a_server_that_speaks_something_else_is_not_asked_again() -> None:
    with pytest.raises(UntrustedServer):
        judge(Unreadable("x"))
    with pytest.raises(UntrustedServer):
        judge(ssl.SSLCertVerificationError(1, "x"))


def test_a_mistake_of_ours_is_not_retried() -> None:
    with pytest.raises(ZeroDivisionError):
        judge(ZeroDivisionError())


def _from(failure: Exception, cause: Exception) -> Exception:
    failure.__cause__ = cause
    return failure


@pytest.mark.parametrize(
    ("failure", "reason"),
    [
        (ConnectionRefusedError(111, "Connect call failed"), "nothing listens there (connection refused)"),
        (
            OSError("Multiple exceptions: [Errno 111] Connect call failed ('::1', 1, 0, 0), [Errno 111] Connect …"),
            "nothing listens there (connection refused)",
        ),
        (_from(OSError("failed"), ConnectionRefusedError(111, "x")), "nothing listens there (connection refused)"),
        (
            _from(OSError("failed"), ExceptionGroup("", [ConnectionRefusedError(111, "x")] * 2)),
            "nothing listens there (connection refused)",
        ),
        (_from(OSError("failed"), OSError(113, "No route to host")), "failed"),
        (OSError(113, "No route to host"), "no route to host"),
        (OSError("[Errno -2] Name or service not known"), "name or service not known"),
        (Silent("nothing came for 40 s"), "nothing came for 40 s"),
        (TimeoutError(), "no answer in time"),
        (EOFError(), "EOFError"),
    ],
)
def test_reasons_are_for_people(failure: Exception, reason: str) -> None:
    assert reason_of(failure) == reason
