"""The async Python client: one device of one agent.

    async with Client("https://sync.example.com", user="ada", password=…, device="desk", cursor=stored) as client:
        async for frame, _ in client.frames():
            match frame:
                case Clear(): …      # dismiss
                case Reset(): …      # fetch the list from the CRM

Rules, each guarding against a loss:

1. The cursor moves when the caller asks for the next frame, so a frame that broke the caller comes again.
2. It moves by `welcome`, `clear` and `reset` only, in the order they came.
3. After a frame that can't be read nothing more is handed over: the next cursor would hide what it said.
4. A connection that is up and silent is given up: the server is asked after `welcome.ping` seconds.

And one against a theft: credentials go to `url` only. A redirect is a refusal, and plain http beyond this machine needs
the caller's word.
"""

from __future__ import annotations

import asyncio
import random as _random
import ssl
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from types import TracebackType
from typing import Final, Self
from urllib.parse import urlencode

from websockets.asyncio.client import connect
from websockets.typing import Subprotocol

from server.client.address import base_url, check_exposure, is_loopback
from server.client.connection import Connection, Timing
from server.client.credentials import authorization_of, checked, checked_app_token, headers_of
from server.client.frames import Clear, HandledEvent, Received, Reset, Welcome
from server.client.reporting import USER_AGENT, Reporter
from server.client.retry import LOST, Backoff, ClientError, NotConnected, RequestRefused, Retry, judge
from server.errors import BadRequest
from server.events import Batch, Cursor, Event, check_count, device_id
from server.wire import SUBPROTOCOL, SYNC_PATH

MAX_FRAME_BYTES: Final = 4 * 2**20
"""The largest frame taken. A catch-up frame of 1,000 events has about 70 kB."""


class _Connect(connect):
    """Without redirects: credentials, and what is believed, are for the address that was given."""

    def process_redirect(self, exc: Exception) -> Exception | str:
        return exc


