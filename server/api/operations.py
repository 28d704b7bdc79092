"""Each operation as OpenAPI describes it, for `openapi`: parameters, bodies, answers, credentials."""

from __future__ import annotations

from typing import Final

from server.api.shapes import AGENT, CURSOR, DEVICE, Schema, ref
from server.auth.websession import XSRF_COOKIE
from server.events import MAX_EVENTS
from server.wire import HANDLED_ONE_PATH, HANDLED_PATH, OVERVIEW_PATH, SESSION_PATH, SYNC_PATH, TICKET_PATH

OPENAPI_PATH: Final = "/openapi.json"
CONTENT_TYPES: Final = (
    "application/json",
    "text/json",
    "application/xml",
    "text/xml",
    "application/x-www-form-urlencoded",
    "application/json-patch+json",
    "application/merge-patch+json",
)
"""In the order of the vendor's description."""

REFUSALS: Final = {
    400: "What was sent breaks a rule; the message names the value and the rule.",
    401: "No credentials, or wrong ones.",
    403: "These credentials do not allow it, or not for this tenant, agent or origin.",
    404: "No such path. Of a path that is here: it was asked for with `Upgrade`, and is no websocket's.",
    405: "Not this method; `Allow` says which.",
    408: "The request was not complete in time.",
    413: f"The body has too many bytes, or the batch more than {MAX_EVENTS} events.",
    415: "A content type, charset or coding that is not served, or none.",
    429: "More requests, failed logins, or sessions of browsers than a limit allows.",
    431: "The headers have too many bytes.",
    500: "The server failed; it is not known whether it happened, and may be repeated.",
    503: "The store did not answer, or there is too much to do: it happened whole or not at all, and may be repeated.",
}
_HEADERS_OF: Final = {401: "WWW-Authenticate", 405: "Allow", 429: "Retry-After", 503: "Retry-After"}
_EVERYWHERE: Final = (404, 405, 408, 431, 500)
_SIGNED_IN: Final = (400, 401, 403, *_EVERYWHERE, 429, 503)
_WITH_BODY: Final = (*_SIGNED_IN, 413, 415)
_ANY_SCHEME: Final[list[Schema]] = [
    {"basic": []},
    {"soTicket": []},
    {"soTicket": [], "appToken": []},
    {"bearer": []},
    {"webSession": [], "xsrf": []},
]
_ANOTHER: Final = "Another agent of the tenant, in UTF-8, percent-encoded; needs the scope agents:write."
_FOR_THE_WEBSOCKET: Final = "Of a websocket or a stream: the credentials, once, see `ticket`; else no effect."
_IF_NONE_MATCH: Final[Schema] = {
    "name": "If-None-Match",
    "in": "header",
    "schema": {"type": "string"},
    "description": "The ETag of the last answer.",
}


def for_agents() -> dict[str, Schema]:
    """The paths that take credentials, as they are without a tenant before them."""
    return {
        HANDLED_PATH: {"post": _handled("NotificationsHandled", "Mark events as handled.")},
        HANDLED_ONE_PATH: {"post": _handled("NotificationHandled", "Mark one event as handled.")},
        SYNC_PATH: {"get": _sync()},
        TICKET_PATH: {"post": _ticket()},
        OVERVIEW_PATH: {"get": _overview()},
        SESSION_PATH: {"post": _sign_in(), "delete": _sign_out()},
    }


def of_tenant(item: Schema) -> Schema:
    """The same with the tenant before its path, as SuperOffice Online writes it."""
    renamed = {m: {**o, "operationId": f"{o['operationId']}_ofTenant"} for m, o in item.items()}
    tenant = _parameter("path", "tenant", {"type": "string", "minLength": 1, "maxLength": 64}, required=True)
    return {"parameters": [{**tenant, "description": "It must be that of the credentials."}], **renamed}


def _handled(name: str, summary: str) -> Schema:
    shapes = {
        "application/json-patch+json": f"{name}Patch",
        "application/x-www-form-urlencoded": f"{name}Form",
    }
    content = {media: {"schema": ref(shapes.get(media, f"{name}Request"))} for media in CONTENT_TYPES}
    return {
        "operationId": f"v1PocketAgent_{name}",
        "summary": summary,
        "parameters": [
            _parameter("query", "$select", {"type": "string"}, "Accepted, without effect."),
            _parameter("header", "X-Device-Id", _pattern(DEVICE), "The origin, which is not sent its own events."),
            _parameter("header", "X-Agent-Id", _pattern(AGENT), _ANOTHER),
        ],
        "requestBody": {"required": True, "content": content},
        "responses": {"204": {"description": "It is in the store."}, **_refusals(*_WITH_BODY)},
        "security": _ANY_SCHEME,
    }


