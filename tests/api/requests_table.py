"""Requests of every kind that go to NotificationsHandled, each with how much of it goes the short way."""

from __future__ import annotations

import gzip
import json
from dataclasses import dataclass
from typing import Final

from server.wire import HANDLED_ONE_PATH, HANDLED_PATH, SYNC_PATH
from tests.api.raw import basic, chunk, events, head

PASSWORD: Final = "x"
CRM: Final = "https://crm.example.com"
JSON: Final = ("Content-Type", "application/json")
CHUNKED: Final = ("Transfer-Encoding", "chunked")
ADA: Final = basic("ada", PASSWORD)
BOSS: Final = basic("boss", PASSWORD)
HEADER_BYTES: Final = 16_384
MANY: Final = -1
"""So many that one read may not hold all of it: which way it goes is not said."""

Header = tuple[str, str]


@dataclass(frozen=True)
class Row:
    """What is said on a connection, each part in a segment of its own, and how many requests of it go the short way."""

    name: str
    parts: tuple[bytes, ...]
    short: int = 0


def post(*more: Header, body: bytes | None = None, target: str = HANDLED_PATH, who: Header = ADA) -> bytes:
    """A proper POST, with `more` headers behind its own."""
    body = events(1) if body is None else body
    return head("POST", target, (who, JSON, ("Content-Length", str(len(body))), *more)) + body


def framed(*headers: Header, body: bytes = b"") -> bytes:
    """A POST by ada whose framing is what the headers say."""
    return head("POST", HANDLED_PATH, (ADA, JSON, *headers)) + body


def typed(content_type: str | None, body: bytes) -> bytes:
    """A POST of another content type."""
    headers = () if content_type is None else (("Content-Type", content_type),)
    return head("POST", HANDLED_PATH, (ADA, *headers, ("Content-Length", str(len(body))))) + body


def of(name: str, *parts: bytes, short: int = 0) -> Row:
    """A row; `short=1` in most that go the short way."""
    return Row(name, parts, short)


def event(type_: str, id_: str) -> bytes:
    """A batch of one event, whose values are given as JSON."""
    return f'{{"NotificationEvents":[{{"Type":{type_},"Id":{id_}}}]}}'.encode()


def padded(body: bytes, length: int) -> bytes:
    """The same JSON in so many bytes."""
    return body + b" " * (length - len(body))


ONE: Final = events(1)
LENGTH: Final = ("Content-Length", str(len(ONE)))
EMPTY: Final = b'{"NotificationEvents":[]}'
XML: Final = (
    b"<NotificationsHandledRequest><NotificationEvents><NotificationEvent><Type>NewTicket</Type><Id>1</Id>"
    b"</NotificationEvent></NotificationEvents></NotificationsHandledRequest>"
)
FORM: Final = b"NotificationEvents[0].Type=NewTicket&NotificationEvents[0].Id=1"
PATCH: Final = b'[{"op":"add","path":"/NotificationEvents","value":[{"Type":"NewTicket","Id":1}]}]'
H2C: Final = (
    ("Connection", "Upgrade, HTTP2-Settings"),
    ("Upgrade", "h2c"),
    ("HTTP2-Settings", "AAMAAABkAAQCAAAAAAIAAAAA"),
)
PLAIN: Final = post()
OTHER: Final = post(body=events(2))
LONG: Final = post(body=events(3), target=f"{HANDLED_PATH}?x")
SOCKET: Final = (
    ("Connection", "Upgrade"),
    ("Upgrade", "websocket"),
    ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ("Sec-WebSocket-Version", "13"),
)
WEBSOCKET: Final = head("GET", SYNC_PATH, (("Connection", "Upgrade"), ("Upgrade", "websocket")))
LIVE: Final = head("GET", "/live")
LOOK: Final = head("GET", "/ready")
SINGLE: Final = b'{"NotificationEventType":"NewTicket","Id":9}'
JAVA: Final = post(*H2C)

