"""The examples of `clients/examples` do what they say, against a real server: each is told what another one reports."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import pytest

from tests.running import Running, serving, wait_until

ROOT: Final = Path(__file__).parents[2]
EXAMPLES: Final = ROOT / "clients" / "examples"
WITHIN_S: Final = 20.0


class Program:
    """A program that runs until it is ended, and what it has printed so far."""

    def __init__(self, command: Sequence[str], output: Path) -> None:
        self._command = command
        self._output = output
        with output.open("wb") as file:
            self._process = subprocess.Popen(command, cwd=ROOT, stdout=file, stderr=file)

    def expect(self, text: str) -> None:
        wait_until(lambda: text in self._output.read_text(), WITHIN_S, f"{text!r} in {self._output}")

    def end(self) -> None:
        self._process.terminate()
        self._process.wait(WITHIN_S)


def needed(name: str) -> str:
    found = shutil.which(name)
    if found:
        return found
    if os.environ.get("CI"):
        pytest.fail(f"{name} is not on PATH")
    pytest.skip(f"{name} is not on PATH")


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with serving("--dev", folder=tmp_path_factory.mktemp("examples")) as service:
        yield service


def test_each_is_told_what_another_reports(running: Running, tmp_path: Path) -> None:
    node = (needed("node"), str(EXAMPLES / "node.mjs"), running.url, "ada")
    python = (sys.executable, "-m", "clients.examples.python_client", running.url, "ada")
    shell = (needed("sh"), str(EXAMPLES / "curl.sh"), running.url, "ada")
    needed("curl")
    with ExitStack() as stack:
        listening = [Program(command, tmp_path / f"{n}.txt") for n, command in enumerate((node, python, shell))]
        for device in listening:
            stack.callback(device.end)
        for device, live in zip(listening, ("live", "live", '"type":"welcome"'), strict=True):
            device.expect(live)
        for command, pair in ((node, "NewTicket:12"), (python, "AppointmentCancelled:699")):
            done = subprocess.run([*command, pair], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
            assert (done.returncode, done.stdout) == (0, "recorded\n"), done.stderr
            type_, _, id_ = pair.partition(":")
            for device, clear in zip(
                listening, (f"dismiss {pair}", f"dismiss {pair}", f'{{"Type":"{type_}","Id":{id_}}}'), strict=True
            ):
                device.expect(clear)


def test_the_page_takes_the_client_that_is_shipped() -> None:
    """The page itself is tried by hand; what the client does in a browser is tested with the console."""
    page = (EXAMPLES / "browser.html").read_text(encoding="utf-8")
    assert 'from "../js/clearsync.js"' in page
    assert "innerHTML" not in page
