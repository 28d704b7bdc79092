"""One POST clears a notification on the agent's other devices: the endpoint as callers in the field use it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Final

import pytest

from server import __version__
from server.wire import HANDLED_PATH, SYNC_PATH
from tests.api.devices import Device, listening, nothing_happened, recorded, tickets
from tests.api.raw import Answer, Wire, ask, basic, chunk, events, head, post
from tests.running import Running, serving

SAMPLE_BODY: Final = """{
  "NotificationEvents": [
    {
      "Type": "AppointmentCancelled",
      "Id": 699
    },
    {
      "Type": "AppointmentCancelled",
      "Id": 699
    }
  ]
}"""
SAMPLE_HEADERS: Final = """POST /api/v1/Agents/Pocket/NotificationsHandled
Authorization: Basic dGplMDpUamUw
Accept: application/json; charset=utf-8
Accept-Language: en
Content-Type: application/json; charset=utf-8"""
"""The sample request of the vendor's page on NotificationsHandled, as it stands there."""

BODY_BYTES: Final = 262_144
JSON: Final = ("Content-Type", "application/json")
CHUNKED: Final = ("Transfer-Encoding", "chunked")


@pytest.fixture
def phone(running: Running, user: str) -> Iterator[Device]:
    """A device of `user` that listens."""
    with listening(running, user) as device:
        yield device


def is_no_content(answer: Answer) -> None:
    """A 204 has neither a body nor a word about one (RFC 9110, 8.6)."""
    assert answer.status == 204
    assert answer.headers.keys() == {"date"}


# the vendor's sample


def sample(line_end: str = "\n") -> bytes:
    """The sample, with what HTTP/1.1 adds to it."""
    body = SAMPLE_BODY.replace("\n", line_end)
    first, *headers = SAMPLE_HEADERS.splitlines()
    lines = [f"{first} HTTP/1.1", "Host: 127.0.0.1", *headers, f"Content-Length: {len(body)}", "", body]
    return "\r\n".join(lines).encode()


@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
def test_the_vendors_sample_clears_one_notification(running: Running, line_end: str) -> None:
    with listening(running, "tje0") as device, listening(running, "Tje0", "tablet") as other_casing:
        is_no_content(ask(running, sample(line_end)))
        first = device.text()
        frame = json.loads(first)
        cursor, at = frame["cursor"], frame["at"]
        assert first == (
            f'{{"type":"clear","cursor":"{cursor}","at":{at},"events":[{{"Type":"AppointmentCancelled","Id":699}}]}}'
        )
        assert cursor.endswith(f"-{at}")
        assert other_casing.text() == first
        assert ask(running, post("tje0", events(1))).status == 204
        assert device.cleared() == tickets(1)


@pytest.mark.parametrize(
    "query",
    [
        "$select=name,department,category/id",
        "$select=",
        "%24select=Type",
        "$select=a&$select=b",
        "select=x&unknown=%ff&&=",
        "",
        "?",
    ],
)
def test_select_has_no_effect(running: Running, user: str, phone: Device, query: str) -> None:
    is_no_content(ask(running, post(user, events(1, 2), target=f"{HANDLED_PATH}?{query}")))
    assert phone.cleared() == tickets(1, 2)


@pytest.mark.parametrize("tenant", ["dev", "DEV", "d%65v", "%64%65%76"])
def test_the_callers_own_tenant_may_stand_before_the_path(
    running: Running, user: str, phone: Device, tenant: str
) -> None:
    is_no_content(ask(running, post(user, events(1), target=f"/{tenant}{HANDLED_PATH}")))
    assert phone.cleared() == tickets(1)


@pytest.mark.parametrize("content_type", ["text/json", "application/json; charset=utf-8", 'Text/JSON;charset="UTF-8"'])
def test_content_types(running: Running, user: str, phone: Device, content_type: str) -> None:
    length = ("Content-Length", str(len(events(1))))
    is_no_content(
        ask(running, head("POST", HANDLED_PATH, (basic(user), ("Content-Type", content_type), length)), events(1))
    )
    assert phone.cleared() == tickets(1)