BODIES: Final = (
    of("plain", PLAIN, short=1),
    of("an empty batch", post(body=EMPTY)),
    of("null for a batch", post(body=b'{"NotificationEvents":null}')),
    of("null", post(body=b"null")),
    of("an array", post(body=b"[]")),
    of("an empty body", post(body=b"")),
    of("blanks", post(body=b" \r\n")),
    of("duplicates", post(body=events(1, 2, 1)), short=1),
    of("many duplicates", post(body=events(*[7] * 100)), short=1),
    of("two types", post(body=event("0", "5")[:-2] + b',{"Type":"11","Id":"-5"}]}'), short=1),
    of("other casings", post(body=b'{"notificationevents":[{"type":"newticket","ID":"1"}],"more":{}}'), short=1),
    of("a byte order mark", post(body=b"\xef\xbb\xbf" + ONE), short=1),
    of("100 events", post(body=events(*range(100))), short=1),
    of("500 events", post(body=events(*range(500))), short=MANY),
    of("1,000 events", post(body=events(*range(1000)))),
    of("1,001 events", post(body=events(*range(1001)))),
    of("1,001 short events", post(body=b'{"NotificationEvents":[%b]}' % b",".join([b'{"Type":1,"Id":1}'] * 1001))),
    of("a body just light", post(body=padded(ONE, 32_768)), short=MANY),
    of("a body just not light", post(body=padded(ONE, 32_769))),
    of("a body at the limit", post(body=padded(ONE, 262_144))),
    of("a body over the limit", post(body=padded(ONE, 262_145))),
    of("the least Id", post(body=event('"NewTicket"', "-2147483648")), short=1),
    of("an Id too small", post(body=event('"NewTicket"', "-2147483649"))),
    of("an Id too large", post(body=event('"NewTicket"', "2147483648"))),
    of("Id 1.0", post(body=event('"NewTicket"', "1.0"))),
    of("Id null", post(body=event('"NewTicket"', "null"))),
    of("Id 1e400", post(body=event('"NewTicket"', "1e400"))),
    of("an unknown type", post(body=event('"NewTickets"', "1"))),
    of("a Kelvin sign", post(body=event('"NewTic\\u212aet"', "1"))),
    of("half a surrogate", post(body=event('"\\ud800"', "1"))),
    of("no events", post(body=b"{}")),
    of("broken JSON", post(body=ONE[:-1])),
    of("more after the JSON", post(body=ONE + b"}")),
    of("no UTF-8", post(body=ONE.replace(b"New", b"\xff"))),
    of("NULs", post(body=bytes(50))),
    of("deep nesting", post(body=b'{"NotificationEvents":[],"x":%b%b}' % (b"[" * 5000, b"]" * 5000))),
)

_FORMATS: Final = (
    ("application/json; charset=utf-8", ONE),
    ("application/json;charset=UTF-8", ONE),
    ("APPLICATION/JSON", ONE),
    ("text/json", ONE),
    ("application/merge-patch+json", ONE),
    ("application/json-patch+json", PATCH),
    ("application/json-patch+json", ONE),
    ("application/xml", XML),
    ("text/xml", XML),
    ("application/x-www-form-urlencoded", FORM),
    ("application/json; charset=utf-16", ONE.decode().encode("utf-16")),
    ("application/json; charset=latin-1", ONE),
)
TYPES: Final = (
    *(of(f"{type_} {n}", typed(type_, body), short=1) for n, (type_, body) in enumerate(_FORMATS)),
    of("text/json over its light", typed("text/json", padded(ONE, 2049))),
    of("text/json just light", typed("text/json", padded(ONE, 2048)), short=1),
    of("XML that is JSON", typed("application/xml", ONE)),
    of("XML with a document type", typed("text/xml", b"<!DOCTYPE x>" + XML)),
    of("a failing patch", typed("application/json-patch+json", PATCH.replace(b"add", b"test"))),
    of("no content type", typed(None, ONE)),
    of("an empty content type", typed("", ONE)),
    of("text/plain", typed("text/plain", ONE)),
    of("an unknown charset", typed("application/json; charset=rot13", ONE)),
    of("two content types", post(("Content-Type", "text/xml"), body=XML), short=1),
    of("two content types, the last unknown", post(("Content-Type", "text/plain"))),
    of("gzip", post(("Content-Encoding", "gzip"), body=gzip.compress(ONE, mtime=0))),
    of("identity", post(("Content-Encoding", "identity"))),
    of("an empty encoding", post(("Content-Encoding", "")), short=1),
    of("brotli", post(("Content-Encoding", "br"))),
    of("Accept XML, refused", post(("Accept", "application/xml"), body=b"{}")),
    of("Accept XML", post(("Accept", "application/xml")), short=1),
)

