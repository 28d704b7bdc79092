"""Who is asking, as the headers that say so: `Authorization`, and where a server wants one, `SO-AppToken`."""

from __future__ import annotations

import base64
import re
from typing import Final

from server.errors import BadRequest

_FORM: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+ [!-~](?:[ -~]*[!-~])?")
"""RFC 9110, 11.4: a scheme, a space, and what is printable ASCII to its end."""
_VALUE: Final = re.compile(r"[!-~](?:[ -~]*[!-~])?")


def authorization_of(user: str | None, password: str | None, authorization: str | None) -> str:
    """The header of credentials that are given in exactly one way, by user and password or as they are.

    Raises `BadRequest`, which quotes none of them.
    """
    if (authorization is None) == (user is None and password is None):
        raise BadRequest("credentials must be given in one way: user and password, or authorization")
    if authorization is not None:
        return checked(authorization)
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
