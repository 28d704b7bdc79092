"""CPU and memory of processes, as the kernel counts them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from bench.gauge import Watch, cpu_s, memory_kb

BUSY_S = 0.3
PROGRAM = f"""
import sys, time
def said(): return sys.stdin.readline()
print("up", flush=True); said()
kept = bytearray(50 * 2**20); kept[::4096] = b"x" * len(kept[::4096])
print("grown", flush=True); said()
while time.process_time() < {BUSY_S}: pass
print("worked", flush=True); said()
"""


@pytest.fixture
def process() -> Iterator[subprocess.Popen[str]]:
    """Does its next piece of work for each line it is given, and says when it is done."""
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as started:
        await_line(started)
        yield started
        started.kill()


def await_line(process: subprocess.Popen[str]) -> None:
    assert process.stdout
    assert process.stdout.readline()


def go_on(process: subprocess.Popen[str]) -> None:
    assert process.stdin
    process.stdin.write("\n")
    process.stdin.flush()
    await_line(process)


def test_memory_is_what_a_process_has(process: subprocess.Popen[str]) -> None:
    before = memory_kb([process.pid])
    go_on(process)
    assert 50 * 1024 <= memory_kb([process.pid]) - before < 55 * 1024
    assert memory_kb([process.pid, os.getpid()]) > memory_kb([process.pid])


def test_cpu_is_what_a_process_has_taken(process: subprocess.Popen[str]) -> None:
    go_on(process)
    watch = Watch(lambda: [process.pid], None)
    watch.begin()
    go_on(process)
    watch.end()
    assert cpu_s([process.pid]) >= BUSY_S - 0.02
    assert 0 < watch.server_s <= cpu_s([process.pid])
    shares = watch.shares()
    assert shares["server_cpu"]
    assert shares["store_cpu"] is None, "there is no store"


def test_the_store_has_a_share_of_its_own(process: subprocess.Popen[str]) -> None:
    go_on(process)
    watch = Watch(lambda: [os.getpid()], process.pid)
    watch.begin()
    go_on(process)
    watch.end()
    assert watch.shares()["store_cpu"]
    assert watch.server_s < BUSY_S


def test_processes_that_are_gone_have_nothing() -> None:
    gone = subprocess.Popen(["true"])
    gone.wait()
    assert (cpu_s([gone.pid]), memory_kb([gone.pid])) == (0.0, 0)


def test_what_was_not_watched_has_no_share() -> None:
    assert Watch(list, 1).shares() == {"server_cpu": None, "store_cpu": None}