CALLERS: Final = (
    of("a device", post(("X-Device-Id", "desk")), short=1),
    of("a device twice", post(("X-Device-Id", "desk"), ("X-Device-Id", "phone")), short=1),
    of("a device twice, the first malformed", post(("X-Device-Id", "a b"), ("X-Device-Id", "phone"))),
    of("a malformed device", post(("X-Device-Id", "my phone"))),
    of("an empty device", post(("X-Device-Id", ""))),
    of("device -", post(("X-Device-Id", "-"))),
    of("a device of 65", post(("X-Device-Id", "d" * 65))),
    of("a device beyond ASCII", post(("X-Device-Id", "caf\xe9"))),
    of("another agent", post(("X-Agent-Id", "bob"), who=BOSS), short=1),
    of("another agent and a device", post(("X-Agent-Id", "bob"), ("X-Device-Id", "phone"), who=BOSS), short=1),
    of("another agent, percent-encoded", post(("X-Agent-Id", "%62OB"), who=BOSS), short=1),
    of("an agent beyond ASCII", post(("X-Agent-Id", "J%C3%BCrgen"), who=BOSS), short=1),
    of("oneself as an agent", post(("X-Agent-Id", "boss"), who=BOSS), short=1),
    of("another agent without the right", post(("X-Agent-Id", "bob"))),
    of("another agent twice", post(("X-Agent-Id", "bob"), ("X-Agent-Id", "bob"), who=BOSS)),
    of("an empty agent", post(("X-Agent-Id", ""), who=BOSS)),
    of("a malformed agent", post(("X-Agent-Id", "%ff"), who=BOSS)),
    of("an agent in bytes", post(("X-Agent-Id", "J\xfcrgen"), who=BOSS)),
    of("an agent of 65", post(("X-Agent-Id", "a" * 65), who=BOSS)),
    of("an agent without the right, malformed", post(("X-Agent-Id", "%ff"))),
    of("without the right to report", post(who=basic("reader", PASSWORD))),
    of("a wrong password", post(who=basic("ada", "y"))),
    of("an unknown user", post(who=basic("nobody", PASSWORD))),
    of("an unknown scheme", post(who=("Authorization", "Digest x"))),
    of("a scheme in lower case", post(who=("authorization", ADA[1].replace("Basic", "basic")))),
    of("a blank more", post(who=("Authorization", ADA[1].replace(" ", "  ")))),
    of("blanks around", post(who=("Authorization", f"  {ADA[1]} \t")), short=MANY),
    of("no credentials", head("POST", HANDLED_PATH, (JSON, LENGTH)) + ONE),
    of("empty credentials", post(who=("Authorization", ""))),
    of("two credentials", post(ADA)),
    of("two credentials, the first wrong", post(ADA, who=basic("ada", "y"))),
    of("a cookie beside them", post(("Cookie", "__Host-clearsync=abc; b=c")), short=1),
    of("a cookie alone", post(who=("Cookie", "__Host-clearsync=abc"))),
    of("an XSRF token", post(("X-XSRF-TOKEN", "abc")), short=1),
    of("an application token", post(("SO-AppToken", "abc")), short=1),
    of("two application tokens", post(("SO-AppToken", "abc"), ("SO-AppToken", "abc"))),
    of("our own origin", post(("Origin", "http://localhost"))),
    of("an allowed origin", post(("Origin", CRM))),
    of("another origin", post(("Origin", "https://evil.example"))),
    of("no origin to speak of", post(("Origin", "null"))),
    of("an empty origin", post(("Origin", ""))),
    of("forwarded for one", post(("X-Forwarded-For", "192.0.2.7")), short=1),
    of("forwarded for several", post(("X-Forwarded-For", "192.0.2.1, 192.0.2.8")), short=1),
    of("forwarded twice", post(("X-Forwarded-For", "192.0.2.1"), ("x-forwarded-for", "192.0.2.2")), short=1),
    of("forwarded by the trusted", post(("X-Forwarded-For", "192.0.2.9, 127.0.0.1")), short=1),
    of("forwarded for IPv6", post(("X-Forwarded-For", "[2001:db8::1]:5000")), short=1),
    of("forwarded for nonsense", post(("X-Forwarded-For", "me")), short=1),
    of("a proxy's scheme", post(("X-Forwarded-Proto", "https"), ("Forwarded", "for=192.0.2.1")), short=1),
)


