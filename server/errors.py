"""Everything clearsync raises on purpose.

    ClearsyncError
    ├── Refused                 the peer's mistake: nothing was recorded, the message says what to change
    │   ├── BadRequest          400
    │   │   └── InvalidEvents   400, the batch itself
    │   ├── Unauthenticated     401
    │   ├── Forbidden           403
    │   ├── NotFound            404
    │   ├── MethodNotAllowed    405
    │   ├── RequestTimeout      408
    │   ├── TooLarge            413
    │   ├── UnsupportedMedia    415
    │   ├── TooManyRequests     429: more than a limit allows; says when to come back
    │   └── HeadersTooLarge     431
    ├── Unavailable             503: the store gave no answer in time; a batch is recorded whole or not at all
    └── StartupError            `serve` can't start; carries the exit code
        ├── SettingsError       2
        ├── DataDirInUse        3
        └── StoreError          4

A message is lower case, without a full stop, and names the value and the rule. It reaches the caller as it is, so it
never holds a credential, an address of the store or another agent's id.
"""

from __future__ import annotations

import math
from typing import ClassVar


class ClearsyncError(Exception):
    """The root of the tree."""


class Refused(ClearsyncError):
    """The peer's mistake. `headers` go out with the answer."""

    status: ClassVar[int] = 400
    headers: tuple[tuple[str, str], ...] = ()


class BadRequest(Refused):
    """A request that can't be understood."""


class InvalidEvents(BadRequest):
    """A batch that breaks a rule; the message names the event's index, the value and the rule."""


class Unauthenticated(Refused):
    """No credentials, or none that are known."""

    status = 401

    def __init__(self, message: str, challenge: str = 'Basic realm="clearsync", charset="UTF-8"') -> None:
        super().__init__(message)
        self.headers = (("WWW-Authenticate", challenge),)


class Forbidden(Refused):
    """Known credentials that do not allow this."""

    status = 403


class NotFound(Refused):
    """No such path."""

    status = 404


class MethodNotAllowed(Refused):
    """The path exists, for other methods."""

    status = 405

    def __init__(self, message: str, allow: str) -> None:
        super().__init__(message)
        self.headers = (("Allow", allow),)


class RequestTimeout(Refused):
    """A request that did not finish in time."""

    status = 408


class TooLarge(Refused):
    """A body or a batch over its limit. The connection is closed after the answer.

    `unread`: some of the body has not been read yet.
    """

    status = 413
    headers = (("Connection", "close"),)

    def __init__(self, message: str, *, unread: bool = False) -> None:
        super().__init__(message)
        self.unread = unread


class UnsupportedMedia(Refused):
    """A content type or charset that is not served."""

    status = 415


class TooManyRequests(Refused):
    """More than one agent or address may ask for in a time. `retry_after_s` is when the next is due."""

    status = 429

    def __init__(self, message: str, retry_after_s: float) -> None:
        super().__init__(message)
        self.headers = (("Retry-After", str(max(1, math.ceil(retry_after_s)))),)


class HeadersTooLarge(Refused):
    """A request head over its limit. The connection is closed after the answer."""

    status = 431
    headers = (("Connection", "close"),)


class Unavailable(ClearsyncError):
    """The store gave no answer in time: what was asked of it happened whole or not at all, and may be asked again."""

    status: ClassVar[int] = 503

    def __init__(self, message: str = "the store did not answer, try again", retry_after_s: int = 1) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s
        self.headers: tuple[tuple[str, str], ...] = (("Retry-After", str(retry_after_s)),)


class StartupError(ClearsyncError):
    """`serve` can't start. The message is the one line that is printed."""

    exit_code: ClassVar[int] = 1


class SettingsError(StartupError):
    """A setting that is unknown, malformed or not allowed with the others."""

    exit_code = 2


class DataDirInUse(StartupError):
    """Another `serve` holds the data directory."""

    exit_code = 3


class StoreError(StartupError):
    """No store: not found, not reachable, too old, or refusing us."""

    exit_code = 4
