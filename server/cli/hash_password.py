"""`clearsync hash-password`: a password in, its argon2 hash for the users file out."""

from __future__ import annotations

import argparse
import getpass
import sys

from server.auth.basic import hash_password

_HINT = """
An entry of the users file (auth.users_file):

[users.NAME]
hash = "{hash}"
tenant = "TENANT"
"""


def add(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the command."""
    parser = subparsers.add_parser(
        "hash-password", help="print the hash of a password, asked for or read as one line from a pipe"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Prints the hash alone on stdout, so that it can be redirected; what people read goes to stderr."""
    terminal = sys.stdin.isatty()
    try:
        password = _asked() if terminal else _piped()
        hash_ = hash_password(password)
    except EOFError:
        return _failed("no password was given")
    except UnicodeError:
        return _failed("the password must be UTF-8")
    except ValueError as error:
        return _failed(str(error))
    print(hash_)
    if terminal and sys.stderr.isatty():
        print(_HINT.format(hash=hash_), file=sys.stderr, end="")
    return 0


def _failed(message: str) -> int:
    print(f"clearsync: {message}", file=sys.stderr)
    return 1


def _asked() -> str:
    password = getpass.getpass("Password: ")
    if password != getpass.getpass("Again: "):
        raise ValueError("the two passwords differ")
    return _checked(password)


def _piped() -> str:
    # only the line's end is cut off: a space may be part of a password
    return _checked(sys.stdin.buffer.readline().decode().removesuffix("\n").removesuffix("\r"))


def _checked(password: str) -> str:
    if not password:
        raise ValueError("the password is empty")
    return password
