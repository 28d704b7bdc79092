"""What a worker does about cyclic garbage: seldom, and never without end."""

from __future__ import annotations

import asyncio
import gc
import subprocess
import sys
import weakref
from collections.abc import AsyncIterator

import pytest

from server.metrics import Metrics
from server.processes import garbage
from server.processes.garbage import Policy

GROWTH = 100_000
LEAKING = """
import asyncio, gc, sys
from server.metrics import Metrics
from server.processes.garbage import Policy

class Node:
    pass

async def leak():
    policy = Policy(Metrics(), growth=GROWTH)
    policy.start()
    start, most = sys.getallocatedblocks(), 0
    for _ in range(60):
        held = []
        for _ in range(10_000):
            node = Node()
            node.itself = node
            held.append(node)
        gc.collect(1)  # they have outlived the collections of what is new
        held.clear()
        policy.look(0.0)
        most = max(most, sys.getallocatedblocks())
    print(start, most, gc.get_threshold()[2], gc.get_freeze_count())

asyncio.run(leak())
"""


class Node:
    """Refers to itself."""

    def __init__(self) -> None:
        self.itself = self


@pytest.fixture
async def policy() -> AsyncIterator[Policy]:
    made = Policy(Metrics())
    made.start()
    yield made
    made.stop()


def aged(count: int) -> weakref.ref[Node]:
    """Garbage that no collection of what is new will find; one of it."""
    nodes = [Node() for _ in range(count)]
    gc.collect(1)
    return weakref.ref(nodes[0])


def test_a_program_that_makes_cycles_does_not_grow_without_end() -> None:
    leaking = LEAKING.replace("GROWTH", str(GROWTH))
    said = subprocess.run([sys.executable, "-c", leaking], capture_output=True, text=True, check=True, timeout=50)
    start, most, full, frozen = map(int, said.stdout.splitlines()[-1].split())
    a_round = 10_000 * 5  # blocks, about; there are sixty
    assert most < 2 * start + GROWTH + a_round
    assert full == garbage.NEVER, "nothing else would have found them"
    assert frozen > 10_000, "what is there at the start is not looked at"


async def test_all_is_looked_at_after_a_while(policy: Policy) -> None:
    now = asyncio.get_running_loop().time()
    there = aged(10)
    policy.look(now + garbage.FIRST_LOOK_S / 2)
    assert there() is not None
    policy.look(now + garbage.FIRST_LOOK_S + 1)
    assert there() is None


async def test_it_is_looked_at_less_often_as_long_as_nothing_is_found(policy: Policy) -> None:
    now = asyncio.get_running_loop().time() + garbage.FIRST_LOOK_S + 1
    gc.collect()
    policy.look(now)
    there = aged(garbage.FOUND)
    policy.look(now + garbage.FIRST_LOOK_S + 1)
    assert there() is not None
    now += 2 * garbage.FIRST_LOOK_S + 1
    policy.look(now)
    assert there() is None
    there = aged(1)
    policy.look(now + garbage.FIRST_LOOK_S + 1)
    assert there() is None, "a leak was seen"


async def test_the_longest_pause_of_the_last_seconds_is_shown() -> None:
    metrics = Metrics()
    policy = Policy(metrics)
    policy.start()
    try:
        assert 0.0 < metrics.gc_pause_seconds < 60.0
        policy._note(100.0)
        policy._look()
        assert metrics.gc_pause_seconds == 100.0
        policy._look()
        assert metrics.gc_pause_seconds < 60.0
    finally:
        policy.stop()


async def test_afterwards_it_is_as_it_was_before() -> None:
    thresholds, callbacks = gc.get_threshold(), list(gc.callbacks)
    policy = Policy(Metrics())
    for _ in range(2):  # idempotent
        policy.start()
    assert gc.get_threshold() == (garbage.YOUNG, garbage.MIDDLE, garbage.NEVER)
    assert len(gc.callbacks) == len(callbacks) + 1
    for _ in range(2):
        policy.stop()
    assert gc.get_threshold() == thresholds
    assert gc.callbacks == callbacks
    assert gc.get_freeze_count() == 0
