"""Which publisher posts what, and when."""

from __future__ import annotations

import asyncio

import pytest

from server.client import ClientError, RequestRefused
from server.loadtest import posting
from server.loadtest.ledger import Ledger
from server.loadtest.posting import Posting
from server.loadtest.publisher import Publisher
from server.loadtest.requests import Requests
from server.loadtest.target import Target
from tests.loadtest.fake_server import login, refused

URL = "http://127.0.0.1:1"


class Owner:
    """Notes what it is told."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.failure: ClientError | None = None
        self.ended = ""

    def idle(self) -> None:
        pass

    def told(self) -> None:
        pass

    def declined(self, said: str) -> None:
        self.said.append(said)

    def failed(self, error: ClientError) -> None:
        self.failure = error

    def end(self, why: str) -> None:
        self.ended = why


class Hand(Publisher):
    """Keeps what it is to post."""

    def __init__(self, desk: Posting) -> None:
        super().__init__(Target.of(URL), desk, lambda: 0.0)
        self.slots: list[int] = []
        self.given = asyncio.Event()

    def post(self, slot: int, request: bytes) -> None:
        self.slots.append(slot)
        self.given.set()


class Desk:
    """A `Posting` and what is around it: one agent with one device that is told nothing."""

    def __init__(self, rate: float = 0.0, hands: int = 1) -> None:
        self.owner = Owner()
        self.ledger = Ledger(1, 1, 1)
        self.ledger.opened(0, 0)
        requests = [Requests(URL, login("ada"), 1)]
        self.posting = Posting(requests, self.ledger, self.owner, rate=rate, random=lambda: 0.999)
        self.hands = [Hand(self.posting) for _ in range(hands)]
        for hand in self.hands:
            self.posting.idle(hand)

    def answer(self, hand: Hand, status: int = 204, body: bytes = b"") -> None:
        """As a publisher does that has its answer."""
        self.posting.answered(hand.slots[-1], status, body, 0.0)
        self.posting.idle(hand)


async def test_in_a_closed_loop_whoever_has_an_answer_posts_next() -> None:
    desk = Desk(hands=2)
    assert desk.posting.connected == 2
    desk.posting.start()
    one, other = desk.hands
    for _ in range(3):
        desk.answer(one)
    assert (len(one.slots), len(other.slots), desk.posting.under_way) == (4, 1, 2)
    assert len({*one.slots, *other.slots}) == 5
    desk.posting.stop()
    desk.answer(one)
    assert (len(one.slots), desk.posting.under_way, desk.posting.unsent(1e9)) == (4, 1, 0)


async def test_in_an_open_loop_they_wait_for_when_it_is_due() -> None:
    desk = Desk(rate=1000)
    (hand,) = desk.hands
    desk.posting.start()
    assert len(hand.slots) == 1, "the first is due at once"
    for count in range(2, 5):
        hand.given.clear()
        desk.answer(hand)
        await asyncio.wait_for(hand.given.wait(), 5)
        assert len(hand.slots) == count
    desk.posting.stop()
    desk.posting.stop()


async def test_what_is_due_while_nobody_is_free_is_sent_late_or_counted() -> None:
    desk = Desk(rate=1e-3)
    (hand,) = desk.hands
    desk.posting.start()
    began = asyncio.get_running_loop().time()
    assert desk.posting.unsent(began + 4500) == 4
    desk.answer(hand)
    assert len(hand.slots) == 1, "none is due for a long while"
    desk.posting.stop()
    assert desk.posting.unsent(began + 4500) == 0, "what is due after the end does not count"


async def test_who_is_gone_gets_nothing_until_he_is_back() -> None:
    desk = Desk(hands=2)
    gone, there = desk.hands
    desk.posting.gone(gone)
    desk.posting.gone(gone)
    desk.posting.start()
    assert (gone.slots, len(there.slots)) == ([], 1)
    desk.posting.idle(gone)
    assert len(gone.slots) == 1


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        (0, b"", "a connection ended before the answer to a post"),
        (503, refused(503, "not now").partition(b"\r\n\r\n")[2], "not now (503)"),
        (429, b"", "too many requests (429)"),
    ],
)
async def test_what_may_do_better_is_told_and_goes_on(status: int, body: bytes, said: str) -> None:
    desk = Desk()
    desk.posting.start()
    desk.answer(desk.hands[0], status, body)
    assert (desk.owner.said, desk.owner.failure) == ([said], None)
    assert len(desk.hands[0].slots) == 2
    assert desk.ledger.answers == {status: 1}


async def test_what_will_always_be_refused_is_a_failure() -> None:
    desk = Desk()
    desk.posting.start()
    desk.answer(desk.hands[0], 400)
    assert isinstance(desk.owner.failure, RequestRefused)


async def test_clears_that_are_awaited_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(posting, "MAX_HELD", 3)
    desk = Desk()
    desk.posting.start()
    for _ in range(10):
        desk.answer(desk.hands[0])
    assert desk.ledger.held == 4
    assert desk.owner.ended == "the server is more than 3 clears behind"
    assert len(desk.hands[0].slots) == 4
