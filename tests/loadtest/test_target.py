"""Where a load goes."""

from __future__ import annotations

import asyncio
import shutil
import socket
import ssl
from pathlib import Path

import pytest

from server.client import ServerUnavailable, UntrustedServer
from server.errors import BadRequest
from server.loadtest.target import Target
from tests.loadtest.fake_server import fake_server
from tests.test_app import make_pair


@pytest.mark.parametrize(
    ("url", "base", "address", "port", "tls"),
    [
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080", "127.0.0.1", 8080, False),
        ("http://localhost/base/", "http://localhost/base", "localhost", 80, False),
        ("https://[::1]", "https://[::1]", "::1", 443, True),
    ],
)
def test_a_url_says_where(url: str, base: str, address: str, port: int, tls: bool) -> None:
    target = Target.of(url)
    assert (target.url, target.address, target.port, target.tls is not None) == (base, address, port, tls)


def test_what_is_no_url_is_refused() -> None:
    with pytest.raises(BadRequest):
        Target.of("ftp://x")


async def test_the_first_address_that_answers_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    async def getaddrinfo(host: str, port: int, **_: object) -> object:
        addresses = ("127.0.0.9", "127.0.0.1", "127.0.0.1") if host == "localhost" else (host,)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in addresses]

    async with fake_server() as fake:
        monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo)
        target = await Target.of(fake.url.replace("127.0.0.1", "localhost")).found()
        assert target.address == "127.0.0.1"


async def test_where_no_address_answers_it_says_why(unused_tcp_port: int) -> None:
    url = f"http://localhost:{unused_tcp_port}"
    with pytest.raises(ServerUnavailable, match=rf"^{url} gave no answer \(nothing listens there"):
        await Target.of(url).found()


@pytest.mark.skipif(shutil.which("openssl") is None, reason="makes its certificate with the openssl command")
async def test_a_certificate_that_nobody_vouches_for_is_not_trusted(tmp_path: Path) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*make_pair(tmp_path, "own"))
    async with fake_server(tls=context) as fake:
        with pytest.raises(UntrustedServer, match="certificate can't be verified"):
            await Target.of(fake.url.replace("http", "https")).found()
        assert fake.paths == []
