"""Requests that are refused, over real sockets: the status, the vendor's error shape, and nothing done.

Every request here that can carry events carries some, so that "nothing was recorded" says something.
"""

from __future__ import annotations

import contextlib
import itertools
import select
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

from server.wire import HANDLED_PATH, SYNC_PATH
from tests.api.depth import deepest_decoded
from tests.api.devices import SENTINEL, listening, nothing_happened, recorded, tickets
from tests.api.raw import PATIENCE_S, Answer, Headers, Wire, ask, basic, chunk, events, head, post
from tests.running import Running, serving

BODY_BYTES: Final = 262_144
HEADER_BYTES: Final = 16_384
JSON: Final = ("Content-Type", "application/json")
CHUNKED: Final = ("Transfer-Encoding", "chunked")
ALLOWED: Final = (("allow", "POST"),)
CHALLENGE: Final = (("www-authenticate", 'Basic realm="clearsync", charset="UTF-8", SoTicket realm="clearsync"'),)
UPGRADE: Final = (
    ("Connection", "Upgrade"),
    ("Upgrade", "websocket"),
    ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ("Sec-WebSocket-Version", "13"),
)

Request = Callable[[str], bytes]
"""The bytes to send, for a user."""


@dataclass(frozen=True)
class Case:
    """A request and the answer to it. `closes`: the server ends the connection, else it goes on."""

    name: str
    request: Request
    status: int
    kind: str
    says: str = ""
    headers: tuple[tuple[str, str], ...] = ()
    closes: bool = False


def of_body(name: str, body: bytes, says: str, kind: str = "InvalidEvents") -> Case:
    """A 400 for what the body says; the connection goes on."""
    return Case(name, lambda user: post(user, body), 400, kind, says)


def of_event(name: str, event: str, says: str) -> Case:
    """A 400 for the second of two events."""
    whole = '{"Type":"NewTicket","Id":1}'
    return of_body(name, f'{{"NotificationEvents":[{whole},{event}]}}'.encode(), f"NotificationEvents[1]: {says}")


def of_credentials(name: str, *headers: tuple[str, str]) -> Case:
    """A 401."""
    request = head("POST", HANDLED_PATH, (*headers, JSON, ("Content-Length", str(len(events(1)))))) + events(1)
    return Case(name, lambda _: request, 401, "Unauthenticated", headers=CHALLENGE)


def of_type(name: str, *headers: tuple[str, str]) -> Case:
    """A 415."""
    length = ("Content-Length", str(len(events(1))))
    return Case(
        name,
        lambda user: head("POST", HANDLED_PATH, (basic(user), *headers, length)) + events(1),
        415,
        "UnsupportedMedia",
    )


def of_target(name: str, target: str, status: int, kind: str) -> Case:
    """A good POST to another place."""
    return Case(name, lambda user: post(user, events(1), target=target), status, kind)


def of_method(method: str, target: str = HANDLED_PATH, allow: str = "POST") -> Case:
    """A 405."""
    return Case(
        f"{method} {target.partition('?')[0]}",
        lambda user: head(method, target, (basic(user), JSON, ("Content-Length", str(len(events(1)))))) + events(1),
        405,
        "MethodNotAllowed",
        method,
        (("allow", allow),),
    )


def of_http(name: str, request: Request | bytes) -> Case:
    """A 400 for what is no HTTP, after which nothing can follow."""
    content = request
    return Case(
        name,
        (lambda _: content) if isinstance(content, bytes) else content,
        400,
        "BadRequest",
        "not a valid HTTP request",
        closes=True,
    )


def of_device(name: str, device: str) -> Case:
    """A 400 for the origin."""
    return Case(
        name, lambda user: post(user, events(1), ("X-Device-Id", device)), 400, "BadRequest", "device id must be"
    )


def of_size(name: str, request: Request, says: str = f"more than {BODY_BYTES} bytes") -> Case:
    """A 413."""
    return Case(name, request, 413, "TooLarge", says, closes=True)


def of_handshake(name: str, status: int, kind: str, request: Request) -> Case:
    """A websocket that is refused before it is one."""
    return Case(name, request, status, kind, closes=True)


def declaring(*headers: tuple[str, str]) -> Request:
    """A POST whose body is `events(1)`, framed by these headers alone."""
    return lambda user: head("POST", HANDLED_PATH, (basic(user), JSON, *headers)) + events(1)


def chunked(*parts: bytes) -> Request:
    """A POST whose chunked body is these bytes, as they are."""
    return lambda user: head("POST", HANDLED_PATH, (basic(user), JSON, CHUNKED)) + b"".join(parts)


def padded(body: bytes, length: int) -> bytes:
    """The same JSON in `length` bytes."""
    return body + b" " * (length - len(body))


def upgrading(target: str, *more: tuple[str, str], method: str = "GET", body: bytes = b"") -> Request:
    """A request for a websocket."""
    return lambda user: head(method, target, (basic(user), *UPGRADE, *more)) + body


