"""What a failure means to a client: give up, with which error, or try again, after how long. Pure.

ClientError                 of `ClearsyncError`
├── CredentialsRefused      401, 4001: nobody we know, or not any more
├── AccessRefused           403, 4003: known, and not allowed this
├── RequestRefused          400, 404, 413, 1009, 4009 …: the same request would be refused again
├── UntrustedServer         its certificate does not hold, or it speaks another protocol
├── ServerUnavailable       no answer, 429 or 503, for as long as the call was willing to try
└── NotConnected            nothing to ask: no connection is open, or it broke before the answer
"""

from __future__ import annotations

import errno
import re
import ssl
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

import msgspec
from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException

from server.client.frames import Unreadable
from server.errors import ClearsyncError
from server.wire import CloseCode

CROWDED_S: Final = 60.0
"""After "too many": the least to wait where the server does not say, since each attempt is one more."""
LONGEST_RETRY_AFTER_S: Final = 300.0
"""A server may ask for more; it is not believed to mean it."""
_CROWDED: Final = (CloseCode.TOO_MANY_SESSIONS, CloseCode.POLICY_VIOLATION)
_ERRNO: Final = re.compile(r"^\[Errno -?\d+\] ")


class ClientError(ClearsyncError):
    """A client can't go on. `code` is the HTTP status or close code that said so, None where nothing was said."""

    def __init__(self, message: str, code: int | None = None) -> None:
        super().__init__(message)
        self.code = code


class CredentialsRefused(ClientError):
    """The credentials are not accepted, or not any more."""


class AccessRefused(ClientError):
    """The credentials are known and do not allow this."""


class RequestRefused(ClientError):
    """What was asked is refused, and would be again."""


class UntrustedServer(ClientError):
    """The other side can't be trusted to be a clearsync server."""


class ServerUnavailable(ClientError):
    """No answer in time. What was sent happened whole or not at all, and may be sent again."""


class NotConnected(ClientError):
    """There is no connection to ask over."""


class Silent(Exception):
    """The connection is up and nothing answers."""


LOST: Final = (OSError, WebSocketException, Silent, Unreadable)
"""What a connection raises when it does not come about, ends or makes no sense; see `judge`."""


@dataclass(frozen=True, slots=True)
class Retry:
    """Worth another try, not sooner than `at_least_s`."""

    reason: str
    at_least_s: float = 0.0
    code: int | None = None


class Backoff:
    """Full jitter: the n-th wait is anywhere from 0 to base · 2ⁿ, or to the cap.

    Anywhere, not around: thousands of devices whose server went away must not come back in step.
    `random` gives a number from 0 up to 1.
    """

    def __init__(self, base_s: float, cap_s: float, random: Callable[[], float]) -> None:
        self._base_s = base_s
        self._cap_s = cap_s
        self._random = random
        self._failures = 0

    def next_s(self) -> float:
        """How long to wait this time."""
        ceiling = min(self._cap_s, self._base_s * 2.0 ** min(self._failures, 64))
        self._failures += 1
        return self._random() * ceiling

    def reset(self) -> None:
        """It worked: the next failure is the first again."""
        self._failures = 0


def judge(failure: Exception) -> Retry:
    """A connection that did not come about, or ended: `Retry`, or raises the `ClientError` that ends it."""
    if isinstance(failure, InvalidStatus):
        response = failure.response
        return judge_status(response.status_code, bytes(response.body), response.headers.get("Retry-After"))
    if isinstance(failure, ConnectionClosed):
        received, sent = failure.rcvd, failure.sent
        if sent is not None and sent.code == CloseCode.TOO_BIG and not failure.rcvd_then_sent:
            # Ours; the other side may have echoed it. Asked again, it would send the same.
            raise UntrustedServer(f"the server sends more than it ever should ({sent.reason})") from failure
        if received is None:
            return Retry("the connection was lost")
        return _judge_close(received.code, received.reason)
    if isinstance(failure, Unreadable):
        raise UntrustedServer(str(failure)) from failure
    check_trust(failure)
    if isinstance(failure, (OSError, WebSocketException, Silent)):
        return Retry(reason_of(failure))
    raise failure


def check_trust(failure: BaseException) -> None:
    """Raises `UntrustedServer` where it was the server's certificate that failed: another try would not help."""
    for cause in _causes(failure):
        if isinstance(cause, ssl.SSLCertVerificationError):
            raise UntrustedServer(
                f"the server's certificate can't be verified ({cause.strerror or cause})"
            ) from failure


def reason_of(failure: Exception) -> str:
    """A failure in a few words for a person."""
    # A name with several addresses fails with one error that only quotes the others.
    if any(
        isinstance(c, ConnectionRefusedError) or f"[Errno {errno.ECONNREFUSED}]" in str(c) for c in _causes(failure)
    ):
        return "nothing listens there (connection refused)"
    text = getattr(failure, "strerror", None) or str(failure)
    if not text:
        return "no answer in time" if "Timeout" in type(failure).__name__ else type(failure).__name__
    text = _ERRNO.sub("", text).rstrip(".")
    return text[:1].lower() + text[1:]


def _causes(failure: BaseException | None) -> Iterator[BaseException]:
    """The failure and what it came from: libraries wrap what the system said."""
    while failure is not None:
        yield failure
        if isinstance(failure, BaseExceptionGroup):
            for one in failure.exceptions:
                yield from _causes(one)
        failure = failure.__cause__ or failure.__context__


def printable(text: str) -> str:
    """The other side's words without what a terminal would obey."""
    return "".join(c if c.isprintable() else "?" for c in text)


def _judge_close(code: int, reason: str) -> Retry:
    known = next((c for c in CloseCode if c == code), None)
    name = known.name.lower().replace("_", " ") if known else "closed"
    said = f"{name} ({code})" + (f": {printable(reason)}" if reason and reason != name else "")
    if known is CloseCode.CREDENTIALS_EXPIRED:
        # "Come back with new ones" is for a client that can get new ones; a password stays what it is.
        raise CredentialsRefused(said, code)
    if known is CloseCode.FORBIDDEN:
        raise AccessRefused(said, code)
    if known is not None and not known.reconnect:
        raise RequestRefused(said, code)
    return Retry(said, CROWDED_S if known in _CROWDED else 0.0, code)


_RETRIED: Final = frozenset((408, 425, 429))


class _Problem(msgspec.Struct):
    ErrorMessage: str | None = None


def judge_status(status: int, body: bytes, retry_after: str | None) -> Retry:
    """An HTTP status that is not success: `Retry`, or raises. The server's own words come first where it gave some."""
    said = _message(body) or _phrase(status)
    if status in _RETRIED or status >= 500:
        at_least_s = CROWDED_S if status == 429 else 0.0
        if retry_after and retry_after.isdecimal():
            at_least_s = min(float(retry_after), LONGEST_RETRY_AFTER_S)
        return Retry(f"{said} ({status})", at_least_s, status)
    if status == 401:
        raise CredentialsRefused(f"{said} ({status})", status)
    if status == 403:
        raise AccessRefused(f"{said} ({status})", status)
    raise RequestRefused(f"{said} ({status})", status)


def _message(body: bytes) -> str:
    try:
        return printable(msgspec.json.decode(body, type=_Problem).ErrorMessage or "")
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return ""


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase.lower()
    except ValueError:
        return "answered"
