"""An issuer of tokens: it signs whatever it is told to, and publishes its keys over real HTTP."""

from __future__ import annotations

import asyncio
import json
from base64 import urlsafe_b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jwt.algorithms import get_default_algorithms

NOW = 1_700_000_000.0
CLAIMS: dict[str, Any] = {"sub": "ada", "tenant": "acme", "aud": "clearsync", "exp": NOW + 600}
ALGORITHMS = get_default_algorithms()


def base64url(raw: bytes) -> bytes:
    return urlsafe_b64encode(raw).rstrip(b"=")


def token(key: Any, alg: str, claims: object = CLAIMS, /, *, signed_as: str = "", **header: object) -> bytes:
    """A token. Claims as bytes are taken as they are; `signed_as` is what really signs, where `alg` only says so."""
    payload = claims if isinstance(claims, bytes) else json.dumps(claims).encode()
    message = base64url(json.dumps({"alg": alg, **header}).encode()) + b"." + base64url(payload)
    return message + b"." + base64url(ALGORITHMS[signed_as or alg].sign(message, key))


def jwk(key: Any, alg: str, /, **members: object) -> dict[str, object]:
    """The JWK of a key's public half, or of a secret."""
    public = key if isinstance(key, bytes) else key.public_key()
    described: dict[str, object] = ALGORITHMS[alg].to_jwk(public, as_dict=True)
    return {**described, **members}


def jwks(*keys: object) -> bytes:
    return json.dumps({"keys": keys}).encode()


def pem(key: Any) -> bytes:
    """A key's public half."""
    written: bytes = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return written


class Clock:
    """Time that passes when told to."""

    def __init__(self, now: float = 1000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


class Publisher:
    """What stands behind a JWKS URL: answers `status` and `body`, once `gate` is open, and counts."""

    def __init__(self) -> None:
        self.url = ""
        self.fetches = 0
        self.heads: list[bytes] = []
        self.status = b"200 OK"
        self.headers = b""
        self.body = jwks()
        self.endless = False
        self.gate = asyncio.Event()
        self.gate.set()
        self.asked = asyncio.Semaphore(0)

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            self.heads.append(await reader.readuntil(b"\r\n\r\n"))
            self.fetches += 1
            self.asked.release()
            await self.gate.wait()
            length = b"" if self.endless else b"Content-Length: %d\r\n" % len(self.body)
            writer.write(b"HTTP/1.1 %b\r\n%b%b\r\n%b" % (self.status, self.headers, length, self.body))
            while self.endless:
                writer.write(b" " * 65536)
                await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass  # the other side left
        finally:
            writer.close()


@asynccontextmanager
async def publishing() -> AsyncIterator[Publisher]:
    publisher = Publisher()
    server = await asyncio.start_server(publisher.answer, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    publisher.url = f"http://{host}:{port}/keys?tenant=sesame"
    try:
        yield publisher
    finally:
        publisher.gate.set()
        server.close()
        await server.wait_closed()
