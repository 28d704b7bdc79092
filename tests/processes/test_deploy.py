"""The end of a `serve`: balancers notice in time, nobody's request is cut, the devices go one after another."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest

from server.processes.children import GRACE_S
from server.wire import HANDLED_PATH, CloseCode
from tests.conftest import Serve
from tests.gateway.devices import Device, Raw, basic, caller, raw, raw_session, session
from tests.running import Running, environment, get, is_alive, wait_until

pytestmark = pytest.mark.faults


def times(*, grace_s: float, drain_s: float) -> dict[str, str]:
    return {"CLEARSYNC_SERVER__DRAIN_GRACE_S": str(grace_s), "CLEARSYNC_SERVER__DRAIN_S": str(drain_s)}


def is_red(running: Running) -> bool:
    return running.ready()[0] == 503 and get(f"{running.url}/ready")[0] == 503


def is_refused(running: Running) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", running.port)) != 0


async def eventually(predicate: Any, *args: Any, what: str) -> None:
    """`wait_until` beside devices that have to answer meanwhile."""
    await asyncio.to_thread(wait_until, lambda: predicate(*args), 10.0, what)


async def ended(running: Running) -> int:
    """Its exit status; it had to kill nobody, and nothing went wrong."""
    status = await asyncio.to_thread(running.process.wait, 30)
    assert '"level": "error"' not in running.logged
    return status


@asynccontextmanager
async def devices_of(running: Running, count: int) -> AsyncIterator[list[Device]]:
    """Devices of so many agents."""
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(session(running, f"agent{number}")) for number in range(count)]


async def closed(device: Device) -> tuple[int, float]:
    """The code it was closed with, and when."""
    code = await asyncio.wait_for(device.close_code(), 20)
    return code, time.monotonic()


# --- the grace ---


async def test_in_the_grace_nothing_is_ready_and_everybody_is_served(serve: Serve) -> None:
    with serve("--dev", workers=2, env=times(grace_s=120, drain_s=0.5)) as running:
        async with session(running, "ada", "phone") as phone:
            running.process.terminate()
            await eventually(is_red, running, what="both say that they are not ready")
            for number in range(8):  # whichever worker it is that takes the connections
                async with session(running, "ada", "tablet") as tablet, caller(running, "ada") as post:
                    await post.handled(("NewTicket", number))
                    await tablet.until_cleared(("NewTicket", number))
                    await phone.until_cleared(("NewTicket", number))
            assert get(f"{running.url}/live")[0] == 200
            assert is_red(running)
            running.process.terminate()  # the second one hurries
            assert (await closed(phone))[0] == CloseCode.RESTART
        assert await ended(running) == 0


async def test_after_the_grace_come_the_end_of_connections_and_the_drain(serve: Serve) -> None:
    grace_s = GRACE_S + 1  # more than a worker gets for its end, which begins after both
    with serve("--dev", env=times(grace_s=grace_s, drain_s=1.0)) as running:
        async with devices_of(running, 10) as devices:
            began = time.monotonic()
            running.process.terminate()
            closings = await asyncio.gather(*(closed(device) for device in devices))
        assert {code for code, _ in closings} == {CloseCode.RESTART}
        at = sorted(when - began for _, when in closings)
        assert at[0] >= grace_s
        assert at[-1] - at[0] >= 0.3, "in slices, over the drain"
        assert await ended(running) == 0
        assert is_refused(running)


async def test_ctrl_c_waits_for_no_balancer(serve: Serve) -> None:
    with serve("--dev", workers=2, env=times(grace_s=120, drain_s=0.1)) as running:
        os.killpg(running.pid, signal.SIGINT)
        assert await ended(running) == 0


async def test_a_second_signal_cuts_the_drain_short(serve: Serve) -> None:
    with serve("--dev", env=times(grace_s=0, drain_s=120)) as running:
        async with devices_of(running, 150) as devices:  # one at a time, ten a second
            running.process.terminate()
            assert (await closed(devices[0]))[0] == CloseCode.RESTART
            running.process.send_signal(signal.SIGINT)
            async with asyncio.timeout(5):
                codes = {code for code, _ in await asyncio.gather(*(closed(device) for device in devices[1:]))}
            assert codes == {CloseCode.RESTART}
        assert await ended(running) == 0


async def test_a_signal_to_the_whole_group_is_one(serve: Serve) -> None:
    with serve("--dev", env=times(grace_s=0, drain_s=1.0)) as running:
        async with devices_of(running, 10) as devices:
            os.killpg(running.pid, signal.SIGTERM)
            at = sorted([when for _, when in await asyncio.gather(*(closed(device) for device in devices))])
        assert at[-1] - at[0] >= 0.3, "in slices, and not hurried"
        assert await ended(running) == 0


async def test_a_worker_alone_has_its_grace_too(serve: Serve) -> None:
    with serve("--dev", env=times(grace_s=120, drain_s=0.5)) as running:
        (before,) = running.worker_pids()
        async with session(running, "ada", "phone") as phone:
            os.kill(before, signal.SIGTERM)
            await eventually(is_red, running, what="both say that it is not ready")
            began, number = time.monotonic(), 0
            while time.monotonic() < began + 1.0:  # without a grace it would have ended by then
                number += 1
                async with session(running, "ada", "tablet") as tablet, caller(running, "ada") as post:
                    await post.handled(("NewTicket", number))
                    await tablet.until_cleared(("NewTicket", number))
                    await phone.until_cleared(("NewTicket", number))
            os.kill(before, signal.SIGTERM)
            assert (await closed(phone))[0] == CloseCode.RESTART
        await eventually(lambda: not is_alive(before), what="it has ended")
        await eventually(lambda: running.ready()[0] == 200, what="another one serves")
        os.kill(running.worker_pids()[0], signal.SIGTERM)
        await eventually(is_red, running, what="the next one is in its grace")
        running.process.send_signal(signal.SIGINT)  # an earlier end than the one it was told
        assert await ended(running) == 0


# --- requests ---


async def post_half(connection: Raw, running: Running) -> bytes:
    """Send a request but for the last bytes of its body, which are returned."""
    body = b'{"NotificationEvents": [{"Type": "NewTicket", "Id": 1}]}'
    head = f"POST {HANDLED_PATH} HTTP/1.1\r\nHost: 127.0.0.1:{running.port}\r\nAuthorization: {basic('ada')}\r\n"
    head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\nExpect: 100-continue\r\n\r\n"
    await connection.send(head.encode() + body[:-5])
    await connection.until(b"100 Continue\r\n\r\n")  # it has been begun
    return body[-5:]


async def test_a_request_under_way_is_answered(serve: Serve) -> None:
    with serve("--dev", env=times(grace_s=0, drain_s=0)) as running:
        async with raw(running) as connection:
            rest = await post_half(connection, running)
            running.process.terminate()
            await eventually(is_refused, running, what="nobody listens any more")
            await connection.send(rest)
            answer = await connection.answer()
            assert (answer.status, answer.headers.get("connection")) == (204, "close")
        assert await ended(running) == 0


async def test_who_never_ends_does_not_keep_it_from_an_end_in_order(serve: Serve) -> None:
    """A request without its end, a device that never answers the close: it ends by itself, before it is killed."""
    with serve("--dev", env=times(grace_s=0, drain_s=0)) as running:
        async with raw(running) as connection, raw_session(running, "ada") as half_open:
            await post_half(connection, running)
            running.process.terminate()
            assert await half_open.close_code() == CloseCode.RESTART
            assert await asyncio.to_thread(running.process.wait, 30) == 0
            assert "killed" not in running.logged


# --- the moments at which nobody listens to signals ---


def test_a_signal_before_it_has_begun_is_an_end_in_order(tmp_path: Any) -> None:
    early = "import os, signal\nimport server.cli.serve as serve\nfrom server.cli import main\n"
    early += "serve.settings_from = lambda *_: os.kill(os.getpid(), signal.SIGTERM)\nmain(['serve'])\nos._exit(9)"
    done = subprocess.run(
        [sys.executable, "-P", "-c", early],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        timeout=30,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, b"")


def test_signals_to_the_very_end_do_not_make_it_a_crash(serve: Serve) -> None:
    with serve("--dev", env=times(grace_s=0, drain_s=0)) as running:
        while running.process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                running.process.terminate()
            time.sleep(0.001)
        assert running.process.returncode == 0
