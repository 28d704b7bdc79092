"""The CRM as the judge of its own credentials: they are sent to one address of it, which answers whose they are.

1. Credentials go to the configured address and nowhere else: no redirect is followed, no proxy of the environment
   used, and the certificate is checked against the system's authorities.
2. One person's request takes nothing from another's: the only headers are ours and the caller's, cookies are not kept.
3. Who asks with the same credentials while they are being judged shares that request. At most `UNDER_WAY` are under
   way and `WAITING` wait for a place; whoever comes then is refused. `upstream.timeout_s` bounds that wait, and then
   the whole of the request, `ANSWER_BYTES` what is read of the answer.
4. 400, 401 and 403 refuse the credentials. `FAILURES` and silence open the breaker. Any other answer that names nobody,
   429 and 500 among them, is `Unavailable` and not held against the caller. It does not open the breaker: a caller who
   finds credentials that bring it about could lock out all others.
5. The log says what was wrong with an answer, the same thing once in `SAID_AGAIN_S`, and never what was in it.
"""

from __future__ import annotations

import asyncio
import contextlib
import http.cookiejar
import math
import re
import time
from collections.abc import Callable
from typing import Final, NamedTuple

import httpx2
import msgspec

from server import __version__, logs
from server.auth.breaker import Breaker
from server.auth.principal import DEFAULT_SCOPES, Principal
from server.errors import SettingsError, Unauthenticated, Unavailable
from server.events import AgentId
from server.settings.schema import Upstream as UpstreamSettings

FAILURES: Final = (408, 502, 503, 504)
UNDER_WAY: Final = 32
WAITING: Final = 200
ANSWER_BYTES: Final = 64 * 1024
RETRY_AFTER_S: Final = 5
LONGEST_RETRY_AFTER_S: Final = 60
SAID_AGAIN_S: Final = 600.0

SCHEMES: Final = {
    "basic": (b"Basic", 'Basic realm="clearsync", charset="UTF-8"'),
    "soticket": (b"SOTicket", 'SoTicket realm="clearsync"'),
    "bearer": (b"Bearer", 'Bearer realm="clearsync"'),
}
"""How the vendor spells a scheme, and our challenge for it."""
_SILENT: Final = "the upstream that judges credentials does not answer, try again"

_log = logs.get("clearsync.auth")


class _Asked(NamedTuple):
    """What one request asks. Equal ones are one request."""

    scheme: str
    credentials: bytes
    app_token: bytes | None


class _Answer(NamedTuple):
    """`content` is None where it is longer than `ANSWER_BYTES`, or compressed, which was not asked for."""

    status: int
    retry_after_s: int
    content: bytes | None


