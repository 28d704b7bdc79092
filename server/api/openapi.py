"""GET /openapi.json: what is served, for machines. Made of the constants that serve it, so that the two stay one.

`description` is pure; `OpenApi` serves it. The websocket is in `docs/asyncapi.yaml`.
"""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec
from starlette.types import Receive, Scope, Send

from server.api.operations import OPENAPI_PATH, REFUSALS, for_agents, for_anybody, of_tenant, refusal
from server.api.shapes import SCHEMAS, Schema
from server.auth.websession import XSRF_COOKIE, cookie_name
from server.problems import JSON

__all__ = ["OPENAPI_PATH", "OpenApi", "description"]


def description(base_path: str, version: str, *, secure_cookies: bool = True) -> dict[str, Any]:
    """The OpenAPI 3.1 description of a server behind `base_path` (empty, or from a slash on, without one at its end).

    `secure_cookies`: whether browsers reach it by TLS, on which the name of the session's cookie depends.
    """
    under_tenant = {f"/{{tenant}}{path}": of_tenant(item) for path, item in for_agents().items()}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "clearsync",
            "version": version,
            "description": "A notification handled on one device disappears from the agent's others.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": base_path or "/"}],
        "paths": for_agents() | under_tenant | for_anybody(),
        "components": {
            "schemas": SCHEMAS,
            "responses": {str(status): refusal(status) for status in REFUSALS},
            "securitySchemes": _schemes(secure_cookies),
        },
    }


class OpenApi:
    """The ASGI endpoint. The description is encoded once; its ETag is of its bytes, so that asking again is cheap."""

    def __init__(self, base_path: str, version: str, *, secure_cookies: bool = True) -> None:
        self._body = msgspec.json.encode(description(base_path, version, secure_cookies=secure_cookies))
        self._tag = b'"%b"' % hashlib.sha256(self._body).hexdigest()[:32].encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        asked = [t.strip() for name, value in scope["headers"] if name == b"if-none-match" for t in value.split(b",")]
        unchanged = b"*" in asked or self._tag in [t.removeprefix(b"W/") for t in asked]
        headers = [(b"etag", self._tag), (b"cache-control", b"no-cache")]
        if not unchanged:
            headers += [(b"content-type", JSON.encode()), (b"content-length", b"%d" % len(self._body))]
        await send({"type": "http.response.start", "status": 304 if unchanged else 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if unchanged else self._body})


def _schemes(secure_cookies: bool) -> Schema:
    return {
        "basic": {"type": "http", "scheme": "basic"},
        "soTicket": {
            "type": "apiKey",
            "in": "header",
            "name": "Authorization",
            "description": "`SoTicket <ticket>`, the scheme in any case.",
        },
        "appToken": {"type": "apiKey", "in": "header", "name": "SO-AppToken"},
        "bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"},
        "webSession": {"type": "apiKey", "in": "cookie", "name": cookie_name(secure=secure_cookies)},
        "xsrf": {
            "type": "apiKey",
            "in": "header",
            "name": "X-XSRF-TOKEN",
            "description": f"The value of the cookie {XSRF_COOKIE}, or `xsrf` of the answer that began the session.",
        },
    }
