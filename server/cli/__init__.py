"""The `clearsync` command: one file a subcommand, each with an `add` that sets `run`."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from server import __version__
from server.cli import bench, check_config, doctor, forget, handled, hash_password, listen, serve, token
from server.errors import ClearsyncError, StartupError

COMMANDS = (serve, listen, handled, token, forget, check_config, hash_password, doctor, bench)


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; the exit status: 0, 2 settings, 3 data directory in use, 4 store, 130 Ctrl-C, else 1."""
    args = _parser().parse_args(argv)
    try:
        status: int | None = args.run(args)
        sys.stdout.flush()
    except ClearsyncError as problem:
        print(f"clearsync: {problem}", file=sys.stderr)
        return problem.exit_code if isinstance(problem, StartupError) else 1
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # The reader has seen enough. Python would complain once more when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return status or 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="clearsync", description="A notification handled on one device disappears from the agent's others."
    )
    parser.add_argument("--version", action="version", version=f"clearsync {__version__}")
    subparsers = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for command in COMMANDS:
        command.add(subparsers)
    return parser
