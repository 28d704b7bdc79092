"""What `make check` says of secrets and vulnerabilities: a finding fails, and silence is not called clean."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import threading
import tomllib
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent


def script(name: str) -> ModuleType:
    """A script of .ci, which is no package."""
    spec = importlib.util.spec_from_file_location(f"ci_{name}", ROOT / ".ci" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


audit = script("audit")
no_secrets = script("no_secrets")

# pip-audit, against a service of our own


@pytest.fixture
def lock(tmp_path: Path) -> Path:
    path = tmp_path / "requirements.lock"
    path.write_text("".join(f"{name}==1.0 --hash=sha256:{'0' * 64}\n" for name in ("good", "bad")))
    return path


@pytest.fixture
def vulnerable() -> set[str]:
    """The packages of which the audit service knows a vulnerability."""
    return set()


@pytest.fixture
def service(vulnerable: set[str]) -> Iterator[str]:
    """An audit service (OSV's protocol) on this machine."""

    class Service(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            name = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["package"]["name"]
            affected = [{"package": {"name": name, "ecosystem": "PyPI"}, "ranges": []}]
            vulns = [{"id": f"X-{name}", "affected": affected, "published": "2026-01-01T00:00:00Z"}]
            body = json.dumps({"vulns": vulns} if name in vulnerable else {}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *arguments: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Service) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
        thread.join()


def said(capsys: pytest.CaptureFixture[str], status: int) -> tuple[int, str]:
    return status, capsys.readouterr().out


def test_an_audit_without_findings_is_clean(lock: Path, service: str, capsys: pytest.CaptureFixture[str]) -> None:
    status, text = said(capsys, audit.main(lock, "-s", "osv", "--osv-url", service))
    assert (status, text) == (0, "pip-audit: clean, 2 packages of requirements.lock\n")


def test_a_vulnerability_fails(
    lock: Path, service: str, vulnerable: set[str], capsys: pytest.CaptureFixture[str]
) -> None:
    vulnerable.add("bad")
    status, text = said(capsys, audit.main(lock, "-s", "osv", "--osv-url", service))
    assert (status, text) == (1, "pip-audit: bad 1.0: X-bad, fixed in no version\n")


def test_a_service_that_is_not_there_is_not_called_clean(lock: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, text = said(capsys, audit.main(lock, "-s", "osv", "--osv-url", "http://127.0.0.1:1/"))
    assert status == 0
    assert text.startswith("pip-audit: not run (")
    assert "Connection refused" in text


FOUND = {"name": "a", "version": "1", "vulns": [{"id": "X-1", "fix_versions": ["2"]}]}
FINE = {"name": "b", "version": "1", "vulns": []}
SKIPPED = {"name": "c", "skip_reason": "not there"}


@pytest.mark.parametrize(
    ("strict", "lenient", "status", "text"),
    [
        ([FINE], None, 0, "clean, 1 packages of x.lock"),
        ([FINE, FOUND], None, 1, "a 1: X-1, fixed in 2"),
        ("broke off", [SKIPPED, SKIPPED], 0, "not run (the audit service knows none of the 2 packages)"),
        ("broke off", [FINE, SKIPPED], 1, "the audit service does not know c"),
        ("broke off", [FOUND, SKIPPED], 1, "a 1: X-1, fixed in 2"),
        ("broke off", "no network", 0, "not run (no network)"),
        ("broke off", "", 0, "not run (it ended with 1 and no word)"),
        (None, None, 0, "not run (the audit service gave no answer in 25 s)"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_what_is_made_of_its_words(
    strict: Any,
    lenient: Any,
    status: int,
    text: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def run(lock: Path, *options: str) -> Any:
        told = strict if "--strict" in options else lenient
        if isinstance(told, list):
            return audit.Run(int(FOUND in told), json.dumps({"dependencies": told}), "")
        return audit.Run(None if told is None else 1, "", f"INFO\n{told}" if told else "")

    monkeypatch.setattr(audit, "run", run)
    assert audit.main(Path("x.lock")) == status
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"pip-audit: {text}"
    assert ("clean" in "".join(lines)) == (strict == [FINE])


# detect-secrets


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    root = tmp_path / "checkout"
    root.mkdir()
    subprocess.run(["git", "init", "--quiet", str(root)], check=True)
    (root / ".gitignore").write_text("/ignored.py\n")
    (root / no_secrets.KNOWN).write_text("known = []\n")
    return root


def secret(value: str) -> str:
    """A line that gives a secret away, made here so that this file has none."""
    return f'{"pass" + "word"} = "{value}"\n'


def test_a_new_secret_fails_and_a_known_one_does_not(checkout: Path, capsys: pytest.CaptureFixture[str]) -> None:
    known = checkout / no_secrets.KNOWN
    (checkout / "a.py").write_text("x = 1\n" + secret("tr0ub4dor"))
    (checkout / "ignored.py").write_text(secret("of-somebody"))
    status, text = said(capsys, no_secrets.main(checkout, known))
    assert status == 1
    assert text.startswith("detect-secrets: a.py:2: Secret Keyword")
    assert "ignored" not in text

    known.write_text(text.partition("\n")[2])
    assert said(capsys, no_secrets.main(checkout, known))[0] == 0

    (checkout / "a.py").write_text(secret("tr0ub4dor") + secret("correcth0rse"))
    status, text = said(capsys, no_secrets.main(checkout, known))
    assert status == 1, "another one in the same file"
    assert text.count("a.py") == 2, "the new one, and the entry for it"

    (checkout / "a.py").write_text("x = 1\n")
    status, text = said(capsys, no_secrets.main(checkout, known))
    assert status == 1
    assert text.startswith("detect-secrets: a.py has no such value any more")


def test_without_a_checkout_it_is_not_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert said(capsys, no_secrets.main(tmp_path, tmp_path / "none"))[1].startswith("detect-secrets: not run (")


def test_what_is_known_to_be_no_secret_says_why() -> None:
    for entry in tomllib.loads((ROOT / ".ci" / no_secrets.KNOWN).read_text(encoding="utf-8"))["known"]:
        assert len(entry["why"]) > 10, entry["file"]


def test_chance_that_can_be_guessed_makes_pauses_and_loads_and_nothing_else() -> None:
    """bandit's rule about `random` is off for all of server/, for the jitter in these. The generator of loads picks by
    it also for which agent it posts next, which nobody gains from knowing; its ids are made by `secrets`."""
    using = {
        path.relative_to(ROOT / "server").as_posix()
        for path in (ROOT / "server").rglob("*.py")
        if "import random" in path.read_text(encoding="utf-8")
    }
    assert using == {
        "auth/breaker.py",
        "auth/revocation.py",
        "broker/probe.py",
        "broker/upkeep.py",
        "client/client.py",
        "gateway/eventstream.py",
        "gateway/hub.py",
        "loadtest/run.py",
    }
