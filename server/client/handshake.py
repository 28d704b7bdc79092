"""The websocket handshake of a client."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from typing import Final
from urllib.parse import urlencode

from websockets.asyncio.client import ClientConnection, connect
from websockets.typing import Subprotocol

from server.client.address import is_loopback
from server.client.connection import Timing
from server.client.reporting import USER_AGENT
from server.wire import SUBPROTOCOL, SYNC_PATH

MAX_FRAME_BYTES: Final = 4 * 2**20
"""The largest frame taken. A catch-up frame of 1,000 events has about 70 kB."""


class Direct(connect):
    """Without redirects: credentials, and what is believed, are for the address that was given."""

    def process_redirect(self, exc: Exception) -> Exception | str:
        return exc


async def connected(
    url: str,
    query: Mapping[str, str],
    headers: Mapping[str, str],
    *,
    timing: Timing,
    tls: ssl.SSLContext | None,
) -> ClientConnection:
    """A websocket to the server at `url`, which has not said anything yet. Raises what `judge` knows."""
    return await Direct(
        f"ws{url.removeprefix('http')}{SYNC_PATH}?{urlencode(query)}",
        subprotocols=[Subprotocol(SUBPROTOCOL)],
        additional_headers=headers,
        user_agent_header=USER_AGENT,
        compression=None,
        proxy=None if is_loopback(url) else True,
        ssl=tls,
        open_timeout=timing.open_s,
        close_timeout=timing.close_s,
        # Not the library's keepalive: its period is its own, and a protocol pong may come from a proxy. Our `ping`
        # follows the period that the server names, and its answer comes from the session itself (rule 4).
        ping_interval=None,
        max_size=MAX_FRAME_BYTES,
    )
