"""What the composition root does by itself."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import socket
import ssl
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import argon2
import pytest

from server.app import Worker
from server.auth.build import build
from server.auth.principal import Credentials
from server.errors import Unauthenticated
from server.metrics import Metrics
from server.settings import load
from tests.auth.test_websession import Memory
from tests.gateway.devices import basic


def make_pair(folder: Path, name: str) -> tuple[Path, Path]:
    certificate, key = folder / f"{name}.pem", folder / f"{name}.key"
    made = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    subprocess.run([*made, "-subj", "/CN=x", "-keyout", key, "-out", certificate], check=True, capture_output=True)
    return certificate, key


def shown_by(context: ssl.SSLContext) -> bytes | None:
    """The certificate that a client is shown; raises ssl.SSLError where the handshake fails."""
    inner, outer = (ssl.MemoryBIO(), ssl.MemoryBIO()), (ssl.MemoryBIO(), ssl.MemoryBIO())
    trusting = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    trusting.check_hostname, trusting.verify_mode = False, ssl.CERT_NONE
    client, server = trusting.wrap_bio(*inner), context.wrap_bio(*outer, server_side=True)
    for _ in range(4):
        for side in (client, server):
            with contextlib.suppress(ssl.SSLWantReadError):
                side.do_handshake()
            outer[0].write(inner[1].read())
            inner[0].write(outer[1].read())
    return client.getpeercert(binary_form=True)


@pytest.mark.skipif(shutil.which("openssl") is None, reason="makes its certificates with the openssl command")
def test_a_reload_that_fails_leaves_the_old_certificate_in_place(tmp_path: Path) -> None:
    certificate, key = make_pair(tmp_path, "served")
    new_certificate, new_key = make_pair(tmp_path, "new")
    environ = {"CLEARSYNC_SERVER__TLS_CERTIFICATE": str(certificate), "CLEARSYNC_SERVER__TLS_KEY": str(key)}
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with socket.socket() as unused:
        worker = Worker(load(None, environ, {"dev": True}), "memory", unused, lambda ready: None)
        server: Any = SimpleNamespace(config=SimpleNamespace(ssl=context))
        worker._server = server
        before = shown_by(context)
        shutil.copy(new_certificate, certificate)  # renewed before its key
        worker.reload()
        assert shown_by(context) == before
        shutil.copy(new_key, key)
        worker.reload()
        assert shown_by(context) != before


async def test_a_reload_reads_the_users_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also one who was refused just before is let in then."""
    monkeypatch.setattr("server.auth.usersfile.EVERY_S", 3600.0)  # it does not look by itself
    monkeypatch.setattr("server.auth.usersfile.SETTLE_S", 0.0)
    cheap = argon2.PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash("x")
    users = tmp_path / "users.toml"
    users.write_text(f"[users.ada]\nhash = '{cheap}'\ntenant = 'acme'\n")
    settings = load(None, {"CLEARSYNC_AUTH__USERS_FILE": str(users)}, {})
    told: asyncio.Queue[frozenset[str]] = asyncio.Queue()
    bob = Credentials(basic("bob").encode())
    with socket.socket() as unused:
        worker = Worker(settings, "memory", unused, lambda ready: None)
        worker.reload()  # before it has begun
        worker._known = known = build(settings, Memory(), Metrics(), told.put_nowait)
        running = asyncio.ensure_future(known.chain.run())
        try:
            with pytest.raises(Unauthenticated):
                await known.chain.authenticate(bob, "192.0.2.1")
            users.write_text(f"[users.bob]\nhash = '{cheap}'\ntenant = 'acme'\n")
            worker.reload()
            async with asyncio.timeout(5):
                (gone,) = await told.get()
            assert gone.startswith("user:")
            assert (await known.chain.authenticate(bob, "192.0.2.1")).agent.tag == "acme/bob"
        finally:
            running.cancel()
            with pytest.raises(asyncio.CancelledError):
                await running
            await known.chain.close()
