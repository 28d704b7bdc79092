"""What the composition root does by itself."""

from __future__ import annotations

import contextlib
import shutil
import socket
import ssl
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from server.app import Worker
from server.settings import load


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
