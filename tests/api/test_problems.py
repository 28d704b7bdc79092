"""Errors on the wire: their two formats, which of them a caller gets, and the headers that go with them."""

from __future__ import annotations

import json
from typing import Any, Final

import pytest
from defusedxml.ElementTree import fromstring
from hypothesis import given
from hypothesis import strategies as st

from server.api.formats.accept import error_media
from server.api.problems import InternalError, Problem
from server.errors import BadRequest, ClearsyncError, InvalidEvents, MethodNotAllowed, TooLarge, Unavailable
from server.problems import JSON, XML, problem_body, problem_response

TEXT_XML: Final = "text/xml; charset=utf-8"
TEXT_JSON: Final = "text/json; charset=utf-8"


# Accept


@pytest.mark.parametrize(
    ("accept", "media"),
    [
        (None, JSON),
        ("", JSON),
        (" , ,", JSON),
        ("*/*", JSON),
        ("application/*", JSON),
        ("application/json", JSON),
        ("application/json; charset=utf-8", JSON),
        ("text/json", TEXT_JSON),
        ("text/*", TEXT_JSON),
        ("application/xml", XML),
        ("Application/XML", XML),
        ("application/xml; charset=utf-8", XML),
        ("application/xml;q=0.001", XML),
        ("text/xml", TEXT_XML),
        ("text/xml, application/xml", XML),
        ("text/xml, application/xml;q=0.9", TEXT_XML),
        ("image/png, text/xml;q=0.1", TEXT_XML),
        # by q
        ("application/xml, application/json;q=0.9", XML),
        ("application/json;q=0.9, application/xml", XML),
        ("application/xml;q=0.9, application/json", JSON),
        ("application/xml ; q=0.5 , application/json ; q=0.4", XML),
        ("application/xml;version=1;q=0.5, */*;q=0.4", XML),
        ("application/xml;q=0.5, */*;q=0.6", JSON),
        ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", XML),
        ("application/xml;q=0.4, application/xml;q=0.6, application/json;q=0.5", XML),
        ("application/xml;q=0.6, application/xml;q=0.4, application/json;q=0.5", XML),
        # ties
        ("application/xml, application/json", JSON),
        ("application/xml, */*", JSON),
        ("text/xml, */*;q=1.0", JSON),
        ("application/xml;q=0.5, application/json;q=0.500", JSON),
        # what is not taken
        ("application/json;q=0, application/xml", XML),
        ("application/json;q=0, */*", XML),
        ("application/json;q=0.000, text/*", TEXT_JSON),
        ("application/*;q=0, text/xml", TEXT_XML),
        ("application/xml;q=0", JSON),
        ("application/xml;q=0, */*", JSON),
        ("*/*;q=0", JSON),
        ("application/json;q=0", JSON),
        ("image/png", JSON),
        ("application/problem+xml", JSON),
        ("application/xml-dtd", JSON),
        # malformed
        ("application/xml;q=2", JSON),
        ("application/xml;q=1.001", JSON),
        ("application/xml;q=0.1234", JSON),
        ("application/xml;q=-1", JSON),
        ("application/xml;q=.9", JSON),
        ("application/xml;q=", JSON),
        ("application/xml;q=nan", JSON),
        ("application/xml;q", JSON),
        ("xml", JSON),
        ("application/xml, *", JSON),
        ("*/xml", JSON),
        ("application/", JSON),
        ("application/xml/x", JSON),
        ("application/xml, ;q=1", JSON),
        ("application/x ml, application/xml", JSON),
        ("application/xml\xe9", JSON),
        ("application/xml, " * 1_000 + "(", JSON),
    ],
)
def test_accept_says_the_format(accept: str | None, media: str) -> None:
    headers = [(b"host", b"x")]
    if accept is not None:
        headers.append((b"accept", accept.encode("latin-1")))
    assert error_media(headers) == media


def test_several_accept_headers_are_one_list() -> None:
    assert error_media([(b"accept", b"application/json;q=0.1"), (b"x", b"y"), (b"accept", b"text/xml")]) == TEXT_XML


@given(st.binary(max_size=40))
def test_any_accept_is_one_of_the_four(accept: bytes) -> None:
    assert error_media([(b"accept", accept)]) in (JSON, TEXT_JSON, XML, TEXT_XML)


# the body

SHAPE: Final = ["Error", "ErrorType", "ErrorMessage", "ErrorSource"]