def _at(name: str, target: str, short: int = 0, who: Header = ADA) -> Row:
    return of(name, post(target=target, who=who), short=short)


_ZOE: Final = basic("zoe", PASSWORD)
_QUENTIN: Final = basic("quentin", PASSWORD)
PLACES: Final = (
    _at("the tenant", f"/acme{HANDLED_PATH}", 1),
    _at("another tenant", f"/other{HANDLED_PATH}"),
    _at("the tenant in upper case", f"/ACME{HANDLED_PATH}"),
    _at("the tenant, percent-encoded", f"/%61cme{HANDLED_PATH}"),
    _at("a tenant beyond ASCII", f"/Zo%C3%AB%20&%20Co{HANDLED_PATH}", who=_ZOE),
    _at("a tenant beyond ASCII, not named", HANDLED_PATH, 1, who=_ZOE),
    _at("a tenant with a question mark", "/a%3Fb" + HANDLED_PATH, who=_QUENTIN),
    _at("a tenant with a question mark, which is a query", "/a?b" + HANDLED_PATH, who=_QUENTIN),
    _at("the tenant with a hyphen", f"/ac-me{HANDLED_PATH}"),
    _at("a tenant of 65", f"/{'a' * 65}{HANDLED_PATH}"),
    _at("a tenant that is api", f"/api{HANDLED_PATH}"),
    _at("two tenants", f"/acme/acme{HANDLED_PATH}"),
    _at("an encoded slash", f"/acme%2Fx{HANDLED_PATH}"),
    _at("a query", f"{HANDLED_PATH}?$select=x"),
    _at("an empty query", f"{HANDLED_PATH}?"),
    _at("a query that looks like a path", f"/?/acme{HANDLED_PATH}"),
    _at("a query that ends like the path", f"/live?x={HANDLED_PATH}"),
    _at("a fragment", f"{HANDLED_PATH}#x"),
    _at("a fragment that looks like a path", f"/live#{HANDLED_PATH}"),
    _at("absolute", f"http://localhost{HANDLED_PATH}"),
    _at("absolute, with the tenant", f"http://localhost/acme{HANDLED_PATH}"),
    _at("absolute, without a host", f"http://{HANDLED_PATH}"),
    _at("absolute, of another scheme", f"a:/{HANDLED_PATH}"),
    _at("a doubled slash", f"/{HANDLED_PATH}"),
    _at("a doubled slash and a tenant", f"//acme{HANDLED_PATH}"),
    _at("a tenant and a doubled slash", f"/acme/{HANDLED_PATH}"),
    _at("a trailing slash", f"{HANDLED_PATH}/"),
    _at("without its slash", HANDLED_PATH[1:]),
    _at("without its slash, with a tenant", f"acme{HANDLED_PATH}"),
    _at("in lower case", HANDLED_PATH.lower()),
    _at("percent-encoded", HANDLED_PATH.replace("Pocket", "%50ocket")),
    _at("a line feed at its end", f"{HANDLED_PATH}%0a"),
    _at("dots", f"/acme/..{HANDLED_PATH}"),
    _at("a NUL", f"/%00{HANDLED_PATH}"),
    of("the single form", post(target=HANDLED_ONE_PATH, body=SINGLE)),
    of("the batch to the single form", post(target=HANDLED_ONE_PATH)),
    of("the single form to the batch", post(body=SINGLE)),
)

