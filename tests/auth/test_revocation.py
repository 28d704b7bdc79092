"""What a worker learns of credentials that were taken back, and what it does about a loss of that."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
from structlog.testing import capture_logs

from server.auth import revocation
from server.auth.revocation import Revocations, standing
from server.auth.vault import Vault
from server.broker.base import Control
from server.errors import Unavailable
from tests.broker.conftest import broker_on
from tests.running import RealStore, client

ONE, TWO, WEB = (f"{kind}:{digit * 64}" for kind, digit in (("ticket", "1"), ("ticket", "2"), ("web", "3")))
USER, ONCE = "user:" + "4" * 64, "once:" + "5" * 64


class Worker:
    """Sessions that stand on grants, as far as revocations concern them."""

    def __init__(self, *held: str, every_s: float = 3600.0) -> None:
        self.held = set(held)
        self.revoked: list[frozenset[str]] = []
        self.forgotten: list[str] = []
        self._changed = asyncio.Event()
        self.revocations = Revocations(
            on_revoked=self._on_revoked, on_forgotten=self.forgotten.append, held=lambda: self.held, every_s=every_s
        )

    def _on_revoked(self, names: frozenset[str]) -> None:
        self.revoked.append(names)
        self.held -= names
        self._changed.set()

    async def until(self, condition: Callable[[], bool], within_s: float = 20) -> None:
        async with asyncio.timeout(within_s):
            while not condition():
                self._changed.clear()
                await self._changed.wait()

    @asynccontextmanager
    async def on(self, url: str) -> AsyncIterator[Vault]:
        """With a broker on that store, and comparing."""
        async with broker_on(url, control=self.revocations) as broker, self.running(broker.vault) as vault:
            yield vault

    @asynccontextmanager
    async def running(self, vault: Vault) -> AsyncIterator[Vault]:
        task = asyncio.ensure_future(self.revocations.run(vault))
        try:
            yield vault
        finally:
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task


class Kept:
    """A vault that knows what is in it, and can be made to fail. `asked` are the names of each comparison."""

    def __init__(self, *names: str) -> None:
        self.names = set(names)
        self.failures = 0
        self.asked: list[set[str]] = []
        self.again = asyncio.Event()

    async def get(self, name: str) -> bytes | None:
        raise NotImplementedError

    async def put(self, name: str, value: bytes, ttl_s: float) -> None:
        raise NotImplementedError

    async def take(self, name: str) -> bytes | None:
        raise NotImplementedError

    async def revoke(self, name: str) -> None:
        raise NotImplementedError

    async def gone(self, names: list[str]) -> set[str]:
        self.asked.append(set(names))
        self.again.set()
        if self.failures:
            self.failures -= 1
            raise Unavailable
        return set(names) - self.names


@pytest.fixture
def vault() -> Kept:
    return Kept()


async def test_what_is_told_is_acted_on_at_once() -> None:
    worker = Worker(ONE, TWO)
    control: Control = worker.revocations
    control.told(b"revoked " + ONE.encode())
    control.told(b"forgotten acme/%C3%A5d%20a~b_c.d-e")
    assert worker.revoked == [frozenset({ONE})]
    assert worker.forgotten == ["acme/%C3%A5d%20a~b_c.d-e"]


@pytest.mark.parametrize(
    "message",
    [b"", b"revoked", b"revoked ", b"revoked ticket:", b"revoked ticket:zz", b"revoked ticket:00 web:00", b"forgotten ",
     b"Revoked ticket:00", b"revoked ticket:00\n", b"\xff\xfe", b"forgotten a b", b"forgotten \xc3\xa5/x",
     b"x" * 10000],
)  # fmt: skip
async def test_what_is_not_understood_is_logged_and_ignored(
    message: bytes, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    worker = Worker(ONE)
    worker.revocations.told(message)
    assert (worker.revoked, worker.forgotten) == ([], [])
    assert "control message not understood" in caplog.text + capsys.readouterr().out


async def test_a_revocation_reaches_the_workers_of_another_server_within_a_second(store_url: str) -> None:
    near, far = Worker(), Worker()
    async with near.on(store_url) as vault, far.on(store_url):
        for name in (ONE, TWO):
            await vault.put(name, b"grant", 60)
        near.held, far.held = {ONE}, {ONE, TWO}
        await vault.revoke(ONE)
        for worker in (near, far):
            await worker.until(lambda worker=worker: ONE not in worker.held, within_s=1)  # type: ignore[misc]
        assert far.held == {TWO}


async def test_a_revocation_that_was_not_heard_is_found_after_a_reconnect(real_store: RealStore) -> None:
    worker = Worker()
    async with worker.on(real_store.url) as vault:
        for name in (ONE, TWO, WEB):
            await vault.put(name, b"grant", 60)
        worker.held = {ONE, TWO, WEB, USER}
        with client(real_store.url) as raw:
            raw.delete(f"cs:{TWO}", f"cs:{WEB}")  # nobody is told, as if it had been lost
            assert raw.execute_command("CLIENT", "KILL", "TYPE", "pubsub") == 1
        await worker.until(lambda: worker.held == {ONE, USER})


async def test_one_that_expired_is_found_without_a_word(store_url: str) -> None:
    worker = Worker(every_s=0.05)
    async with worker.on(store_url) as vault:
        await vault.put(ONE, b"grant", 0.1)
        worker.held = {ONE}
        await worker.until(lambda: not worker.held)


async def test_only_what_the_store_keeps_is_compared(vault: Kept) -> None:
    worker = Worker(ONE, TWO, WEB, USER, ONCE)
    vault.names = {TWO}
    async with worker.running(vault):
        worker.revocations.missed()
        await worker.until(lambda: bool(worker.revoked))
    assert vault.asked == [{ONE, TWO, WEB}]
    assert worker.revoked == [frozenset({ONE, WEB})]


async def test_where_nothing_is_held_or_gone_nobody_is_bothered(vault: Kept) -> None:
    worker = Worker(USER)
    async with worker.running(vault):
        worker.revocations.missed()
        await vault.again.wait()
        vault.again.clear()
        worker.held = {USER, TWO}
        vault.names = {TWO}
        worker.revocations.missed()
        await vault.again.wait()
    assert vault.asked == [set(), {TWO}]
    assert worker.revoked == []


async def test_a_store_that_does_not_answer_is_asked_until_it_does(
    vault: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(revocation, "FIRST_PAUSE_S", 0.001)
    monkeypatch.setattr(revocation, "LONGEST_PAUSE_S", 0.002)
    worker = Worker(ONE)
    vault.failures = 5
    async with worker.running(vault):
        worker.revocations.missed()
        await worker.until(lambda: not worker.held, within_s=5)
    assert len(vault.asked) == 6


async def test_what_nobody_foresaw_ends_no_comparing(monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken(Kept):
        async def gone(self, names: list[str]) -> set[str]:
            found = await super().gone(names)
            if len(self.asked) <= 2:
                raise RuntimeError("unforeseen")
            return found

    monkeypatch.setattr(revocation, "FIRST_PAUSE_S", 0.001)
    vault, worker = Broken(), Worker(ONE)
    with capture_logs() as lines:
        async with worker.running(vault):
            worker.revocations.missed()
            await worker.until(lambda: not worker.held, within_s=5)
    assert len(vault.asked) == 3
    assert [line["event"] for line in lines].count("grants could not be compared with the store") == 2


async def test_what_is_missed_during_a_comparison_is_compared_again() -> None:
    class Slow(Kept):
        def __init__(self) -> None:
            super().__init__(ONE)
            self.answer = asyncio.Event()

        async def gone(self, names: list[str]) -> set[str]:
            found = await super().gone(names)
            await self.answer.wait()
            return found

    vault, worker = Slow(), Worker(ONE)
    async with worker.running(vault):
        worker.revocations.missed()
        await vault.again.wait()
        vault.names.clear()
        worker.revocations.missed()
        vault.answer.set()
        await worker.until(lambda: not worker.held)


@pytest.mark.parametrize(
    ("names", "stands"),
    [((), True), ((ONE,), True), ((ONE, WEB, USER), True), ((TWO,), False), ((ONE, TWO), False),
     (("user:0",), False), ((ONE, "user:0"), False), ((ONCE,), False), (("",), False)],
)  # fmt: skip
async def test_all_grants_must_stand(vault: Kept, names: tuple[str, ...], stands: bool) -> None:
    vault.names = {ONE, WEB, ONCE, "", "user:0"}
    assert await standing(vault, USER.__eq__, names) is stands


async def test_the_users_file_vouches_for_users_only(vault: Kept) -> None:
    assert await standing(vault, lambda name: True, [USER])
    assert not await standing(vault, lambda name: True, [ONCE])
    assert not await standing(vault, lambda name: True, [ONE])


async def test_what_only_the_users_file_knows_is_no_question_for_the_store(vault: Kept) -> None:
    vault.failures = 1
    assert await standing(vault, USER.__eq__, [USER])
    assert not await standing(vault, USER.__eq__, [ONE, "user:0"])
    with pytest.raises(Unavailable):
        await standing(vault, USER.__eq__, [ONE, USER])