def told(error: ClearsyncError, media: str) -> list[str | None]:
    """The four values, in order."""
    body = problem_body(error, media)
    if media in (JSON, TEXT_JSON):
        shape = json.loads(body)
        assert list(shape) == SHAPE
        return [json.dumps(each) if each is True else each for each in shape.values()]
    root = fromstring(body, forbid_dtd=True)
    assert root.tag == "ErrorResult"
    assert [child.tag for child in root] == SHAPE
    assert all(len(child) == 0 for child in root)
    return [child.text for child in root]


@pytest.mark.parametrize("media", [JSON, TEXT_JSON, XML, TEXT_XML])
@pytest.mark.parametrize(
    "message",
    ["x", "<a>&amp;]]></a>", "\"'", "é\u2028\U0001f600", "a\nb\tc\rd", 'NotificationEvents[0]: Type is "<x>"'],
)
def test_an_error_is_told_the_same_in_both_formats(media: str, message: str) -> None:
    assert told(InvalidEvents(message), media) == ["true", "InvalidEvents", message, "clearsync"]


@pytest.mark.parametrize("character", ["\0", "\x01", "\x0b", "\x1f", "\ufffe", "\uffff", "\ud800"])
def test_what_xml_can_not_say_is_replaced(character: str) -> None:
    assert told(BadRequest(f"a{character}b"), XML)[2] == "a\ufffdb"


@given(st.text(max_size=20))
def test_any_message_makes_xml(message: str) -> None:
    assert told(BadRequest(message), XML)[1] == "BadRequest"


@pytest.mark.parametrize("media", [JSON, XML])
def test_which_part_of_us_failed_is_not_told(media: str) -> None:
    class StoreBusy(Unavailable):
        """A part of us."""

    assert told(StoreBusy(), media)[1] == "Unavailable"


def test_who_is_served_by_no_application_is_told_in_json() -> None:
    head, _, body = problem_response(BadRequest("x")).partition(b"\r\n\r\n")
    assert b"Content-Type: application/json; charset=utf-8" in head
    assert body == problem_body(BadRequest("x"))


# the answer


async def answered(error: ClearsyncError, *headers: tuple[bytes, bytes]) -> tuple[int, dict[bytes, bytes], bytes]:
    """The status, the headers and the body; a body is awaited that never ends."""
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": bytes(1_000_000), "more_body": True}

    async def send(message: Any) -> None:
        sent.append(message)

    await Problem(error)({"type": "http", "method": "POST", "headers": list(headers)}, receive, send)
    start, *parts = sent
    assert start["type"] == "http.response.start"
    assert [part.get("more_body", False) for part in parts] == [True] * (len(parts) - 1) + [False]
    raw = start["headers"]
    assert len({name for name, _ in raw}) == len(raw)
    return start["status"], dict(raw), b"".join(part["body"] for part in parts)


@pytest.mark.parametrize(
    ("error", "status", "more"),
    [
        (BadRequest("x"), 400, {}),
        (MethodNotAllowed("x", "GET"), 405, {b"allow": b"GET"}),
        (TooLarge("x"), 413, {b"connection": b"close"}),
        (TooLarge("x", unread=True), 413, {b"connection": b"close"}),
        (Unavailable(), 503, {b"retry-after": b"1"}),
        (InternalError("internal error"), 500, {}),
    ],
)
@pytest.mark.parametrize(("accept", "media"), [(b"*/*", JSON), (b"text/xml", TEXT_XML), (b"application/xml", XML)])
async def test_an_answer_is_in_the_format_that_was_asked_for(
    error: ClearsyncError, status: int, more: dict[bytes, bytes], accept: bytes, media: str
) -> None:
    code, headers, body = await answered(error, (b"accept", accept))
    assert (code, body) == (status, problem_body(error, media))
    fixed = {b"content-type": media.encode(), b"content-length": str(len(body)).encode(), b"vary": b"Accept"}
    assert headers == fixed | more


async def test_only_a_caller_that_is_still_sending_is_listened_to() -> None:
    async def receive() -> dict[str, Any]:
        raise AssertionError("read")

    async def send(message: Any) -> None:
        pass

    await Problem(TooLarge("x"))({"type": "http", "headers": []}, receive, send)
    with pytest.raises(AssertionError, match="read"):
        await Problem(TooLarge("x", unread=True))({"type": "http", "headers": []}, receive, send)
