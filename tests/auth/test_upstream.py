"""The CRM as judge: what it is sent, what comes of its answers, and what it can't do to us when it is ill."""

from __future__ import annotations

import asyncio
import base64
import datetime
import functools
import gc
import gzip
import ipaddress
import json
import logging
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any, NamedTuple

import httpx2
import msgspec
import pytest
import structlog
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from structlog.testing import LogCapture

from server import __version__
from server.auth import breaker
from server.auth import judge as judge_module
from server.auth.judge import ANSWER_BYTES, Judge, field_of
from server.auth.principal import DEFAULT_SCOPES, Principal
from server.auth.upstream import CREDENTIALS_BYTES, Upstream
from server.auth.verifier import Verifier
from server.errors import BadRequest, SettingsError, Unauthenticated, Unavailable
from server.settings.schema import Upstream as Settings

ADA = {"UserType": "InternalAssociate", "Associate": "ADA", "AssociateId": 7, "DatabaseContextIdentifier": "Cust1"}
TICKET = b"7T:abc+/123=="
SILENT = "the upstream that judges credentials does not answer, try again"
NO_USE = "the upstream that judges credentials gives no answer of use, try later"


class Request(NamedTuple):
    target: str
    headers: dict[str, str]


Reply = Callable[[Request, asyncio.StreamWriter], Awaitable[None]]