@pytest.mark.parametrize("scheme", ["Basic ", "basic ", "BASIC ", "Basic   "])
def test_the_scheme_has_no_case(running: Running, user: str, phone: Device, scheme: str) -> None:
    authorization = ("Authorization", basic(user)[1].replace("Basic ", scheme))
    length = ("Content-Length", str(len(events(1))))
    is_no_content(ask(running, head("POST", HANDLED_PATH, (authorization, JSON, length)), events(1)))
    assert phone.cleared() == tickets(1)


# who hears of it


def test_the_origin_is_told_the_cursor_only(running: Running, user: str, phone: Device) -> None:
    with listening(running, user, "desk:1~x") as desk, listening(running, user, "desk:1~x") as same_desk:
        is_no_content(ask(running, post(user, events(1, 2), ("X-Device-Id", "desk:1~x"))))
        heard = phone.frame()
        assert heard["events"] == [{"Type": "NewTicket", "Id": 1}, {"Type": "NewTicket", "Id": 2}]
        for device in (desk, same_desk):
            assert device.frame() == heard | {"events": []}
    with listening(running, user, "desk:1~x", f"&cursor={heard['cursor']}") as back:
        is_no_content(ask(running, post(user, events(3))))
        assert back.cleared() == tickets(3)


@pytest.mark.parametrize("name", ["X-Device-Id", "x-device-id", "X-DEVICE-ID"])
def test_the_origins_header_has_no_case_and_its_value_has(
    running: Running, user: str, phone: Device, name: str
) -> None:
    with listening(running, user, "Phone") as other:
        is_no_content(ask(running, post(user, events(1), (name, "phone"))))
        assert phone.cleared() == []
        assert other.cleared() == tickets(1)


def test_an_origin_that_is_not_connected_changes_nothing(running: Running, user: str, phone: Device) -> None:
    is_no_content(ask(running, post(user, events(1), ("X-Device-Id", "d" * 64))))
    assert phone.cleared() == tickets(1)


def test_without_an_origin_everybody_is_told(running: Running, user: str, phone: Device) -> None:
    with listening(running, user, "desk") as desk:
        is_no_content(ask(running, post(user, events(1))))
        assert phone.cleared() == desk.cleared() == tickets(1)


def test_another_agent_hears_nothing(running: Running, user: str, phone: Device) -> None:
    for other in (f"{user}x", f"{user}/x", user[:-1], f"{user}%2f", f"{{{user}}}"):
        is_no_content(ask(running, post(other, events(66))))
    nothing_happened(running, user, phone)


# what is in it


@pytest.mark.parametrize("body", [b'{"NotificationEvents":[]}', b'{"notificationEvents":null}'])
def test_no_events_are_taken_and_nothing_is_sent(running: Running, user: str, phone: Device, body: bytes) -> None:
    for _ in range(3):
        is_no_content(ask(running, post(user, body)))
    nothing_happened(running, user, phone)


def test_duplicates_in_a_batch_are_one_event(running: Running, user: str, phone: Device) -> None:
    batch = [
        {"Type": "NewTicket", "Id": 1},
        {"Type": "Unknown", "Id": -1},
        {"type": "newticket", "id": "1"},
        {"TYPE": 1, "ID": 1},
    ]
    is_no_content(ask(running, post(user, json.dumps({"NotificationEvents": batch}).encode())))
    assert phone.cleared() == [("NewTicket", 1), ("Unknown", -1)]


def test_the_same_batch_again_is_sent_again(running: Running, user: str, phone: Device) -> None:
    """The Id names the entity and not the notification: the same pair has to be clearable again."""
    for _ in range(3):
        is_no_content(ask(running, post(user, events(1))))
        assert phone.cleared() == tickets(1)
    assert recorded(running, user) == tickets(1)


def test_a_thousand_events_are_one_clear_in_their_order(running: Running, user: str, phone: Device) -> None:
    ids = range(1_000, 0, -1)
    is_no_content(ask(running, post(user, events(*ids))))
    assert phone.cleared() == tickets(*ids)
    assert sorted(recorded(running, user)) == sorted(tickets(*ids))


def test_the_largest_body(running: Running, user: str, phone: Device) -> None:
    body = events(1).ljust(BODY_BYTES)
    is_no_content(ask(running, post(user, body)))
    is_no_content(ask(running, head("POST", HANDLED_PATH, (basic(user), JSON, CHUNKED)), chunk(body), chunk(b"")))
    assert phone.cleared() == phone.cleared() == tickets(1)


