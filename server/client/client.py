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
"""

from __future__ import annotations

import asyncio
import base64
import random as _random
import ssl
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from ipaddress import ip_address
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self
from urllib.parse import urlencode, urlsplit

from websockets.asyncio.client import connect
from websockets.typing import Subprotocol

from server import __version__
from server.client.connection import Connection, Timing
from server.client.frames import Clear, HandledEvent, Received, Reset, Welcome
from server.client.retry import (
    LOST,
    Backoff,
    NotConnected,
    Retry,
    ServerUnavailable,
    check_trust,
    judge,
    judge_status,
    reason_of,
)
from server.errors import BadRequest
from server.events import Batch, Cursor, Event, check_count, device_id
from server.wire import HANDLED_PATH, SUBPROTOCOL, SYNC_PATH

if TYPE_CHECKING:
    import httpx2

MAX_FRAME_BYTES: Final = 4 * 2**20
"""The largest frame taken. A catch-up frame of 1,000 events has about 70 kB."""
_USER_AGENT: Final = f"clearsync/{__version__}"


class Client:
    """One device of one agent. Use it with ``async with``; a task may listen while others call `handled` and `check`.

    `url`: where the server is, ``http`` or ``https``, with its base path if it has one. `device`: needed to listen, and
    the origin of what `handled` reports. `cursor`: where to go on from; None = from now, "0" = all that is retained.
    `on_cursor` is told each new position once its frame has been applied; `on_retry` why the connection is down and how
    many seconds until the next try. Raises `BadRequest` for a value that no server takes.
    """

    def __init__(
        self,
        url: str,
        *,
        user: str,
        password: str,
        device: str | None = None,
        cursor: str | None = None,
        on_cursor: Callable[[str], None] | None = None,
        on_retry: Callable[[str, float], None] | None = None,
        timing: Timing | None = None,
        random: Callable[[], float] = _random.random,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.url = base_url(url)
        self.device = None if device is None else device_id(device)
        self.cursor = None if cursor is None else str(Cursor.parse(cursor))
        """The position after the last frame that was applied."""
        self._authorization = _basic(user, password)
        self._on_cursor = on_cursor
        self._on_retry = on_retry
        self._timing = timing or Timing()
        self._backoff = Backoff(self._timing.backoff_base_s, self._timing.backoff_cap_s, random)
        self._random = random
        self._sleep = sleep
        self._connection: Connection | None = None
        self._loops = 0
        self._http: httpx2.AsyncClient | None = None
        self._tls: ssl.SSLContext | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """End the connections. A device that leaves properly is not waited for by the server."""
        await self._disconnect(self._connection)
        if self._http is not None:
            http, self._http = self._http, None
            await http.aclose()

    async def frames(self) -> AsyncGenerator[Received, None]:
        """Every frame for this device, for ever: a lost connection is made again, with full jitter, from `cursor`.

        Asking for the next frame says that the one before has been applied. Answers to the client's own questions
        (`pong`, `checked`) are not handed over. Called again, it ends the loop before and starts at `cursor`.

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
        headers = {"Content-Type": "application/json"} | ({"X-Device-Id": origin} if origin else {})
        body = b'{"NotificationEvents":%b}' % batch.json
        backoff = Backoff(self._timing.backoff_base_s, self._timing.backoff_cap_s, self._random)
        for left in reversed(range(self._timing.handled_tries)):
            retry = await self._post(body, headers)
            if retry is None:
                return
            wait_s = retry.at_least_s + backoff.next_s()
            if not left or wait_s > self._timing.handled_longest_wait_s:
                raise ServerUnavailable(retry.reason, retry.code)
            await self._sleep(wait_s)

    async def check(self, events: Iterable[Event]) -> tuple[HandledEvent, ...]:
        """Those of `events` that are handled already, with the time: a clear can arrive before its notification.

        It goes over the open connection of `frames`, also from inside its loop. Raises `NotConnected` where there is
        none, `ServerUnavailable` without an answer in time, `RequestRefused` where the server refuses the question.
        """
        batch = Batch(events)
        check_count(len(batch))
        if self._connection is None:
            raise NotConnected("no connection is open")
        return await self._connection.check(batch)

    async def _connect(self, loop: int) -> Connection:
        if loop != self._loops:
            raise RuntimeError("frames() was called again while this loop still ran")
        await self._disconnect(self._connection)
        assert self.device is not None
        query = {"device": self.device} | ({"cursor": self.cursor} if self.cursor is not None else {})
        timing = self._timing
        socket = await connect(
            f"ws{self.url.removeprefix('http')}{SYNC_PATH}?{urlencode(query)}",
            subprotocols=[Subprotocol(SUBPROTOCOL)],
            additional_headers={"Authorization": self._authorization},
            user_agent_header=_USER_AGENT,
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

    async def _post(self, body: bytes, headers: dict[str, str]) -> Retry | None:
        # Imported late: a device that only listens needs none of it, and it is a third of this module's loading time.
        import httpx2

        if self._http is None:
            self._http = httpx2.AsyncClient(
                headers={"Authorization": self._authorization, "User-Agent": _USER_AGENT},
                timeout=self._timing.answer_s,
                trust_env=not is_loopback(self.url),
                verify=self._tls_context() or False,  # without TLS there is nothing to verify, and nothing to load
            )
        try:
            answer = await self._http.post(f"{self.url}{HANDLED_PATH}", content=body, headers=headers)
        except httpx2.TransportError as failure:
            check_trust(failure)
            return Retry(f"{self.url} gave no answer ({reason_of(failure)})")
        if answer.is_success:
            return None
        return judge_status(answer.status_code, answer.content, answer.headers.get("Retry-After"))

    def _tls_context(self) -> ssl.SSLContext | None:
        """The same trust for both connections; None without TLS, since reading the certificates takes a while."""
        if self._tls is None and self.url.startswith("https:"):
            self._tls = ssl.create_default_context()
        return self._tls


def base_url(url: str) -> str:
    """The address of a server as the client uses it, without a slash at its end; else `BadRequest`."""
    try:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.port == 0:
            raise ValueError
    except ValueError:
        raise BadRequest(f"url is {url!r}, it must be like http://host:8080 or https://host") from None
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise BadRequest("url must have neither credentials nor a query: give the user and the password apart from it")
    return f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/')}"


def is_loopback(url: str) -> bool:
    """Whether `url` names this machine. No proxy leads there."""
    host = urlsplit(url).hostname or ""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _basic(user: str, password: str) -> str:
    if ":" in user or not user:
        raise BadRequest("user must be a name without ':' (RFC 7617)")
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()
