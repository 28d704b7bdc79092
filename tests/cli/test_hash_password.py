"""`hash-password`: asked twice in a terminal, read once from a pipe, the hash alone on stdout."""

from __future__ import annotations

import argparse
import getpass
import io
import sys
import tomllib
from collections.abc import Callable

import argon2
import pytest

from server.auth import basic
from server.cli import hash_password

CHEAP = argon2.PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)


@pytest.fixture(autouse=True)
def cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(basic, "_HASHER", CHEAP)


def run() -> int:
    parser = argparse.ArgumentParser()
    hash_password.add(parser.add_subparsers())
    args = parser.parse_args(["hash-password"])
    code: int = args.run(args)
    return code


def piped(monkeypatch: pytest.MonkeyPatch, data: bytes) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data), encoding="ascii"))


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def typed(monkeypatch: pytest.MonkeyPatch, *answers: str) -> Terminal:
    """A terminal on stdin and stderr in which this is typed; the stderr."""
    waiting = list(answers)

    def ask(prompt: str) -> str:
        if not waiting:
            raise EOFError
        return waiting.pop(0)

    terminal = Terminal()
    monkeypatch.setattr(getpass, "getpass", ask)
    monkeypatch.setattr(sys, "stdin", Terminal())
    monkeypatch.setattr(sys, "stderr", terminal)
    return terminal


@pytest.mark.parametrize(
    ("data", "password"),
    [
        (b"secret\n", "secret"),
        (b"secret", "secret"),
        (b"secret\r\nnext\n", "secret"),
        (b" sp ace \n", " sp ace "),
        ("wörd\n".encode(), "wörd"),
    ],
)
def test_a_pipe_gives_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], data: bytes, password: str
) -> None:
    piped(monkeypatch, data)
    assert run() == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert out.count("\n") == 1
    assert CHEAP.verify(out.strip(), password)


@pytest.mark.parametrize(
    ("data", "line"),
    [(b"", "the password is empty"), (b"\nx\n", "the password is empty"), (b"\xff\n", "the password must be UTF-8")],
)
def test_a_pipe_without_a_password(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], data: bytes, line: str
) -> None:
    piped(monkeypatch, data)
    assert run() == 1
    assert capsys.readouterr() == ("", f"clearsync: {line}\n")


def test_a_terminal_asks_twice_and_shows_what_to_do(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    terminal = typed(monkeypatch, "secret", "secret")
    assert run() == 0
    out = capsys.readouterr().out.strip()
    assert CHEAP.verify(out, "secret")
    entry = tomllib.loads(terminal.getvalue().partition("\n\n")[2])
    assert entry == {"users": {"NAME": {"hash": out, "tenant": "TENANT"}}}


@pytest.mark.parametrize(
    ("answers", "line"),
    [
        (("a", "b"), "the two passwords differ"),
        (("", ""), "the password is empty"),
        (("a",), "no password was given"),
        (("\udcff", "\udcff"), "the password must be UTF-8"),
    ],
)
def test_a_terminal_that_says_nothing_useful(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], answers: tuple[str, ...], line: str
) -> None:
    terminal = typed(monkeypatch, *answers)
    assert run() == 1
    assert capsys.readouterr().out == ""
    assert terminal.getvalue() == f"clearsync: {line}\n"


def test_the_real_hash_is_argon2id(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    make: Callable[[str], str] = basic.hash_password
    assert make("x").startswith("$argon2id$v=19$m=65536,")
