"""The flags that `serve` and `check-config` share, and the settings that come of them."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path

from server.auth.users import read_users
from server.settings import FLAGS, Settings, check, load


def add_serve_options(parser: argparse.ArgumentParser) -> None:
    """Adds them. Values stay text: `settings_from` judges them, so that a flag is refused as a file or variable is."""
    parser.add_argument("--host", help="address to listen on (127.0.0.1)")
    parser.add_argument("--port", help="port to listen on (8080), 0 picks a free one")
    parser.add_argument("--workers", metavar="N", help="processes that serve (1)")
    parser.add_argument("--store", metavar="URL", help="embedded (default), redis://, rediss://, unix:// or memory")
    parser.add_argument("--data-dir", metavar="DIR", help="directory of the embedded store")
    parser.add_argument("--config", metavar="FILE", help="settings, TOML (CLEARSYNC_CONFIG)")
    parser.add_argument("--dev", action="store_true", help="any user name signs in; on a loopback host only")
    parser.add_argument("--insecure-http", action="store_true", help="plain HTTP beyond loopback, without a proxy")


def settings_from(args: argparse.Namespace, environ: Mapping[str, str]) -> Settings:
    """The settings of parsed flags and an environment, checked with the files they name. Raises `SettingsError`."""
    config = args.config or environ.get("CLEARSYNC_CONFIG")
    flags = {name: getattr(args, flag.removeprefix("--").replace("-", "_")) for name, flag in FLAGS.items()}
    settings = load(Path(config) if config else None, environ, flags)
    check(settings)
    # a worker reads these again, here they are read to be refused in time
    if settings.auth.users_file and not settings.dev:
        read_users(Path(settings.auth.users_file))
    if settings.jwt.keys_file:
        from server.auth.keys import read_keys  # loads the whole of cryptography

        read_keys(Path(settings.jwt.keys_file), settings.jwt.algorithms)
    return settings
