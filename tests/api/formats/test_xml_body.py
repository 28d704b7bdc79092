"""The data contract in XML: namespaces, nil, encodings, and what is refused."""

from __future__ import annotations

from typing import Final

import pytest

from server.errors import BadRequest, ClearsyncError, InvalidEvents, UnsupportedMedia
from tests.api.written import (
    XML,
    decoded,
    refusal,
    xml,
)

ONE: Final = "<NotificationEvent><Type>NewTicket</Type><Id>12</Id></NotificationEvent>"
LIST: Final = f"<NotificationEvents>{ONE}</NotificationEvents>"
PREFIXED: Final = LIST.replace("</", "</a:").replace("<N", "<a:N").replace("<T", "<a:T").replace("<I", "<a:I")
NIL: Final = 'xmlns:i="http://www.w3.org/2001/XMLSchema-instance"'


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(xml(LIST), id="no namespace"),
        pytest.param(
            xml(LIST, attributes='xmlns="http://schemas.datacontract.org/2004/07/X"'), id="a default namespace"
        ),
        pytest.param(xml(PREFIXED, "b:NotificationsHandledRequest", 'xmlns:a="x" xmlns:b="y"'), id="prefixes"),
        pytest.param(xml(LIST).upper().replace(b"</NOTIFICATIONEVENT><", b"</NOTIFICATIONEVENT>\n<"), id="upper case"),
        pytest.param(xml(LIST.lower(), "notificationshandledrequest"), id="lower case"),
        pytest.param(xml(LIST.replace(">", ">\r\n\t ").replace("</", " </")), id="blanks"),
        pytest.param(xml(LIST.replace("12", "<![CDATA[1]]><!-- x --><?y z?>&#50;")), id="pieces of text"),
        pytest.param(xml(f"<x><NotificationEvents/>y</x>{LIST}<z a='b'/>").replace(b"<Id", b"<Id c='d'"), id="unknown"),
        pytest.param(
            xml(LIST.replace("<Type>NewTicket</Type>", "").replace("</Id>", "</Id><Type>1</Type>")), id="order"
        ),
        pytest.param(xml(LIST.replace("<Id>", "<Time/><Time/><Id>")), id="an unknown element twice"),
        pytest.param(
            b'<?xml version="1.0" encoding="utf-8" standalone="yes"?>\n' + xml(LIST) + b"\n<!-- x -->", id="prolog"
        ),
        pytest.param(xml(LIST.replace("<Id>", '<Id i:nil="false">'), attributes=NIL), id="not nil"),
        pytest.param(xml(LIST.replace("<Id>", '<Id nil="true">')), id="nil of no namespace"),
    ],
)
def test_xml_that_is_taken(body: bytes) -> None:
    assert decoded(XML, body) == [("NewTicket", 12)]
    assert decoded("text/xml", body) == [("NewTicket", 12)]


@pytest.mark.parametrize(
    "events_",
    [
        "<NotificationEvents/>",
        "<NotificationEvents>\n</NotificationEvents>",
        f'<NotificationEvents i:nil="1">{ONE}</NotificationEvents>',
    ],
)
def test_xml_without_events(events_: str) -> None:
    assert decoded(XML, xml(events_, attributes=NIL)) == []


