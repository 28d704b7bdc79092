"""Event streams through nginx as `config/nginx.conf` sets it up, and read by curl."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Iterator
from typing import Final

import pytest

from server.wire import SYNC_PATH, CloseCode
from tests.gateway.devices import caller
from tests.gateway.streams import ended, streaming
from tests.nginx import find_nginx, nginx
from tests.running import Running, serving

ENV: Final = {
    "CLEARSYNC_GATEWAY__PING_INTERVAL_S": "1",
    "CLEARSYNC_GATEWAY__PING_TIMEOUT_S": "0.5",
    "CLEARSYNC_SERVER__DRAIN_S": "0.5",
}
WITHIN_S: Final = 10.0


def needed(path: str | None, name: str) -> str:
    """A program's path. Without it the test is skipped; in CI it fails."""
    if path is None:
        assert not os.environ.get("CI"), f"no {name} here"
        pytest.skip(f"no {name} here")
    return path


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A server behind the nginx of `proxy`."""
    with serving("--dev", folder=tmp_path_factory.mktemp("proxied"), env=ENV) as running:
        yield running


@pytest.fixture(scope="module")
def proxy(running: Running, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of nginx."""
    path = needed(find_nginx(), "nginx")
    with nginx(path, [running.port], tmp_path_factory.mktemp("nginx") / "n") as url:
        yield int(url.rpartition(":")[2])


async def test_live_and_silence_through_nginx(running: Running, proxy: int, user: str) -> None:
    async with streaming(proxy, user) as (device, stream), caller(running, user) as post:
        assert stream.retry_ms
        await stream.commented()
        await post.handled(("NewTicket", 12))
        clear = await device.receive()
        assert clear["events"] == [{"Type": "NewTicket", "Id": 12}]
        assert stream.last_id == clear["cursor"]


async def test_resuming_through_nginx(running: Running, proxy: int, user: str) -> None:
    async with caller(running, user) as post:
        async with streaming(proxy, user) as (_, stream):
            pass
        await post.handled(("NewTicket", 13))
        async with streaming(proxy, user, "phone", "0", f"Last-Event-ID: {stream.last_id}") as (device, _):
            assert [event["Id"] for event in (await device.receive())["events"]] == [13]


async def test_the_end_through_nginx(tmp_path_factory: pytest.TempPathFactory, user: str) -> None:
    path, folder = needed(find_nginx(), "nginx"), tmp_path_factory.mktemp("ending")
    with (
        serving("--dev", folder=folder, env=ENV) as running,
        nginx(path, [running.port], folder / "n") as url,
    ):
        async with streaming(int(url.rpartition(":")[2]), user) as (device, stream):
            ending = asyncio.create_task(asyncio.to_thread(running.terminate))
            assert await ended(device, stream) == CloseCode.RESTART
            assert await ending == 0


async def test_curl_shows_it(running: Running, proxy: int, user: str) -> None:
    """`curl -N`, as docs/protocol.md has it."""
    curl = needed(shutil.which("curl"), "curl")
    process = await asyncio.create_subprocess_exec(
        *(curl, "-sN", "-u", f"{user}:x", "-H", "Accept: text/event-stream"),
        f"http://127.0.0.1:{proxy}{SYNC_PATH}?device=phone",
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(WITHIN_S), caller(running, user) as post:
            await process.stdout.readuntil(b'data: {"type":"welcome"')
            await post.handled(("NewTicket", 14))
            shown = await process.stdout.readuntil(b'"events":[{"Type":"NewTicket","Id":14}]}\n\n')
            assert b"\nid: " in shown
    finally:
        process.terminate()
        await process.communicate()
