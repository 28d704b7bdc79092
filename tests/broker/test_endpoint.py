"""Store URLs, and which servers will do."""

from __future__ import annotations

from typing import Any

import pytest

from server.broker.endpoint import Endpoint, check_version
from server.errors import StoreError


def test_urls() -> None:
    tcp = Endpoint.parse("redis://user:p%40ss@store:7000/3")
    assert (tcp.host, tcp.port, tcp.db, tcp.username, tcp.password) == ("store", 7000, 3, "user", "p@ss")
    assert tcp.tls is None
    assert "p@ss" not in repr(tcp)
    assert Endpoint.parse("redis://store").port == 6379
    assert Endpoint.parse("unix:///run/store.sock?db=2").path == "/run/store.sock"
    assert Endpoint.parse("unix:///run/store.sock?db=2").db == 2


def test_tls() -> None:
    strict = Endpoint.parse("rediss://store").tls
    lax = Endpoint.parse("rediss://store?ssl_cert_reqs=none").tls
    assert strict is not None
    assert lax is not None
    assert strict.check_hostname
    assert not lax.check_hostname


@pytest.mark.parametrize("url", ["http://store", "redis://store/x?db=y", "rediss://store?ssl_ca_certs=/nowhere"])
def test_urls_that_can_not_be_used(url: str) -> None:
    with pytest.raises(StoreError, match=r"store\.url"):
        Endpoint.parse(url)


@pytest.mark.parametrize("server", [b"redis", b"valkey"])
def test_versions(server: bytes) -> None:
    for version in (b"7.0.0", b"9.1.2", b"10.0"):
        check_version({b"server": server, b"version": version})
    for version in (b"6.2.14", b"", b"x"):
        with pytest.raises(StoreError, match="Redis 7"):
            check_version({b"server": server, b"version": version})


def test_the_greeting_of_resp2_is_a_flat_list() -> None:
    greeting: Any = [b"server", b"redis", b"version", b"6.0"]
    with pytest.raises(StoreError):
        check_version(greeting)
