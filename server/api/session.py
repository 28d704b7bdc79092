"""What a browser signs in with: a web session, and a one-use ticket for a websocket, which can't be given a header."""

from __future__ import annotations

import msgspec
from starlette.responses import Response
from starlette.types import Receive, Send
from starlette.types import Scope as AsgiScope

from server.api.callers import Callers
from server.api.head import Head, read_head
from server.auth.principal import Scope
from server.auth.quota import Quota
from server.auth.websession import XSRF_COOKIE, WebSessions, xsrf_token
from server.errors import Unauthenticated
from server.problems import JSON
from server.wire import device_of


class BrowserSession:
    """``/api/v1/session``. POST, with any `Authorization`, begins one: the cookie that scripts can't read, and in the
    answer and as a cookie the token that the page's requests give back as `X-XSRF-TOKEN`. DELETE ends it."""

    def __init__(self, callers: Callers, sessions: WebSessions, quota: Quota, base_path: str) -> None:
        self._callers = callers
        self._sessions = sessions
        self._quota = quota
        self._path = base_path or "/"

    async def __call__(self, scope: AsgiScope, receive: Receive, send: Send) -> None:
        head = read_head(scope["headers"], self._callers.cookie)
        respond = await (self._begin(scope, head) if scope["method"] == "POST" else self._end(scope, head))
        respond.headers["cache-control"] = "no-store"
        await respond(scope, receive, send)

    async def _begin(self, scope: AsgiScope, head: Head) -> Response:
        if head.credentials.authorization is None:  # a session does not prolong itself
            head = head._replace(credentials=head.credentials._replace(web_session=None))
        principal = await self._callers.caller(scope, head, None)
        self._quota.of_web_sessions(principal.agent)
        secret, left_s = await self._sessions.begin(principal)
        xsrf = xsrf_token(secret.encode())
        body = msgspec.json.encode({"expires": left_s, "xsrf": xsrf})
        response = Response(body, media_type=None, headers={"content-type": JSON})
        self._set(response, secret, xsrf, left_s)
        return response

    async def _end(self, scope: AsgiScope, head: Head) -> Response:
        secret = head.credentials.web_session
        if secret is None:
            raise Unauthenticated("there is no session's cookie", self._callers.challenge)
        credentials = head.credentials._replace(authorization=None)
        await self._callers.caller(scope, head._replace(credentials=credentials), None)
        await self._sessions.end(secret)
        response = Response(status_code=204)
        self._set(response, "", "", 0)
        return response

    def _set(self, response: Response, secret: str, xsrf: str, max_age_s: int) -> None:
        """`__Host-` wants the path to be ``/``; `XSRF-TOKEN` is a name that the CRM may use on this host as well."""
        response.set_cookie(
            self._callers.cookie, secret, max_age_s, path="/", secure=True, httponly=True, samesite="strict"
        )
        response.set_cookie(XSRF_COOKIE, xsrf, max_age_s, path=self._path, secure=True, samesite="strict")


class SyncTicket:
    """POST ``/api/v1/sync/ticket?device=…``: a ticket that opens one websocket of that device, as ``ticket=`` in the
    query, within 30 seconds. What stays in logs and histories of it is of no use to anybody."""

    def __init__(self, callers: Callers, sessions: WebSessions) -> None:
        self._callers = callers
        self._sessions = sessions

    async def __call__(self, scope: AsgiScope, receive: Receive, send: Send) -> None:
        head = read_head(scope["headers"], self._callers.cookie)
        principal = await self._callers.caller(scope, head, Scope.SYNC_READ)
        device = head.device or device_of(scope["query_string"].decode("latin-1"))
        ticket, left_s = await self._sessions.once(principal, device)
        body = msgspec.json.encode({"ticket": ticket, "expires": left_s})
        headers = {"content-type": JSON, "cache-control": "no-store"}
        await Response(body, media_type=None, headers=headers)(scope, receive, send)
