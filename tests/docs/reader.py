"""A reader who types a page's commands, one after the other, in one shell, in a folder of their own."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tests.docs.blocks import Block
from tests.running import ROOT, Running, environment, free_port, is_alive, wait_until

SHIMS: Final = Path(__file__).parent / "shims"
VENDOR: Final = ROOT / "tests" / "vendor" / "node_modules"
BETWEEN: Final = "\x1e"
PAGE_S: Final = 50.0
SEEN_S: Final = 10.0

_VARIES: Final = re.compile(r"([a-z0-9]+-[0-9]{6,}|[0-9]+(?:\.[0-9]+)+|[0-9]{4,}|[0-9]+(?= m?s\b)|…)")
_CURSOR: Final = r"[a-z0-9]+-[0-9]+(-reset)?"


@dataclass
class Reader:
    """What has become of a page. `replaced`: what stands in the page, and what is there in its place."""

    folder: Path
    replaced: Mapping[str, str]
    port: int
    blocks: list[Block]
    _group: int = 0

    def written(self, text: str) -> str:
        """Text of the page with the addresses of this machine in it."""
        for said, there in self.replaced.items():
            text = text.replace(said, there)
        return text

    def type(self) -> None:
        """All commands, to the end of the last. Raises AssertionError naming the block of the first that fails."""
        commands = [block for block in self.blocks if block.kind == "commands"]
        for block in self.blocks:
            if block.kind == "file":
                (self.folder / block.title).write_text(self.written(block.text), encoding="utf-8")
        script = self.folder / "page.sh"
        script.write_text("set -euo pipefail\n" + "".join(map(self._script, commands)), encoding="utf-8")
        with (self.folder / "out").open("wb") as out, (self.folder / "err").open("wb") as err:
            process = subprocess.Popen(
                ["bash", str(script)],
                cwd=self.folder,
                env=self._environment(),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                start_new_session=True,
            )
            self._group = process.pid
            try:
                status = process.wait(PAGE_S)
            except subprocess.TimeoutExpired:
                process.kill()
                status = process.wait()
        done = self._out().count(BETWEEN)
        failed = commands[done].where if done < len(commands) else self.blocks[-1].where
        assert status == 0, f"{failed} ended with {status}\n{self._out()}\n{self._err()}"

    def printed(self, block: Block) -> str:
        """What the commands of a block printed, by themselves."""
        commands = [block for block in self.blocks if block.kind == "commands"]
        return self._out().split(BETWEEN)[commands.index(block)]

    def seen(self) -> str:
        """Everything that was printed so far, also by what goes on behind."""
        logs = sorted((self.folder / "seen").glob("??????"))
        return self._out() + "".join(log.read_text(encoding="utf-8") for log in logs)

    def end(self) -> None:
        """End what goes on: a server in order, then all that was begun; idempotent."""
        serving = self.folder / "serving"
        if serving.exists():
            server = int(serving.read_text())
            with contextlib.suppress(ProcessLookupError):
                os.kill(server, signal.SIGTERM)
            wait_until(lambda: not is_alive(server), PAGE_S, "the page's server ends")
        if self._group:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._group, signal.SIGKILL)

    def _script(self, block: Block) -> str:
        text = re.sub(r"(?m)(clearsync serve.*?) &$", r"\1", self.written(block.text))
        refused = "export DOCS_REFUSED=1" if self._expected_status(block) >= 400 else "unset DOCS_REFUSED"
        return f"{refused}\n{text}printf '{BETWEEN}'\n"

    def _expected_status(self, block: Block) -> int:
        after = self.blocks[self.blocks.index(block) + 1 :][:1]
        said = re.match(r"HTTP/1\.1 (\d+)", after[0].text) if after and after[0].kind == "seen" else None
        return int(said[1]) if said else 0

    def _environment(self) -> dict[str, str]:
        (self.folder / "seen").mkdir()
        extra = {
            "CLEARSYNC_URL": f"http://127.0.0.1:{self.port}",
            "CLEARSYNC_SERVER__DRAIN_S": "0",
            "DOCS_HOME": str(self.folder),
            "DOCS_PORT": str(self.port),
            "DOCS_PYTHON": sys.executable,
            "DOCS_ROOT": str(ROOT),
            "HOME": str(self.folder),
            "NODE_PATH": str(VENDOR),
            "PATH": f"{SHIMS}:{os.environ['PATH']}",
        }
        return {name: value for name, value in environment(extra).items() if not name.startswith("XDG_")}

    def _out(self) -> str:
        return (self.folder / "out").read_text(encoding="utf-8")

    def _err(self) -> str:
        return (self.folder / "err").read_text(encoding="utf-8")


@contextmanager
def reading(blocks: list[Block], folder: Path, running: Running, store_url: str) -> Iterator[Reader]:
    """A reader of a page: at the server that runs, or where the page starts one of its own, at a port of its own."""
    own = any("clearsync serve" in block.text for block in blocks if block.kind == "commands")
    port = free_port() if own else running.port
    admin = f"127.0.0.1:{free_port()}" if own else running.admin_url.removeprefix("http://")
    replaced = {
        "127.0.0.1:8080": f"127.0.0.1:{port}",
        "127.0.0.1:9180": admin,
        "redis://127.0.0.1:6379": store_url,
    }
    for spare in ("8099",):
        replaced[spare] = str(free_port())
    (folder / ".venv").mkdir()
    (folder / ".venv" / "bin").symlink_to(SHIMS)
    (folder / "clients").symlink_to(ROOT / "clients")
    (folder / ".data").symlink_to(running.data_dir)
    reader = Reader(folder, replaced, port, blocks)
    try:
        yield reader
    finally:
        reader.end()


def answered(printed: str) -> tuple[int, dict[str, str], str]:
    """Status, headers and body of the last answer in what `curl -i` printed."""
    head, _, body = printed[printed.rindex("HTTP/1.1 ") :].replace("\r", "").partition("\n\n")
    status, *headers = head.rstrip("\n").split("\n")
    pairs = (line.split(":", 1) for line in headers)
    return int(status.split()[1]), {name.lower(): value.strip() for name, value in pairs}, body.strip()


def alike(said: Any, got: Any) -> bool:
    """Whether two JSON values have the same form, and what an error says is the same."""
    if isinstance(said, dict) and isinstance(got, dict):
        same = all(said[name] == got.get(name) for name in said if name.startswith("Error"))
        return same and said.keys() == got.keys() and all(alike(said[name], got[name]) for name in said)
    if isinstance(said, list) and isinstance(got, list):
        return bool(said) <= bool(got) and (not (said and got) or alike(said[0], got[0]))
    return type(said) is type(got)


def pattern(line: str) -> re.Pattern[str]:
    """A printed line as a page shows it: any cursor for a cursor, any number for a long one, a fraction or a time
    that was measured, anything for ``…``. Short whole numbers are what they are: ids, counts, codes."""
    known = {"…": ".*"}
    parts = _VARIES.split(line.strip())
    return re.compile(
        "".join(
            re.escape(part) if at % 2 == 0 else known.get(part, _CURSOR if "-" in part else "[0-9.]+")
            for at, part in enumerate(parts)
        )
    )


def body_of(text: str) -> Any:
    """The JSON of a body, None where there is none."""
    return json.loads(text) if text.strip() else None
