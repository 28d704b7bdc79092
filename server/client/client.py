"""The async Python client: one device of one agent.

    cursors = FileCursors(folder)
    async with Client("https://sync.example.com", user="ada", password=…, device="desk", cursors=cursors) as client:
        async for change in client.clears():
            match change:
                case Clear():        # dismiss what is not later than each event's `at`
                case Reset():        # fetch the list from the CRM

Rules, each guarding against a loss:

1. The cursor moves when the caller asks for what is next, so a frame that broke the caller comes again.
2. It moves by `welcome`, `clear` and `reset` only, in the order they came.
3. After a frame that can't be read nothing more is handed over: the next cursor would hide what it said.
4. A connection that is up and silent is given up: the server is asked after `welcome.ping` seconds.
5. A cursor is kept under server, agent and device: another's would hide what this device has not seen.

And one against a theft: credentials go to `url` only. A redirect is a refusal, and plain http beyond this machine needs
the caller's word.
"""

from __future__ import annotations

import asyncio
import random as _random
import ssl
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import aclosing
from types import TracebackType
from typing import Self

from server.client.address import base_url, check_exposure
from server.client.clock import ServerClock
from server.client.connection import Timing
from server.client.credentials import Ask, Credentials, authorization_of
from server.client.cursors import CursorKey, CursorStore
from server.client.frames import Clear, HandledEvent, Received, Reset
from server.client.listening import Listener
from server.client.pauses import Pauses, Sleep
from server.client.position import Position
from server.client.reporting import Reporter
from server.client.retry import Backoff
from server.client.tombstones import Tombstones
from server.errors import BadRequest
from server.events import Batch, Event, check_count, device_id


