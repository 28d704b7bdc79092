"""``clearsync forget``: erase a person."""

from __future__ import annotations

import argparse
import os
import sys
from collections import Counter

from server.cli.agents import agent_of, shown
from server.cli.storage import add_store_options, storage, store_settings
from server.errors import BadRequest
from server.events import AgentId

KINDS = {"ticket": "ticket", "web": "browser session", "once": "one-use ticket"}
"""What is kept for authentication, and how people call it."""


def add(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """The command and its flags."""
    parser = subparsers.add_parser(
        "forget",
        help="erase what is kept of an agent: handled events, tickets and sessions",
        description="Erase what is kept of an agent: handled events, tickets and sessions. The users file is yours: "
        "an agent that is in it can sign in again, and begins anew.",
    )
    parser.add_argument("--agent", metavar="TENANT/NAME", required=True, help="whom, such as acme/ada")
    parser.add_argument("--yes", action="store_true", help="do not ask")
    add_store_options(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Prints what was erased. 0 also where nothing was: nothing is what was wanted. To repeat it is safe, and tells the
    workers once more."""
    agent = agent_of(args.agent)
    settings = store_settings(args, os.environ)
    if not args.yes and not _confirmed(agent):
        print("nothing was erased")
        return 1
    with storage(settings) as store:
        # Credentials first: whoever still comes with them must not make anew what is erased next.
        names = list(store.grants(*KINDS, agent=agent))
        store.revoke(names)
        events = store.erase(agent)
        written = store.write_anew()
    if events or names:
        kinds = Counter(name.partition(":")[0] for name in names)
        counts = [_counted(events, "handled event"), *(_counted(kinds[kind], what) for kind, what in KINDS.items())]
        print(f"erased {shown(agent)}: {', '.join(counts)}")
    else:
        print(f"nothing was found of {shown(agent)}")
    if not written:
        print("clearsync: the store's file has it until it is written anew, repeat this in a minute", file=sys.stderr)
    return 0


def _confirmed(agent: AgentId) -> bool:
    if not sys.stdin.isatty():
        raise BadRequest("forget erases for good: give --yes, or run it in a terminal to be asked")
    print(f"erase everything of {shown(agent)}, for good? [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def _counted(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"
