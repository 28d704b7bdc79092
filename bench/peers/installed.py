"""What `make bench-peers` puts beside the project, and where."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Final

PEERS: Final = Path(__file__).parent
PYTHON: Final = PEERS.parents[1] / ".bench" / "venv" / "bin" / "python"
"""That of the peers in Python. Not ours: nothing of theirs belongs where clearsync is tested."""
HELP: Final = "run `make bench-peers`"


def python_absent() -> str:
    """Why no peer in Python can run; empty where one can."""
    return "" if PYTHON.exists() else f"no {PYTHON.parents[1].name} in .bench: {HELP}"


def python_versions(*packages: str) -> str:
    """The versions of packages there, and of Python."""
    program = (
        "import platform, sys\n"
        "from importlib.metadata import version\n"
        "print(*(f'{name} {version(name)}' for name in sys.argv[1:]), f'Python {platform.python_version()}', sep=', ')"
    )
    return first_line(str(PYTHON), "-P", "-c", program, *packages)


def node() -> str | None:
    """Where Node.js is."""
    return shutil.which("node")


def node_absent(slug: str) -> str:
    """Why the peer of that name can't run on Node.js; empty where it can."""
    if node() is None:
        return "no Node.js on PATH"
    return "" if (PEERS / slug / "node_modules").is_dir() else f"no packages in bench/peers/{slug}: {HELP}"


def node_versions(slug: str, *packages: str) -> str:
    """The versions of packages that the peer has, and of Node.js."""
    modules = PEERS / slug / "node_modules"
    found = [f"{name} {json.loads((modules / name / 'package.json').read_text())['version']}" for name in packages]
    return ", ".join([*found, f"node {first_line(str(node()), '--version').removeprefix('v')}"])


def first_line(*command: str) -> str:
    """The first line that a program prints; empty of one that prints nothing, or is not here."""
    return output(*command).partition("\n")[0]


def output(*command: str) -> str:
    """What a program prints, on both of its outputs."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    except OSError:
        return ""
    return (done.stdout + done.stderr).strip()
