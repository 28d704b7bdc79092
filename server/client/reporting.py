"""The POST that reports a batch, and how often it is tried."""

from __future__ import annotations

import ssl
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final

from server import __version__
from server.client.address import is_loopback
from server.client.connection import Timing
from server.client.retry import Backoff, Retry, ServerUnavailable, check_trust, judge_status, reason_of
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
        sleep: Callable[[float], Awaitable[None]],
    ) -> None:
        self._url = url
        self._timing = timing
        self._tls = tls
        self._random = random
        self._sleep = sleep
        self._http: httpx2.AsyncClient | None = None

    async def report(self, batch: Batch, origin: DeviceId | None, credentials: Callable[[], dict[str, str]]) -> None:
        """The batch is in the store when this returns. `credentials`, headers, are asked for before each try.

        Raises `ServerUnavailable` after a few tries, or at once where the server wants a longer wait than is worth it,
        which it names; or what the server refused it with.
        """
        headers = {"Content-Type": "application/json"} | ({"X-Device-Id": origin} if origin else {})
        body = b'{"NotificationEvents":%b}' % batch.json
        backoff = Backoff(self._timing.backoff_base_s, self._timing.backoff_cap_s, self._random)
        for left in reversed(range(self._timing.handled_tries)):
            retry = await self._post(body, headers | credentials())
            if retry is None:
                return
            wait_s = retry.at_least_s + backoff.next_s()
            if not left or wait_s > self._timing.handled_longest_wait_s:
                later = f"; come back in {retry.at_least_s:g} s" if retry.at_least_s else ""
                raise ServerUnavailable(retry.reason + later, retry.code)
            await self._sleep(wait_s)

    async def close(self) -> None:
        """End the connections. Idempotent."""
        if self._http is not None:
            http, self._http = self._http, None
            await http.aclose()

    async def _post(self, body: bytes, headers: dict[str, str]) -> Retry | None:
        # Imported late: a device that only listens needs none of it, and it is a third of this module's loading time.
        import httpx2

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
