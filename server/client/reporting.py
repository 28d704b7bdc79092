"""The POST that reports a batch, and how often it is tried."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from server import __version__
from server.client.address import is_loopback
from server.client.connection import Timing
from server.client.credentials import Credentials
from server.client.pauses import Sleep
from server.client.retry import (
    Backoff,
    CredentialsRefused,
    NotConnected,
    Retry,
    ServerUnavailable,
    check_trust,
    judge_status,
    reason_of,
)
from server.events import Batch, DeviceId
from server.wire import HANDLED_PATH

if TYPE_CHECKING:
    import httpx2

USER_AGENT: Final = f"clearsync/{__version__}"


class Reporter:
    """Reports batches to one server. `tls` gives its trust, None without TLS; `random` and `sleep` time the tries."""

    def __init__(
        self,
        url: str,
        timing: Timing,
        *,
        tls: Callable[[], ssl.SSLContext | None],
        random: Callable[[], float],
        sleep: Sleep,
    ) -> None:
        self._url = url
        self._timing = timing
        self._tls = tls
        self._random = random
        self._sleep = sleep
        self._http: httpx2.AsyncClient | None = None
        self._closed = False

    async def report(self, batch: Batch, origin: DeviceId | None, credentials: Credentials) -> None:
        """The batch is in the store when this returns. Each try shows the credentials of that moment.

        Raises `ServerUnavailable` after a few tries, or at once where the server wants a longer wait than is worth it,
        which it names; or what the server refused it with.
        """
        headers = {"Content-Type": "application/json"} | ({"X-Device-Id": origin} if origin else {})
        body = b'{"NotificationEvents":%b}' % batch.json
        backoff = Backoff(self._timing.backoff_base_s, self._timing.backoff_cap_s, self._random)
        for left in reversed(range(self._timing.handled_tries)):
            retry = await self._try(body, headers, credentials)
            if retry is None:
                return
            wait_s = retry.at_least_s + backoff.next_s()
            if not left or wait_s > self._timing.handled_longest_wait_s:
                later = f"; come back in {retry.at_least_s:g} s" if retry.at_least_s else ""
                raise ServerUnavailable(retry.reason + later, retry.code)
            await self._sleep(wait_s)

    async def close(self) -> None:
        """End the connections, for good. Idempotent."""
        self._closed = True
        if self._http is not None:
            http, self._http = self._http, None
            await http.aclose()

    async def _try(self, body: bytes, headers: dict[str, str], credentials: Credentials) -> Retry | None:
        try:
            shown = await credentials.authorization()
        except OSError as failure:
            return Retry(reason_of(failure))
        try:
            retry = await self._post(body, headers | credentials.headers(shown))
        except CredentialsRefused as refused:
            if not credentials.refused(shown):
                raise
            return Retry(str(refused), code=refused.code)
        if retry is None:
            credentials.accepted()
        return retry

    async def _post(self, body: bytes, headers: dict[str, str]) -> Retry | None:
        # Imported late: a device that only listens needs none of it, and it is a third of this module's loading time.
        import httpx2

        if self._closed:
            raise NotConnected("the client is closed")
        if self._http is None:
            self._http = httpx2.AsyncClient(
                headers={"User-Agent": USER_AGENT},
                timeout=self._timing.answer_s,
                trust_env=not is_loopback(self._url),
                verify=self._tls() or False,  # without TLS there is nothing to verify, and nothing to load
            )
        try:
            answer = await self._http.post(f"{self._url}{HANDLED_PATH}", content=body, headers=headers)
        except httpx2.TransportError as failure:
            check_trust(failure)
            return Retry(f"{self._url} gave no answer ({reason_of(failure)})")
        if answer.is_success:
            return None
        return judge_status(answer.status_code, answer.content, answer.headers.get("Retry-After"))
