"""https: the certificate, and whether the server behind knows of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from server.doctor import Status
from tests.doctor.certificates import certificate
from tests.doctor.conftest import bad, look, the_failure
from tests.doctor.proxy import proxy
from tests.running import Running

HTTPS = {"x-forwarded-proto": "https"}


@pytest.fixture(autouse=True)
def _no_store(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)


async def test_a_good_certificate(running: Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file, context = certificate(tmp_path, days=60)
    monkeypatch.setenv("SSL_CERT_FILE", str(file))
    async with proxy(running.url, context, put=HTTPS) as url:
        found = await look(url)
    assert bad(found) == {}
    assert found["tls"].figures["days"] == pytest.approx(60, abs=0.1)
    assert found["tls"].seen.startswith("TLSv1.3, the certificate is good for 60 days")
    assert {one.status for one in found.values() if one.check != "idle"} == {Status.OK}


async def test_the_server_is_not_told_of_https(
    running: Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, context = certificate(tmp_path, days=60)
    monkeypatch.setenv("SSL_CERT_FILE", str(file))
    async with proxy(running.url, context) as url:
        finding = await the_failure(url, "forwarded")
    assert (finding.check, finding.status) == ("forwarded", Status.WARN)
    assert "X-Forwarded-Proto $scheme" in finding.cure
    assert "server.trusted_proxies" in finding.cure


async def test_a_certificate_that_ends_soon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file, context = certificate(tmp_path, days=13)
    monkeypatch.setenv("SSL_CERT_FILE", str(file))
    async with proxy("http://127.0.0.1:1", context) as url:
        finding = await the_failure(url, "tls")
    assert (finding.check, finding.status) == ("tls", Status.WARN)
    assert "renew it" in finding.cure


@pytest.mark.parametrize(
    ("days", "address", "trusted", "seen", "cure"),
    [
        (-1, "127.0.0.1", True, "certificate has expired", "renew the certificate"),
        (60, "127.0.0.1", False, "self-signed certificate", "SSL_CERT_FILE"),
        (60, "127.0.0.2", True, "IP address mismatch", "a certificate for this address"),
    ],
)
async def test_a_certificate_that_does_not_hold(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, days: float, address: str, trusted: bool, seen: str, cure: str
) -> None:
    file, context = certificate(tmp_path, days=days, address=address)
    if trusted:
        monkeypatch.setenv("SSL_CERT_FILE", str(file))
    async with proxy("http://127.0.0.1:1", context) as url:
        finding = await the_failure(url, "round trip")
    assert (finding.check, finding.status) == ("tls", Status.FAIL)
    assert seen in finding.seen
    assert cure in finding.cure


async def test_a_port_without_tls(running: Running) -> None:
    finding = await the_failure(running.url.replace("http:", "https:"), "server")
    assert finding.check == "tls"
    assert "listen 443 ssl" in finding.cure


@pytest.mark.parametrize(("insecure", "status"), [(False, Status.FAIL), (True, Status.WARN)])
async def test_plain_http_beyond_this_machine(
    running: Running, monkeypatch: pytest.MonkeyPatch, insecure: bool, status: Status
) -> None:
    monkeypatch.setattr("server.doctor.reach.is_loopback", lambda _: False)
    finding = await the_failure(running.url, "tls", insecure=insecure)
    assert (finding.check, finding.status) == ("tls", status)
    assert "server.tls_certificate" in finding.cure
    assert ("--insecure-http" in finding.cure) is not insecure
