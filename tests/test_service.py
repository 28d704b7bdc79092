"""Two workers, one service: a POST that one takes clears devices on the other."""

from __future__ import annotations

import os
from pathlib import Path

from tests.conftest import Serve
from tests.gateway.devices import caller, session
from tests.running import Running


def server_of(running: Running, local_port: int) -> int:
    """The worker that serves the connection whose port on our side is `local_port`, by what the kernel says."""
    ours = f"0100007F:{running.port:04X} 0100007F:{local_port:04X}"
    line = next(line for line in Path("/proc/net/tcp").read_text().splitlines() if ours in line)
    wanted = f"socket:[{line.split()[9]}]"
    for pid in running.worker_pids():
        for descriptor in Path(f"/proc/{pid}/fd").iterdir():
            if descriptor.is_symlink() and os.readlink(descriptor) == wanted:
                return pid
    raise AssertionError("no worker has it")


async def test_a_post_to_one_worker_clears_a_device_on_the_other(serve: Serve) -> None:
    with serve("--dev", workers=2) as running:
        async with session(running, "ada", "phone") as phone:
            here = server_of(running, phone.connection.local_address[1])
            for attempt in range(200):  # the kernel deals connections out as it likes
                async with caller(running, "ada") as post:
                    there = server_of(running, post.local_port)
                    if there == here:
                        continue
                    await post.handled(("NewTicket", attempt))
                    assert (await phone.receive())["events"] == [{"Type": "NewTicket", "Id": attempt}]
                    break
            else:
                raise AssertionError("one worker took 201 connections")
        assert {here, there} == set(running.worker_pids()), "both took part"
