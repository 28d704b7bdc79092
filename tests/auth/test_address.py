"""Where a request comes from: only what a trusted proxy says is believed."""

from __future__ import annotations

import pytest

from server.auth.address import Way

CLIENT, PROXY, INNER = "203.0.113.9", "10.0.0.1", "10.0.0.2"


def forwarded(*values: str) -> list[tuple[str, str]]:
    """A header each."""
    return [("host", "x"), *(("x-forwarded-for", value) for value in values)]


@pytest.mark.parametrize(
    ("proxies", "peer", "headers", "address"),
    [
        # nobody is trusted: a header is anybody's word
        ((), PROXY, forwarded(CLIENT), PROXY),
        (("192.0.2.1",), PROXY, forwarded(CLIENT), PROXY),
        # one proxy
        ((PROXY,), PROXY, forwarded(CLIENT), CLIENT),
        ((PROXY,), PROXY, forwarded(), PROXY),
        ((PROXY,), PROXY, forwarded("6.6.6.6, " + CLIENT), CLIENT),  # the client's own claim comes before
        ((PROXY,), PROXY, forwarded("6.6.6.6", CLIENT), CLIENT),
        # a chain of proxies, as addresses and as a network
        ((PROXY, INNER), INNER, forwarded(f"6.6.6.6, {CLIENT}, {PROXY}"), CLIENT),
        (("10.0.0.0/8",), INNER, forwarded(f"{CLIENT},{PROXY}"), CLIENT),
        (("10.0.0.0/8",), INNER, forwarded(CLIENT, PROXY), CLIENT),
        (("10.0.0.0/8",), INNER, forwarded(PROXY), PROXY),  # all of it ours: the outermost
        # what is no address is not believed, nor anything before it
        ((PROXY,), PROXY, forwarded("unknown"), PROXY),
        ((PROXY,), PROXY, forwarded(f"{CLIENT}, _hidden"), PROXY),
        (("10.0.0.0/8",), INNER, forwarded(f"{CLIENT}, nonsense, {PROXY}"), PROXY),
        ((PROXY,), PROXY, forwarded(""), PROXY),
        ((PROXY,), PROXY, forwarded(f"{CLIENT},"), PROXY),
        # IPv6
        (("::1",), "::1", forwarded("2001:db8::7"), "2001:db8::7"),
        (("fd00::/8",), "fd00::5", forwarded(CLIENT), CLIENT),
        (("10.0.0.0/8",), "::1", forwarded(CLIENT), "::1"),
        # a unix socket has no peer
        ((PROXY,), "", forwarded(CLIENT), ""),
    ],
)
def test_client_address(proxies: tuple[str, ...], peer: str, headers: list[tuple[str, str]], address: str) -> None:
    assert Way(proxies).address(peer, headers) == address


@pytest.mark.parametrize(
    ("tls", "peer", "said", "encrypted"),
    [
        (True, CLIENT, [], True),
        (False, CLIENT, [], False),
        (False, PROXY, ["https"], True),
        (False, PROXY, ["HTTPS"], True),
        (False, PROXY, ["wss"], True),
        (False, PROXY, ["http"], False),
        (False, PROXY, ["https, http"], False),  # the last word is the proxy's own
        (False, PROXY, ["https", "http"], False),
        (False, PROXY, ["http, https"], True),
        (False, PROXY, [], False),
        (False, CLIENT, ["https"], False),
        (False, "", ["https"], False),
    ],
)
def test_whether_a_client_came_by_tls(tls: bool, peer: str, said: list[str], encrypted: bool) -> None:
    headers = [("x-forwarded-proto", value) for value in said]
    assert Way((PROXY,), tls=tls).encrypted(peer, headers) is encrypted


@pytest.mark.parametrize(
    ("hop", "address"),
    [
        (f"{CLIENT}:4711", CLIENT),
        ("[2001:db8::1]:4711", "2001:db8::1"),
        ("[2001:db8::1]", "2001:db8::1"),
        ("2001:db8::1", "2001:db8::1"),
        ("fe80::1%any text", PROXY),
        (f"{CLIENT}:", PROXY),
        ("[]:1", PROXY),
        ("1.2.3:1", PROXY),
    ],
)
def test_a_hop_may_have_a_port(hop: str, address: str) -> None:
    assert Way((PROXY,)).address(PROXY, forwarded(hop)) == address


def test_a_proxy_is_the_same_on_a_socket_of_both_families() -> None:
    way = Way((PROXY,))
    assert way.address(f"::ffff:{PROXY}", forwarded(CLIENT)) == CLIENT
    assert way.encrypted(f"::ffff:{PROXY}", [("x-forwarded-proto", "https")])
    assert Way(("10.0.0.0/8",)).address(PROXY, forwarded(f"{CLIENT}, ::ffff:{INNER}")) == CLIENT
