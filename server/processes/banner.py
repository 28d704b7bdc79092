"""What `serve` prints once it serves."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from urllib.parse import urlsplit

from server import __version__
from server.settings import Settings

DEFAULT_URL = "http://127.0.0.1:8080"
"""What the client commands take where no `--url` is given."""


def banner(settings: Settings, url: str, admin_url: str | None) -> str:
    """What this is, where it listens (`listening on <url>` is a line of its own), for development what to type next."""
    store = settings.store.url
    place = f" in {settings.store.data_dir_path}" if store == "embedded" else ""
    lines = [
        f"clearsync {__version__}: a notification handled on one device disappears from the agent's others",
        f"listening on {url}",
        f"store: {urlsplit(store).scheme or store}{place}",
    ]
    if admin_url:
        lines.append(f"admin on {admin_url}")
    if settings.dev or settings.console.enabled:
        lines.append(f"console on {url}/console/")
    if settings.dev:
        command, at = _command(), "" if url == DEFAULT_URL else f" --url {url}"
        lines += [
            "development: any user name signs in here, with any password (loopback only)",
            "type next, each in a terminal of its own:",
            f"  {command} listen {at} --user ada --device phone",
            f"  {command} handled{at} --user ada AppointmentCancelled:699 NewTicket:12",
        ]
    return "\n".join(lines)


def _command() -> str:
    """How the running program is called from this directory."""
    called = sys.argv[0]
    if os.path.basename(called) != "clearsync":
        return f"{_from_here(sys.executable)} -m server"
    found = shutil.which("clearsync")
    if found and os.path.isabs(called) and os.path.samefile(found, called):
        return "clearsync"
    return _from_here(called)


def _from_here(path: str) -> str:
    relative = os.path.relpath(path)
    return shlex.quote(path if relative.startswith(os.pardir) else relative)
