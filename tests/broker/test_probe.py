"""The probe: a listener that is deaf is found out, one that is slow or busy is not."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import hiredis
import pytest

from server.broker import probe as probe_module
from server.broker.link import Link, LinkLost
from server.broker.probe import Probe
from server.metrics import Metrics
from tests.broker.conftest import AGENT, Listener, broker_on, eventually
from tests.broker.test_again import batch_of


class Commands:
    """A link of commands whose answers the test decides; `published` is called with what is published."""

    def __init__(self, receivers: int | Exception, published: Callable[[bytes], None] = lambda nonce: None) -> None:
        self.receivers = receivers
        self.published = published
        self.asked = asyncio.Event()

    async def command(self, name: str, channel: bytes, nonce: bytes) -> int:
        assert name == "SPUBLISH"
        self.asked.set()
        self.published(nonce)
        if isinstance(self.receivers, Exception):
            raise self.receivers
        return self.receivers


def probe_on(commands: Commands | None, metrics: Metrics, interval_s: float = 0.01) -> Probe:
    def link() -> Link:
        if commands is None:
            raise LinkLost
        return commands  # type: ignore[return-value]

    return Probe("cs", link, interval_s, metrics)


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


@pytest.fixture(autouse=True)
def _in_a_hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe_module, "DEAF_S", 0.1)
    monkeypatch.setattr(probe_module, "LATEST_S", 0.5)


async def ends(work: Any, within_s: float = 5.0) -> bool:
    """Whether it returns by itself in time."""
    try:
        await asyncio.wait_for(work, within_s)
    except TimeoutError:
        return False
    return True


async def test_published_to_somebody_and_nothing_read_is_deaf(metrics: Metrics) -> None:
    assert await ends(probe_on(Commands(receivers=1), metrics).run(lambda: 7))
    assert (metrics.probes_total, metrics.probes_deaf_total) == (1, 1)


async def test_published_to_nobody_is_deaf_at_once(metrics: Metrics, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe_module, "DEAF_S", 1000.0)
    assert await ends(probe_on(Commands(receivers=0), metrics).run(lambda: 7))
    assert metrics.probes_deaf_total == 1


@pytest.mark.parametrize("receivers", [0, 1])
async def test_what_arrives_at_the_second_look_is_heard(
    receivers: int, metrics: Metrics, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a stall of our own, timers run before what has come is read; a replica hears what its master told it."""
    monkeypatch.setattr(probe_module, "LOOK_S", 1.0)

    def late(nonce: bytes) -> None:
        asyncio.get_running_loop().call_later(probe_module.DEAF_S + 0.2, probe.heard, nonce)

    commands = Commands(receivers, published=late)
    probe = probe_on(commands, metrics)
    running = asyncio.ensure_future(probe.run(lambda: 7))
    for _ in range(2):
        commands.asked.clear()
        await asyncio.wait_for(commands.asked.wait(), 10)
    running.cancel()
    assert metrics.probes_deaf_total == 0


async def test_what_arrives_is_heard_and_timed(metrics: Metrics) -> None:
    probe = probe_on(commands := Commands(receivers=1, published=lambda nonce: probe.heard(nonce)), metrics)
    running = asyncio.ensure_future(probe.run(lambda: 7))
    for _ in range(3):
        commands.asked.clear()
        await asyncio.wait_for(commands.asked.wait(), 5)
    running.cancel()
    assert metrics.probes_deaf_total == 0
    assert 0 < metrics.probe_seconds < 5


async def test_an_earlier_publication_is_not_this_one(metrics: Metrics) -> None:
    probe = probe_on(Commands(receivers=1, published=lambda nonce: probe.heard(nonce[:-1] + b"!")), metrics)
    assert await ends(probe.run(lambda: 7))


async def test_a_store_that_does_not_answer_is_not_our_hearing(metrics: Metrics) -> None:
    for commands in (None, Commands(LinkLost()), Commands(hiredis.ReplyError("NOPERM no")), Commands(TimeoutError())):
        probe = probe_on(commands, metrics)
        if isinstance(commands, Commands) and isinstance(commands.receivers, TimeoutError):
            with pytest.raises(TimeoutError):  # nothing that a link raises: it is not swallowed
                await probe.run(lambda: 7)
        else:
            assert not await ends(probe.run(lambda: 7), 0.3)
    assert metrics.probes_deaf_total == 0


async def test_a_busy_listener_has_longer_but_not_for_ever(metrics: Metrics) -> None:
    began = time.monotonic()
    assert await ends(probe_on(Commands(receivers=1), metrics).run(lambda: time.monotonic_ns()))
    assert time.monotonic() - began >= probe_module.LATEST_S
    assert metrics.probes_deaf_total == 1


async def test_without_an_interval_there_are_none(metrics: Metrics) -> None:
    assert not await ends(probe_on(Commands(receivers=0), metrics, interval_s=0.0).run(lambda: 7), 0.3)
    assert metrics.probes_total == 0


async def test_on_a_store_the_probe_comes_round(url: str, metrics: Metrics) -> None:
    async with broker_on(url, probe_interval_s=0.05, metrics=metrics) as broker:
        await eventually(lambda: metrics.probes_total >= 5)
        assert broker.ready
    assert metrics.probes_deaf_total == metrics.listener_rebuilds_total == 0
    assert metrics.probe_seconds > 0


async def test_a_deaf_listener_is_rebuilt_and_told_that_something_was_missed(store_url: str, metrics: Metrics) -> None:
    async with broker_on(store_url, probe_interval_s=0.05, metrics=metrics) as broker:
        listener = Listener()
        broker.subscribe(listener)
        await listener.until(lambda: listener.confirmations == 1)
        link = broker._listener._link
        assert link is not None
        link._on_message = None  # alive, answering, and deaf
        await broker.record(AGENT, batch_of(1), None)
        await listener.until(lambda: listener.confirmations == 2)
        assert not listener.messages
        assert metrics.probes_deaf_total == metrics.listener_rebuilds_total == 1
        await broker.record(AGENT, batch_of(2), None)
        await listener.until(lambda: len(listener.messages) == 1)
