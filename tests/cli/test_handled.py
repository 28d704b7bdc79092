"""`clearsync handled`, as it is typed, against an endpoint that answers from a script."""

from __future__ import annotations

import asyncio
import io
import sys

import msgspec
import pytest

from server.cli import main
from server.cli.handled import parse_events
from server.errors import InvalidEvents
from server.events import Event, EventType
from tests.client.fake_gateway import Answer, FakeEndpoint, endpoint

CANCELLED = Event(EventType.AppointmentCancelled, 699)
TICKET = Event(EventType.NewTicket, 12)


@pytest.mark.parametrize(
    ("words", "stdin", "events"),
    [
        (["AppointmentCancelled:699", "newticket:12"], "", [CANCELLED, TICKET]),
        (["4:699", "1:12"], "", [CANCELLED, TICKET]),
        (["NewTicket:-5"], "", [Event(EventType.NewTicket, -5)]),
        (["-"], "NewTicket:12\n\n  4:699 \n", [TICKET, CANCELLED]),
        (["NewTicket:12", "-"], "4:699", [TICKET, CANCELLED]),
        (["-"], "", []),
    ],
)
def test_events_are_words_or_lines(words: list[str], stdin: str, events: list[Event]) -> None:
    assert list(parse_events(words, io.StringIO(stdin))) == events


@pytest.mark.parametrize("word", ["NewTicket", "NewTicket:", ":12", "NewTicket:1.5", "Nope:1", "NewTicket:2147483648"])
def test_a_word_that_is_no_event_is_named(word: str) -> None:
    for words, stdin in (([word], ""), (["-"], f"{word}\n")):
        with pytest.raises(InvalidEvents, match=f'event.*"{word}"'):
            list(parse_events(words, io.StringIO(stdin)))


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("URL", "USER", "PASSWORD", "TICKET", "APP_TOKEN"):
        monkeypatch.delenv(f"CLEARSYNC_{name}", raising=False)


async def _typed(fake: FakeEndpoint, *words: str) -> int:
    # In a thread, because the command has its own event loop and the endpoint needs this one.
    return await asyncio.to_thread(main, ["handled", "--url", fake.url, "--user", "ada", *words])


async def test_events_are_reported_and_counted_once_each(capsys: pytest.CaptureFixture[str]) -> None:
    async with endpoint(Answer(204)) as fake:
        assert await _typed(fake, "--device", "phone", "AppointmentCancelled:699", "NewTicket:12", "4:699") == 0
    assert capsys.readouterr().out == "handled 2 events\n"
    assert fake.posted[0].headers["x-device-id"] == "phone"
    assert msgspec.json.decode(fake.posted[0].body) == {
        "NotificationEvents": [{"Type": "AppointmentCancelled", "Id": 699}, {"Type": "NewTicket", "Id": 12}]
    }


async def test_without_a_device_every_device_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    async with endpoint(Answer(204)) as fake:
        assert await _typed(fake, "NewTicket:12") == 0
    assert capsys.readouterr().out == "handled 1 event\n"
    assert "x-device-id" not in fake.posted[0].headers


async def test_a_refusal_is_the_servers_words(capsys: pytest.CaptureFixture[str]) -> None:
    async with endpoint(Answer(403, "not \x1byou")) as fake:
        assert await _typed(fake, "NewTicket:12") == 1
    assert capsys.readouterr() == ("", "clearsync: not ?you (403)\n")


async def test_a_guessed_password_that_is_refused_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    async with endpoint(Answer(401, "who")) as fake:
        assert await _typed(fake, "NewTicket:12") == 1
    assert "'dev' was tried" in capsys.readouterr().err


async def test_a_ticket_is_taken_from_the_environment(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLEARSYNC_TICKET", "cs1.x")
    async with endpoint(Answer(204), Answer(401, "who")) as fake:
        for status in (0, 1):
            assert await asyncio.to_thread(main, ["handled", "--url", fake.url, "NewTicket:12"]) == status
        assert [posted.headers["authorization"] for posted in fake.posted] == ["SoTicket cs1.x"] * 2
    assert "who (401); make a ticket with `clearsync token issue`" in capsys.readouterr().err


async def test_a_limit_that_will_not_allow_it_soon_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    async with endpoint(Answer(429, "this agent sends more than 1 requests a second", retry_after="42")) as fake:
        assert await _typed(fake, "NewTicket:12") == 1
    expected = "clearsync: this agent sends more than 1 requests a second (429); come back in 42 s\n"
    assert capsys.readouterr() == ("", expected)


async def test_over_plain_http_to_another_machine_nothing_goes(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["handled", "--url", "http://sync.example.com", "--user", "ada", "--password", "secret", "NewTicket:12"]
    assert await asyncio.to_thread(main, words) == 1
    err = capsys.readouterr().err
    assert "use https, or --insecure-http" in err
    assert "secret" not in err


async def test_one_wrong_word_and_nothing_is_sent(capsys: pytest.CaptureFixture[str]) -> None:
    async with endpoint() as fake:
        assert await _typed(fake, "NewTicket:12", "NewTicket:x") == 1
        assert not fake.posted
    assert 'event "NewTicket:x": Id is "x"' in capsys.readouterr().err


async def test_more_than_a_batch_goes_in_several(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("".join(f"NewTicket:{i}\n" for i in range(2001))))
    async with endpoint(*[Answer(204)] * 3) as fake:
        assert await _typed(fake, "-") == 0
    sent = [[e["Id"] for e in msgspec.json.decode(p.body)["NotificationEvents"]] for p in fake.posted]
    assert [len(batch) for batch in sent] == [1000, 1000, 1]
    assert [id_ for batch in sent for id_ in batch] == list(range(2001))
    assert capsys.readouterr().out == "handled 2001 events\n"


async def test_a_failure_on_the_way_says_how_far_it_got(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("".join(f"NewTicket:{i}\n" for i in range(1500))))
    async with endpoint(Answer(204), Answer(403, "not any more")) as fake:
        assert await _typed(fake, "-") == 1
    expected = "handled the first 1000 of 1500 events\nclearsync: not any more (403)\n"
    assert capsys.readouterr() == ("", expected)