class Client:
    """One device of one agent. Use it with ``async with``; a task may listen while others call the rest.

    `url`: where the server is, ``http`` or ``https``, with its base path if it has one. Credentials are `user` and
    `password`, or `authorization`: a whole header like ``SoTicket …`` or ``Bearer …``, or a coroutine function that
    gives one, which is asked again where the server refuses it, and shortly before it ends. `app_token` goes with them
    where the server wants one (`SO-AppToken`). `insecure`: they may leave this machine by plain http.

    `device`: needed to listen, and the origin of what `handled` reports. `cursor`: where to go on from, "0" = all that
    is retained; without it what `cursors` has for this server, `agent` (by default the user) and device; else from now.
    `on_live` is told when a connection stands, `on_retry` why there is none and how many seconds it is until the next
    try. Raises `BadRequest` for a value that no server takes.
    """

    def __init__(
        self,
        url: str,
        *,
        user: str | None = None,
        password: str | None = None,
        authorization: str | Ask | None = None,
        app_token: str | None = None,
        insecure: bool = False,
        agent: str | None = None,
        device: str | None = None,
        cursor: str | None = None,
        cursors: CursorStore | None = None,
        on_live: Callable[[], None] | None = None,
        on_retry: Callable[[str, float], None] | None = None,
        timing: Timing | None = None,
        random: Callable[[], float] = _random.random,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        self.url = base_url(url)
        check_exposure(self.url, insecure=insecure)
        self.device = None if device is None else device_id(device)
        if cursors is not None and agent is None and user is None:
            raise BadRequest("agent is missing: cursors are kept under it, and authorization does not tell it")
        self._credentials = Credentials(authorization_of(user, password, authorization), app_token)
        self._position = Position(cursor, cursors, CursorKey(self.url, agent or user or "", self.device or ""))
        self._clock = ServerClock()
        self._tombstones = Tombstones()
        self._tls: ssl.SSLContext | None = None
        timing = timing or Timing()
        self._pauses = Pauses(Backoff(timing.backoff_base_s, timing.backoff_cap_s, random), sleep, on_retry)
        self._reporter = Reporter(self.url, timing, tls=self._tls_context, random=random, sleep=sleep)
        self._listener = Listener(
            self.url,
            self.device,
            position=self._position,
            credentials=self._credentials,
            pauses=self._pauses,
            clock=self._clock,
            timing=timing,
            tls=self._tls_context,
            on_live=on_live,
        )

    @property
    def cursor(self) -> str | None:
        """The position after the last frame that was applied."""
        return self._position.cursor

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """End the connections, for good: a loop over `clears` or `frames` ends. Idempotent.

        A device that leaves properly is not waited for by the server.
        """
        self._pauses.close()
        await self._listener.close()
        await self._reporter.close()

    async def clears(self) -> AsyncGenerator[Clear | Reset, None]:
        """What an app has to do, for ever: dismiss (`Clear`, every event with its `at`), or fetch its list (`Reset`).

        Asking for the next says that the one before is done, and only then is the cursor moved; leave the loop by an
        exception, call it again, and the same comes again. What only moves the position is not handed over. As for
        the rest it is `frames`.
        """
        async with aclosing(self.frames()) as frames:
            async for received in frames:
                match received.frame:
                    case Clear(events=()):
                        continue
                    case Clear() as clear:
                        yield clear.dated()
                    case Reset() as reset:
                        yield reset

    async def frames(self) -> AsyncGenerator[Received, None]:
        """Every frame for this device, for ever: a lost connection is made again, with full jitter, from `cursor`.

        Asking for the next frame says that the one before has been applied. Answers to the client's own questions
        (`pong`, `checked`, `refreshed`) are not handed over. Called again, it ends the loop before and starts at
        `cursor`. It ends when the client is closed.

        Raises `CredentialsRefused`, `AccessRefused`, `RequestRefused` or `UntrustedServer` where coming back by itself
        would not help; never because the server is not there.
        """
        async with aclosing(self._listener.frames()) as frames:
            async for received in frames:
                if isinstance(received.frame, Clear):
                    self._tombstones.add(received.frame, self.now())
                yield received

    async def handled(self, events: Iterable[Event], *, device: str | None = None) -> None:
        """Report one batch; it is in the store when this returns. `device` (by default the client's) is its origin.

        Nobody sends it to this device, so it is remembered for `should_dismiss` here, as handled when this was called.
        Raises `TooLarge` over 1,000 events, `ServerUnavailable` after a few tries (sending it again is safe), or what
        the server refused it with.
        """
        batch = Batch(events)
        check_count(len(batch))
        origin = self.device if device is None else device_id(device)
        time = self.now() if self._clock.known else None  # a guess at it might hide a notification
        await self._reporter.report(batch, origin, self._credentials)
        if time is not None:
            here = tuple([HandledEvent(event.type.name, event.id) for event in batch.events()])
            self._tombstones.add(Clear("", time, here), self.now())

    async def check(self, events: Iterable[Event]) -> tuple[HandledEvent, ...]:
        """Those of `events` that are handled already, with the time: a clear can arrive before its notification.

        It goes over the open connection of the loop, also from inside it. Raises `NotConnected` where there is none,
        `ServerUnavailable` without an answer in time, `RequestRefused` where the server refuses the question.
        """
        batch = Batch(events)
        check_count(len(batch))
        return await self._listener.connection.check(batch)

    def should_dismiss(self, event: Event, time: int | None = None) -> bool:
        """Whether a notification that arrives now was handled already, as far as the clears of the last minutes tell.

        `time`: when the CRM issued it, in ms; without it, `now()`. False is not a promise: `check` asks the server.
        """
        now = self.now()
        return self._tombstones.dismiss((event.type.name, event.id), now if time is None else time, now)

    def now(self) -> int:
        """Milliseconds since 1970 by the server's clock: the time of a notification that does not say its own."""
        return self._clock.now()

    async def refresh(self, authorization: str) -> float | None:
        """Show new credentials of the same agent before the old ones end, and keep the connection.

        Credentials that are asked for are renewed without it. Returns for how many seconds they are good, None =
        without end. From then on they are used for connections and POSTs; also where there is no connection or no
        answer, but not where the server refused them, since the old ones hold until they end. Raises as `check` does,
        and `BadRequest` for what is no header's value.
        """
        return await self._listener.refresh(authorization)

    def _tls_context(self) -> ssl.SSLContext | None:
        """The same trust for both connections; None without TLS, since reading the certificates takes a while."""
        if self._tls is None and self.url.startswith("https:"):
            self._tls = ssl.create_default_context()
        return self._tls
