"""Cross-origin calls (CORS): answered for the origins of the settings, off where there are none.

The same origins may open websockets, and `callers` lets no other change anything; this says so to their browsers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from starlette.datastructures import Headers
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response

from server.errors import Forbidden
from server.problems import JSON, problem_body

HEADERS: Final = (
    "Authorization",
    "SO-AppToken",
    "X-Agent-Id",
    "X-Device-Id",
    "X-XSRF-TOKEN",
    "If-None-Match",
    "Last-Event-ID",
)
"""What a page may send, besides what it always may; Content-Type is among that for forms only."""
EXPOSED: Final = ("ETag", "Retry-After", "WWW-Authenticate")
PREFLIGHT_S: Final = 3600


class _Cors(CORSMiddleware):
    def preflight_response(self, request_headers: Headers) -> Response:
        """Starlette's; where it refuses, in the shape of all our refusals."""
        response = super().preflight_response(request_headers)
        if response.status_code == 200:
            return response
        refusal = Forbidden("this origin, method or header is not allowed across origins")
        kept = {name: value for name, value in response.headers.items() if not name.startswith("content-")}
        return Response(problem_body(refusal), refusal.status, {**kept, "content-type": JSON})


def cors(origins: Sequence[str]) -> Middleware:
    """With credentials, so that cookies count: the list is exact, and never ``*``."""
    return Middleware(
        _Cors,
        allow_origins=list(origins),
        allow_methods=["GET", "POST", "DELETE"],
        allow_headers=[*HEADERS, "Content-Type", "Content-Encoding"],
        allow_credentials=True,
        expose_headers=list(EXPOSED),
        max_age=PREFLIGHT_S,
    )