class Client:
    """One device of one agent. Use it with ``async with``; a task may listen while others call `handled` and `check`.

    `url`: where the server is, ``http`` or ``https``, with its base path if it has one. Credentials are `user` and
    `password`, or `authorization`, a whole header like ``SoTicket …`` or ``Bearer …``; `app_token` goes with them where
    the server wants one (`SO-AppToken`). `insecure`: they may leave this machine by plain http. `device`: needed to
    listen, and the origin of what `handled` reports. `cursor`: where to go on from; None = from now, "0" = all that is
    retained. `on_cursor` is told each new position once its frame has been applied; `on_retry` why the connection is
    down and how many seconds until the next try. Raises `BadRequest` for a value that no server takes.
    """

    def __init__(
        self,
        url: str,
        *,
        user: str | None = None,
        password: str | None = None,
        authorization: str | None = None,
        app_token: str | None = None,
        insecure: bool = False,
        device: str | None = None,
        cursor: str | None = None,
        on_cursor: Callable[[str], None] | None = None,
        on_retry: Callable[[str, float], None] | None = None,
        timing: Timing | None = None,
        random: Callable[[], float] = _random.random,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.url = base_url(url)
        check_exposure(self.url, insecure=insecure)
        self.device = None if device is None else device_id(device)
        self.cursor = None if cursor is None else str(Cursor.parse(cursor))
        """The position after the last frame that was applied."""
        self._authorization = authorization_of(user, password, authorization)
        self._app_token = None if app_token is None else checked_app_token(app_token)
        self._on_cursor = on_cursor
        self._on_retry = on_retry
        self._timing = timing or Timing()
        self._backoff = Backoff(self._timing.backoff_base_s, self._timing.backoff_cap_s, random)
        self._sleep = sleep
        self._connection: Connection | None = None
        self._loops = 0
        self._tls: ssl.SSLContext | None = None
        self._reporter = Reporter(self.url, self._timing, tls=self._tls_context, random=random, sleep=sleep)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """End the connections. A device that leaves properly is not waited for by the server."""
        await self._disconnect(self._connection)
        await self._reporter.close()

    async def frames(self) -> AsyncGenerator[Received, None]:
        """Every frame for this device, for ever: a lost connection is made again, with full jitter, from `cursor`.

        Asking for the next frame says that the one before has been applied. Answers to the client's own questions
        (`pong`, `checked`, `refreshed`) are not handed over. Called again, it ends the loop before and starts at
        `cursor`.

        Raises `CredentialsRefused`, `AccessRefused`, `RequestRefused` or `UntrustedServer` where coming back by itself
        would not help; never because the server is not there.
        """
        if self.device is None:
            raise BadRequest("listening needs a device id")
        self._loops += 1
        loop = self._loops
        self._backoff.reset()
        connection: Connection | None = None
        try:
            while True:
                # Only what the connection raises is a lost connection: a caller's own OSError goes to the caller.
                try:
                    connection = connection or await self._connect(loop)
                    received = await connection.receive()
                except LOST as failure:
                    await self._disconnect(connection)
                    connection = None
                    await self._wait(judge(failure))
                    continue
                yield received
                self._applied(received)
        finally:
            await self._disconnect(connection)

    async def handled(self, events: Iterable[Event], *, device: str | None = None) -> None:
        """Report one batch; it is in the store when this returns. `device` (by default the client's) is its origin.

        Raises `TooLarge` over 1,000 events, `ServerUnavailable` after a few tries (sending it again is safe), or what
        the server refused it with.
        """
        batch = Batch(events)
        check_count(len(batch))
        origin = self.device if device is None else device_id(device)
        await self._reporter.report(batch, origin, self._credentials)

    async def check(self, events: Iterable[Event]) -> tuple[HandledEvent, ...]:
        """Those of `events` that are handled already, with the time: a clear can arrive before its notification.

        It goes over the open connection of `frames`, also from inside its loop. Raises `NotConnected` where there is
        none, `ServerUnavailable` without an answer in time, `RequestRefused` where the server refuses the question.
        """
        batch = Batch(events)
        check_count(len(batch))
        return await self._connected().check(batch)

    async def refresh(self, authorization: str) -> float | None:
        """Show new credentials of the same agent before the old ones end, and keep the connection.

        Returns for how many seconds they are good, None = without end. From then on they are used for connections and
        POSTs; also where there is no connection or no answer, but not where the server refused them, since the old ones
        hold until they end. Raises as `check` does, and `BadRequest` for what is no header's value.
        """
        renewed = checked(authorization)
        try:
            expires_s = await self._connected().refresh(renewed)
        except RequestRefused:
            raise
        except ClientError:
            self._authorization = renewed
            raise
        self._authorization = renewed
        return expires_s

    def _credentials(self) -> dict[str, str]:
        return headers_of(self._authorization, self._app_token)

    def _connected(self) -> Connection:
        if self._connection is None:
            raise NotConnected("no connection is open")
        return self._connection

    async def _connect(self, loop: int) -> Connection:
        if loop != self._loops:
            raise RuntimeError("frames() was called again while this loop still ran")
        await self._disconnect(self._connection)
        assert self.device is not None
        query = {"device": self.device} | ({"cursor": self.cursor} if self.cursor is not None else {})
        timing = self._timing
        socket = await _Connect(
            f"ws{self.url.removeprefix('http')}{SYNC_PATH}?{urlencode(query)}",
            subprotocols=[Subprotocol(SUBPROTOCOL)],
            additional_headers=self._credentials(),
            user_agent_header=USER_AGENT,
            compression=None,
            proxy=None if is_loopback(self.url) else True,
            ssl=self._tls_context(),
            open_timeout=timing.open_s,
            close_timeout=timing.close_s,
            # Not the library's keepalive: its period is its own, and a protocol pong may come from a proxy. Our `ping`
            # follows the period that the server names, and its answer comes from the session itself (rule 4).
            ping_interval=None,
            max_size=MAX_FRAME_BYTES,
        )
        connection = Connection(socket, timing)
        try:
            await connection.welcomed()
        except BaseException:
            await connection.close()
            raise
        self._backoff.reset()
        self._connection = connection
        return connection

    async def _disconnect(self, connection: Connection | None) -> None:
        if connection is not None:
            if self._connection is connection:
                self._connection = None
            await connection.close()

    async def _wait(self, retry: Retry) -> None:
        wait_s = retry.at_least_s + self._backoff.next_s()
        if self._on_retry is not None:
            self._on_retry(retry.reason, wait_s)
        await self._sleep(wait_s)

    def _applied(self, received: Received) -> None:
        frame = received.frame
        if isinstance(frame, (Welcome, Clear, Reset)) and frame.cursor != self.cursor:
            self.cursor = frame.cursor
            if self._on_cursor is not None:
                self._on_cursor(frame.cursor)

    def _tls_context(self) -> ssl.SSLContext | None:
        """The same trust for both connections; None without TLS, since reading the certificates takes a while."""
        if self._tls is None and self.url.startswith("https:"):
            self._tls = ssl.create_default_context()
        return self._tls
