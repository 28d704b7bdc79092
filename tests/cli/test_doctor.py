"""`clearsync doctor`, as it is typed, against the real server."""

from __future__ import annotations

import argparse
import io
import json
from collections.abc import Iterator

import pytest

from server.auth.basic import hash_password
from server.cli import doctor, main
from server.cli.doctor import Report
from server.doctor import CHECKS, Finding, Status
from tests.running import Running, serving

USERS = {"ada": "correct horse"}
QUICK = ("--quick", "--user", "ada", "--password", USERS["ada"])


pytestmark = pytest.mark.usefixtures("nobody_signed_in")


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("serve")
    users = folder / "users.toml"
    users.write_text(f'[users.ada]\nhash = "{hash_password(USERS["ada"])}"\ntenant = "acme"\n')
    with serving(folder=folder, env={"CLEARSYNC_AUTH__USERS_FILE": str(users)}) as running:
        yield running


def test_all_is_well(running: Running, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--url", running.url, *QUICK]) == 0
    out, err = capsys.readouterr()
    rows = out.splitlines()
    assert [line[:14].rstrip() for line in rows if line[:1].strip()][:-1] == [check.name for check in CHECKS]
    assert rows[-2:] == ["", "14 ok, 2 skipped"]
    checking, warned = err.splitlines()
    assert checking == f"clearsync: checking {running.url} as ada"
    assert warned.startswith("clearsync: Unknown -")
    assert warned.endswith("will be marked as handled, which harms nobody; --read-only leaves it out")
    assert USERS["ada"] not in out + err


def test_machines_get_one_line(running: Running, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--url", f"{running.url}/", *QUICK, "--read-only", "--json"]) == 0
    out, err = capsys.readouterr()
    assert err == f"clearsync: checking {running.url} as ada\n"
    told = json.loads(out)
    assert (told["url"], told["ok"]) == (running.url, True)
    found = {finding["check"]: finding for finding in told["findings"]}
    assert list(found) == [check.name for check in CHECKS]
    assert found["websocket"]["status"] == "ok"
    assert found["websocket"]["figures"]["ping_s"] == 25
    assert found["round trip"]["status"] == "skipped"


def test_a_failure_is_exit_code_1_and_no_credential_is_shown(
    running: Running, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLEARSYNC_PASSWORD", "not the one")
    assert main(["doctor", "--url", running.url, "--user", "ada", "--quick"]) == 1
    out, err = capsys.readouterr()
    assert "credentials   fail     401" in out
    assert "not the one" not in out + err
    monkeypatch.delenv("CLEARSYNC_PASSWORD")
    assert main(["doctor", "--url", running.url, "--user", "ada", "--quick"]) == 1
    assert "'dev' was tried: give CLEARSYNC_PASSWORD" in " ".join(capsys.readouterr().out.split())


def test_nobody_sees_what_can_be_seen_without(running: Running, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--url", running.url]) == 0
    out, err = capsys.readouterr()
    assert "credentials   skipped  no credentials were given" in out
    assert err == f"clearsync: checking {running.url} as nobody\n"


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (("--url", "ftp://x"), "url is 'ftp://x'"),
        (("--idle", "0"), "idle is 0, it must be more than 0"),
        (("--idle", "nan"), "idle is nan"),
        (("--timeout", "1e9"), "timeout is 1e+09, it must be"),
        (("--user", "ada", "--ticket", "cs1.x"), "and not both"),
        (("--user", "a:b", "--password", "x"), "user must be a name without ':'"),
        (("--ticket", "cs1.x", "--app-token", " "), "app_token must be printable"),
        (("--password", "x"), "user is missing"),
    ],
)
def test_what_is_not_understood_is_exit_code_2(
    words: tuple[str, ...], problem: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "examine", None)
    assert main(["doctor", *words]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert problem in err


def test_credentials_do_not_leave_this_machine_in_the_clear(monkeypatch: pytest.MonkeyPatch) -> None:
    parser = argparse.ArgumentParser()
    doctor.add(parser.add_subparsers())
    monkeypatch.setattr("getpass.getpass", None)
    words = ["doctor", "--url", "http://sync.example.com", "--user", "ada"]
    where, login = doctor._login(parser.parse_args(words))
    assert (where, login.headers) == ("http://sync.example.com", {})
    assert "--insecure-http" in login.missing
    _, login = doctor._login(parser.parse_args([*words, "--password", "x", "--insecure-http"]))
    assert login.headers
    assert "headers" not in repr(login)


class Terminal(io.StringIO):
    """One, as far as Python can tell."""

    def isatty(self) -> bool:
        return True


def test_a_terminal_shows_what_is_under_way_below_the_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    terminal = Terminal()
    report = Report(terminal, terminal)
    report.progress("tls\x1b[2J")
    report.tell(Finding(Status.OK, "good", check="tls"))
    assert terminal.getvalue() == "\r\x1b[Ktls?[2J\r\x1b[Ktls           \x1b[32mok       \x1b[0mgood\n"


def test_help_says_that_something_is_recorded(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["doctor", "--help"])
    assert end.value.code == 0
    told = " ".join(capsys.readouterr().out.split())
    assert "really marks an event as handled" in told
    assert "type Unknown with a random negative id" in told
