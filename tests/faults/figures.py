"""What a running service says of itself, and what the kernel says of its workers."""

from __future__ import annotations

import os
import re
import urllib.request
from pathlib import Path

from tests.running import Running


def figure(running: Running, name: str, **labels: str) -> float:
    """The sum over all workers of what `GET /metrics` says of `name`, of the samples that have these labels."""
    with urllib.request.urlopen(f"{running.admin_url}/metrics", timeout=5) as response:
        text = response.read().decode()
    found = re.findall(rf"^{name}\{{(.*)\}} (\S+)$", text, re.MULTILINE)
    values = [float(value) for said, value in found if all(f'{k}="{v}"' in said for k, v in labels.items())]
    assert values, f"no {name} {labels}"
    return sum(values)


def limited(running: Running, limit: str) -> int:
    """How much was refused for this limit."""
    return round(figure(running, "clearsync_limited_total", limit=limit))


def open_files(pid: int) -> int:
    """The descriptors of a process."""
    return len(os.listdir(f"/proc/{pid}/fd"))


def processor_s(pid: int) -> float:
    """The processor time that a process has used."""
    user, system = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")