@pytest.mark.parametrize(
    ("body", "kind", "says"),
    [
        (
            xml(LIST, "NotificationHandledRequest"),
            BadRequest,
            "root element is 'NotificationHandledRequest', it must be",
        ),
        (LIST.encode(), BadRequest, "root element is 'NotificationEvents'"),
        (xml(LIST, "x" * 1_000), BadRequest, "root element is 'xxx"),
        (xml(LIST, "NotificationsHandledRequ\u0435st"), BadRequest, "root element is"),
        (xml("", attributes=f'{NIL} i:nil="true"'), BadRequest, "body must be an object"),
        (xml(""), InvalidEvents, "NotificationEvents is missing"),
        (xml(LIST * 2), InvalidEvents, "NotificationEvents is given twice"),
        (xml("<NotificationEvents>x</NotificationEvents>"), InvalidEvents, "NotificationEvents must be an array"),
        (xml(LIST.replace("NotificationEvent>", "Event>")), InvalidEvents, "NotificationEvents has an element 'Event'"),
        (xml(LIST.replace("<Id>", "<Id>1</Id><Id>")), InvalidEvents, "NotificationEvents[0]: Id is given twice"),
        (
            xml(LIST.replace("<Id>", "<a:Id xmlns:a='x'>1</a:Id><Id>")),
            InvalidEvents,
            "NotificationEvents[0]: Id is given",
        ),
        (xml(LIST.replace("12", "<x>12</x>")), InvalidEvents, "NotificationEvents[0]: Id is an object"),
        (xml(LIST.replace("12", "")), InvalidEvents, 'NotificationEvents[0]: Id is ""'),
        (xml(LIST.replace("12", "1 2")), InvalidEvents, 'NotificationEvents[0]: Id is "1 2"'),
        (xml(LIST.replace("12", "&#xa0;12")), InvalidEvents, "NotificationEvents[0]: Id is"),
        (xml(LIST)[:-1], BadRequest, "body is not XML: "),
        (xml(LIST) + xml(LIST), BadRequest, "body is not XML: junk after document element at line 1, column"),
        (xml(LIST) + b"x", BadRequest, "body is not XML: "),
        (xml(LIST.replace("12", "&nbsp;")), BadRequest, "body is not XML: undefined entity"),
        (xml(LIST.replace("12", "&#0;")), BadRequest, "body is not XML: "),
        (xml(LIST.replace("12", "\x00")), BadRequest, "body is not XML: "),
        (xml(LIST.replace("</Id>", "</id>")), BadRequest, "body is not XML: mismatched tag"),
        (b" <?xml version='1.0'?>" + xml(LIST), BadRequest, "body is not XML: "),
        (b'{"NotificationEvents":[]}', BadRequest, "body is not XML: "),
        (b"<!DOCTYPE NotificationsHandledRequest>" + xml(LIST), BadRequest, "body has a document type"),
    ],
)
def test_xml_that_is_refused(body: bytes, kind: type[ClearsyncError], says: str) -> None:
    assert refusal(XML, body, kind).startswith(says)


def declared(encoding: str, quote: str = '"') -> str:
    return f"<?xml version={quote}1.0{quote} encoding={quote}{encoding}{quote}?>" + xml(f"{LIST}<x>é</x>").decode()


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        pytest.param(XML, declared("utf-8").encode(), id="utf-8"),
        pytest.param(XML, declared("utf-8").encode("utf-8-sig"), id="utf-8 with mark"),
        pytest.param(XML, declared("ISO-8859-1").encode("latin-1"), id="latin-1 declared"),
        pytest.param(XML, declared("windows-1252", "'").encode("latin-1"), id="declared in single quotes"),
        pytest.param(XML, declared("utf-16").encode("utf-16"), id="utf-16 with mark"),
        pytest.param(XML, declared("utf-16").encode("utf-16-le"), id="utf-16 LE without mark"),
        pytest.param(XML, declared("utf-16").encode("utf-16-be"), id="utf-16 BE without mark"),
        pytest.param(XML, declared("utf-8").encode("utf-16"), id="the mark wins"),
        pytest.param(XML, declared("utf-32").encode("utf-32"), id="utf-32 with mark"),
        pytest.param(f"{XML}; charset=utf-8", declared("utf-16").encode(), id="the charset wins over utf-16"),
        pytest.param(f"{XML}; charset=utf-8", declared("latin-1").encode(), id="the charset wins over latin-1"),
        pytest.param(f"{XML}; charset=latin1", declared("utf-8").encode("latin-1"), id="the charset wins over utf-8"),
        pytest.param(f"{XML}; charset=utf-8", declared("x-none").encode(), id="the charset wins over nonsense"),
        pytest.param(f"{XML}; charset=utf-16", declared("utf-8").encode("utf-16"), id="utf-16 by charset"),
        pytest.param(f"{XML}; charset=utf-16be", declared("utf-8").encode("utf-16-be"), id="utf-16 BE by charset"),
    ],
)
def test_the_encoding_of_xml(content_type: str, body: bytes) -> None:
    assert decoded(content_type, body) == [("NewTicket", 12)]


@pytest.mark.parametrize(
    ("body", "kind", "says"),
    [
        (declared("utf-16").encode(), BadRequest, "XML declaration says encoding utf-16, which the body is not in"),
        (declared("utf-8").encode("latin-1"), BadRequest, "body is not UTF-8"),
        (declared("us-ascii").encode(), BadRequest, "body is not ASCII"),
        (declared("utf-16").encode("utf-16")[:-1], BadRequest, "body is not UTF-16"),
        (declared("utf-7").encode(), UnsupportedMedia, "charset is 'utf-7'"),
        (declared("rot13").encode(), UnsupportedMedia, "charset is 'rot13'"),
        (declared("x" * 40).encode(), UnsupportedMedia, "charset is 'xxx"),
    ],
)
def test_an_encoding_of_xml_that_is_refused(body: bytes, kind: type[ClearsyncError], says: str) -> None:
    assert refusal(XML, body, kind).startswith(says)
