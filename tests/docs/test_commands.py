"""Every command of README and the pages is run, or marked as not run; and what they are said to print they print."""

from __future__ import annotations

import re
import subprocess
from functools import partial
from pathlib import Path

import pytest

from tests.docs.blocks import COMMANDS, PAGES, Block, all_blocks, blocks, is_command, marks
from tests.docs.reader import SEEN_S, Reader, alike, answered, body_of, pattern, reading
from tests.running import ROOT, Running, wait_until

WITH_COMMANDS = [page for page in PAGES if any(block.kind == "commands" for block in blocks(page))]


pytestmark = pytest.mark.usefixtures("tools")


@pytest.mark.parametrize("page", WITH_COMMANDS, ids=lambda page: page.stem)
def test_what_a_page_says_to_type_does_what_it_says(page: Path, running: Running, valkey: str, tmp_path: Path) -> None:
    with reading(blocks(page), tmp_path, running, valkey) as reader:
        reader.type()
        last: Block | None = None
        for block in reader.blocks:
            last = block if block.kind == "commands" else last
            if block.kind == "seen" and last:
                sees(reader, last, block)


def sees(reader: Reader, commands: Block, shown: Block) -> None:
    """What is shown after commands is what they print."""
    printed = reader.printed(commands)
    if not (shown.text.startswith("HTTP/1.1") and "HTTP/1.1" in printed):  # also of a stream, which goes on behind
        for line in filter(None, map(str.strip, reader.written(shown.text).splitlines())):
            shape = pattern(line)
            wait_until(partial(_is_seen, reader, shape), SEEN_S, f"{shown.where}: {line}")
        return
    status, headers, body = answered(shown.text)
    got, got_headers, got_body = answered(printed)
    assert got == status, f"{shown.where}: {printed}"
    for name, value in headers.items():
        assert pattern(value).fullmatch(got_headers.get(name, "")), f"{shown.where}: {name}: {printed}"
    if body:
        assert alike(body_of(body), body_of(got_body)), f"{shown.where}: {printed}"


def _is_seen(reader: Reader, shape: re.Pattern[str]) -> bool:
    return bool(shape.search(reader.seen()))


def test_no_command_is_passed_over() -> None:
    """In a block of another kind none stands at the beginning of a line."""
    passed = [
        f"{block.where}: {line}"
        for block in all_blocks()
        if block.kind in ("seen", "other") and block.language in ("", "text")
        for line in block.text.splitlines()
        if is_command(line)
    ]
    assert not passed, "write them into a block of sh"


def test_a_mark_stands_above_commands() -> None:
    for page in PAGES:
        assert marks(page) == sum(block.kind == "not run" for block in blocks(page)), page.name


def test_make_serve_is_what_the_pages_are_run_against() -> None:
    said = subprocess.run(["make", "--dry-run", "serve"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert ".venv/bin/clearsync serve --dev --data-dir .data" in said


@pytest.mark.parametrize(
    ("line", "one"),
    [
        ("curl -i http://127.0.0.1:8080/", True),
        ("$ make serve", True),
        ("CLEARSYNC_USER=ada .venv/bin/clearsync listen", True),
        ("/opt/clearsync/bin/pip install .", True),
        ("HTTP/1.1 204 No Content", False),
        ("makes no sense", False),
        ("  sed comes later", False),
        ("# curl", False),
    ],
)
def test_a_command_is_known_by_its_first_word(line: str, one: bool) -> None:
    assert is_command(line) is one
    assert "curl" in COMMANDS


@pytest.mark.parametrize(
    ("said", "got", "same"),
    [
        ({"a": 1, "b": []}, {"a": 2, "b": [{"c": 1}]}, True),
        ({"a": 1}, {"a": "1"}, False),
        ({"a": 1}, {"a": 1, "b": 2}, False),
        ({"a": [1]}, {"a": []}, False),
        ({"ErrorType": "Forbidden"}, {"ErrorType": "Unknown"}, False),
    ],
)
def test_two_answers_are_compared_by_their_form(said: object, got: object, same: bool) -> None:
    assert alike(said, got) is same


def test_a_line_is_compared_but_for_its_figures() -> None:
    line = pattern('data: {"cursor":"k3x9-1795460012345","at":1795460012345,"events":[…]}')
    assert line.fullmatch('data: {"cursor":"0ab1-1795460099999","at":1,"events":[{"Id":1}]}')
    assert not line.fullmatch('data: {"cursor":"0ab1-1795460099999","at":"1","events":[]}')
    assert not pattern('"Id":44').search('"Id":45')
    assert pattern("clear after 1.5 ms").search("clear after 12 ms")
