"""Who is asking, as the headers that say so: `Authorization`, and where a server wants one, `SO-AppToken`.

Credentials that end are asked for again:

1. after the server refused them: once, and where those are refused too it is for the caller to decide;
2. shortly before they end, to be shown on the open connection.
"""

from __future__ import annotations

import asyncio
import base64
import re
from collections.abc import Awaitable, Callable
from typing import Final, overload

from server.errors import BadRequest

_FORM: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+ [!-~](?:[ -~]*[!-~])?")
"""RFC 9110, 11.4: a scheme, a space, and what is printable ASCII to its end."""
_VALUE: Final = re.compile(r"[!-~](?:[ -~]*[!-~])?")


Ask = Callable[[], Awaitable[str]]
"""Gives an `Authorization`. OSError: none is to be had just now; anything else ends what needed it."""


class Credentials:
    """What a client shows: given once, or asked for when they are needed and when they have ended."""

    def __init__(self, authorization: str | Ask, app_token: str | None = None) -> None:
        self._authorization = authorization if isinstance(authorization, str) else None
        self._ask = None if isinstance(authorization, str) else authorization
        self._app_token = None if app_token is None else checked_app_token(app_token)
        self._asking = asyncio.Lock()
        self._refusals = 0

    @property
    def asked_for(self) -> bool:
        """Whether there are others to be had."""
        return self._ask is not None

    async def authorization(self) -> str:
        """What to show. Raises what `Ask` raises, and `BadRequest` where it gives what is no header's value."""
        async with self._asking:  # one question, whoever needs its answer
            if self._authorization is None:
                self._authorization = await self.another()
            return self._authorization

    async def another(self) -> str:
        """Asked for now. It is not in use before `use`."""
        assert self._ask is not None
        return checked(await self._ask())

    def use(self, authorization: str) -> None:
        """Show this from now on."""
        self._authorization = authorization

    def headers(self, authorization: str) -> dict[str, str]:
        """What a request carries to say who sends it."""
        return headers_of(authorization, self._app_token)

    def accepted(self) -> None:
        """The server took what was shown."""
        self._refusals = 0

    def refused(self, shown: str) -> bool:
        """The server refused these: whether to come again, with others (rule 1)."""
        if shown != self._authorization:
            return True  # others are in use already
        if self._ask is None:
            return False
        self._authorization = None  # also for whoever tries again later
        self._refusals = (self._refusals + 1) % 2
        return self._refusals == 1


@overload
def authorization_of(user: str | None, password: str | None, authorization: str | None) -> str: ...
@overload
def authorization_of(user: str | None, password: str | None, authorization: str | Ask | None) -> str | Ask: ...
def authorization_of(user: str | None, password: str | None, authorization: str | Ask | None) -> str | Ask:
    """The header of credentials that are given in exactly one way: by user and password, as they are, or to be asked
    for.

    Raises `BadRequest`, which quotes none of them.
    """
    if (authorization is None) == (user is None and password is None):
        raise BadRequest("credentials must be given in one way: user and password, or authorization")
    if authorization is not None:
        return checked(authorization) if isinstance(authorization, str) else authorization
    if user is None or password is None:
        raise BadRequest("user and password go together, one of them is missing")
    return _basic(user, password)


def checked(authorization: str) -> str:
    """The same, where it can be a header's value; else `BadRequest`."""
    if not _FORM.fullmatch(authorization):
        raise BadRequest("authorization must be like 'Bearer <token>' or 'SoTicket <ticket>', in printable ASCII")
    return authorization


def checked_app_token(app_token: str) -> str:
    """The same, where it can be a header's value; else `BadRequest`, which does not quote it."""
    if not _VALUE.fullmatch(app_token):
        raise BadRequest("app_token must be printable ASCII, without a space at either end")
    return app_token


def headers_of(authorization: str, app_token: str | None) -> dict[str, str]:
    """What a request carries to say who sends it."""
    headers = {"Authorization": authorization}
    return headers if app_token is None else headers | {"SO-AppToken": app_token}


def _basic(user: str, password: str) -> str:
    if ":" in user or not user:
        raise BadRequest("user must be a name without ':' (RFC 7617)")
    try:
        return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()
    except UnicodeEncodeError:
        raise BadRequest("user and password must be text, one of them has bytes that are not UTF-8") from None