class Judge:
    """The upstream. Belongs to one event loop. `clock` is monotonic, `wall` Unix time, both in seconds."""

    def __init__(
        self,
        settings: UpstreamSettings,
        *,
        under_way: int = UNDER_WAY,
        waiting: int = WAITING,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        """Raises `SettingsError` where `upstream.url` is none."""
        try:
            self._url = httpx2.URL(settings.url)
        except httpx2.InvalidURL as error:
            raise SettingsError(f"upstream.url is no URL: {error}") from None
        self._settings = settings
        self._client = _client(settings.timeout_s, under_way)
        self._breaker = Breaker("upstream")
        self._places = asyncio.Semaphore(under_way)
        self._most = under_way + waiting
        self._running: dict[_Asked, asyncio.Task[Principal]] = {}
        self._said: dict[tuple[object, ...], float] = {}
        self._closed = False
        self._clock = clock
        self._wall = wall

    async def ask(self, scheme: str, credentials: bytes, app_token: bytes | None) -> Principal:
        """See `Verifier.verify`. Both have passed `upstream.sendable`."""
        asked = _Asked(scheme, credentials, app_token)
        run = self._running.get(asked) or self._start(asked)
        await asyncio.wait((run,))  # the one who gives up must not cancel what others wait for
        if run.cancelled():
            raise Unavailable("the server is about to end, try again", RETRY_AFTER_S)
        return run.result()

    async def close(self) -> None:
        """Ends what is under way, and the connections; whoever waits is told `Unavailable`. Idempotent."""
        self._closed = True
        for run in self._running.values():
            run.cancel()
        await asyncio.gather(*self._running.values(), return_exceptions=True)
        await self._client.aclose()

    def _start(self, asked: _Asked) -> asyncio.Task[Principal]:
        if self._closed:
            raise Unavailable("the server is about to end, try again", RETRY_AFTER_S)
        if self._breaker.wait(self._clock()) > 0:
            raise self._paused()
        if len(self._running) >= self._most:
            raise Unavailable("too many are waiting to sign in, try again", RETRY_AFTER_S)
        run = asyncio.get_running_loop().create_task(self._judge(asked))
        self._running[asked] = run
        run.add_done_callback(lambda done: self._ended(asked, done))
        return run

    def _ended(self, asked: _Asked, run: asyncio.Task[Principal]) -> None:
        del self._running[asked]
        if not run.cancelled():
            run.exception()  # taken note of, even where nobody waits any more

    def _paused(self) -> Unavailable:
        return Unavailable(_SILENT, max(1, math.ceil(self._breaker.wait(self._clock()))))

    async def _judge(self, asked: _Asked) -> Principal:
        try:
            async with asyncio.timeout(self._settings.timeout_s):
                await self._places.acquire()
        except TimeoutError:  # others are slow: that is for them to tell the breaker
            raise Unavailable(_SILENT, RETRY_AFTER_S) from None
        try:
            answer = await self._attempt(asked)
        finally:
            self._places.release()
        return self._principal(answer, asked.scheme)

    async def _attempt(self, asked: _Asked) -> _Answer:
        """An answer that is no failure."""
        attempt = self._breaker.begin(self._clock())
        if attempt is None:
            raise self._paused()
        try:
            async with asyncio.timeout(self._settings.timeout_s):
                answer = await self._get(asked)
        except (TimeoutError, httpx2.HTTPError) as error:
            self._say("upstream does not answer", cause=type(error).__name__)
            self._breaker.failed(attempt, self._clock())
            raise Unavailable(_SILENT, RETRY_AFTER_S) from None
        except BaseException:
            self._breaker.dropped(attempt)
            raise
        if answer.status not in FAILURES:
            self._breaker.succeeded(attempt)
            return answer
        self._say("upstream does not answer", cause=answer.status)
        self._breaker.failed(attempt, self._clock())
        raise Unavailable(_SILENT, answer.retry_after_s)

    async def _get(self, asked: _Asked) -> _Answer:
        headers = [(b"Authorization", SCHEMES[asked.scheme][0] + b" " + asked.credentials)]
        if asked.app_token is not None:
            headers.append((b"SO-AppToken", asked.app_token))
        async with self._client.stream("GET", self._url, headers=headers) as response:
            content = bytearray()
            async with contextlib.aclosing(response.aiter_raw()) as parts:
                async for part in parts:
                    content += part
                    if len(content) > ANSWER_BYTES:
                        break
            whole = len(content) <= ANSWER_BYTES and "content-encoding" not in response.headers
            retry_after_s = _retry_after_s(response.headers.get("retry-after", ""))
            return _Answer(response.status_code, retry_after_s, bytes(content) if whole else None)

    def _principal(self, answer: _Answer, scheme: str) -> Principal:
        if answer.status == 429:  # said to us for what others tried: no failure, and no word on these credentials
            raise Unavailable(_SILENT, answer.retry_after_s)
        if answer.status in (400, 401, 403):
            raise Unauthenticated("the upstream does not know these credentials", SCHEMES[scheme][1])
        if 300 <= answer.status < 400:
            raise self._unusable("upstream answers with a redirect", status=answer.status)
        if answer.status != 200:
            raise self._unusable("upstream answers with another status than 200, 400, 401, 403", status=answer.status)
        if answer.content is None:
            raise self._unusable("upstream's answer is compressed or too long", limit_bytes=ANSWER_BYTES)
        try:
            document = msgspec.json.decode(answer.content.removeprefix(b"\xef\xbb\xbf"))
        except (ValueError, RecursionError):
            raise self._unusable("upstream's answer is not JSON") from None
        agent = self._field(document, "agent_field")
        tenant = self._settings.tenant or self._field(document, "tenant_field")
        return Principal(AgentId.of(tenant, agent), DEFAULT_SCOPES, self._wall() + self._settings.session_s)

    def _field(self, document: object, setting: str) -> str:
        path = getattr(self._settings, setting)
        value = field_of(document, path)
        if value is None:
            # SuperOffice on site has no name for its only database: the tenant has to be said
            hint = ", or set upstream.tenant" if setting == "tenant_field" else ""
            raise self._unusable(f"upstream's answer lacks what upstream.{setting} names{hint}", field=path)
        return value

    def _unusable(self, what: str, **details: object) -> Unavailable:
        self._say(what, **details)
        return Unavailable("the upstream that judges credentials gives no answer of use, try later", RETRY_AFTER_S)

    def _say(self, what: str, **details: object) -> None:
        said, now = (what, *details.values()), self._clock()
        if now >= self._said.get(said, now):
            self._said[said] = now + SAID_AGAIN_S
            _log.error(what, **details)


def field_of(document: object, path: str) -> str | None:
    """What is in `document` under a path of names, as text: a text that is not blank, or an integer; else None.

    A name in another casing counts where none is exactly so, and only one is.
    """
    for name in path.split("."):
        if not isinstance(document, dict):
            return None
        if name not in document:
            alike = [key for key in document if key.casefold() == name.casefold()]
            if len(alike) != 1:
                return None
            (name,) = alike
        document = document[name]
    if type(document) is int:  # True is none
        return str(document)
    return document if isinstance(document, str) and document.strip() else None


def _client(timeout_s: float, connections: int) -> httpx2.AsyncClient:
    nobodys = http.cookiejar.CookieJar(http.cookiejar.DefaultCookiePolicy(allowed_domains=()))  # takes none, gives none
    return httpx2.AsyncClient(
        cookies=nobodys,
        follow_redirects=False,
        headers={
            "Accept": "application/json",
            "Accept-Encoding": "identity",  # what is counted is what there is
            "User-Agent": f"clearsync/{__version__}",
        },
        limits=httpx2.Limits(max_connections=connections, max_keepalive_connections=connections),
        timeout=timeout_s,
        trust_env=False,
        verify=httpx2.create_ssl_context(trust_env=False),
    )


def _retry_after_s(value: str) -> int:
    """What the upstream asks for, in seconds, within reason."""
    return min(max(int(value), 1), LONGEST_RETRY_AFTER_S) if re.fullmatch(r"[0-9]{1,9}", value) else RETRY_AFTER_S
