"""What answered a request: clearsync, or something that stands before it. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final

import msgspec

from server.client.retry import printable

SHOWN: Final = 160
"""Characters of a message that are shown."""
_SCHEME: Final = re.compile(r"(?:^|, *)([A-Za-z][\w-]*)(?= +\w+ *=| *$)")
"""RFC 9110, 11.6.1: a challenge is a scheme and its parameters, and there may be several."""


class _Problem(msgspec.Struct):
    ErrorMessage: str
    ErrorSource: str


@dataclass(frozen=True, slots=True)
class Reply:
    """Status, headers by their names in lower case, and the body; of a websocket that was opened only 101."""

    status: int
    headers: Mapping[str, str]
    body: bytes = b""

    @property
    def problem(self) -> str | None:
        """The message of an error in the vendor's shape, as only clearsync writes it; else None."""
        try:
            found = msgspec.json.decode(self.body, type=_Problem)
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
            return None
        return found.ErrorMessage if found.ErrorSource == "clearsync" else None

    @property
    def json(self) -> Any:
        """The body, None where it is no JSON."""
        try:
            return msgspec.json.decode(self.body)
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
            return None

    @property
    def said(self) -> str:
        """Status and words for a person: clearsync's own message, or who it was that answered."""
        message = self.problem
        if message is not None:
            return f"{self.status}: {printable(message)[:SHOWN]}"
        who = printable(self.headers.get("server", ""))[:SHOWN]
        where = printable(self.headers.get("location", ""))[:SHOWN]
        return (
            f"{self.status} {_phrase(self.status)}" + (f" from {who}" if who else "") + (f" to {where}" * bool(where))
        )


def schemes(reply: Reply) -> str:
    """The ways to sign in that a 401 names, as words; empty where it names none."""
    return ", ".join(_SCHEME.findall(printable(reply.headers.get("www-authenticate", ""))))


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase.lower()
    except ValueError:
        return "answered"