# how it comes


def test_a_connection_serves_one_request_after_another(running: Running, user: str, phone: Device) -> None:
    with Wire(running.port) as wire:
        for n in range(30):
            wire.send(post(user, events(n)))
            is_no_content(wire.answer())
            assert phone.cleared() == tickets(n)


@pytest.mark.parametrize("chunks", [False, True])
def test_pipelined_requests_are_answered_and_sent_in_order(
    running: Running, user: str, phone: Device, chunks: bool
) -> None:
    """Two hundred in one write: far more than a head may have, and more than one read takes."""

    def request(n: int) -> bytes:
        if chunks and n % 2:
            return head("POST", HANDLED_PATH, (basic(user), JSON, CHUNKED)) + chunk(events(n)) + chunk(b"")
        return post(user, events(n), ("X-Pad", "x" * (n * 37 % 3_000)))

    with Wire(running.port) as wire:
        wire.send(b"".join(map(request, range(200))))
        for _ in range(200):
            is_no_content(wire.answer())
        wire.send(head("GET", "/live"))
        assert wire.answer().status == 200
    assert [phone.cleared() for _ in range(200)] == [tickets(n) for n in range(200)]


def test_expect_is_answered_before_the_body_comes(running: Running, user: str, phone: Device) -> None:
    headers = (basic(user), JSON, ("Content-Length", str(len(events(1)))), ("Expect", "100-continue"))
    with Wire(running.port) as wire:
        for _ in range(2):
            wire.send(head("POST", HANDLED_PATH, headers))
            assert wire.answer().status == 100
            wire.send(events(1))
            is_no_content(wire.answer())
            assert phone.cleared() == tickets(1)


@pytest.mark.parametrize("size", [1, 7, 10_000])
def test_chunked(running: Running, user: str, phone: Device, size: int) -> None:
    body = events(1, 2, 3)
    chunks = b"".join(chunk(body[at : at + size]) for at in range(0, len(body), size))
    is_no_content(
        ask(running, head("POST", HANDLED_PATH, (basic(user), JSON, CHUNKED)), chunks, b"0\r\nX-Trailer: x\r\n\r\n")
    )
    assert phone.cleared() == tickets(1, 2, 3)


def test_a_trailer_is_no_header(running: Running, user: str, phone: Device) -> None:
    """A trailer is not read for what a header decides (RFC 9110, 6.5.1)."""
    trailers = b"0\r\nX-Device-Id: phone\r\nAuthorization: Basic eDp5\r\nContent-Type: text/plain\r\n\r\n"
    request = head("POST", HANDLED_PATH, (basic(user), JSON, CHUNKED)) + chunk(events(1)) + trailers
    is_no_content(ask(running, request))
    assert phone.cleared() == tickets(1)


def test_a_request_that_comes_byte_by_byte(running: Running, user: str, phone: Device) -> None:
    request = post(user, events(1))
    is_no_content(ask(running, *(request[at : at + 1] for at in range(len(request)))))
    assert phone.cleared() == tickets(1)


@pytest.mark.parametrize("together", [True, False], ids=["with its head", "after its head"])
@pytest.mark.parametrize("chunks", [False, True], ids=["length", "chunked"])
def test_an_offer_of_http_2_is_passed_over(
    running: Running, user: str, phone: Device, chunks: bool, together: bool
) -> None:
    """Java's HttpClient offers h2c with its requests; on httptools alone the body is lost (uvicorn#2722)."""
    offer = (("Connection", "Upgrade, HTTP2-Settings"), ("Upgrade", "h2c"), ("HTTP2-Settings", "AAEAAEAAAAIAAAAB"))
    framing = CHUNKED if chunks else ("Content-Length", str(len(events(1))))
    first = head("POST", HANDLED_PATH, (*offer, framing, basic(user), JSON))
    body = chunk(events(1)) + chunk(b"") if chunks else events(1)
    with Wire(running.port) as wire:
        for _ in range(2):
            if together:
                wire.send(first + body + head("GET", "/live", offer) + head("GET", "/live"))
            else:
                wire.send(first)
                for at in range(len(body)):
                    wire.send(body[at : at + 1])
                wire.send(head("GET", "/live", offer))
                wire.send(head("GET", "/live"))
            is_no_content(wire.answer())
            assert wire.answer().status == wire.answer().status == 200
            assert phone.cleared() == tickets(1)


