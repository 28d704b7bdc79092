"""What the figures were measured on."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from server.broker import binary
from server.errors import StoreError

ROOT: Final = Path(__file__).parents[1]


def describe() -> dict[str, str]:
    """The machine and what runs on it, by name, in the order to be shown."""
    return {
        "CPU": _found("/proc/cpuinfo", r"^model name\s*:\s*(.+)$") or platform.processor() or platform.machine(),
        "cores": str(os.cpu_count()),
        "memory": f"{int(_found('/proc/meminfo', '^MemTotal: +([0-9]+)') or 0) / 2**20:.1f} GiB",
        "kernel": f"{platform.system()} {platform.release()}",
        "Python": platform.python_version(),
        "store": _store(),
        "commit": _commit(),
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
    }


def _found(path: str, pattern: str) -> str:
    try:
        found = re.search(pattern, Path(path).read_text(), re.MULTILINE)
    except OSError:
        return ""
    return found[1].strip() if found else ""


def _output(*command: str) -> str:
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=20, check=False)
    except OSError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def _store() -> str:
    try:
        said = _output(str(binary.find().path), "--version")
    except StoreError as problem:
        return str(problem)
    found = re.match(r"(\S+) server v=(\S+)", said)
    return f"{found[1]} {found[2]}" if found else said


def _commit() -> str:
    """The commit, and whether anything but results was changed since."""
    commit = _output("git", "rev-parse", "--short=12", "HEAD")
    changed = _output("git", "status", "--porcelain", "--", ":!bench/results*")
    return (commit or "not a checkout") + (" and changes" if commit and changed else "")