def _sync() -> Schema:
    tag = {"ETag": _header("The cursor.", _pattern('^"'))}
    return {
        "operationId": "sync",
        "summary": "What was handled after a cursor.",
        "description": "With `Upgrade: websocket` the same, and all that follows, over a websocket: see AsyncAPI. With "
        "`Accept: text/event-stream` its frames as an event stream, the cursor as `id`; the last says `close`.",
        "parameters": [
            _parameter("query", "device", _pattern(DEVICE), "This device.", required=True),
            _parameter("query", "cursor", _pattern(CURSOR), "The last one that was stored. Absent: from now on."),
            _parameter("query", "ticket", {"type": "string"}, _FOR_THE_WEBSOCKET),
            _parameter("header", "Last-Event-ID", {"type": "string"}, "Of a stream: the `cursor`, and beats it."),
            _IF_NONE_MATCH,
        ],
        "responses": {
            "200": {**_with_stream(_json("Snapshot", "The events, and the cursor after them.")), "headers": tag},
            "304": {"description": "Nothing new.", "headers": tag},
            **_refusals(*_SIGNED_IN),
        },
        "security": _ANY_SCHEME,
    }


def _with_stream(answer: Schema) -> Schema:
    content = {**answer["content"], "text/event-stream": {"schema": {"type": "string"}}}
    return {**answer, "content": content}


def _ticket() -> Schema:
    return {
        "operationId": "ticket",
        "summary": "A ticket with which a browser opens one websocket or stream.",
        "description": "For the device that is named in the query or in a header; one of the two has to be there.",
        "parameters": [
            _parameter("query", "device", _pattern(DEVICE), "The device, where there is no X-Device-Id."),
            _parameter("header", "X-Device-Id", _pattern(DEVICE), "The device."),
        ],
        "responses": {"200": _json("Ticket", "It goes into the query, as `ticket`."), **_refusals(*_SIGNED_IN)},
        "security": _ANY_SCHEME,
    }


def _overview() -> Schema:
    return {
        "operationId": "overview",
        "summary": "The figures of all workers; needs the scope admin.",
        "description": "Those of /metrics: counted by each worker since its start, to be added up by who reads them.",
        "responses": {"200": _json("Overview", "As they are now."), **_refusals(*_SIGNED_IN)},
        "security": _ANY_SCHEME,
    }


def _sign_in() -> Schema:
    cookies = {
        "Set-Cookie": _header(
            f"The session's, and a readable {XSRF_COOKIE}, whose path is the base path.", {"type": "string"}
        )
    }
    return {
        "operationId": "beginSession",
        "summary": "Begin a browser's session.",
        "responses": {"200": {**_json("Session", "It has begun."), "headers": cookies}, **_refusals(*_SIGNED_IN)},
        "security": _ANY_SCHEME[:-1],  # a session does not prolong itself
    }


def _sign_out() -> Schema:
    return {
        "operationId": "endSession",
        "summary": "End a browser's session.",
        "responses": {"204": {"description": "It has ended."}, **_refusals(*_SIGNED_IN)},
        "security": [{"webSession": [], "xsrf": []}],
    }


def for_anybody() -> dict[str, Schema]:
    """The paths that take none."""
    not_ready = _json("Ready", "It can't serve now.")
    return {
        "/live": {"get": _open("live", "Whether the process runs.", {"200": _json("Live", "It does.")})},
        "/ready": {
            "get": _open("ready", "Whether it can serve.", {"200": _json("Ready", "It can."), "503": not_ready})
        },
        "/version": {"get": _open("version", "What serves.", {"200": _json("Version", "Name and version.")})},
        OPENAPI_PATH: {"get": _itself()},
    }


def _itself() -> Schema:
    tag = {"ETag": _header("Of this description.", _pattern('^"'))}
    shown = {"200": {**_json_of({"type": "object"}, "OpenAPI 3.1."), "headers": tag}}
    unchanged = {"304": {"description": "It is the same.", "headers": tag}}
    return {**_open("openapi", "This description.", shown | unchanged), "parameters": [_IF_NONE_MATCH]}


def _open(operation: str, summary: str, responses: Schema) -> Schema:
    return {"operationId": operation, "summary": summary, "responses": {**responses, **_refusals(*_EVERYWHERE)}}


def _parameter(where: str, name: str, schema: Schema, text: str = "", *, required: bool = False) -> Schema:
    return {"name": name, "in": where, "required": required, "schema": schema, "description": text}


def _pattern(pattern: str) -> Schema:
    return {"type": "string", "pattern": pattern}


def _header(text: str, schema: Schema) -> Schema:
    return {"description": text, "required": True, "schema": schema}


def _json(name: str, text: str) -> Schema:
    return _json_of(ref(name), text)


def _json_of(schema: Schema, text: str) -> Schema:
    return {"description": text, "content": {"application/json": {"schema": schema}}}


def _refusals(*statuses: int) -> Schema:
    return {str(status): ref(str(status), "responses") for status in sorted(statuses)}


def refusal(status: int) -> Schema:
    """The answer of `status`, one of `REFUSALS`."""
    content = {media: {"schema": ref("Problem")} for media in ("application/json", "application/xml")}
    answer: Schema = {"description": REFUSALS[status], "content": content}
    if status in _HEADERS_OF:
        answer["headers"] = {_HEADERS_OF[status]: _header("", {"type": "string"})}
    return answer