METHODS: Final = (
    *(
        of(method, head(method, HANDLED_PATH, (ADA, JSON, LENGTH)) + ONE)
        for method in ("GET", "PUT", "DELETE", "PATCH", "OPTIONS", "post", "Post", "BREW", "CONNECT", "MKCOL")
    ),
    of("HEAD", head("HEAD", HANDLED_PATH, (ADA,))),
    of("a preflight", head("OPTIONS", HANDLED_PATH, (("Origin", CRM), ("Access-Control-Request-Method", "POST")))),
    of("HTTP/1.0", PLAIN.replace(b"HTTP/1.1", b"HTTP/1.0")),
    of("HTTP/1.0, kept alive", post(("Connection", "keep-alive")).replace(b"HTTP/1.1", b"HTTP/1.0")),
    of("HTTP/0.9", b"POST /live\r\n\r\n"),
    of("HTTP/2.0", PLAIN.replace(b"HTTP/1.1", b"HTTP/2.0")),
    of("HTTP/1.2", PLAIN.replace(b"HTTP/1.1", b"HTTP/1.2")),
    of("close", post(("Connection", "close"))),
    of("close, twice", post(("Connection", "keep-alive"), ("Connection", "Close"))),
    of("close among others", post(("Connection", "keep-alive, close"))),
    of("a proxy's close", post(("Proxy-Connection", "close"))),
    of("keep-alive", post(("Connection", "keep-alive")), short=1),
    of("a hop's header", post(("Connection", "X-Hop"), ("X-Hop", "1")), short=1),
    of("Expect", post(("Expect", "100-continue"))),
    of("Expect, and the body later", framed(LENGTH, ("Expect", "100-continue")), ONE),
    of("Expect something else", post(("Expect", "a reward")), short=1),
    of("h2c", JAVA, short=1),
    of("h2c, the body later", JAVA[: -len(ONE)], ONE),
    of("h2c in two parts", JAVA[:60], JAVA[60:], short=1),
    of("h2c by name only", post(("Upgrade", "h2c")), short=1),
    of("a websocket by name only", post(("Upgrade", "websocket")), short=1),
    of("a websocket", post(*SOCKET)),
    of("a websocket on the sync path", post(*SOCKET, target=f"{SYNC_PATH}?device=x")),
    of("a websocket after one", PLAIN, post(*SOCKET), short=MANY),
    of("an upgrade to nothing", post(("Connection", "upgrade")), short=1),
    of("h2c, twice", JAVA + JAVA, short=1),
)

FRAMES: Final = (
    of("a length too small", framed(("Content-Length", str(len(ONE) - 1)), body=ONE)),
    of("a length too large", framed(("Content-Length", str(len(ONE) + 9)), body=ONE)),
    of("a length too large by much", framed(("Content-Length", "9000"), body=ONE)),
    of("a length of nothing", framed(("Content-Length", "0"))),
    of("a length of nothing, and a body", framed(("Content-Length", "0"), body=ONE)),
    of("a length twice, the same", framed(LENGTH, LENGTH, body=ONE)),
    of("a length twice", framed(LENGTH, ("Content-Length", "5"), body=ONE)),
    of("a list of lengths", framed(("Content-Length", f"{len(ONE)}, {len(ONE)}"), body=ONE)),
    of("a negative length", framed(("Content-Length", f"-{len(ONE)}"), body=ONE)),
    of("a length with a sign", framed(("Content-Length", f"+{len(ONE)}"), body=ONE)),
    of("a length with zeros", framed(("Content-Length", f"000{len(ONE)}"), body=ONE), short=1),
    of("a length with blanks", framed(("Content-Length", f"  {len(ONE)} \t"), body=ONE), short=1),
    of("a length with an underscore", framed(("Content-Length", f"{len(ONE)}"[0] + "_" + f"{len(ONE)}"[1:]), body=ONE)),
    of("a hexadecimal length", framed(("Content-Length", f"0x{len(ONE):x}"), body=ONE)),
    of("an empty length", framed(("Content-Length", ""), body=ONE)),
    of("a length of 30 digits", framed(("Content-Length", "9" * 30), body=ONE)),
    of("no length", framed(body=ONE)),
    of("chunked", framed(CHUNKED, body=chunk(ONE) + chunk(b""))),
    of("chunked in several", framed(CHUNKED, body=chunk(ONE[:9]) + chunk(ONE[9:]) + chunk(b""))),
    of("trailers", framed(CHUNKED, body=chunk(ONE) + b"0\r\nX-Device-Id: desk\r\n\r\n")),
    of("trailers, and another", framed(CHUNKED, body=chunk(ONE) + b"0\r\nX-Device-Id: desk\r\n\r\n") + OTHER),
    of("chunked and a length", framed(CHUNKED, LENGTH, body=chunk(ONE) + chunk(b""))),
    of("a length and chunked", framed(LENGTH, CHUNKED, body=ONE)),
    of("chunked twice", framed(CHUNKED, CHUNKED, body=chunk(ONE) + chunk(b""))),
    of("gzip, chunked", framed(("Transfer-Encoding", "gzip, chunked"), body=chunk(ONE) + chunk(b""))),
    of("identity as a transfer", framed(("Transfer-Encoding", "identity"), LENGTH, body=ONE)),
    of("a bad chunk", framed(CHUNKED, body=b"zz\r\n")),
    of("names in odd casing", PLAIN.replace(b"Content-Length", b"cOnTeNt-LENGTH").replace(b"Auth", b"aUTH"), short=1),
    of("100 headers", post(*((f"X-{n}", str(n)) for n in range(100))), short=1),
    of("a head at its limit", post(("X", "x" * (HEADER_BYTES - len(PLAIN) - len("X: \r\n")))), short=1),
    of(
        "a body over the limit of heads",
        post(("X", "x" * (HEADER_BYTES + 1 - len(PLAIN) - len("X: \r\n")))),
        short=1,
    ),
    of("a head over its limit", post(("X", "x" * (HEADER_BYTES + 1)))),
    of("a long target", post(target=f"/{'a' * HEADER_BYTES}{HANDLED_PATH}")),
    of("a folded header", PLAIN.replace(b"Host: ", b"Host: a\r\n ")),
    of("a blank before a colon", PLAIN.replace(b"Host:", b"Host :")),
    of("a NUL in a header", post(("X-A", "a\0b"))),
    of("no host", PLAIN.replace(b"Host: localhost\r\n", b""), short=1),
    of("two hosts", post(("Host", "b")), short=1),
    of("line feeds only", PLAIN.replace(b"\r\n", b"\n")),
    of("a blank line first", b"\r\n\r\n" + PLAIN, short=1),
    of("a header of bytes", post(("X-A", "\xff\xfe")), short=1),
    of("a blank in the target", post(target=f"/a b{HANDLED_PATH}")),
)

