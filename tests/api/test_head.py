"""What the headers of a request say of who sends it."""

from __future__ import annotations

import pytest

from server.api.head import agent_name, read_head
from server.auth.principal import Credentials
from server.errors import BadRequest

COOKIE = "__Host-clearsync"


def credentials(*headers: tuple[bytes, bytes]) -> Credentials:
    return read_head(headers, COOKIE).credentials


def test_a_head_that_says_nothing() -> None:
    head = read_head([(b"host", b"x"), (b"x-unknown", b"y")], COOKIE)
    assert head == (Credentials(), None, None, (), b"", b"", None, None)


def test_all_that_a_head_says() -> None:
    head = read_head(
        [
            (b"authorization", b"Basic YQ=="),
            (b"so-apptoken", b"app"),
            (b"cookie", b"a=b; __Host-clearsync=secret"),
            (b"x-xsrf-token", b"xsrf"),
            (b"x-agent-id", b"bob"),
            (b"x-device-id", b"phone"),
            (b"origin", b"https://crm.example.com"),
            (b"content-type", b"application/json"),
            (b"content-length", b"12"),
            (b"content-encoding", b"gzip"),
        ],
        COOKIE,
    )
    assert head.credentials == Credentials(b"Basic YQ==", b"app", b"secret")
    assert (head.xsrf, head.agent, head.device) == (b"xsrf", b"bob", "phone")
    assert head.origins == (b"https://crm.example.com",)
    assert (head.content_type, head.length, head.encoding) == (b"application/json", 12, b"gzip")


@pytest.mark.parametrize("name", ["Authorization", "SO-AppToken", "X-Agent-Id"])
@pytest.mark.parametrize("values", [(b"a", b"a"), (b"a", b"b"), (b"", b"a"), (b"a", b"")])
def test_two_answers_to_who_is_calling_are_refused(name: str, values: tuple[bytes, bytes]) -> None:
    lower = name.lower().encode()
    with pytest.raises(BadRequest, match=f"^{name} is given twice$"):
        read_head([(lower, values[0]), (b"host", b"x"), (lower, values[1])], COOKIE)


def test_what_may_come_in_several_lines_is_kept_in_order() -> None:
    head = read_head(
        [(b"origin", b"https://a"), (b"content-encoding", b"gzip"), (b"origin", b"b"), (b"content-encoding", b"x")],
        COOKIE,
    )
    assert head.origins == (b"https://a", b"b")
    assert head.encoding == b"gzip, x", "not one that hides the other"


@pytest.mark.parametrize("device", [b"", b"a b", b"a/b", b"\xff", b"a" * 65])
def test_a_device_that_is_none_is_refused(device: bytes) -> None:
    with pytest.raises(BadRequest):
        read_head([(b"x-device-id", device)], COOKIE)


@pytest.mark.parametrize(
    ("lines", "picked"),
    [
        ([b"__Host-clearsync=s"], b"s"),
        ([b"a=b;__Host-clearsync=s;c=d"], b"s"),
        ([b" __Host-clearsync=s "], b"s"),
        ([b"a=b", b"__Host-clearsync=s"], b"s"),  # HTTP/2 hops may split it
        ([b"__Host-clearsync=s", b"a=b"], b"s"),
        ([b"__Host-clearsync=s", b"__Host-clearsync=t"], b"s"),
        ([b"__Host-clearsync=s; __Host-clearsync=t"], b"s"),
        ([b"__Host-clearsync=s=t=="], b"s=t=="),
        ([b"clearsync=s"], None),
        ([b"x__Host-clearsync=s"], None),
        ([b"a=__Host-clearsync=s"], None),
        ([b"__Host-clearsync2=s"], None),
        ([b"__host-clearsync=s"], None),
        ([b"__Host-clearsync"], None),
        ([b"XSRF-TOKEN=s"], None),
        ([b""], None),
    ],
)
def test_the_cookie_of_a_session_is_picked_from_all(lines: list[bytes], picked: bytes | None) -> None:
    assert credentials(*((b"cookie", line) for line in lines)).web_session == picked


@pytest.mark.parametrize(
    ("value", "name"),
    [(b"bob", "bob"), (b"%C3%85sa%20B", "Åsa B"), (b"a+b", "a+b"), (b"%2Fx%2f", "/x/"), (b"100%", "100%"), (b"", "")],
)
def test_the_name_of_an_agent(value: bytes, name: str) -> None:
    assert agent_name(value) == name


@pytest.mark.parametrize("value", [b"\xc3\xa5", b"%FF", b"\xff", b"%C3"])
def test_a_name_that_is_not_utf_8_is_refused(value: bytes) -> None:
    with pytest.raises(BadRequest, match=r"^X-Agent-Id must be a name in UTF-8, percent-encoded$"):
        agent_name(value)
