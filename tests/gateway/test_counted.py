"""What the hub counts of sessions and their catch-ups, on a broker that answers what it is given."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import cast

from server.broker.base import Broker, Subscriber
from server.events import AgentId, Cursor, Seq, device_id
from server.gateway.hub import Hub
from server.metrics import Histogram, Metrics
from server.session import Announcement, Handled, Session, State
from server.wire import CloseCode, Frame

ADA = AgentId.of("acme", "ada")
NOW_MS = int(time.time() * 1000)
PAGES = [
    Handled("a", NOW_MS, -1, False, NOW_MS, [(b"1:1", NOW_MS - 90_000), (b"1:2", NOW_MS - 80_000)], NOW_MS - 80_000),
    Handled("a", NOW_MS, -1, False, NOW_MS, [(b"1:3", NOW_MS)]),
]


class Given:
    """A broker with these answers to reads."""

    store_id = "a"
    usable = True

    def __init__(self, reads: Sequence[Handled]) -> None:
        self.reads = list(reads)
        self.subscriber: Subscriber | None = None

    async def read(self, agent: AgentId, position: int | None, floor: int = -1) -> Handled:
        if not self.reads:
            await asyncio.get_running_loop().create_future()
        return self.reads.pop(0)

    def subscribe(self, subscriber: Subscriber) -> None:
        self.subscriber = subscriber
        asyncio.get_running_loop().call_soon(subscriber.confirmed)

    def unsubscribe(self, subscriber: Subscriber) -> None: ...


class Way:
    """A session's way out, full after so many frames."""

    def __init__(self, hub: Hub, full_after: int = 1000) -> None:
        self.hub = hub
        self.left = full_after
        self.session: Session | None = None

    def write(self, frame: Frame) -> None:
        self.left -= 1
        if self.left == 0 and self.session is not None:
            self.hub.paused(self.session)
            self.hub.paused(self.session)  # a transport may say so again and again

    def close(self, code: CloseCode, reason: str) -> None: ...


def session(hub: Hub, name: str, full_after: int = 1000, transport: str = "websocket") -> Session:
    way = Way(hub, full_after)
    way.session = Session(device_id(name), Cursor("a", Seq(NOW_MS - 100_000)), way, transport)
    hub.join(ADA, way.session)
    return way.session


@asynccontextmanager
async def hub_on(reads: Sequence[Handled]) -> AsyncIterator[Hub]:
    hub = Hub(Metrics(), ping_s=25)
    hub.attach(cast(Broker, Given(reads)))
    running = asyncio.create_task(hub.run())
    try:
        yield hub
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def until(session: Session, state: State) -> None:
    async with asyncio.timeout(5):
        while session.state is not state:  # noqa: ASYNC110  there is no event to wait for
            await asyncio.sleep(0)


def observed(histogram: Histogram) -> tuple[int, float]:
    """How many, and what they come to."""
    return sum(histogram.counts), histogram.sum


async def test_a_catch_up_of_several_pages_is_one_for_each_device() -> None:
    async with hub_on(PAGES) as hub:
        phone, tablet = session(hub, "phone"), session(hub, "tablet", transport="sse")
        await until(phone, State.LIVE)
        await until(tablet, State.LIVE)
        assert observed(hub.metrics.catch_up_events) == (2, 6)
        count, ages_ms = observed(hub.metrics.late_clears)
        assert count == 6
        since = time.time() * 1000 - NOW_MS
        assert 2 * 170_000 <= ages_ms <= 2 * 170_000 + 6 * since
        assert hub.metrics.catch_ups_total == 2
        assert hub.by_transport == {"websocket": 1, "sse": 1}
        assert observed(hub.metrics.live_clears)[0] == 0


async def test_a_device_that_lags_in_a_catch_up_counts_what_it_was_written_once() -> None:
    async with hub_on([*PAGES[:1], *PAGES[1:]]) as hub:
        phone = session(hub, "phone", full_after=2)  # the welcome, and the first page
        await until(phone, State.LAGGING)
        assert (hub.lagging_count, hub.metrics.lagged_total, phone.lagged) == (1, 1, 1)
        assert observed(hub.metrics.late_clears)[0] == 2
        assert observed(hub.metrics.catch_up_events)[0] == 0, "it has not ended"
        hub.resumed(ADA, phone)
        assert hub.lagging_count == 0
        await until(phone, State.LIVE)
        assert observed(hub.metrics.late_clears)[0] == 3
        assert observed(hub.metrics.catch_up_events) == (1, 3)


async def test_what_was_not_written_does_not_count() -> None:
    async with hub_on([PAGES[0], *PAGES]) as hub:
        phone = session(hub, "phone", full_after=1)  # the welcome
        await until(phone, State.LAGGING)
        assert observed(hub.metrics.late_clears)[0] == 0
        hub.resumed(ADA, phone)
        await until(phone, State.LIVE)
        assert observed(hub.metrics.late_clears)[0] == 3
        assert observed(hub.metrics.catch_up_events) == (1, 3)


async def test_each_catch_up_counts_its_own_events() -> None:
    more = Handled("a", NOW_MS + 5, -1, False, NOW_MS + 5, [(b"1:4", NOW_MS + 5)])
    async with hub_on([*PAGES, more]) as hub:
        phone = session(hub, "phone")
        await until(phone, State.LIVE)
        subscriber = cast(Given, hub.broker).subscriber
        assert subscriber is not None
        subscriber.missed()
        assert phone.state is State.JOINING
        await until(phone, State.LIVE)
        assert observed(hub.metrics.catch_up_events) == (2, 3 + 1)


async def test_one_that_leaves_while_it_lags_lags_no_more() -> None:
    async with hub_on(PAGES) as hub:
        phone = session(hub, "phone", full_after=2)
        await until(phone, State.LAGGING)
        hub.leave(ADA, phone, 4999)
        hub.leave(ADA, phone, 1000)
        assert hub.lagging_count == 0
        assert sum(hub.by_transport.values()) == hub.session_count == 0
        ended = {labels: count for labels, count in hub.metrics.sessions_ended_total.items() if count}
        assert ended == {("websocket", "other"): 1}, "a code that the device made up, and once"


async def test_a_live_clear_counts_once_for_all_devices_and_never_below_zero() -> None:
    async with hub_on(PAGES) as hub:
        phone, tablet = session(hub, "phone"), session(hub, "tablet")
        await until(phone, State.LIVE)
        await until(tablet, State.LIVE)
        subscriber = cast(Given, hub.broker).subscriber
        assert subscriber is not None
        ahead, no_time = int((time.time() + 3600) * 1e6), 10**400
        messages = [Announcement(NOW_MS + n, NOW_MS + n + 1, us, b"-", b"[]") for n, us in enumerate((ahead, no_time))]
        subscriber.announced(messages)
        assert hub.metrics.clears_total == 4
        assert observed(hub.metrics.live_clears) == (2, 0), "a clock that is ahead of ours makes it 0"
        subscriber.announced(
            [Announcement(NOW_MS + 2, NOW_MS + 3, int(time.time() * 1e6) - 2_000_000, b"phone", b"[]")]
        )
        count, us = observed(hub.metrics.live_clears)
        assert count == 3
        assert 2_000_000 <= us < 60_000_000
