"""``clearsync serve``: the service itself."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from typing import TYPE_CHECKING

from server.cli.options import add_serve_options, settings_from

if TYPE_CHECKING:
    from argparse import _SubParsersAction


def add(subparsers: _SubParsersAction[argparse.ArgumentParser]) -> None:
    """The command and its options."""
    parser = subparsers.add_parser("serve", help="serve devices and the API", description="Serve devices and the API.")
    add_serve_options(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Serve until SIGTERM or Ctrl-C. Raises `StartupError` where it does not come up."""
    # Nothing is held before the supervisor takes over, so this is an end in order too. Without a handler it would be a
    # crash, and for the first process of a container, to which the kernel passes no such signal, no end at all.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    settings = settings_from(args, os.environ)

    # Imported late: the other commands need none of it, and it takes longer to load than they take to run.
    from server.processes.supervisor import serve

    serve(settings)
    return 0
