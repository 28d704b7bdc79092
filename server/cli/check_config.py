"""`clearsync check-config`: all that `serve` checks before it starts anything, and nothing more."""

from __future__ import annotations

import argparse
import os

from server.cli.options import add_serve_options, settings_from
from server.settings import dump, masked_url


def add(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the command."""
    parser = subparsers.add_parser("check-config", help="check the settings, start nothing")
    add_serve_options(parser)
    parser.add_argument("--dump", action="store_true", help="print the settings in effect as TOML, secrets masked")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Prints that all is well, or with `--dump` the settings in effect. Raises `SettingsError` where it is not."""
    settings = settings_from(args, os.environ)
    if args.dump:
        print(dump(settings), end="")
        return 0
    scheme = "https" if settings.server.tls_certificate else "http"
    host = f"[{settings.server.host}]" if ":" in settings.server.host else settings.server.host
    workers = f"{settings.server.workers} worker" + ("s" if settings.server.workers > 1 else "")
    print(
        f"settings are ok: {scheme}://{host}:{settings.server.port}, {workers}, store {masked_url(settings.store.url)}"
    )
    return 0
