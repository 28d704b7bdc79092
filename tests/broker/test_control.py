"""The control channel: what one broker revokes every other one is told, and each knows when it may have missed some."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from server.broker.keys import agent_key, control_channel, forgotten, revoked, sessions_key, vault_key
from server.errors import StoreError, Unavailable
from tests.broker.conftest import AGENT, KEY, Listener, broker_on
from tests.running import RealStore, client

NAME = "ticket:" + "a" * 64


class Heard:
    """A `Control` that keeps what it is told."""

    def __init__(self) -> None:
        self.messages: list[bytes] = []
        self.gaps = 0
        self._changed = asyncio.Event()

    def told(self, message: bytes) -> None:
        self.messages.append(message)
        self._changed.set()

    def missed(self) -> None:
        self.gaps += 1
        self._changed.set()

    async def until(self, condition: Callable[[], bool], within_s: float = 20) -> None:
        """Wait for what a callback brings about."""
        async with asyncio.timeout(within_s):
            while not condition():
                self._changed.clear()
                await self._changed.wait()


def test_the_names_of_keys_and_channels() -> None:
    assert agent_key("cs", AGENT) == KEY.encode()
    assert sessions_key("cs", AGENT) == b"cs:{acme/ada}:sessions"
    assert vault_key("cs", "ticket:00") == b"cs:ticket:00"
    assert control_channel("cs") == b"cs:control"
    assert (revoked("web:00"), forgotten(AGENT)) == (b"revoked web:00", b"forgotten acme/ada")


async def test_a_revocation_is_told_to_all_within_a_second(url: str) -> None:
    near, far, foreign = Heard(), Heard(), Heard()
    async with (
        broker_on(url, control=near) as broker,
        broker_on(url, control=far),
        broker_on(url, control=foreign, prefix="other") as other,
    ):
        assert (near.gaps, far.gaps) == (1, 1), "a broker that is ready listens, and what was before it has missed"
        await broker.vault.revoke(NAME)  # there is none: it is said all the same
        for heard in (near, far):
            await heard.until(lambda heard=heard: bool(heard.messages), within_s=1)  # type: ignore[misc]
            assert heard.messages == [b"revoked " + NAME.encode()]
        await other.vault.revoke("web:00")
        await foreign.until(lambda: bool(foreign.messages))
        assert foreign.messages == [b"revoked web:00"], "another prefix is another service"
        assert (near.gaps, far.gaps) == (1, 1)


async def test_whatever_is_said_is_handed_on_and_batches_are_not(url: str, raw: Any) -> None:
    heard, listener = Heard(), Listener()
    async with broker_on(url, control=heard) as broker:
        broker.subscribe(listener)
        await listener.until(lambda: listener.confirmations == 1)
        raw.execute_command("SPUBLISH", KEY, "nonsense")
        await listener.until(lambda: listener.confirmations == 2)
        raw.execute_command("SPUBLISH", "cs:control", b"\xff nonsense")
        await heard.until(lambda: bool(heard.messages))
        assert heard.messages == [b"\xff nonsense"]
        assert listener.confirmations == 2


async def test_a_cut_listener_has_missed_something(real_store: RealStore) -> None:
    heard, changed = Heard(), asyncio.Event()
    async with broker_on(real_store.url, control=heard, on_change=changed.set) as broker:
        with client(real_store.url) as raw:
            assert raw.execute_command("CLIENT", "KILL", "TYPE", "pubsub") == 1
        await heard.until(lambda: heard.gaps == 2)
        await broker.vault.revoke(NAME)
        await heard.until(lambda: bool(heard.messages), within_s=1)


async def test_a_broker_that_does_not_hear_of_revocations_is_not_ready(real_store: RealStore) -> None:
    """As when the slot of the control channel moves: an unasked `sunsubscribe`."""
    heard, changed = Heard(), asyncio.Event()
    async with broker_on(real_store.url, control=heard, on_change=changed.set) as broker:
        link = broker._listener._link
        assert link is not None
        link.data_received(b">3\r\n$10\r\nssubscribe\r\n$10\r\ncs:control\r\n:1\r\n")
        assert heard.gaps == 2, "subscribed again by itself"
        assert broker.ready
        link.data_received(b">3\r\n$12\r\nsunsubscribe\r\n$10\r\ncs:control\r\n:0\r\n")
        assert not broker.ready
        await heard.until(lambda: heard.gaps == 3)
        async with asyncio.timeout(10):
            while not broker.ready:
                changed.clear()
                await changed.wait()
        await broker.vault.revoke(NAME)
        await heard.until(lambda: bool(heard.messages))


async def test_a_store_that_refuses_the_channel_is_said_at_the_start(real_store: RealStore) -> None:
    with client(real_store.url) as raw:
        raw.execute_command("ACL", "SETUSER", "default", "resetchannels", "&cs:{*")
    with pytest.raises(StoreError, match="refuses us the channel cs:control"):
        async with broker_on(real_store.url) as broker:
            assert broker is None, "started without"


async def test_a_revocation_is_told_even_where_the_store_refuses_to_delete(real_store: RealStore) -> None:
    """Whoever asked is told that it did not work; sessions have ended meanwhile, which is the safe side."""
    heard = Heard()
    async with broker_on(real_store.url, control=heard) as broker:
        with client(real_store.url) as raw:
            raw.execute_command("ACL", "SETUSER", "default", "-del")
        with pytest.raises(Unavailable):
            await broker.vault.revoke(NAME)
        await heard.until(lambda: bool(heard.messages), within_s=1)