def answer(status: int, body: bytes | object = b"", **headers: str) -> Reply:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    lines = [f"HTTP/1.1 {status} X", f"Content-Length: {len(content)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]

    async def reply(request: Request, writer: asyncio.StreamWriter) -> None:
        writer.write("\r\n".join([*lines, "", ""]).encode() + (b"" if status in (204, 304) else content))

    return reply


async def hang(request: Request, writer: asyncio.StreamWriter) -> None:
    await asyncio.Event().wait()


async def drop(request: Request, writer: asyncio.StreamWriter) -> None:
    writer.close()


class Crm:
    """An HTTP server on loopback: keeps what it is asked, and answers by `reply` while `gate` is open."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.requests: list[Request] = []
        self.connections = 0
        self.reply: Reply = answer(200, ADA)
        self.gate = asyncio.Event()
        self.gate.set()
        self.at_once = self.most_at_once = 0
        self.port = 0
        self._tls = tls
        self._came = asyncio.Condition()
        self._tasks: set[asyncio.Task[None] | None] = set()
        self._server: asyncio.Server | None = None

    @property
    def url(self) -> str:
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self.port}/api/v1/User/currentPrincipal"

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port, ssl=self._tls)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        if self._server:
            self._server.close()
        for task in list(self._tasks):
            if task:
                task.cancel()
        await asyncio.gather(*filter(None, self._tasks), return_exceptions=True)

    async def asked(self, times: int) -> None:
        """Returns when so many requests have come."""
        async with asyncio.timeout(5), self._came:
            await self._came.wait_for(lambda: len(self.requests) >= times)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.current_task()
        self._tasks.add(task)
        try:
            while True:
                await self._one(await reader.readuntil(b"\r\n\r\n"), writer)
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # also the end of this server: a cancelled handler would be reported
        finally:
            self._tasks.discard(task)
            writer.close()

    async def _one(self, head: bytes, writer: asyncio.StreamWriter) -> None:
        first, *lines = head.decode("latin-1").split("\r\n")[:-2]
        pairs = [line.split(": ", 1) for line in lines]
        request = Request(first, {name.lower(): value for name, value in pairs})
        assert len(request.headers) == len(pairs)
        self.requests.append(request)
        async with self._came:
            self._came.notify_all()
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            await self.gate.wait()
            await self.reply(request, writer)
        finally:
            self.at_once -= 1
        await writer.drain()


@pytest.fixture
async def crm() -> AsyncIterator[Crm]:
    server = Crm()
    await server.start()
    yield server
    await server.stop()


@pytest.fixture
async def other() -> AsyncIterator[Crm]:
    server = Crm()
    await server.start()
    yield server
    await server.stop()


@pytest.fixture(autouse=True)
def one_context(monkeypatch: pytest.MonkeyPatch) -> None:
    """The system's authorities are read once for all tests, it takes 17 ms."""
    monkeypatch.setattr(httpx2, "create_ssl_context", context)


context = functools.cache(httpx2.create_ssl_context)


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


Judged = Callable[..., Judge]


@pytest.fixture
async def judged(crm: Crm, clock: Clock) -> AsyncIterator[Judged]:
    """`judged(timeout_s=…, waiting=…)`: a judge that asks `crm`, closed at the end."""
    made: list[Judge] = []

    def make(*, under_way: int = 32, waiting: int = 200, **settings: Any) -> Judge:
        section = msgspec.structs.replace(Settings(url=crm.url), **settings)
        made.append(Judge(section, under_way=under_way, waiting=waiting, clock=clock, wall=lambda: 5000.0))
        return made[-1]

    yield make
    for judge in made:
        await judge.close()


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> Any:
    """What is logged, as dicts."""
    capture = LogCapture()
    logger = structlog.wrap_logger(None, processors=[capture])
    monkeypatch.setattr(judge_module, "_log", logger)
    monkeypatch.setattr(breaker, "_log", logger)
    return capture.entries


async def refused(verifier: Verifier, credentials: bytes = TICKET) -> Unauthenticated:
    with pytest.raises(Unauthenticated) as caught:
        await verifier.verify(credentials, None)
    return caught.value


async def unavailable(verifier: Verifier, message: str = SILENT, credentials: bytes = TICKET) -> int:
    """That it is, and after how many seconds to come again."""
    with pytest.raises(Unavailable) as caught:
        await verifier.verify(credentials, None)
    assert str(caught.value) == message
    return caught.value.retry_after_s


# --- what is asked, and what is made of the answer ---


@pytest.mark.parametrize(
    ("scheme", "spelt", "challenge"),
    [
        ("basic", "Basic", 'Basic realm="clearsync", charset="UTF-8"'),
        ("soticket", "SOTicket", 'SoTicket realm="clearsync"'),
        ("bearer", "Bearer", 'Bearer realm="clearsync"'),
    ],
)
async def test_the_callers_own_credentials_are_sent(
    crm: Crm, judged: Judged, scheme: str, spelt: str, challenge: str
) -> None:
    verifier = Upstream(judged(session_s=600.0, url=crm.url + "?a=b"), scheme)
    principal = await verifier.verify(TICKET, b"app token 1")
    (request,) = crm.requests
    assert request.target == "GET /api/v1/User/currentPrincipal?a=b HTTP/1.1"
    assert request.headers == {
        "host": f"127.0.0.1:{crm.port}",
        "authorization": f"{spelt} {TICKET.decode()}",
        "so-apptoken": "app token 1",
        "accept": "application/json",
        "accept-encoding": "identity",
        "user-agent": f"clearsync/{__version__}",
        "connection": "keep-alive",
    }
    assert str(principal.agent) == "cust1/ada"
    assert principal == Principal(principal.agent, DEFAULT_SCOPES, 5600.0)
    assert verifier.challenge == challenge


@pytest.mark.parametrize("token", [None, b""])
async def test_without_an_app_token_none_is_sent(crm: Crm, judged: Judged, token: bytes | None) -> None:
    await Upstream(judged(), "soticket").verify(TICKET, token)
    assert "so-apptoken" not in crm.requests[0].headers


@pytest.mark.parametrize(
    ("document", "path", "value"),
    [
        ({"A": "x"}, "A", "x"),
        ({"A": 7}, "A", "7"),
        ({"A": 0}, "A", "0"),
        ({"a": "x"}, "A", "x"),
        ({"a": "x", "A": "y"}, "A", "y"),
        ({"aa": "x", "Aa": "y"}, "AA", None),
        ({"a": "x", "A": None}, "A", None),
        ({"U": {"x": {"Name": "n"}}}, "u.X.name", "n"),
        ({"a.b": "x"}, "a.b", None),
        ({"A": "x"}, "A.b", None),
        ({"A": ["x"]}, "A", None),
        ({"A": {"b": "x"}}, "A", None),
        ({"A": True}, "A", None),
        ({"A": 1.0}, "A", None),
        ({"A": ""}, "A", None),
        ({"A": " \t"}, "A", None),
        ({"B": "x"}, "A", None),
        (["A"], "A", None),
        ("A", "A", None),
        (None, "A", None),
    ],
)
def test_a_field(document: object, path: str, value: str | None) -> None:
    assert field_of(document, path) == value


async def test_the_tenant_may_be_fixed(crm: Crm, judged: Judged) -> None:
    crm.reply = answer(200, b'\xef\xbb\xbf{"who": {"id": 42}}')
    principal = await Upstream(judged(agent_field="who.id", tenant="Acme"), "bearer").verify(TICKET, None)
    assert str(principal.agent) == "acme/42"


async def test_a_name_that_is_none_of_an_agent(crm: Crm, judged: Judged) -> None:
    crm.reply = answer(200, ADA | {"Associate": "a" * 65})
    with pytest.raises(BadRequest, match="associate must have 1 to 64 characters, it has 65"):
        await Upstream(judged(), "soticket").verify(TICKET, None)


@pytest.mark.parametrize("status", [401, 403])
async def test_wrong_credentials_are_refused_and_open_no_breaker(crm: Crm, judged: Judged, status: int) -> None:
    crm.reply = answer(status, b"x" * 100_000, WWW_Authenticate="Negotiate")
    verifier = Upstream(judged(), "soticket")
    for _ in range(10):
        error = await refused(verifier)
        assert str(error) == "the upstream does not know these credentials"
        assert error.headers == (("WWW-Authenticate", 'SoTicket realm="clearsync"'),)
    crm.reply = answer(200, ADA)
    await verifier.verify(TICKET, None)


@pytest.mark.parametrize(
    ("body", "fields", "told"),
    [
        (b"", {}, "upstream's answer is not JSON"),
        (b"<html>secret</html>", {}, "upstream's answer is not JSON"),
        (b'{"Associate":"secret\xff"}', {}, "upstream's answer is not JSON"),
        (b"[" * 60_000, {}, "upstream's answer is not JSON"),
        (b'{"Associate":' + b"9" * 5000 + b"}", {}, "upstream's answer is not JSON"),
        ([ADA], {}, "upstream's answer lacks what upstream.agent_field names"),
        (ADA | {"Associate": None}, {}, "upstream's answer lacks what upstream.agent_field names"),
        (ADA, {"agent_field": "Name"}, "upstream's answer lacks what upstream.agent_field names"),
        (
            ADA | {"DatabaseContextIdentifier": ""},
            {},
            "upstream's answer lacks what upstream.tenant_field names, or set upstream.tenant",
        ),
    ],
)
async def test_an_answer_that_names_nobody_is_no_refusal(
    crm: Crm, judged: Judged, said: list[dict[str, object]], body: object, fields: dict[str, str], told: str
) -> None:
    crm.reply = answer(200, body)
    verifier = Upstream(judged(**fields), "soticket")
    for _ in range(10):
        assert await unavailable(verifier, NO_USE) == 5
    (line,) = said
    assert (line["event"], line["log_level"]) == (told, "error")
    if "field" in line:
        assert line["field"] in ("Associate", "Name", "DatabaseContextIdentifier")
    assert "secret" not in repr(line)
    assert "ada" not in repr(line).lower()


@pytest.mark.parametrize("status", [201, 204, 402, 404, 405, 410, 415, 500, 501])
async def test_another_status_is_no_failure(
    crm: Crm, judged: Judged, clock: Clock, said: list[dict[str, object]], status: int
) -> None:
    crm.reply = answer(status, ADA)
    verifier = Upstream(judged(), "soticket")
    for _ in range(10):
        assert await unavailable(verifier, NO_USE) == 5
    assert len(crm.requests) == 10
    line = {
        "event": "upstream answers with another status than 200, 400, 401, 403",
        "status": status,
        "log_level": "error",
    }
    assert said == [line]
    clock.now += 600
    await unavailable(verifier, NO_USE)
    assert said == [line, line]


# --- never to another address ---


@pytest.mark.parametrize("status", [300, 301, 302, 303, 304, 307, 308])
async def test_a_redirect_is_not_followed(
    crm: Crm, other: Crm, judged: Judged, said: list[dict[str, object]], status: int
) -> None:
    crm.reply = answer(status, Location=other.url)
    verifier = Upstream(judged(), "bearer")
    for _ in range(10):
        await unavailable(verifier, NO_USE)
    assert other.connections == 0
    assert len(crm.requests) == 10
    assert said == [{"event": "upstream answers with a redirect", "status": status, "log_level": "error"}]


async def test_no_proxy_of_the_environment_is_used(
    crm: Crm, other: Crm, judged: Judged, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{other.port}")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login x password y\n")
    monkeypatch.setenv("NETRC", str(netrc))
    await Upstream(judged(), "soticket").verify(TICKET, None)
    assert other.connections == 0
    assert crm.requests[0].headers["authorization"] == f"SOTicket {TICKET.decode()}"


def self_signed(folder: Path) -> ssl.SSLContext:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    (folder / "certificate.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    (folder / "key.pem").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "certificate.pem", folder / "key.pem")
    return context


async def test_a_certificate_that_nobody_vouches_for_gets_no_credentials(
    judged: Judged, tmp_path: Path, said: list[dict[str, object]]
) -> None:
    impostor = Crm(self_signed(tmp_path))
    await impostor.start()
    try:
        await unavailable(Upstream(judged(url=impostor.url), "soticket"))
    finally:
        await impostor.stop()
    assert impostor.requests == []
    assert [line["cause"] for line in said] == ["ConnectError"]


def test_a_url_that_is_none() -> None:
    with pytest.raises(SettingsError, match=r"^upstream\.url is no URL: "):
        Judge(Settings(url="https://crm.example/\x01"))


@pytest.mark.parametrize(
    "credentials",
    [
        b"",
        b" ",
        b" a",
        b"a ",
        b"a\r\nX-Evil: 1",
        b"a\nb",
        b"a\rb",
        b"a\0b",
        b"a\tb",
        b"a\x7fb",
        b"\xc3\xa9",
        b"a\n",
        b"x" * (CREDENTIALS_BYTES + 1),
    ],
)
async def test_what_does_not_fit_into_a_header_is_not_sent(crm: Crm, judged: Judged, credentials: bytes) -> None:
    verifier = Upstream(judged(), "basic")
    assert not verifier.claims(credentials)
    assert str(await refused(verifier, credentials)) == "credentials must be printable ASCII, at most 8 KiB"
    if credentials:
        with pytest.raises(Unauthenticated, match="SO-AppToken must be printable ASCII"):
            await verifier.verify(TICKET, credentials)
    assert crm.connections == 0


@pytest.mark.parametrize("credentials", [b"x", b"!~", b"a b", b"x" * CREDENTIALS_BYTES])
async def test_what_fits_is(crm: Crm, judged: Judged, credentials: bytes) -> None:
    verifier = Upstream(judged(), "bearer")
    assert verifier.claims(credentials)
    await verifier.verify(credentials, None)
    assert crm.requests[0].headers["authorization"] == f"Bearer {credentials.decode()}"


# --- one caller and another ---


async def test_the_cookies_of_one_are_not_sent_for_another(crm: Crm, judged: Judged) -> None:
    crm.reply = answer(200, ADA, Set_Cookie="session=adas; Path=/")
    verifier = Upstream(judged(), "soticket")
    await verifier.verify(b"ada", None)
    await verifier.verify(b"bo", None)
    assert crm.connections == 1
    assert [request.headers.get("cookie") for request in crm.requests] == [None, None]


async def test_the_same_credentials_share_one_request(crm: Crm, judged: Judged) -> None:
    crm.gate.clear()
    verifier = Upstream(judged(), "soticket")
    async with asyncio.TaskGroup() as group:
        callers = [group.create_task(verifier.verify(TICKET, b"app")) for _ in range(200)]
        await crm.asked(1)
        crm.gate.set()
    assert {str(caller.result().agent) for caller in callers} == {"cust1/ada"}
    assert len(crm.requests) == 1
    await verifier.verify(TICKET, b"app")
    assert len(crm.requests) == 2


async def test_other_credentials_do_not(crm: Crm, judged: Judged) -> None:
    async def reply(request: Request, writer: asyncio.StreamWriter) -> None:
        who = " ".join((request.headers["authorization"], request.headers.get("so-apptoken", "-")))
        await answer(200, ADA | {"Associate": who})(request, writer)

    crm.reply = reply
    crm.gate.clear()
    judge = judged()
    asked = [("bearer", b"1", None), ("soticket", b"1", None), ("bearer", b"2", None), ("bearer", b"1", b"app")]
    async with asyncio.TaskGroup() as group:
        callers = [
            group.create_task(Upstream(judge, one).verify(two, three)) for one, two, three in asked for _ in range(5)
        ]
        await crm.asked(4)
        crm.gate.set()
    assert len(crm.requests) == 4
    assert [caller.result().agent.associate for caller in callers[::5]] == [
        "bearer 1 -",
        "soticket 1 -",
        "bearer 2 -",
        "bearer 1 app",
    ]


async def test_a_failure_is_shared_too_and_counts_once(crm: Crm, judged: Judged, said: list[dict[str, object]]) -> None:
    crm.gate.clear()
    crm.reply = answer(503)
    verifier = Upstream(judged(), "soticket")
    callers = [asyncio.ensure_future(verifier.verify(TICKET, None)) for _ in range(20)]
    await crm.asked(1)
    crm.gate.set()
    results = await asyncio.gather(*callers, return_exceptions=True)
    assert all(isinstance(result, Unavailable) for result in results)
    crm.reply = answer(200, ADA)
    await verifier.verify(TICKET, None)


async def test_one_who_gives_up_does_not_end_it_for_the_others(crm: Crm, judged: Judged) -> None:
    crm.gate.clear()
    verifier = Upstream(judged(), "soticket")
    first, second = (asyncio.ensure_future(verifier.verify(TICKET, None)) for _ in range(2))
    await crm.asked(1)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    third = asyncio.ensure_future(verifier.verify(TICKET, None))
    crm.gate.set()
    assert (await second).agent == (await third).agent
    assert len(crm.requests) == 1


async def test_a_failure_that_nobody_waits_for_any_more(
    crm: Crm, judged: Judged, caplog: pytest.LogCaptureFixture, said: list[dict[str, object]]
) -> None:
    crm.gate.clear()
    crm.reply = drop
    judge = judged()
    only = asyncio.ensure_future(Upstream(judge, "soticket").verify(TICKET, None))
    await crm.asked(1)
    only.cancel()
    (run,) = judge._running.values()
    crm.gate.set()
    await asyncio.wait([run])
    del run, only
    gc.collect()
    assert judge._running == {}
    assert "never retrieved" not in caplog.text


async def test_so_many_are_under_way_and_so_many_wait(crm: Crm, judged: Judged) -> None:
    crm.gate.clear()
    verifier = Upstream(judged(under_way=2, waiting=3), "soticket")
    callers = [asyncio.ensure_future(verifier.verify(b"%d" % n, None)) for n in range(5)]
    await crm.asked(2)
    assert await unavailable(verifier, "too many are waiting to sign in, try again", b"6") == 5
    callers.append(asyncio.ensure_future(verifier.verify(b"4", None)))  # shares what waits already
    crm.gate.set()
    assert len(await asyncio.gather(*callers)) == 6
    assert (len(crm.requests), crm.most_at_once) == (5, 2)
    await verifier.verify(b"6", None)


async def test_the_wait_for_a_place_has_an_end(
    crm: Crm, judged: Judged, clock: Clock, said: list[dict[str, object]]
) -> None:
    judge = judged(under_way=1, timeout_s=0.05)
    async with judge._places:
        told = await asyncio.gather(
            *(unavailable(Upstream(judge, "soticket"), credentials=b"%d" % n) for n in range(6))
        )
    assert told == [5] * 6
    assert crm.requests == []
    assert said == []
    assert judge._breaker.wait(clock.now) == 0  # it was no failure of the upstream's


# --- when it is ill ---


async def trickle(request: Request, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 X\r\nContent-Length: 10000\r\n\r\n")
    for _ in range(10_000):  # each byte in time, the whole never
        writer.write(b" ")
        await writer.drain()
        await asyncio.sleep(0.01)


async def break_off(request: Request, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 X\r\nContent-Length: 1000\r\n\r\n" + json.dumps(ADA).encode())
    await writer.drain()
    writer.close()


async def nonsense(request: Request, writer: asyncio.StreamWriter) -> None:
    writer.write(b"SSH-2.0-OpenSSH\r\n\r\n")


@pytest.mark.parametrize(
    ("reply", "cause"),
    [
        (drop, "RemoteProtocolError"),
        (break_off, "RemoteProtocolError"),
        (nonsense, "RemoteProtocolError"),
        (answer(408), 408),
        (answer(502), 502),
        (answer(503, ADA), 503),
        (answer(504), 504),
    ],
)
async def test_failures_open_the_breaker_and_then_it_is_not_asked(
    crm: Crm, judged: Judged, clock: Clock, said: list[dict[str, object]], reply: Reply, cause: object
) -> None:
    crm.reply = reply
    judge = judged()
    verifier = Upstream(judge, "soticket")
    for _ in range(5):
        assert await unavailable(verifier) == 5
    assert len(crm.requests) == 5
    for _ in range(20):
        assert 4 <= await unavailable(verifier) <= 6
    clock.now += judge._breaker.wait(clock.now) - 1.5
    assert await unavailable(verifier) == 2  # the whole of the time left
    assert len(crm.requests) == 5
    assert [(line["event"], line.get("cause")) for line in said] == [
        ("upstream does not answer", cause),
        ("breaker open, it does not answer", None),
    ]


@pytest.mark.parametrize("reply", [hang, trickle])
async def test_silence_is_a_failure_and_so_is_an_answer_that_does_not_end(
    crm: Crm, judged: Judged, clock: Clock, said: list[dict[str, object]], reply: Reply
) -> None:
    crm.reply = reply
    judge = judged(timeout_s=0.1)
    async with asyncio.timeout(3):
        told = await asyncio.gather(
            *(unavailable(Upstream(judge, "soticket"), credentials=b"%d" % n) for n in range(5))
        )
    assert told == [5] * 5
    assert judge._breaker.wait(clock.now) > 0
    assert all("Timeout" in str(line["cause"]) for line in said if "cause" in line)


@pytest.mark.parametrize(
    ("asked", "told"), [("17", 17), ("0", 1), ("86400", 60), ("-3", 5), ("soon", 5), ("9" * 5000, 5)]
)
async def test_the_upstreams_own_retry_after_counts_within_reason(
    crm: Crm, judged: Judged, asked: str, told: int
) -> None:
    crm.reply = answer(503, Retry_After=asked)
    assert await unavailable(Upstream(judged(), "soticket")) == told


async def test_while_it_is_down_one_trial_at_a_time_finds_out_when_it_is_back(
    crm: Crm, judged: Judged, clock: Clock, said: list[dict[str, object]]
) -> None:
    judge = judged()
    verifier = Upstream(judge, "soticket")
    await crm.stop()
    for _ in range(5):
        await unavailable(verifier)
    await crm.start()
    assert 4 <= await unavailable(Upstream(judge, "bearer")) <= 6
    assert crm.connections == 0

    clock.now += 6.01
    crm.gate.clear()
    crm.reply = answer(502)
    trial = asyncio.ensure_future(verifier.verify(TICKET, None))
    await crm.asked(1)
    for n in range(5):
        assert await unavailable(verifier, credentials=b"%d" % n) == 1
    crm.gate.set()
    with pytest.raises(Unavailable):
        await trial
    assert 8 <= await unavailable(verifier) <= 12

    clock.now += 12.01
    crm.reply = answer(401)  # that, too, is an answer
    await refused(verifier)
    crm.reply = answer(200, ADA)
    await asyncio.gather(*(verifier.verify(b"%d" % n, None) for n in range(5)))
    assert len(crm.requests) == 7
    assert [line["event"] for line in said if "breaker" in str(line["event"])] == [
        "breaker open, it does not answer",
        "breaker open, it does not answer",
        "breaker closed, it answers again",
    ]


async def test_a_trial_that_breaks_on_our_side_is_not_the_last(
    crm: Crm, judged: Judged, clock: Clock, said: list[dict[str, object]], monkeypatch: pytest.MonkeyPatch
) -> None:
    crm.reply = answer(503)
    verifier = Upstream(judged(), "soticket")
    for _ in range(5):
        await unavailable(verifier)
    clock.now += 6.01
    crm.reply = answer(200, ADA)
    with monkeypatch.context() as broken:
        broken.setattr(judge_module, "_retry_after_s", lambda value: 1 // 0)
        with pytest.raises(ZeroDivisionError):
            await verifier.verify(TICKET, None)
    await verifier.verify(TICKET, None)


async def test_those_who_wait_for_a_place_hear_that_the_breaker_opened(
    crm: Crm, judged: Judged, said: list[dict[str, object]]
) -> None:
    crm.reply = drop
    verifier = Upstream(judged(under_way=1), "soticket")
    results = await asyncio.gather(*(verifier.verify(b"%d" % n, None) for n in range(50)), return_exceptions=True)
    assert all(isinstance(result, Unavailable) for result in results)
    assert len(crm.requests) == 5


async def test_no_more_is_read_than_an_answer_may_have(crm: Crm, judged: Judged, said: list[dict[str, object]]) -> None:
    cut = asyncio.Event()

    async def flood(request: Request, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 X\r\nTransfer-Encoding: chunked\r\n\r\n")
        try:
            while True:
                writer.write(b"10000\r\n" + b" " * 0x10000 + b"\r\n")
                await writer.drain()
        except ConnectionError:
            cut.set()

    crm.reply = flood
    verifier = Upstream(judged(), "soticket")
    for _ in range(6):
        await unavailable(verifier, NO_USE)
    async with asyncio.timeout(5):
        await cut.wait()
    event = "upstream's answer is compressed or too long"
    assert said == [{"event": event, "limit_bytes": ANSWER_BYTES, "log_level": "error"}]


async def test_the_longest_answer(crm: Crm, judged: Judged, said: list[dict[str, object]]) -> None:
    verifier = Upstream(judged(), "soticket")
    crm.reply = answer(200, json.dumps(ADA).encode().ljust(ANSWER_BYTES))
    await verifier.verify(TICKET, None)
    crm.reply = answer(200, json.dumps(ADA).encode().ljust(ANSWER_BYTES + 1))
    await unavailable(verifier, NO_USE)


async def test_nothing_is_inflated(crm: Crm, judged: Judged, said: list[dict[str, object]]) -> None:
    crm.reply = answer(200, gzip.compress(json.dumps(ADA).encode().ljust(10_000_000)), Content_Encoding="gzip")
    await unavailable(Upstream(judged(), "soticket"), NO_USE)
    assert said[0]["event"] == "upstream's answer is compressed or too long"


# --- the end ---


async def test_the_end_tells_all_who_wait(crm: Crm, judged: Judged, said: list[dict[str, object]]) -> None:
    crm.gate.clear()
    judge = judged(under_way=1)
    verifier = Upstream(judge, "soticket")
    callers = [asyncio.ensure_future(verifier.verify(credentials, None)) for credentials in (b"1", b"1", b"2")]
    await crm.asked(1)
    await verifier.close()
    for result in await asyncio.gather(*callers, return_exceptions=True):
        assert isinstance(result, Unavailable)
        assert str(result) == "the server is about to end, try again"
    await Upstream(judge, "bearer").close()
    await unavailable(verifier, "the server is about to end, try again")
    assert len(crm.requests) == 1
    assert judge._running == {}
    assert said == []


async def test_there_is_nothing_to_run(judged: Judged) -> None:
    async with asyncio.timeout(1):
        await Upstream(judged(), "soticket").run()


# --- the log ---


async def test_no_credential_is_in_any_log(
    crm: Crm, judged: Judged, said: list[dict[str, object]], caplog: pytest.LogCaptureFixture
) -> None:
    password, token = "correct horse", b"app-token-of-a-partner"
    credentials = base64.b64encode(f"ada:{password}".encode())
    caplog.set_level(logging.DEBUG)
    caplog.set_level(logging.WARNING, "httpcore2")  # as in service: at DEBUG it shows the headers that it gets
    asyncio.get_running_loop().slow_callback_duration = 0  # asyncio then shows every callback, with its arguments
    echo = answer(302, credentials + token, Location=f"/{credentials.decode()}/{token.decode()}")
    judge = judged(agent_field="Name")
    replies: list[Reply] = [
        answer(401, credentials),
        echo,
        answer(404, credentials),
        answer(200, {"Associate": password, "x": credentials.decode()}),
        answer(200, credentials),
        answer(502, credentials),
        break_off,
        nonsense,
        answer(504, credentials),
        answer(503, credentials),
    ]
    errors = []
    for reply in replies:
        crm.reply = reply
        with pytest.raises((Unauthenticated, Unavailable)) as caught:
            await Upstream(judge, "basic").verify(credentials, token)
        errors.append(repr(caught.value))
    assert len(crm.requests) == len(replies)
    assert len(said) == 9  # each once, as two broke the protocol, and the breaker
    assert "Executing <" in caplog.text
    for secret in (password, credentials.decode(), token.decode()):
        assert secret not in caplog.text
        assert secret not in repr(said)
        assert secret not in repr(errors)
        assert secret not in repr(judge.__dict__)


async def test_too_many_requests_is_no_failure_of_the_upstream(
    crm: Crm, judged: Judged, said: list[dict[str, object]]
) -> None:
    """It throttles us for what some of our callers tried; the others are to get through."""
    verifier = Upstream(judged(), "soticket")
    crm.reply = answer(429, Retry_After="7")
    for _ in range(20):
        assert await unavailable(verifier) == 7
    crm.reply = answer(200, ADA)
    await verifier.verify(TICKET, None)
    assert said == []


async def test_400_refuses_credentials(crm: Crm, judged: Judged) -> None:
    crm.reply = answer(400)
    with pytest.raises(Unauthenticated):
        await Upstream(judged(), "soticket").verify(TICKET, None)
