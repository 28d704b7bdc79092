"""A deploy: SIGTERM to a `serve` that has devices and callers. Who is under way is served, who is here is sent away in
order, and whoever comes back elsewhere has everything."""

from __future__ import annotations

import asyncio
import itertools
import json
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final

import pytest

from server.wire import HANDLED_PATH, SYNC_PATH, CloseCode
from tests.conftest import Serve
from tests.faults.conftest import is_red, until, until_asked, until_red
from tests.faults.fleet import Fleet
from tests.faults.sockets import WebSocket, upgrade
from tests.gateway.devices import Caller, Device, Pair, basic, caller, events_of, raw, session, tickets
from tests.gateway.devices import upgrade as handshake
from tests.running import END_S, START_S, RealStore, Running, get

pytestmark = pytest.mark.faults

A, B = tickets([1, 2])
GRACE_S: Final = 3.0
"""It is served for a third of it at least."""
DRAIN_S: Final = 2.0
SLOWLY_S: Final = 4.0
"""A third of what a request is given at the end, times the bytes of a piece."""
DEVICES: Final = 40
SLICE: Final = 2
"""Of a tenth of a second."""


def drain(grace_s: float, drain_s: float) -> dict[str, str]:
    """The settings."""
    return {"CLEARSYNC_SERVER__DRAIN_GRACE_S": str(grace_s), "CLEARSYNC_SERVER__DRAIN_S": str(drain_s)}


def refuses(running: Running) -> bool:
    """Whether nobody listens on the public port."""
    with socket.socket() as probe:
        try:
            probe.connect(("127.0.0.1", running.port))
        except ConnectionRefusedError:
            return True
    return False


async def until_refused(running: Running) -> None:
    """Wait until nobody listens."""
    await until_asked(lambda: refuses(running), 3 * GRACE_S + START_S, "new connections are refused")


async def until_over(running: Running) -> int:
    """The exit status."""
    return await asyncio.to_thread(running.process.wait, END_S)


class Leaving:
    """Devices of as many agents that wait to be sent away, and the order in which that comes."""

    def __init__(self, devices: list[Device]) -> None:
        self.order: list[int] = []
        self.codes: set[int] = set()
        self.devices = devices

    async def wait(self) -> None:
        """Until all are closed."""
        await asyncio.gather(*(self._wait(number) for number in range(len(self.devices))))

    async def _wait(self, number: int) -> None:
        connection = self.devices[number].connection
        await connection.wait_closed()
        self.codes.add(connection.close_code or 0)
        self.order.append(number)


@asynccontextmanager
async def leaving(running: Running, number: int = DEVICES) -> AsyncIterator[Leaving]:
    """So many devices, which came one after the other; at the end all have been closed, with 1012."""
    async with AsyncExitStack() as stack, asyncio.TaskGroup() as tasks:
        devices = [await stack.enter_async_context(session(running, f"leaving-{n}")) for n in range(number)]
        left = Leaving(devices)
        waiting = tasks.create_task(left.wait())
        yield left
        await waiting
        assert sorted(left.order) == list(range(number))
        assert left.codes == {CloseCode.RESTART}


async def check_served(running: Running, phone: Device, post: Caller, *pairs: Pair) -> None:
    """Callers and devices, those who are here and new ones."""
    async with caller(running, "ada") as new_caller, session(running, "ada", "new") as tablet:
        await new_caller.handled(*pairs[:1])
        await post.handled(*pairs[1:])
        for pair in pairs:
            await phone.until_cleared(pair)
            await tablet.until_cleared(pair)


async def test_in_the_grace_everybody_is_served_while_balancers_are_told_to_turn_away(serve: Serve) -> None:
    with serve("--dev", workers=2, env=drain(GRACE_S, 0.1)) as running:
        async with session(running, "ada") as phone, caller(running, "ada") as post:
            served_until = asyncio.get_running_loop().time() + GRACE_S / 3
            running.process.terminate()
            await until_red(running)
            assert get(f"{running.url}/live")[0] == 200
            for number in itertools.count(1):
                await check_served(running, phone, post, ("NewTicket", number), ("NewTicket", -number))
                assert is_red(running)
                if asyncio.get_running_loop().time() > served_until:
                    break
            await until_refused(running)
            assert await phone.close_code() == CloseCode.RESTART
        assert await until_over(running) == 0


async def test_who_comes_on_a_connection_that_is_kept_alive_is_sent_on_and_not_let_in_to_be_sent_away(
    serve: Serve,
) -> None:
    """A proxy keeps connections, and takes one of them for an upgrade."""
    with serve("--dev", env=drain(0, DRAIN_S)) as running:
        async with raw(running) as kept, leaving(running) as left:
            await kept.send(f"GET /live HTTP/1.1\r\nHost: 127.0.0.1:{running.port}\r\n\r\n".encode())
            await kept.until(b"}")
            running.process.terminate()
            await until(lambda: left.order, what="the first is sent away")
            await kept.send(handshake(running))
            refused = await kept.answer()
            assert refused.status == 503
            assert refused.headers["retry-after"]
        assert await until_over(running) == 0


