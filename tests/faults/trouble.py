"""What happens when a fault of the plan happens. Each heals what it hurt before it returns."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Any

from tests.faults.device import Device
from tests.faults.drill import Stage
from tests.faults.fleet import Fleet
from tests.faults.plan import Fault
from tests.running import client, kill

OUTPUT_BUFFERS = "pubsub 32mb 8mb 60"
"""The store's own bound, where nobody has set another."""
SHARE = 0.3
"""Of all devices, at most, that are cut or held at one time."""
FLOODED = 3
"""Agents of held devices who get more than the server keeps for a device that does not read."""
FLOOD = (20, 250)
"""Batches, and events of each, some 200 kB. No agent is flooded twice: the store would drop the oldest."""


class Trouble:
    """Does to a stage and a fleet what a plan says."""

    def __init__(self, stage: Stage, fleet: Fleet, seed: int) -> None:
        self._stage = stage
        self._store = stage.store
        self._fleet = fleet
        self._seed = seed
        self._flooded: set[str] = set()
        self._kinds: dict[str, Callable[[Fault], Awaitable[None]]] = {
            "store killed": self._store_killed,
            "store silent": self._store_silent,
            "store restarted": self._store_restarted,
            "store full": self._store_full,
            "subscriptions killed": self._subscriptions_killed,
            "links killed": self._links_killed,
            "small output buffers": self._small_output_buffers,
            "worker killed": self._worker_killed,
            "server restarted": self._server_restarted,
            "devices cut": self._devices_cut,
            "devices held": self._devices_held,
        }

    async def happens(self, faults: list[Fault], start: float) -> None:
        """One track: each fault at its time, counted from `start`, or when the one before it is over."""
        for fault in faults:
            await asyncio.sleep(max(0.0, start + fault.at_s - asyncio.get_running_loop().time()))
            await self._kinds[fault.kind](fault)

    async def _ask(self, *command: Any) -> None:
        """Give the store an order."""

        def ask() -> None:
            with client(self._store.url) as store:
                store.execute_command(*command)

        await asyncio.to_thread(ask)

    async def _store_killed(self, fault: Fault) -> None:
        self._store.kill()
        await asyncio.sleep(fault.for_s)
        await asyncio.to_thread(self._store.start)

    async def _store_silent(self, fault: Fault) -> None:
        self._store.pause()
        await asyncio.sleep(fault.for_s)
        self._store.resume()

    async def _store_restarted(self, fault: Fault) -> None:
        await asyncio.to_thread(self._store.restart)

    async def _store_full(self, fault: Fault) -> None:
        await self._ask("CONFIG", "SET", "maxmemory", 1)
        await asyncio.sleep(fault.for_s)
        await self._ask("CONFIG", "SET", "maxmemory", 0)

    async def _subscriptions_killed(self, fault: Fault) -> None:
        await self._ask("CLIENT", "KILL", "TYPE", "pubsub")

    async def _links_killed(self, fault: Fault) -> None:
        await self._ask("CLIENT", "KILL", "TYPE", "normal")

    async def _small_output_buffers(self, fault: Fault) -> None:
        await self._ask("CONFIG", "SET", "client-output-buffer-limit", "pubsub 1 1 1")
        await asyncio.sleep(fault.for_s)
        await self._ask("CONFIG", "SET", "client-output-buffer-limit", OUTPUT_BUFFERS)

    async def _worker_killed(self, fault: Fault) -> None:
        pids = [pid for server in self._stage.servers for pid in server.running.worker_pids()]
        if pids:  # none, where the supervisor waits before it starts them again
            kill(pids[int(fault.lot * len(pids))])

    async def _server_restarted(self, fault: Fault) -> None:
        await self._stage.servers[int(fault.lot * len(self._stage.servers))].restart(fault.for_s)

    async def _devices_cut(self, fault: Fault) -> None:
        for device in self._some(fault):
            device.cut()

    async def _devices_held(self, fault: Fault) -> None:
        held = self._some(fault)
        for device in held:
            device.hold()
        dry = sorted({device.agent for device in held} - self._flooded)[:FLOODED]
        await asyncio.gather(asyncio.sleep(fault.for_s), *map(self._flood, dry))
        for device in held:
            device.release()

    async def _flood(self, agent: str) -> None:
        self._flooded.add(agent)
        batches, size = FLOOD
        for _ in range(batches):
            await self._fleet.post(agent, batch=size)

    def _some(self, fault: Fault) -> list[Device]:
        devices = self._fleet.devices
        chance = random.Random(f"{self._seed} {fault.kind} {fault.number}")
        return chance.sample(devices, max(1, round(fault.lot * SHARE * len(devices))))
