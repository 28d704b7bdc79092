"""Devices that have left leave nothing for the collector, which seldom looks at what is old (processes/garbage.py)."""

from __future__ import annotations

import asyncio
import gc

from websockets.asyncio.client import connect
from websockets.protocol import Protocol

from bench.site import Site
from bench.stages import until, worker_on
from server.api.http import BoundedHttp
from server.gateway.websocket import Gateway
from server.session import Session
from server.wire import SYNC_PATH
from tests.gateway.devices import basic

KINDS = (BoundedHttp, Gateway, Protocol, Session)


def alive() -> dict[str, int]:
    """How many there are, found or not."""
    objects = gc.get_objects()
    return {kind.__name__: sum(type(each) is kind for each in objects) for kind in KINDS}


async def test_a_device_that_has_left_leaves_nothing_behind() -> None:
    with Site() as site:
        async with worker_on(site) as worker:
            port = worker._listen.getsockname()[1]
            await asyncio.sleep(0)
            gc.collect()
            before = alive()
            gc.disable()
            try:
                for number in range(5):
                    url = f"ws://127.0.0.1:{port}{SYNC_PATH}?device=d{number}"
                    async with connect(url, additional_headers={"Authorization": basic("a1")}, proxy=None) as device:
                        await device.recv()
                await until(lambda: alive() == before)
            finally:
                gc.enable()
