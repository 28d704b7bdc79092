"""Being one device: connections one after the other, and the frames that come over them."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncGenerator, Callable
from contextlib import suppress

from server.client.clock import ServerClock
from server.client.connection import Connection, Timing
from server.client.credentials import Credentials, checked
from server.client.frames import Clear, Received, Reset, Welcome
from server.client.handshake import connected
from server.client.pauses import Pauses
from server.client.position import Position
from server.client.retry import LOST, ClientError, CredentialsRefused, NotConnected, RequestRefused, Retry, judge
from server.errors import BadRequest
from server.events import DeviceId


class Listener:
    """At most one connection at a time, made when somebody asks for frames.

    `pauses` end with the client; `tls` gives the trust in the server, None without TLS; `on_live` is told of each
    connection that has had its welcome.
    """

    def __init__(
        self,
        url: str,
        device: DeviceId | None,
        *,
        position: Position,
        credentials: Credentials,
        pauses: Pauses,
        clock: ServerClock,
        timing: Timing,
        tls: Callable[[], ssl.SSLContext | None],
        on_live: Callable[[], None] | None,
    ) -> None:
        self._url = url
        self._device = device
        self._position = position
        self._credentials = credentials
        self._pauses = pauses
        self._clock = clock
        self._timing = timing
        self._tls = tls
        self._on_live = on_live
        self._open: Connection | None = None
        self._shown = ""
        self._loops = 0

    @property
    def connection(self) -> Connection:
        """The open one; `NotConnected` where there is none."""
        if self._open is None:
            raise NotConnected("no connection is open")
        return self._open

    async def frames(self) -> AsyncGenerator[Received, None]:
        """See `Client.frames`."""
        if self._device is None:
            raise BadRequest("listening needs a device id")
        self._loops += 1
        loop = self._loops
        self._pauses.reset()
        await self._position.load()
        connection: Connection | None = None
        try:
            while not self._pauses.closed:
                # Only what the connection raises is a lost connection: a caller's own OSError goes to the caller.
                try:
                    if connection is None:
                        connection = await self._pauses.until_closed(self._connect(loop))
                    received = await self._next(connection)
                except LOST as failure:
                    await self._disconnect(connection)
                    connection = None
                    if not self._pauses.closed:
                        await self._pauses.before(self._judged(failure))
                    continue
                if self._pauses.closed:
                    break
                yield received
                if isinstance(received.frame, (Welcome, Clear, Reset)):
                    await self._position.move(received.frame.cursor)
        finally:
            await self._disconnect(connection)

    async def refresh(self, authorization: str) -> float | None:
        """See `Client.refresh`."""
        renewed = checked(authorization)
        try:
            expires_s = await self.connection.refresh(renewed)
        except RequestRefused:
            raise
        except ClientError:
            self._credentials.use(renewed)
            raise
        self._credentials.use(renewed)
        self._shown = renewed
        return expires_s

    async def close(self) -> None:
        """End the connection. Idempotent."""
        await self._disconnect(self._open)

    async def _connect(self, loop: int) -> Connection:
        if loop != self._loops:
            raise RuntimeError("frames() was called again while this loop still ran")
        await self._disconnect(self._open)
        assert self._device is not None
        cursor = self._position.cursor
        query = {"device": self._device} | ({"cursor": cursor} if cursor is not None else {})
        self._shown = await self._credentials.authorization()
        headers = self._credentials.headers(self._shown)
        socket = await connected(self._url, query, headers, timing=self._timing, tls=self._tls())
        connection = Connection(socket, self._timing)
        try:
            self._clock.set((await connection.welcomed()).now)
        except BaseException:
            await connection.close()
            raise
        self._pauses.reset()
        self._credentials.accepted()
        self._open = connection
        if self._on_live is not None:
            self._on_live()
        return connection

    async def _disconnect(self, connection: Connection | None) -> None:
        if connection is not None:
            if self._open is connection:
                self._open = None
            await connection.close()

    async def _next(self, connection: Connection) -> Received:
        """The next frame. Credentials that end soon, and can be asked for, are renewed while none comes."""
        while self._credentials.asked_for and connection.renew_at is not None:
            soon = asyncio.timeout_at(connection.renew_at)
            try:
                async with soon:
                    return await connection.receive()
            except TimeoutError:
                if not soon.expired():
                    raise
            await self._renew(connection)
        return await connection.receive()

    async def _renew(self, connection: Connection) -> None:
        # Once a welcome: where it fails, the old ones hold until they end, and others are asked for then.
        connection.renew_at = None
        # Nothing is read meanwhile, so it is not waited for longer than an answer.
        with suppress(OSError, ClientError):
            async with asyncio.timeout(self._timing.answer_s):
                renewed = await self._pauses.until_closed(self._credentials.another())
            await self.refresh(renewed)

    def _judged(self, failure: Exception) -> Retry:
        try:
            return judge(failure)
        except CredentialsRefused as refused:
            if not self._credentials.refused(self._shown):
                raise
            return Retry(str(refused), code=refused.code)
