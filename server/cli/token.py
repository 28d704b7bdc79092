"""``clearsync token``: SoTickets that we issue, shown once and kept as hashes."""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
import time
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Final

from server.auth.principal import DEFAULT_SCOPES, Scope
from server.auth.tickets import KIND, issue
from server.auth.vault import Grant
from server.cli.agents import agent_of, shown
from server.cli.storage import add_store_options, storage, store_settings
from server.errors import BadRequest
from server.events import AgentId

ID_LENGTH: Final = 12
"""Digits of a ticket's hash that `list` shows."""
LONGEST_S: Final = 3650 * 86_400

_TTL: Final = re.compile(r"([0-9]{1,9})([smhd])")
_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_ID: Final = re.compile(r"[0-9a-f]{8,64}")
_HEAD: Final = ("ID", "AGENT", "SCOPES", "ISSUED", "EXPIRES")


def add(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """The command, and its own commands."""
    parser = subparsers.add_parser("token", help="issue, list and revoke tickets (Authorization: SoTicket …)")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    made = commands.add_parser("issue", help="print a new ticket, alone; it is shown this once")
    made.add_argument("--agent", metavar="TENANT/NAME", required=True, help="who comes with it, such as acme/ada")
    made.add_argument("--ttl", metavar="TIME", required=True, help="how long it is good for: 90s, 15m, 12h, 30d")
    made.add_argument(
        "--scope",
        action="append",
        choices=[scope.value for scope in Scope],
        help=f"what it is good for, may be repeated ({', '.join(sorted(DEFAULT_SCOPES))})",
    )
    made.set_defaults(run=run_issue)

    listed = commands.add_parser("list", help="show the tickets that are good, by the beginning of their hash")
    listed.add_argument("--agent", metavar="TENANT/NAME", help="of this agent only")
    listed.add_argument("--json", action="store_true", help="a line of JSON each")
    listed.set_defaults(run=run_list)

    ended = commands.add_parser("revoke", help="end tickets, and within a second the sessions that came with them")
    ended.add_argument("ids", metavar="ID", nargs="*", help="as `list` shows them, or 8 digits that begin only one")
    ended.add_argument("--agent", metavar="TENANT/NAME", help="all tickets of this agent")
    ended.set_defaults(run=run_revoke)
    for each in (made, listed, ended):
        add_store_options(each)


def run_issue(args: argparse.Namespace) -> int:
    """Prints the ticket alone on stdout, for a ``$(…)``; what people read goes to stderr."""
    agent, ttl_s = agent_of(args.agent), ttl_of(args.ttl)
    scopes = frozenset(map(Scope, args.scope)) if args.scope else DEFAULT_SCOPES
    settings = store_settings(args, os.environ)
    ticket, name, grant = issue(agent, scopes, ttl_s, time.time())
    with storage(settings) as store:
        store.put(name, grant)
    print(ticket)
    if not settings.auth.tickets:  # the service may have other settings than this command: it is not for us to refuse
        _say(
            "auth.tickets is off in these settings: a service with the same refuses this ticket, unless it runs "
            "with --dev"
        )
    if sys.stdout.isatty() and sys.stderr.isatty():
        _say(f"for {shown(agent)} until {_time(grant.expires_at)}; send it as Authorization: SoTicket …")
    return 0


def run_list(args: argparse.Namespace) -> int:
    """Prints a table, or with ``--json`` a line of JSON each. No ticket: nobody but its holder has it."""
    agent = agent_of(args.agent) if args.agent else None
    with storage(store_settings(args, os.environ)) as store:
        tickets = store.grants(KIND, agent=agent)
    rows = sorted((_row(name, grant) for name, grant in tickets.items()), key=lambda row: (row[1], row[3], row[0]))
    if args.json:
        for row in rows:
            print(json.dumps(dict(zip(map(str.lower, _HEAD), row, strict=True)) | {"scopes": row[2].split()}))
        return 0
    widths = [max(map(len, column)) for column in zip(_HEAD, *rows, strict=True)]
    for row in (_HEAD, *rows):
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    return 0


def run_revoke(args: argparse.Namespace) -> int:
    """Prints what was revoked; 1 where something that was named was not found. The rest is revoked all the same: one
    that repeats this after a failure must come to its end."""
    if bool(args.ids) == bool(args.agent):
        raise BadRequest("give ids or --agent, and not both")
    wanted = [_checked_id(text) for text in args.ids]
    agent = agent_of(args.agent) if args.agent else None
    with storage(store_settings(args, os.environ)) as store:
        tickets = store.grants(KIND, agent=agent)
        found, problems = (list(tickets), []) if agent else _matching(wanted, tickets)
        store.revoke(found)
    if agent and not found:
        problems = [f"{shown(agent)} has no tickets"]
    for name in found:
        print("revoked", *_row(name, tickets[name])[:2])
    for problem in problems:
        _say(problem)
    return 1 if problems else 0


def ttl_of(text: str) -> int:
    """Seconds of ``90s``, ``15m``, ``12h`` or ``30d``. Raises `BadRequest`."""
    match = _TTL.fullmatch(text)
    seconds = int(match[1]) * _UNITS[match[2]] if match else 0
    if not 1 <= seconds <= LONGEST_S:
        raise BadRequest(f"ttl is {text!r}, it must be a number and s, m, h or d, such as 30d, from 1s to 3650d")
    return seconds


def _checked_id(text: str) -> str:
    if not _ID.fullmatch(text.lower()):
        # what it is instead is not shown: it may be the ticket itself
        raise BadRequest("an id must be 8 digits or more of what `clearsync token list` shows")
    return text.lower()


def _matching(wanted: Iterable[str], names: Iterable[str]) -> tuple[list[str], list[str]]:
    """The names that ids mean, and what is wrong with the other ids."""
    found, problems = dict[str, None](), []
    for id_ in wanted:
        matches = [name for name in names if name.startswith(f"{KIND}:{id_}")]
        if len(matches) == 1:
            found[matches[0]] = None
        else:
            problems.append(f"{id_} begins {len(matches)} tickets, give more of it" if matches else f"no ticket {id_}")
    return list(found), problems


def _row(name: str, grant: Grant) -> tuple[str, str, str, str, str]:
    return (
        name.removeprefix(f"{KIND}:")[:ID_LENGTH],
        shown(AgentId.of(grant.tenant, grant.agent)),
        " ".join(sorted(grant.scopes)),
        _time(grant.issued_at),
        _time(grant.expires_at),
    )


def _time(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%SZ}"


def _say(text: str) -> None:
    print(f"clearsync: {text}", file=sys.stderr)