async def test_sessions_are_sent_away_in_slices_in_which_the_others_are_served(serve: Serve) -> None:
    with serve("--dev", env=drain(0, DRAIN_S)) as running:
        async with caller(running, "ada") as post, leaving(running) as left:
            running.process.terminate()
            await until(lambda: left.order, what="the first is sent away")
            assert refuses(running), "nobody is let in whom we send away at once"
            last = DEVICES - 1
            await post.handled(A)  # the answer comes behind what was said to the first slice
            assert last not in left.order
            assert len(left.order) < DEVICES / 2
            await until(lambda: last in left.order, what="the last is sent away")
        slices = [set(left.order[start : start + SLICE]) for start in range(0, DEVICES, SLICE)]
        assert slices == [set(range(start, start + SLICE)) for start in range(0, DEVICES, SLICE)]
        assert await until_over(running) == 0


async def test_a_request_that_is_under_way_is_finished(serve: Serve, real_store: RealStore) -> None:
    """A part of its body has come before the end begins, the rest comes bit by bit once all sessions have gone."""
    store = ("--store", real_store.url)
    body = json.dumps({"NotificationEvents": events_of([A, B])}).encode()
    head = (
        f"POST {HANDLED_PATH} HTTP/1.1\r\nHost: localhost\r\nAuthorization: {basic('ada')}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    with serve("--dev", *store, env=drain(0, 0.5)) as running:
        async with session(running, "ada") as phone, raw(running) as slow, leaving(running, 4) as left:
            await slow.send(head.encode() + body[:20])
            await asyncio.to_thread(get, f"{running.url}/live")  # it has been read by now
            running.process.terminate()
            assert await phone.close_code() == CloseCode.RESTART
            await until(lambda: len(left.order) == len(left.devices), what="all are sent away")
            assert refuses(running)
            for start in range(20, len(body), 4):
                await slow.send(body[start : start + 4])
                await asyncio.sleep(SLOWLY_S / len(body))
            assert (await slow.answer()).status == 204
        assert await until_over(running) == 0
    with serve("--dev", *store) as again:
        async with session(again, "ada", cursor=phone.cursor, ledger=phone.ledger) as phone:
            await phone.until(lambda: phone.ledger.cleared.keys() == {A, B})


async def test_a_second_sigterm_ends_the_grace(serve: Serve) -> None:
    with serve("--dev", workers=2, env=drain(60, 60)) as running:
        async with leaving(running, 10) as left:
            running.process.terminate()
            await until_red(running)
            assert not left.order
            running.process.terminate()
            async with asyncio.timeout(START_S):
                assert await until_over(running) == 0


async def test_a_second_sigterm_ends_the_drain(serve: Serve) -> None:
    """Of so many devices, one each tenth of a second, that it would take longer than the test waits."""
    with serve("--dev", env=drain(0, 60)) as running:
        async with AsyncExitStack() as stack:
            devices = [await connected(running, f"device-{n}", stack) for n in range(round(1.5 * START_S / 0.1))]
            running.process.terminate()
            await until(lambda: any(device.ended.done() for device in devices), what="the first is sent away")
            assert not all(device.ended.done() for device in devices)
            running.process.terminate()
            async with asyncio.timeout(START_S):
                assert await until_over(running) == 0
            assert {(await device.ended).code for device in devices} == {CloseCode.RESTART}


async def connected(running: Running, name: str, stack: AsyncExitStack) -> WebSocket:
    """A light device that has been welcomed, until `stack` ends."""
    welcome: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    request = upgrade("localhost", f"{SYNC_PATH}?device={name}", basic("ada"))
    device = WebSocket(request, lambda payload: welcome.set_result(None))
    await asyncio.get_running_loop().create_connection(lambda: device, "127.0.0.1", running.port)
    stack.callback(device.abort)
    async with asyncio.timeout(START_S):
        await welcome
    return device


async def test_who_comes_back_to_another_server_has_everything(serve: Serve, real_store: RealStore) -> None:
    store = ("--store", real_store.url)
    with (
        serve("--dev", *store, workers=2, env=drain(0.5, 1)) as first,
        serve("--dev", *store, env=drain(0, 0.1)) as second,
    ):
        async with Fleet([first.url, second.url], agents=10, devices=40, seed=1) as fleet:
            async with fleet.posting(60):
                await until(lambda: fleet.book.statuses[204] >= 60, what="there is a load")
                first.process.terminate()
                assert await until_over(first) == 0
                await until(lambda: all(device.connected for device in fleet.devices), what="all are back")
                before = fleet.book.statuses[204]
                await until(lambda: fleet.book.statuses[204] >= before + 60, what="the load goes on")
            verdict = await fleet.settled(15)
            verdict.check()
            assert set(fleet.book.statuses) <= {204, 0}, fleet.book.statuses
            moved = [device for device in fleet.devices if device.welcomes > 1]
            assert {id(device) for device in moved} == {id(device) for device in fleet.devices[::2]}
            assert all(device.welcomes == 2 and device.close_codes[0] == CloseCode.RESTART for device in moved)
            assert verdict.resets == 0