OVER: Final = padded(events(1), BODY_BYTES + 1)
DEEP: Final = b'{"NotificationEvents":[{"Type":"NewTicket","Id":1}],"x":%b%b}' % (b"[" * 100_000, b"]" * 100_000)

CASES: Final = [
    # the body
    of_body("truncated JSON", events(1)[:-2], "not JSON", "BadRequest"),
    of_body("empty body", b"", "empty", "BadRequest"),
    of_body("blanks only", b" \r\n\t", "empty", "BadRequest"),
    of_body("an array", b'[{"Type":"NewTicket","Id":1}]', "must be an object", "BadRequest"),
    of_body("null", b"null", "must be an object", "BadRequest"),
    of_body("a form", b"NotificationEvents=1", "not JSON", "BadRequest"),
    of_body("trailing garbage", events(1) + b"}", "not JSON", "BadRequest"),
    of_body("two bodies", events(1) + events(2), "not JSON", "BadRequest"),
    of_body("NUL bytes", bytes(100), "not JSON", "BadRequest"),
    of_body("UTF-16", events(1).decode().encode("utf-16"), "not JSON", "BadRequest"),
    of_body("UTF-32", events(1).decode().encode("utf-32"), "not JSON", "BadRequest"),
    of_body("Latin-1", events(1).replace(b"NewTicket", b"\xe9"), "not UTF-8", "BadRequest"),
    of_body("gzip", bytes.fromhex("1f8b080000000000") + bytes(60), "not", "BadRequest"),
    of_body("deep nesting", DEEP, "nested too deeply", "BadRequest"),
    of_body("no NotificationEvents", b'{"Events":[{"Type":"NewTicket","Id":1}]}', "NotificationEvents is missing"),
    of_body("NotificationEvents an object", b'{"NotificationEvents":{"Type":"NewTicket","Id":1}}', "must be an array"),
    of_body(
        "NotificationEvents in two casings",
        b'{"NotificationEvents":[{"Type":"NewTicket","Id":1}],"notificationEvents":[]}',
        "NotificationEvents is given 2 times",
    ),
    # an event
    of_event("Id 2147483648", '{"Type":"NewTicket","Id":2147483648}', "Id is 2147483648"),
    of_event("Id -2147483649", '{"Type":"NewTicket","Id":-2147483649}', "Id is -2147483649"),
    of_event("Id 1.5", '{"Type":"NewTicket","Id":1.5}', "Id is 1.5"),
    of_event("Id 1.0", '{"Type":"NewTicket","Id":1.0}', "Id is 1.0"),
    of_event("Id true", '{"Type":"NewTicket","Id":true}', "Id is true"),
    of_event("Id null", '{"Type":"NewTicket","Id":null}', "Id is missing or null"),
    of_event("Id a name", '{"Type":"NewTicket","Id":"x"}', 'Id is "x"'),
    of_event("no Id", '{"Type":"NewTicket"}', "Id is missing or null"),
    of_event("no Type", '{"Id":1}', "Type is missing or null"),
    of_event("unknown Type", '{"Type":"NewTickets","Id":1}', 'Type is "NewTickets"'),
    of_event("Type 12", '{"Type":12,"Id":1}', "Type is 12"),
    of_event("Type in two casings", '{"Type":"NewTicket","type":"NewTicket","Id":1}', "Type is given 2 times"),
    of_event("no object", '"NewTicket"', 'it is "NewTicket"'),
    of_body("Id NaN", events(1).replace(b": 1}", b": NaN}"), "not JSON", "BadRequest"),
    of_body("Id Infinity", events(1).replace(b": 1}", b": Infinity}"), "not JSON", "BadRequest"),
    of_body("a Type of 200 KB", events(1).replace(b"NewTicket", b"x" * 200_000), 'Type is "xxx'),
    # too much
    of_size("1,001 events", lambda user: post(user, events(*range(1_001))), "batch has 1001 events, limit is 1000"),
    of_size("300 KiB", lambda user: post(user, padded(events(1), 300 * 1024))),
    of_size("one byte over", lambda user: post(user, OVER)),
    of_size("300 KiB announced", declaring(("Content-Length", str(300 * 1024)))),
    of_size("19 digits of Content-Length", declaring(("Content-Length", "9" * 19))),
    of_size("300 KiB chunked", chunked(chunk(padded(events(1), 300 * 1024)), chunk(b""))),
    of_size("chunked, one byte over", chunked(chunk(OVER[:100_000]), chunk(OVER[100_000:]), chunk(b""))),
    of_size("chunked without an end", chunked(*[chunk(b" " * 32_768)] * 20)),
    of_size(
        "300 KiB announced with Expect",
        lambda user: head(
            "POST", HANDLED_PATH, (basic(user), JSON, ("Content-Length", "307200"), ("Expect", "100-continue"))
        ),
    ),
    # the content type
    Case(
        "a body that is not encoded as it says",
        lambda user: post(user, events(1), ("Content-Encoding", "gzip")),
        400,
        "BadRequest",
        "gzip",
    ),
    Case(
        "an encoded body",
        lambda user: post(user, events(1), ("Content-Encoding", "br")),
        415,
        "UnsupportedMedia",
        "Content-Encoding is 'br'",
    ),
    of_type("no content type"),
    of_type("empty content type", ("Content-Type", "")),
    of_type("text/plain", ("Content-Type", "text/plain")),
    of_type("a form's content type", ("Content-Type", "multipart/form-data; boundary=x")),
    of_type("no charset of text", ("Content-Type", "application/json; charset=rot13")),
    of_type("a content type of 8 KB", ("Content-Type", "application/json; charset=" + "x" * 8_000)),
    # who
    Case(
        "two sets of credentials",
        lambda user: post(user, events(1), ("Authorization", "Basic YWRhOmRldg==")),
        400,
        "BadRequest",
        "Authorization is given twice",
    ),
    of_credentials("no credentials"),
    of_credentials("empty credentials", ("Authorization", "")),
    of_credentials("scheme only", ("Authorization", "Basic")),
    of_credentials("wrong scheme", ("Authorization", "Bearer YWRhOmRldg==")),
    of_credentials("SoTicket", ("Authorization", "SoTicket 7T:abc")),
    of_credentials("malformed base64", ("Authorization", "Basic YWRhOmRldg")),
    of_credentials("no base64", ("Authorization", "Basic ada:dev")),
    of_credentials("no colon", ("Authorization", "Basic YWRh")),
    of_credentials("no UTF-8", ("Authorization", "Basic 6To=")),
    of_credentials("empty password", basic("ada", "")),
    of_credentials("proxy credentials", ("Proxy-Authorization", basic("ada")[1])),
    Case(
        "credentials after the body",
        lambda user: (
            head("POST", HANDLED_PATH, (JSON, CHUNKED))
            + chunk(events(1))
            + b"0\r\n%b: %b\r\n\r\n" % tuple(part.encode() for part in basic(user))
        ),
        401,
        "Unauthenticated",
        headers=CHALLENGE,
    ),
    Case("empty user name", lambda _: post("", events(1)), 400, "BadRequest", "1 to 64 characters"),
    Case("a user name of 65", lambda _: post("a" * 65, events(1)), 400, "BadRequest", "1 to 64 characters"),
    Case("NUL in a user name", lambda _: post("a\0b", events(1)), 400, "BadRequest", "control character"),
    # where
    of_target("wrong path", "/api/v1/Agents/Pocket/NotificationsHandle", 404, "NotFound"),
    of_target("trailing slash", f"{HANDLED_PATH}/", 404, "NotFound"),
    of_target("a line feed at its end", f"{HANDLED_PATH}%0a", 404, "NotFound"),
    of_target("doubled slash", f"/{HANDLED_PATH}", 404, "NotFound"),
    of_target("path in lower case", HANDLED_PATH.lower(), 404, "NotFound"),
    of_target("dots", f"/x/..{HANDLED_PATH}", 404, "NotFound"),
    of_target("encoded slash", f"/dev%2Fx{HANDLED_PATH}", 404, "NotFound"),
    of_target("root", "/", 404, "NotFound"),
    of_target("other tenant", f"/other{HANDLED_PATH}", 403, "Forbidden"),
    of_target("other tenant's prefix", f"/de{HANDLED_PATH}", 403, "Forbidden"),
    of_target("tenant with NUL", f"/dev%00{HANDLED_PATH}", 403, "Forbidden"),
    of_target("tenant of 65", f"/{'d' * 65}{HANDLED_PATH}", 403, "Forbidden"),
    # how
    *map(of_method, ("GET", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "PROPFIND")),
    of_method("POST", f"{SYNC_PATH}?device=x", "GET, HEAD"),
    of_method("DELETE", f"{SYNC_PATH}?device=x", "GET, HEAD"),
    of_method("POST", "/ready", "GET, HEAD"),
    # which device
    of_device("device with a space", "my phone"),
    of_device("device -", "-"),
    of_device("empty device", ""),
    of_device("device of 65", "d" * 65),
    of_device("device in Latin-1", "caf\xe9"),
    of_device("device with a brace", "a}{b"),
    # the head
    *(
        Case(name, request, 431, "HeadersTooLarge", f"more than {HEADER_BYTES} bytes", closes=True)
        for name, request in (
            ("one header of 17 KiB", lambda user: post(user, events(1), ("X-Long", "x" * 17 * 1024))),
            ("many small headers", lambda user: post(user, events(1), *((f"X-{n}", "y") for n in range(2_000)))),
            ("a long target", lambda user: post(user, events(1), target=f"{HANDLED_PATH}?{'x' * 17_000}")),
            ("a name of 17 KiB", lambda user: post(user, events(1), ("x" * 17_000, "y"))),
            ("a line without an end", lambda _: b"POST /" + b"x" * 20_000),
        )
    ),
    # HTTP itself
    of_http("garbage", b"\x00\x01\x02garbage\r\n\r\n"),
    of_http("words", b"hello there\r\n\r\n"),
    of_http("TLS", bytes.fromhex("16030100a5010000a10303") + b"\x11" * 160),
    of_http("NULs", bytes(100)),
    of_http("HTTP/2 preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes.fromhex("000000040000000000")),
    of_http("HTTP/3.0", lambda user: post(user, events(1)).replace(b"HTTP/1.1", b"HTTP/3.0")),
    of_http("unknown method", lambda user: post(user, events(1)).replace(b"POST", b"BREW")),
    of_http("method in lower case", lambda user: post(user, events(1)).replace(b"POST", b"post")),
    of_http("line feeds only", lambda user: post(user, events(1)).replace(b"\r\n", b"\n")),
    of_http("blank before a colon", lambda user: post(user, events(1)).replace(b"Host:", b"Host :")),
    of_http("folded header", lambda user: post(user, events(1)).replace(b"Host: ", b"Host: a\r\n ")),
    of_http("NUL in a header", lambda user: post(user, events(1), ("X-A", "a\0b"))),
    of_http("CONNECT", head("CONNECT", "example.com:443")),
    of_http("CONNECT with an upgrade", head("CONNECT", "example.com:443", (*UPGRADE[:1], ("Upgrade", "h2c")))),
    of_http("target beyond ASCII", "GET /é HTTP/1.1\r\nHost: x\r\n\r\n".encode()),
    of_http("length and chunked", declaring(("Content-Length", "5"), CHUNKED)),
    of_http("chunked and length", declaring(CHUNKED, ("Content-Length", str(len(events(1)))))),
    of_http("two lengths", declaring(("Content-Length", "5"), ("Content-Length", str(len(events(1)))))),
    of_http("negative length", declaring(("Content-Length", f"-{len(events(1))}"))),
    of_http("length with a sign", declaring(("Content-Length", f"+{len(events(1))}"))),
    of_http("length in hexadecimal", declaring(("Content-Length", f"0x{len(events(1)):x}"))),
    of_http("length of 30 digits", declaring(("Content-Length", "9" * 30))),
    of_http("chunked twice wrapped", declaring(("Transfer-Encoding", "chunked, gzip"))),
    of_http("bad chunk size", chunked(b"zz\r\n", events(1), b"\r\n0\r\n\r\n")),
    of_http("negative chunk size", chunked(b"-5\r\n", events(1), b"\r\n0\r\n\r\n")),
    of_http("chunk size of 20 digits", chunked(b"f" * 20 + b"\r\n", events(1))),
    of_http("bad second chunk", chunked(chunk(events(1)), b"xyz\r\n")),
    of_http("chunk longer than said", chunked(b"%x\r\n" % (len(events(1)) - 1), events(1), b"\r\n0\r\n\r\n")),
    # a websocket, elsewhere or not quite
    of_handshake("websocket on another path", 404, "NotFound", upgrading("/nope")),
    of_handshake("websocket on the endpoint", 404, "NotFound", upgrading(HANDLED_PATH)),
    of_handshake("websocket on the sync path, with a slash", 404, "NotFound", upgrading(f"{SYNC_PATH}/?device=x")),
    of_handshake("websocket without a device", 400, "BadRequest", upgrading(SYNC_PATH)),
    of_handshake("websocket by POST", 405, "MethodNotAllowed", upgrading(f"{SYNC_PATH}?device=x", method="POST")),
    of_handshake(
        "websocket by POST with events",
        400,
        "BadRequest",
        upgrading(HANDLED_PATH, JSON, ("Content-Length", str(len(events(1)))), method="POST", body=events(1)),
    ),
    of_handshake(
        "websocket with a body",
        400,
        "BadRequest",
        upgrading(f"{SYNC_PATH}?device=x", ("Content-Length", "3"), body=b"abc"),
    ),
]


def refused(answer: Answer, status: int, kind: str) -> str:
    """The message of an answer that refuses in the vendor's shape."""
    assert answer.status == status
    assert answer.headers["content-type"] == "application/json; charset=utf-8"
    shape = answer.json()
    message = shape["ErrorMessage"]
    assert shape == {"Error": True, "ErrorType": kind, "ErrorMessage": message, "ErrorSource": "clearsync"}
    assert isinstance(message, str)
    assert 0 < len(message) <= 512
    for inside in ("Traceback", ".py", "unix:", "redis", "/tmp", "Exception", "0x"):
        assert inside not in message
    return message


def ended(wire: Wire) -> None:
    """The server has ended the connection, and said nothing more."""
    assert wire.rest() == b""


@pytest.fixture(autouse=True, scope="module")
def same_process(running: Running) -> Iterator[None]:
    """Whatever was sent, no worker has fallen over it, and nothing unforeseen was logged."""
    before = running.worker_pids()
    yield
    assert running.worker_pids() == before
    assert "Traceback" not in running.logged


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_malformed_request_is_refused_and_nothing_is_done(running: Running, user: str, case: Case) -> None:
    with listening(running, user) as device:
        with Wire(running.port) as wire:
            with contextlib.suppress(ConnectionError):  # ended while we were still sending
                wire.send(case.request(user))
            answer = wire.answer()
            assert case.says in refused(answer, case.status, case.kind)
            for name, value in case.headers:
                assert sorted(answer.headers[name].split(", ")) == sorted(value.split(", "))
            if case.closes:
                assert answer.headers["connection"] == "close"
                wire.finish()
                ended(wire)
            else:
                wire.send(head("GET", "/live"))
                assert wire.answer().status == 200
        nothing_happened(running, user, device)


def test_there_are_thirty_and_more() -> None:
    assert len({case.name for case in CASES}) == len(CASES) >= 100


def test_a_head_that_is_refused_has_no_body(running: Running, user: str) -> None:
    for target, status in ((HANDLED_PATH, 405), ("/nope", 404)):
        with Wire(running.port) as wire:
            wire.send(head("HEAD", target, [basic(user)]))
            answer = wire.answer(of_head=True)
            assert answer.status == status
            assert answer.headers["content-type"] == "application/json; charset=utf-8"
            wire.send(head("GET", "/live"))
            assert wire.answer().status == 200


def test_http_0_9_is_answered_and_ended(running: Running) -> None:
    with Wire(running.port) as wire:
        wire.send(f"GET {HANDLED_PATH}\r\n\r\n".encode())
        refused(wire.answer(), 405, "MethodNotAllowed")
        ended(wire)


def test_a_413_ends_the_connection(running: Running, user: str) -> None:
    """Without the caller's doing; it was only given a while to finish."""
    with contextlib.ExitStack() as stack:
        wires = [stack.enter_context(Wire(running.port)) for _ in range(3)]
        wires[0].send(post(user, events(*range(1_001))))
        wires[1].send(declaring(("Content-Length", "300000"))(user))
        wires[2].send(chunked(chunk(OVER), chunk(b""))(user))
        for wire in wires:
            refused(wire.answer(), 413, "TooLarge")
        for wire in wires:
            ended(wire)


def test_too_much_is_not_asked_for(running: Running, user: str) -> None:
    """`Expect: 100-continue`: the refusal comes instead of the 100, before a byte of the body."""
    headers = (basic(user), JSON, ("Content-Length", "300000"), ("Expect", "100-continue"))
    with Wire(running.port) as wire:
        wire.send(head("POST", HANDLED_PATH, headers))
        refused(wire.answer(), 413, "TooLarge")


@pytest.mark.parametrize(
    ("headers", "status", "kind"),
    [
        ((JSON,), 401, "Unauthenticated"),
        ((("Content-Type", "text/plain"), basic("ada")), 415, "UnsupportedMedia"),
        ((JSON, basic("ada"), ("X-Device-Id", "a b")), 400, "BadRequest"),
    ],
    ids=["credentials", "content type", "device"],
)
def test_what_the_head_decides_is_answered_before_the_body(
    running: Running, headers: Headers, status: int, kind: str
) -> None:
    for more in ((("Content-Length", "100000"),), (CHUNKED,), (("Content-Length", "9"), ("Expect", "100-continue"))):
        with Wire(running.port) as wire:
            wire.send(head("POST", HANDLED_PATH, (*headers, *more)))
            refused(wire.answer(), status, kind)


def test_a_caller_that_goes_on_sending_gets_to_see_the_413(running: Running, user: str) -> None:
    """Closed at once, its system would throw the answer away with the connection (RFC 9112, 9.6)."""
    length = ("Content-Length", "4000000")
    with listening(running, user) as device:
        with Wire(running.port) as wire:
            wire.send(head("POST", HANDLED_PATH, (basic(user), JSON, length)))
            for _ in range(40):
                wire.send(b" " * 100_000)
            refused(wire.answer(), 413, "TooLarge")
            ended(wire)
        nothing_happened(running, user, device)


@pytest.mark.parametrize(
    ("status", "first"),
    [(431, b"GET / HTTP/1.1\r\nX-Long: " + b"x" * 17_000), (400, b"GET / HTTP/9\r\n")],
)
def test_a_caller_that_goes_on_sending_a_head_is_not_cut_off(running: Running, status: int, first: bytes) -> None:
    """The same for a refusal of the head: our side ends, the other may go on for a while."""
    with Wire(running.port) as wire:
        wire.send(first)
        assert wire.answer().status == status
        ended(wire)
        for _ in range(20):
            wire.send(b"x" * 100_000)


@pytest.mark.parametrize("over", [0, 1])
def test_the_bound_of_a_head_is_exact(running: Running, user: str, over: int) -> None:
    short = len(post(user, b"{}", ("X-Pad", ""))) - 2
    request = post(user, b"{}", ("X-Pad", "x" * (HEADER_BYTES - short + over)))
    with Wire(running.port) as wire:
        for _ in range(1 if over else 3):  # on a connection that is used, too
            wire.send(request)
            answer = wire.answer()
            assert answer.status == (431 if over else 400)


def test_a_head_that_comes_in_pieces_is_counted_whole(running: Running, user: str) -> None:
    with Wire(running.port) as wire:
        with contextlib.suppress(ConnectionError):
            wire.send(head("POST", HANDLED_PATH, [basic(user)])[:-2])
            for n in range(1_000):
                wire.send(b"X-%d: %b\r\n" % (n, b"y" * 20))
        refused(wire.answer(), 431, "HeadersTooLarge")
        ended(wire)


def test_a_later_head_on_a_connection_is_bounded_too(running: Running, user: str) -> None:
    with Wire(running.port) as wire:
        for n in range(3):
            wire.send(post(user, events(n)))
            assert wire.answer().status == 204
        wire.send(post(user, events(9), ("X-Long", "x" * 17_000)))
        refused(wire.answer(), 431, "HeadersTooLarge")
        ended(wire)
    assert recorded(running, user) == tickets(0, 1, 2)


def test_heads_in_pieces_are_counted_one_by_one(running: Running, user: str) -> None:
    request = post(user, b'{"NotificationEvents":[]}', ("X-Pad", "x" * 4_000))
    with Wire(running.port) as wire:
        for _ in range(10):
            wire.send(request[:4_000])
            assert ask(running, head("GET", "/live")).status == 200  # and by now it has been read
            wire.send(request[4_000:])
            assert wire.answer().status == 204


# nesting, as deep as the decoder just takes it


@pytest.fixture(scope="module")
def depths() -> range:
    """Those around where the decoder gives up. The stack of the server is not as deep as ours here."""
    deepest = deepest_decoded()
    return range(deepest - 40, deepest + 120)


def nested(where: str, depth: int) -> str:
    """A batch of one event, one of whose values is an array in an array in an array."""
    event = {"Type": '"NewTicket"', "Id": "1"} | {where: "[" * depth + "]" * depth}
    return f'[{{"Type":{event["Type"]},"Id":{event["Id"]}}}]'


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8080", "127.0.0.1.evil.example", "10.0.0.1", ""])
def test_in_development_a_name_made_to_lead_here_is_refused(running: Running, user: str, host: str) -> None:
    """DNS rebinding: any page of that name could sign in as anybody."""
    request = post(user, events(1)).replace(b"Host: localhost", f"Host: {host}".encode())
    answer = ask(running, request)
    assert (answer.status, answer.json()["ErrorType"]) == (403, "Forbidden")
    for own in ("localhost:8080", "127.0.0.1", "[::1]:8080", "LOCALHOST"):
        assert ask(running, post(user, b"{}").replace(b"Host: localhost", f"Host: {own}".encode())).status == 400


def test_a_websocket_does_not_begin_ahead_of_an_answer(running: Running, user: str) -> None:
    """Both in one write: a 101 first, and the answer to the request would land among its frames."""
    first = head("GET", f"{SYNC_PATH}?device=phone&cursor=0", (basic(user),))
    with Wire(running.port) as wire:
        wire.send(first + upgrading(f"{SYNC_PATH}?device=phone")(user))
        assert wire.answer().status == 200
        assert wire.rest() == b""


@pytest.mark.parametrize("where", ["Type", "Id"])
def test_no_depth_of_nesting_is_a_500(running: Running, user: str, depths: range, where: str) -> None:
    with Wire(running.port) as wire:
        for depth in depths:
            wire.send(post(user, f'{{"NotificationEvents":{nested(where, depth)}}}'.encode()))
            answer = wire.answer()
            message = refused(answer, 400, answer.json()["ErrorType"])
            assert "nested too deeply" in message or message.startswith(f"NotificationEvents[0]: {where} is")


@pytest.mark.parametrize("where", ["Type", "Id"])
def test_no_depth_of_a_devices_frame_brings_the_worker_down(
    running: Running, user: str, depths: range, where: str
) -> None:
    """An error that nobody foresaw in one session would end the others' too."""
    with listening(running, user, "other") as other, listening(running, user) as device:
        for depth in depths:
            device.send(f'{{"type":"handled","ref":"{depth}","events":{nested(where, depth)}}}')
            if (frame := device.frame_or_close()) is None:
                break  # too deep to be decoded
            assert (frame["type"], frame["ref"], frame["code"]) == ("error", str(depth), "bad_events")
        nothing_happened(running, user, other)


# floods


def memory(running: Running, name: str) -> int:
    """A figure of the worker's memory, in bytes: VmRSS is what it holds now, VmHWM the most it ever held."""
    (pid,) = running.worker_pids()
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:"))


@contextlib.contextmanager
def little_memory(running: Running, most: int) -> Iterator[None]:
    """The worker never held `most` bytes more than at the beginning."""
    (pid,) = running.worker_pids()
    Path(f"/proc/{pid}/clear_refs").write_text("5")  # VmHWM starts over (man 5 proc)
    before = memory(running, "VmHWM")
    yield
    assert memory(running, "VmHWM") - before < most


FLOOD: Final = b"x" * 1_000_000


@pytest.mark.parametrize(
    ("status", "first", "more"),
    [
        pytest.param(431, lambda _: b"GET /live HTTP/1.1\r\nX-Long: ", FLOOD, id="a header"),
        pytest.param(431, lambda _: b"GET /live HTTP/1.1\r\n", b"X-Short: y\r\n" * 80_000, id="headers"),
        pytest.param(431, lambda _: b"GET /", FLOOD, id="a target"),
        pytest.param(431, lambda _: b"GET /live HTTP/1.1\r\n", FLOOD, id="a name"),
        pytest.param(400, lambda _: b"", FLOOD, id="a method"),
        pytest.param(413, chunked(), chunk(FLOOD), id="chunks"),
        pytest.param(431, chunked(chunk(b"{}"), b"0\r\nX-Long: "), FLOOD, id="a trailer"),
        pytest.param(431, chunked(chunk(b"{}"), b"0\r\n"), b"X-Short: y\r\n" * 80_000, id="trailers"),
        pytest.param(431, chunked(b"1;"), FLOOD, id="a chunk extension"),
    ],
)
def test_sixty_megabytes_are_refused_and_not_held(
    running: Running, user: str, status: int, first: Request, more: bytes
) -> None:
    with little_memory(running, 12_000_000), Wire(running.port) as wire:
        with contextlib.suppress(ConnectionError):
            wire.send(first(user))
            for _ in range(60):
                wire.send(more)
        answer = wire.answer()
        kind = {431: "HeadersTooLarge", 413: "TooLarge", 400: "BadRequest"}[status]
        refused(answer, status, kind)
        assert answer.headers["connection"] == "close"
    assert ask(running, head("GET", "/live")).status == 200


def test_requests_that_wait_for_their_turn_are_bounded(running: Running) -> None:
    """Thousands pipelined: read no faster than they are answered."""
    request, count = head("GET", "/live", [("X-Pad", "x" * 60)]), 20_000
    with little_memory(running, 16_000_000), Wire(running.port) as wire:
        sender = threading.Thread(target=wire.send, args=(request * count,))
        sender.start()
        for _ in range(count):
            assert wire.answer().status == 200
        sender.join()


# more than one request


BROKEN: Final = [
    pytest.param(lambda _: b"garbage\r\n\r\n", id="garbage"),
    pytest.param(chunked(b"zz\r\n"), id="a bad chunk"),
    pytest.param(chunked(chunk(events(8)), b"zz\r\n"), id="a bad second chunk"),
    pytest.param(lambda user: post(user, events(8), ("X-Long", "x" * 70_000)), id="a long header"),
    pytest.param(lambda user: post(user, events(8), ("X-A", "a\0b")), id="NUL"),
    pytest.param(lambda user: post(user, events(8)).replace(b"HTTP/1.1", b"HTTP/7"), id="HTTP/7"),
]


@pytest.mark.parametrize("good", [1, 2, 50])
@pytest.mark.parametrize("broken", BROKEN)
def test_what_came_whole_before_a_broken_request_has_its_own_answer(
    running: Running, user: str, broken: Request, good: int
) -> None:
    """In one write. A refusal in the place of an earlier answer would say that nothing was recorded."""
    with listening(running, user) as device:
        with Wire(running.port) as wire:
            wire.send(b"".join(post(user, events(n)) for n in range(good)) + broken(user))
            assert [wire.answer().status for _ in range(good)] == [204] * good
            if (rest := wire.rest()) != b"":
                assert rest.startswith((b"HTTP/1.1 400 ", b"HTTP/1.1 431 "))
        assert [device.cleared() for _ in range(good)] == [tickets(n) for n in range(good)]
        assert ask(running, post(user, events(SENTINEL))).status == 204
        assert device.cleared() == tickets(SENTINEL)


def test_a_refused_batch_does_not_harm_those_around_it(running: Running, user: str) -> None:
    requests = [post(user, events(1)), post(user, b"{}"), post(user, events(2)), post(user, events(3)[:-1])]
    with listening(running, user) as device:
        with Wire(running.port) as wire:
            wire.send(b"".join(requests) + post(user, events(4)))
            assert [wire.answer().status for _ in range(5)] == [204, 400, 204, 400, 204]
        assert [device.cleared() for _ in range(3)] == [tickets(1), tickets(2), tickets(4)]
    assert recorded(running, user) == tickets(1, 2, 4)


# a caller that takes its time

HASTE: Final = {"CLEARSYNC_LIMITS__HEADER_TIMEOUT_S": "0.6", "CLEARSYNC_LIMITS__BODY_TIMEOUT_S": "0.6"}
DRIP_S: Final = 0.05


@pytest.fixture(scope="module")
def hasty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A server that gives a head and a body 0.6 s each."""
    with serving("--dev", folder=tmp_path_factory.mktemp("hasty"), env=HASTE) as running:
        yield running


@dataclass(frozen=True)
class Slow:
    """What a caller sends at once, what it then drips, and how it is ended: by a 408 that says this, or silently."""

    name: str
    first: Request
    drip: bytes
    says: str
    before: tuple[int, ...] = ()


HEAD_LATE: Final = "headers did not finish in 0.6 s"
BODY_LATE: Final = "body did not finish in 0.6 s"
ENDLESS: Final = b"x" * 1_000

SLOW: Final = [
    Slow("half a line", lambda _: b"POST /api", b"", HEAD_LATE),
    Slow("half a head", lambda user: post(user, events(1))[:60], b"", HEAD_LATE),
    Slow("a head but for its last byte", lambda user: head("POST", HANDLED_PATH, [basic(user)])[:-1], b"", HEAD_LATE),
    Slow("a target, dripping", lambda _: b"GET /", ENDLESS, HEAD_LATE),
    Slow("headers, dripping", lambda _: b"GET /live HTTP/1.1\r\nX-Slow: ", ENDLESS, HEAD_LATE),
    Slow("a head at one go and half the next", lambda user: post(user, events(2)) + b"POST", b"", HEAD_LATE, (204,)),
    Slow("no body", declaring(("Content-Length", "1000")), b"", BODY_LATE),
    Slow("a body but for its last byte", lambda user: post(user, events(1))[:-1], b"", BODY_LATE),
    Slow("a body, dripping", declaring(("Content-Length", "5000")), ENDLESS, BODY_LATE),
    Slow("chunks without the last", chunked(chunk(events(1))), b"", BODY_LATE),
    Slow("chunks, dripping", chunked(b"3e8\r\n"), ENDLESS, BODY_LATE),
    Slow(
        "the rest of a body that was refused",
        lambda _: head("POST", HANDLED_PATH, (JSON, ("Content-Length", "1000"))) + b"{",
        b"",
        "",
        (401,),
    ),
    Slow("nothing", lambda _: b"", b"", ""),
    Slow("blank lines", lambda _: b"", b"\r\n" * 500, ""),
    Slow("blank lines after an answer", lambda _: head("GET", "/live"), b"\r\n" * 500, "", (200,)),
]


Ended = dict[str, tuple[tuple[int, ...], Wire]]
"""By name: the statuses before, and the connection, on which the end of the story is to be read."""


@pytest.fixture(scope="module")
def slow_callers(hasty: Running) -> Iterator[Ended]:
    """All of them at one time, each until it is told something or its connection is ended."""
    with contextlib.ExitStack() as stack:
        callers: Ended = {}
        drips: dict[Wire, Iterator[int]] = {}
        for slow in SLOW:
            wire = stack.enter_context(Wire(hasty.port))
            wire.send(slow.first(f"slow {slow.name}"))
            callers[slow.name] = tuple(wire.answer().status for _ in slow.before), wire
            drips[wire] = iter(slow.drip)
        deadline = time.monotonic() + PATIENCE_S
        while drips and time.monotonic() < deadline:
            told = select.select(list(drips), [], [], DRIP_S)[0]
            drips = {wire: drip for wire, drip in drips.items() if wire not in told}
            for wire, drip in drips.items():
                with contextlib.suppress(ConnectionError):  # ended since we looked
                    wire.send(bytes(itertools.islice(drip, 1)))
        yield callers


@pytest.mark.parametrize("slow", SLOW, ids=lambda slow: slow.name)
def test_a_request_that_does_not_finish_is_ended(hasty: Running, slow_callers: Ended, slow: Slow) -> None:
    before, wire = slow_callers[slow.name]
    assert before == slow.before
    if slow.says:
        answer = wire.answer()
        assert refused(answer, 408, "RequestTimeout") == slow.says
        assert answer.headers["connection"] == "close"
    ended(wire)
    assert recorded(hasty, f"slow {slow.name}") == (tickets(2) if 204 in before else [])


def test_the_clock_is_a_requests_and_not_a_connections(hasty: Running, user: str) -> None:
    with Wire(hasty.port) as wire:
        wire.send(post(user, events(1)))
        assert wire.answer().status == 204
        assert not select.select([wire], [], [], 1.3)[0], "ended between two requests"
        wire.send(post(user, events(2)))
        assert wire.answer().status == 204
