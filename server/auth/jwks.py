"""The issuer's public keys, fetched from where it publishes them (a JWKS, RFC 7517) and kept fresh.

1. One fetch at a time, shared by all who ask. It belongs to nobody's request: who gives up takes it from no one.
2. `run` fetches at the start, each `REFRESH_S` after a success and `WINDOW_S` after a failure. So a caller waits for
   a fetch only before the first success, and for a key that is not known.
3. A key that is not known is asked for once in `WINDOW_S`, counted from the end of the last fetch, whatever came of it
   and whoever asked for it: a flood of made-up ids costs the issuer one request in that time.
4. A document replaces the one before as a whole: a key that is gone from it counts no more, and one without keys is
   the end of all of them. What is no document (a status but 200, too long, malformed) changes nothing.
5. Where fetching fails, the keys of the last success count for `STALE_S`. Then, as before the first, it is
   `Unavailable`, and who asks starts the next fetch, at the earliest `RETRY_S` after the last.
6. No redirect is followed, no proxy of the environment used, secrets and private keys in the document are not taken.
   Of an answer, the log tells the status and how many keys it had.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import httpx2

from server import __version__, logs
from server.auth.keys import InvalidJwks, Key, parse_jwks
from server.errors import Unavailable

REFRESH_S: Final = 3600.0
WINDOW_S: Final = 60.0
STALE_S: Final = 24 * 3600.0
RETRY_S: Final = 5.0
TIMEOUT_S: Final = 5.0
"""For all of a fetch, from the name's lookup to the last byte."""
MAX_BYTES: Final = 256 * 1024

_HEADERS: Final = {
    "Accept": "application/json, application/jwk-set+json",
    "Accept-Encoding": "identity",  # and taken as it comes: a small answer can't inflate
    "User-Agent": f"clearsync/{__version__}",
}

_log = logs.get("clearsync.auth")


class Jwks:
    """The keys behind a URL that are for `algorithms`. Belongs to one event loop; `run` must be running.

    `clock` is monotonic, in seconds; `sleep` is what `run` waits with.
    """

    def __init__(
        self,
        url: str,
        algorithms: Sequence[str],
        *,
        timeout_s: float = TIMEOUT_S,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._url = url
        self._algorithms = algorithms
        self._timeout_s = timeout_s
        self._clock = clock
        self._sleep = sleep
        self._keys: tuple[Key, ...] = ()
        self._fetched_at = -math.inf
        self._ended_at = -math.inf
        self._failures = 0
        self._fetch: asyncio.Task[None] | None = None
        self._closed = False
        self._http = httpx2.AsyncClient(
            headers=_HEADERS,
            limits=httpx2.Limits(max_connections=1, max_keepalive_connections=0),
            timeout=None,  # asyncio's bounds it all
            follow_redirects=False,
            trust_env=False,
        )

    async def keys(self) -> tuple[Key, ...]:
        """The keys, at most `STALE_S` old; no wait where there are any. Raises `Unavailable`."""
        if self._age_s() >= STALE_S:
            await self._fetched(RETRY_S)
        if self._age_s() >= STALE_S:
            raise Unavailable("the keys of the tokens' issuer can't be had now, try again", math.ceil(RETRY_S))
        return self._keys

    async def newer(self) -> tuple[Key, ...]:
        """The keys after another look at the document, unless somebody looked within `WINDOW_S`. Raises `Unavailable`
        where the last look failed: the key that is asked for may have been published since."""
        await self._fetched(WINDOW_S)
        if self._failures:
            raise Unavailable("the keys of the tokens' issuer can't be had now, try again", math.ceil(RETRY_S))
        return await self.keys()

    async def run(self) -> None:
        """Fetches the keys and keeps them fresh, until cancelled or closed. Failures are logged."""
        while not self._closed:
            pause_s = WINDOW_S if self._failures else REFRESH_S
            await self._sleep(max(0.0, self._ended_at + pause_s - self._clock()))
            await self._fetched(WINDOW_S)

    async def close(self) -> None:
        """Ends a fetch under way, and the client. No key is given out after it; idempotent."""
        self._closed, self._fetched_at = True, -math.inf
        if self._fetch is not None:
            self._fetch.cancel()
            await asyncio.wait((self._fetch,))
        await self._http.aclose()

    def _age_s(self) -> float:
        return self._clock() - self._fetched_at

    async def _fetched(self, apart_s: float) -> None:
        """After the fetch under way, or a new one; at once where the last ended less than `apart_s` ago."""
        if self._fetch is None:
            if self._closed or self._clock() - self._ended_at < apart_s:
                return
            self._fetch = asyncio.create_task(self._fetch_once(), name="jwks")
        fetch = self._fetch
        await asyncio.wait((fetch,))  # not awaited itself: who is cancelled here does not cancel it
        if not fetch.cancelled():
            fetch.result()  # what it raises is a mistake of ours

    async def _fetch_once(self) -> None:
        try:
            async with asyncio.timeout(self._timeout_s):
                document = await self._download()
            keys, unfit = parse_jwks(document, self._algorithms)
        except InvalidJwks as error:  # its text is ours, others may quote the answer
            self._failed(str(error))
        except (httpx2.HTTPError, httpx2.InvalidURL, OSError, ValueError) as error:
            self._failed(type(error).__name__)
        else:
            self._succeeded(tuple(key for key in keys if not key.secret), len(unfit))
        finally:
            self._fetch, self._ended_at = None, self._clock()

    async def _download(self) -> bytes:
        document = bytearray()
        async with self._http.stream("GET", self._url) as answer:
            if answer.status_code != 200:
                raise InvalidJwks(f"it has status {answer.status_code}, it must be 200")
            async for chunk in answer.aiter_raw():
                document += chunk
                if len(document) > MAX_BYTES:
                    raise InvalidJwks(f"it has more than {MAX_BYTES} bytes")
        return bytes(document)

    def _failed(self, reason: str) -> None:
        if self._failures & (self._failures - 1) == 0:  # the first, second, third, fifth …: an outage is not a flood
            valid_s = max(0.0, STALE_S - self._age_s())
            _log.warning("jwks not fetched", reason=reason, keys=len(self._keys), valid_s=round(valid_s))
        self._failures += 1

    def _succeeded(self, keys: tuple[Key, ...], unfit: int) -> None:
        if not keys:
            _log.warning("jwks has no key for jwt.algorithms", unfit=unfit)
        elif self._failures or keys != self._keys:
            _log.info("jwks fetched", keys=len(keys), unfit=unfit)
        self._keys, self._fetched_at, self._failures = keys, self._clock(), 0