SEVERAL: Final = (
    of("two", PLAIN + OTHER, short=1),
    of("two, one after the other", PLAIN, OTHER, short=MANY),
    of("short and long", PLAIN + LONG, short=1),
    of("long and short", LONG + PLAIN),
    of("five", PLAIN + OTHER + LONG + OTHER + PLAIN, short=1),
    of("thirty", b"".join(post(body=events(n)) for n in range(30)), short=1),
    of("a refused one in the middle", PLAIN + post(body=b"{}") + OTHER, short=1),
    of("a refused one first", post(body=b"{}") + PLAIN + OTHER),
    of("a broken one in the middle", PLAIN + b"garbage\r\n\r\n" + OTHER, short=1),
    of("a broken one behind two", PLAIN + OTHER + b"garbage\r\n\r\n", short=1),
    of("a broken head behind", PLAIN + PLAIN.replace(b"Host:", b"Host :"), short=1),
    of("a bad chunk behind", PLAIN + framed(CHUNKED, body=b"zz\r\n"), short=1),
    of("a bad second chunk behind", PLAIN + framed(CHUNKED, body=chunk(ONE) + b"zz\r\n"), short=1),
    of("a long head behind", PLAIN + post(("X", "x" * HEADER_BYTES)), short=1),
    of("close behind", PLAIN + post(("Connection", "close")) + OTHER, short=1),
    of("close first", post(("Connection", "close")) + PLAIN),
    of("another method behind", PLAIN + head("GET", "/live") + LOOK, short=1),
    of("behind another method", head("GET", "/live") + PLAIN),
    of("half of one behind", PLAIN + OTHER[:30], OTHER[30:], short=MANY),
    of("half of a body behind", PLAIN + OTHER[:-5], OTHER[-5:], short=1),
    of("a body that never ends behind", PLAIN + framed(("Content-Length", "9000"), body=b"{"), short=1),
    of("one in a body that ends with it", framed(("Content-Length", str(len(PLAIN))), body=PLAIN)),
    of("one after too short a body", framed(("Content-Length", "2"), body=b"{}" + PLAIN)),
    of("h2c behind", PLAIN + JAVA, short=1),
    of("behind h2c", JAVA + PLAIN, short=1),
    of("a websocket behind", PLAIN + WEBSOCKET, short=1),
    of("blank lines behind", PLAIN + b"\r\n" * 50, short=1),
    of("the head, then the body", PLAIN[: -len(ONE)], ONE),
    of("in three", PLAIN[:20], PLAIN[20:-9], PLAIN[-9:]),
    of("the head in pieces", PLAIN[:20], PLAIN[20:100], PLAIN[100:], short=1),
)

ROWS: Final = (*BODIES, *TYPES, *CALLERS, *PLACES, *METHODS, *FRAMES, *SEVERAL)


def shown(row: Row) -> str:
    """Its name, for pytest."""
    return json.dumps(row.name).strip('"')
