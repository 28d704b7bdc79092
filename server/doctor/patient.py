"""The server that is looked at, and how to get there: what all checks share."""

from __future__ import annotations

import secrets
import ssl
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from types import TracebackType
from typing import Final, Self
from urllib.parse import urlencode, urlsplit
from urllib.request import getproxies, proxy_bypass

import httpx2

from server.client import Welcome, is_loopback
from server.client.reporting import USER_AGENT
from server.doctor.findings import Skip
from server.doctor.replies import Reply
from server.doctor.sockets import Socket, knocked, opened
from server.doctor.streams import Stream, streaming
from server.events import INT32_MIN, Batch, Event, EventType
from server.wire import HANDLED_PATH, SYNC_PATH

READ: Final = "sync:read"
WRITE: Final = "handled:write"
DEVICE: Final = "X-Device-Id"
_JSON: Final = {"Content-Type": "application/json"}


@dataclass(frozen=True, slots=True)
class Login:
    """Who is asking. `headers` say so on the wire; without any, `missing` says why there are none. `assumed`: nobody
    gave the password, it is the one for development."""

    who: str = ""
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    missing: str = ""
    assumed: bool = False

    @property
    def has_app_token(self) -> bool:
        """Whether the application says who it is, too."""
        return "SO-AppToken" in self.headers


def no_progress(_: str) -> None:
    """Nobody watches."""


class Patient:
    """One server at `url`, looked at as `login`. Use it with ``async with``; it leaves no connection open.

    `answer_s`: how long to wait for whatever should come at once. `idle_s`: how long connections are left idle.
    `read_only`: nothing is marked as handled. `insecure`: plain http beyond this machine is meant. `progress` is told
    what is under way.
    """

    def __init__(
        self,
        url: str,
        login: Login,
        *,
        answer_s: float = 5.0,
        idle_s: float = 0.0,
        read_only: bool = False,
        insecure: bool = False,
        progress: Callable[[str], None] = no_progress,
    ) -> None:
        self.url = url
        self.login = login
        self.answer_s = answer_s
        self.idle_s = idle_s
        self.read_only = read_only
        self.insecure = insecure
        self.progress = progress
        self.event = Event(EventType.Unknown, -secrets.randbelow(-INT32_MIN) - 1)
        """The one that is marked as handled. There is no entity of a type `Unknown`, nor with a negative id."""
        self.rights: set[str] = set()
        """Those that the credentials turned out to have."""
        self.welcome: Welcome | None = None
        self.store_ahead_s: float | None = None
        """By how much the clock in the welcome was ahead of ours, None where there was none."""
        self.tls = ssl.create_default_context() if url.startswith("https:") else None
        self._name = f"doctor-{secrets.token_hex(6)}"
        self._http = httpx2.AsyncClient(
            headers={"User-Agent": USER_AGENT},
            timeout=answer_s,
            trust_env=not is_loopback(url),
            verify=self.tls or False,  # without TLS there is nothing to verify, and nothing to load
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._http.aclose()

    # where it is

    @property
    def host(self) -> str:
        """The name or address in the URL."""
        return urlsplit(self.url).hostname or ""

    @property
    def port(self) -> int:
        """The port, also where the URL has none."""
        return urlsplit(self.url).port or (443 if self.tls else 80)

    @property
    def origin(self) -> str:
        """Of a page that this server itself serves, as browsers write it: no port where it is the scheme's own."""
        parts, default = urlsplit(self.url), 443 if self.tls else 80
        netloc = parts.netloc.lower()
        return f"{parts.scheme}://{netloc.removesuffix(f':{default}')}"

    @property
    def forward_proxy(self) -> str:
        """The variable of the environment that names a proxy on the way there, empty where none does."""
        scheme = urlsplit(self.url).scheme
        proxies = getproxies()
        if is_loopback(self.url) or proxy_bypass(self.host):
            return ""
        return next((f"{name.upper()}_PROXY" for name in (scheme, "all") if proxies.get(name)), "")

    def device(self, name: str) -> str:
        """The id of one of our devices, which nobody else has."""
        return f"{self._name}-{name}"

    # who is asking

    def need(self, *rights: str) -> None:
        """Raises `Skip` where a right is missing."""
        for right in rights:
            if self.login.missing:
                raise Skip(self.login.missing)
            if right not in self.rights:
                raise Skip(f"it takes credentials with {right}")

    # requests; they raise what httpx2 and websockets do

    async def get(self, path: str, headers: Mapping[str, str] | None = None) -> Reply:
        """Whatever is answered, redirects too."""
        return _reply(await self._http.get(f"{self.url}{path}", headers=headers))

    async def post(
        self, body: bytes, headers: Mapping[str, str] | Sequence[tuple[str, str]] = (), *, signed: bool = True
    ) -> Reply:
        """POST …/NotificationsHandled."""
        more = list(headers.items() if isinstance(headers, Mapping) else headers)
        own = [*_JSON.items(), *(self.login.headers.items() if signed else ()), *more]
        return _reply(await self._http.post(f"{self.url}{HANDLED_PATH}", content=body, headers=own))

    async def handle(self, device: str) -> tuple[Reply, float]:
        """Mark the event as handled on `device`: the answer, and when it was sent (`time.monotonic`)."""
        began = time.monotonic()
        body = b'{"NotificationEvents":%b}' % Batch([self.event]).json
        return await self.post(body, {DEVICE: device}), began

    async def knock(self, origin: str | None) -> Reply:
        """What a page of `origin` is answered that wants a websocket, without credentials; None: a program."""
        headers = self.login.headers if origin is None else {}
        return await knocked(self._sync_url("knock", None), headers, self.tls, self.answer_s, origin)

    @asynccontextmanager
    async def socket(self, device: str, cursor: str | None = None) -> AsyncIterator[Socket]:
        """A websocket of one of our devices, before its welcome."""
        url = self._sync_url(device, cursor)
        async with opened(url, self.login.headers, self.tls, self.answer_s) as socket:
            yield socket

    @asynccontextmanager
    async def stream(self, device: str) -> AsyncIterator[Stream]:
        """An event stream of one of our devices; it may have been answered with something else."""
        url = f"{self.url}{SYNC_PATH}?{urlencode({'device': self.device(device)})}"
        async with streaming(self._http, url, self.login.headers, self.answer_s) as stream:
            yield stream

    def _sync_url(self, device: str, cursor: str | None) -> str:
        query = {"device": self.device(device)} | ({} if cursor is None else {"cursor": cursor})
        return f"ws{self.url.removeprefix('http')}{SYNC_PATH}?{urlencode(query)}"


def _reply(answer: httpx2.Response) -> Reply:
    return Reply(answer.status_code, {name.lower(): value for name, value in answer.headers.items()}, answer.content)
