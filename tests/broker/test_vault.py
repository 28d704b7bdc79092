"""What authentication keeps in the store, on fakeredis and on a real store."""

from __future__ import annotations

import asyncio
from typing import Any, NoReturn

import pytest

from server.auth.vault import Vault
from server.broker.redis import RedisBroker
from server.broker.vault import GONE_SLICE, RedisVault
from server.errors import Unavailable
from tests.broker.conftest import broker_on
from tests.running import RealStore

NAME = "ticket:" + "a" * 64
KEY = f"cs:{NAME}"
only_real = pytest.mark.parametrize("url", ["valkey"], indirect=True)
"""fakeredis' TCP server ends a connection at its first error reply."""


@pytest.fixture
def vault(broker: RedisBroker) -> Vault:  # as mypy sees it, too
    return broker.vault


async def test_what_is_put_is_found_until_its_time_is_over(vault: Vault, raw: Any) -> None:
    assert await vault.get(NAME) is None
    await vault.put(NAME, b"\x00value", 86_400.5)
    assert await vault.get(NAME) == b"\x00value"
    assert raw.get(KEY) == b"\x00value"
    assert 86_390_000 < raw.pttl(KEY) <= 86_400_500
    await vault.put(NAME, b"another", 10)
    assert await vault.get(NAME) == b"another"
    assert raw.pttl(KEY) <= 10_000


@pytest.mark.parametrize("ttl_s", [0.0, -5.0, 0.0001])
async def test_what_has_no_time_left_is_kept_for_none(vault: Vault, raw: Any, ttl_s: float) -> None:
    await vault.put(NAME, b"value", ttl_s)
    assert raw.pttl(KEY) <= 1


async def test_of_two_who_take_one_gets_it(url: str, vault: Vault) -> None:
    async with broker_on(url) as other:
        for _ in range(20):
            await vault.put(NAME, b"value", 60)
            taken = await asyncio.gather(vault.take(NAME), other.vault.take(NAME), vault.take(NAME))
            assert sorted(value or b"" for value in taken) == [b"", b"", b"value"]


async def test_what_is_revoked_is_gone_and_a_second_time_is_none_the_worse(vault: Vault) -> None:
    await vault.put(NAME, b"value", 60)
    await vault.revoke(NAME)
    assert await vault.get(NAME) is None
    await vault.revoke(NAME)


async def test_gone_are_those_that_are_not_there(vault: Vault, raw: Any) -> None:
    names = [f"web:{number:064x}" for number in range(2 * GONE_SLICE + 3)]
    kept = set(names[::2])
    raw.mset({f"cs:{name}": b"value" for name in kept})
    assert await vault.gone(names) == set(names) - kept
    assert await vault.gone([]) == set()


async def test_prefixes_keep_apart(url: str, vault: Vault) -> None:
    async with broker_on(url, prefix="other") as other:
        await vault.put(NAME, b"value", 60)
        assert await other.vault.get(NAME) is None
        assert await other.vault.gone([NAME]) == {NAME}


@only_real
async def test_an_error_reply_is_unavailable(vault: Vault, raw: Any) -> None:
    raw.lpush(KEY, "not a text")
    for asked in (vault.get(NAME), vault.take(NAME)):
        with pytest.raises(Unavailable) as refused:
            await asked
        assert "WRONGTYPE" not in str(refused.value), "the store's words stay in the log"
    await vault.put(NAME, b"value", 60)
    assert await vault.get(NAME) == b"value"


async def test_a_killed_store_is_unavailable(real_store: RealStore) -> None:
    async with broker_on(real_store.url) as broker:
        vault = broker.vault
        await vault.put(NAME, b"value", 60)
        real_store.pause()
        asked = [vault.get(NAME), vault.take(NAME), vault.put(NAME, b"", 1), vault.revoke(NAME), vault.gone([NAME])]
        running = [asyncio.ensure_future(each) for each in asked]
        await asyncio.sleep(0)  # they are sent
        real_store.kill()
        for each in running:
            with pytest.raises(Unavailable):
                await each
        with pytest.raises(Unavailable):  # at once, there is no link
            await vault.get(NAME)


async def test_a_store_that_became_read_only_is_left_for_another_connection(real_store: RealStore) -> None:
    async with broker_on(real_store.url) as broker:
        link = broker._commands
        assert link is not None
        await link.command("REPLICAOF", "127.0.0.1", "1")
        with pytest.raises(Unavailable):
            await broker.vault.put(NAME, b"value", 60)
        assert not link.alive


async def test_without_a_link_nothing_is_asked() -> None:
    def no_link() -> NoReturn:
        raise Unavailable

    with pytest.raises(Unavailable):
        await RedisVault(no_link, "cs").gone([NAME])
