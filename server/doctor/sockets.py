"""A device's websocket, with what the library keeps to itself: when pings came, and who refused a handshake."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final

from websockets.asyncio.client import ClientConnection
from websockets.exceptions import InvalidStatus
from websockets.frames import Frame as SocketFrame
from websockets.frames import Opcode
from websockets.protocol import Event
from websockets.typing import Origin, Subprotocol

from server.client import is_loopback
from server.client.frames import Frame, Pong, read
from server.client.handshake import MAX_FRAME_BYTES, Direct
from server.client.reporting import USER_AGENT
from server.doctor.replies import Reply
from server.wire import SUBPROTOCOL

CLOSE_S: Final = 1.0


class _Connection(ClientConnection):
    """Notes when the other side's pings came, in seconds of `time.monotonic`."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.pings: list[float] = []

    def process_event(self, event: Event) -> None:
        if isinstance(event, SocketFrame) and event.opcode is Opcode.PING:
            self.pings.append(time.monotonic())
        super().process_event(event)


class Socket:
    """An open websocket of one device."""

    def __init__(self, connection: _Connection, answer_s: float) -> None:
        self._connection = connection
        self._answer_s = answer_s

    @property
    def pings(self) -> list[float]:
        """When pings came."""
        return self._connection.pings

    @property
    def end(self) -> str:
        """How it ended, for people."""
        code, reason = self._connection.close_code, self._connection.close_reason
        return "without a word" if code in (None, 1006) else f"closed with {code} {reason}".rstrip()

    async def frame(self, within_s: float | None = None) -> Frame:
        """The next; TimeoutError where none comes in time, websockets' `ConnectionClosed` at the end."""
        async with asyncio.timeout(self._answer_s if within_s is None else within_s):
            return read(await self._connection.recv()).frame

    async def answers(self) -> float:
        """Ask the session itself whether it is there: how many ms that took. TimeoutError where nothing comes."""
        began = time.monotonic()
        async with asyncio.timeout(self._answer_s):
            await self._connection.send('{"type":"ping"}')
            while not isinstance(await self.frame(), Pong):
                pass
        return (time.monotonic() - began) * 1000

    async def close(self) -> None:
        """Idempotent."""
        await self._connection.close()


@asynccontextmanager
async def opened(
    url: str, headers: Mapping[str, str], tls: ssl.SSLContext | None, answer_s: float, origin: str | None = None
) -> AsyncIterator[Socket]:
    """A websocket at `url` (``ws…``), closed at the end. Raises `InvalidStatus` where it is refused."""
    async with Direct(
        url,
        origin=Origin(origin) if origin is not None else None,
        subprotocols=[Subprotocol(SUBPROTOCOL)],
        additional_headers=headers,
        user_agent_header=USER_AGENT,
        compression=None,
        proxy=None if is_loopback(url) else True,
        ssl=tls,
        open_timeout=answer_s,
        close_timeout=min(CLOSE_S, answer_s),
        ping_interval=None,  # the other side's are what is looked at
        max_size=MAX_FRAME_BYTES,
        create_connection=_Connection,
    ) as connection:
        assert isinstance(connection, _Connection)
        yield Socket(connection, answer_s)


def reply_of(refusal: InvalidStatus) -> Reply:
    """What a handshake was refused with."""
    response = refusal.response
    headers = {name.lower(): value for name, value in response.headers.raw_items()}
    return Reply(response.status_code, headers, bytes(response.body or b""))


async def knocked(
    url: str, headers: Mapping[str, str], tls: ssl.SSLContext | None, answer_s: float, origin: str | None = None
) -> Reply:
    """What a handshake is answered, where nobody means to stay. Raises what websockets does where it is no answer."""
    try:
        async with opened(url, headers, tls, answer_s, origin):
            return Reply(101, {})
    except InvalidStatus as refusal:
        return reply_of(refusal)