def test_thousands_of_offers_in_one_write(running: Running) -> None:
    with Wire(running.port) as wire:
        wire.send(head("GET", "/live", (("Connection", "Upgrade"), ("Upgrade", "h2c"))) * 3_000)
        for _ in range(3_000):
            assert wire.answer().status == 200


def test_http_1_0(running: Running, user: str, phone: Device) -> None:
    with Wire(running.port) as wire:
        wire.send(post(user, events(1)).replace(b"HTTP/1.1", b"HTTP/1.0"))
        answer = wire.answer()
        assert answer.status == 204
        assert answer.headers["connection"] == "close"
        assert wire.rest() == b""
    assert phone.cleared() == tickets(1)


def test_connection_close_is_honoured(running: Running, user: str, phone: Device) -> None:
    with Wire(running.port) as wire:
        wire.send(post(user, events(1), ("Connection", "close")))
        answer = wire.answer()
        assert answer.status == 204
        assert answer.headers["connection"] == "close"
        assert wire.rest() == b""
    assert phone.cleared() == tickets(1)


def test_a_caller_that_has_said_all_it_will_is_answered(running: Running, user: str, phone: Device) -> None:
    with Wire(running.port) as wire:
        wire.send(post(user, events(1)))
        wire.finish()
        answer = wire.answer()
        assert answer.status == 204
        assert wire.rest() == b""
    assert phone.cleared() == tickets(1)


# status


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("/live", {"live": True}),
        ("/ready", {"ready": True}),
        ("/version", {"name": "clearsync", "version": __version__}),
    ],
)
def test_status_needs_no_credentials(running: Running, path: str, said: dict[str, object]) -> None:
    for headers in ((), (("Authorization", "Bearer x"),)):
        with Wire(running.port) as wire:
            wire.send(head("GET", f"{path}?x=1", headers) + head("HEAD", path) + head("GET", path))
            answer = wire.answer()
            assert answer.status == 200
            assert answer.headers["content-type"].startswith("application/json")
            assert answer.json() == said
            assert wire.answer(of_head=True).status == 200
            assert wire.answer().json() == said


# under a base path


@pytest.fixture(scope="module")
def below(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A server whose paths all start with /crm."""
    folder = tmp_path_factory.mktemp("below")
    with serving("--dev", folder=folder, env={"CLEARSYNC_SERVER__BASE_PATH": "/crm"}) as running:
        yield running


def test_under_a_base_path_everything_is_there(below: Running, user: str) -> None:
    assert below.url.endswith("/crm")
    with listening(below, user) as device:
        is_no_content(ask(below, post(user, events(1), target=f"/crm{HANDLED_PATH}")))
        assert device.cleared() == tickets(1)
        is_no_content(ask(below, post(user, events(2), target=f"/crm/dev{HANDLED_PATH}?$select=x")))
        assert device.cleared() == tickets(2)
    for path in ("/live", "/ready", "/version"):
        for at in (path, f"/crm{path}"):  # a health check does not know the base path
            assert ask(below, head("GET", at)).status == 200
    snapshot = ask(below, head("GET", f"/crm{SYNC_PATH}?device=x&cursor=0", [basic(user)]))
    assert [event["Id"] for event in snapshot.json()["events"]] == [1, 2]


@pytest.mark.parametrize(
    "prefix", ["", "/dev", "/CRM", "/crm/", "//crm", "/crm/crm", "/crmx", "/dev/crm", "/crm/dev/x"]
)
def test_beside_a_base_path_there_is_nothing(below: Running, user: str, prefix: str) -> None:
    answers = [
        ask(below, post(user, events(1), target=f"{prefix}{HANDLED_PATH}")),
        ask(below, head("GET", f"{prefix}{SYNC_PATH}?device=x", [basic(user)])),
    ]
    for answer in answers:
        # one more part before the path is a tenant, and then not the caller's
        assert answer.status in ((404, 403) if prefix == "/crm/crm" else (404,))
        assert answer.json()["ErrorType"] in ("NotFound", "Forbidden")
