"""The parts without I/O: what an answer says, what clocks mean, a stream's lines, and how findings are shown."""

from __future__ import annotations

import pytest

from server.doctor import Finding, Status, row, summary
from server.doctor.clocks import judged
from server.doctor.replies import Reply, schemes
from server.doctor.streams import Lines

OURS = b'{"Error":true,"ErrorType":"Forbidden","ErrorMessage":"not\x1b[31m you","ErrorSource":"clearsync"}'


@pytest.mark.parametrize(
    ("reply", "said", "ours"),
    [
        (Reply(403, {}, OURS.replace(b"\x1b", rb"\u001b")), "403: not?[31m you", True),
        (Reply(403, {}, OURS.replace(b"clearsync", b"other").replace(b"\x1b", b"")), "403 forbidden", False),
        (Reply(502, {"server": "nginx/1\x1b"}, b"<html>"), "502 bad gateway from nginx/1?", False),
        (Reply(301, {"location": "https://x"}), "301 moved permanently to https://x", False),
        (Reply(799, {}, b"[" * 100_000), "799 answered", False),
        (Reply(200, {}, b"\xff"), "200 ok", False),
    ],
)
def test_an_answer_in_words(reply: Reply, said: str, ours: bool) -> None:
    assert reply.said == said
    assert (reply.problem is not None) is ours


@pytest.mark.parametrize(
    ("challenge", "told"),
    [
        ('Basic realm="clearsync", charset="UTF-8", SoTicket realm="clearsync"', "Basic, SoTicket"),
        ('Bearer realm="a, b=c"', "Bearer"),
        ("Negotiate", "Negotiate"),
        ("", ""),
    ],
)
def test_the_ways_to_sign_in(challenge: str, told: str) -> None:
    assert schemes(Reply(401, {"www-authenticate": challenge})) == told


@pytest.mark.parametrize(
    ("date_s", "store_s", "status", "cure"),
    [
        (1.9, -1.9, Status.OK, ""),
        (1.0, None, Status.OK, ""),
        (-2.1, None, Status.WARN, "the server's host, or this machine"),
        (0.0, 61.0, Status.FAIL, "the store's host"),
        (30.0, 0.1, Status.WARN, "the proxy (or server) that writes Date"),
        (-61.0, -60.5, Status.FAIL, "this machine's clock is wrong"),
    ],
)
def test_clocks(date_s: float, store_s: float | None, status: Status, cure: str) -> None:
    finding = judged(date_s, store_s)
    assert finding.status is status
    assert cure in finding.cure
    assert bool(finding.cure) is (status is not Status.OK)


def test_a_stream_in_any_pieces() -> None:
    text = 'retry: 1200\n\nid: a-1\ndata: {"type":"x"}\n\n:\n\r\nevent: y\r\ndata:1\r\ndata: 2\r\n\r\n: more\ndata: cut'
    for size in (1, 2, 7, len(text)):
        lines = Lines()
        got = [one for start in range(0, len(text), size) for one in lines.feed(text[start : start + size])]
        assert got == ['{"type":"x"}', None, "1\n2", None]


def test_a_row_fits_a_terminal_and_says_what_to_change() -> None:
    finding = Finding(Status.FAIL, "seen " * 20 + "\x1b]0;title\x07", "change " * 20, check="event stream")
    lines = row(finding, 70, color=False).splitlines()
    assert max(map(len, lines)) <= 70
    assert lines[0].startswith("event stream  fail     seen seen")
    assert sum("→ change" in line for line in lines) == 1
    assert all(line.startswith(" " * 23) for line in lines[1:])
    assert "\x1b" not in "".join(lines)
    assert "\x1b[31mfail     \x1b[0mseen" in row(finding, 70, color=True)
    assert row(Finding(Status.OK, "", check="tls"), 70, color=False) == "tls           ok       "


def test_what_is_counted_at_the_end() -> None:
    findings = [Finding(Status.OK, ""), Finding(Status.SKIPPED, ""), Finding(Status.OK, ""), Finding(Status.FAIL, "")]
    assert summary(findings) == "2 ok, 1 fail, 1 skipped"
