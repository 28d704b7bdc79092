"""`check-config` and the flags that it shares with `serve`."""

from __future__ import annotations

import argparse
import tomllib
from pathlib import Path

import pytest

from server.cli import check_config
from server.cli.options import settings_from
from server.errors import SettingsError


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No variable of the developer's own."""
    monkeypatch.delenv("CLEARSYNC_CONFIG", raising=False)
    monkeypatch.chdir(tmp_path)


def parsed(*flags: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    check_config.add(parser.add_subparsers())
    return parser.parse_args(["check-config", *flags])


def ran(*flags: str) -> int:
    args = parsed(*flags)
    code: int = args.run(args)
    return code


def test_ok_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert ran("--dev") == 0
    assert capsys.readouterr() == ("settings are ok: http://127.0.0.1:8080, 1 worker, store embedded\n", "")
    assert ran("--dev", "--host", "::1", "--workers", "2", "--store", "redis://:hunter2@h") == 0
    assert capsys.readouterr().out == "settings are ok: http://[::1]:8080, 2 workers, store redis://:***@h\n"


def test_dump_shows_every_flag(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    flags = (
        "--host",
        "localhost",
        "--port",
        "0",
        "--workers",
        "2",
        "--store",
        "redis://u:hunter2@h",
        "--data-dir",
        "d",
    )
    assert ran("--dump", "--dev", *flags) == 0
    out = capsys.readouterr().out
    assert "hunter2" not in out
    assert out.startswith("# --dev\n")
    dumped = tomllib.loads(out)
    assert dumped["server"] | {"host": "localhost", "port": 0, "workers": 2} == dumped["server"]
    assert dumped["store"] | {"url": "redis://u:***@h", "data_dir": "d"} == dumped["store"]


@pytest.mark.parametrize(
    ("flags", "line"),
    [
        ((), "no authentication is configured"),
        (("--dev", "--port", "x"), r"server.port is x \(flag --port\), it must be a whole number from 0 to 65535"),
        (("--dev", "--workers", "0"), r"server.workers is 0 \(flag --workers\), it must be from 1 to 64"),
        (("--dev", "--host", "0.0.0.0"), "--dev lets anyone in"),
        (("--dev", "--store", "mysql://h"), r"store.url is mysql://h \(flag --store\)"),
        (("--dev", "--store", "memory", "--workers", "2"), "store.url is memory"),
        (("--dev", "--config", "none.toml"), "config file none.toml can't be read"),
    ],
)
def test_a_problem_is_raised_for_main_to_print(flags: tuple[str, ...], line: str) -> None:
    with pytest.raises(SettingsError, match=f"^{line}") as caught:
        ran(*flags)
    assert caught.value.exit_code == 2


def test_an_unknown_variable_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLEARSYNC_SERVER__PROT", "1")
    with pytest.raises(SettingsError, match="CLEARSYNC_SERVER__PROT"):
        ran("--dev")


def test_the_file_of_the_environment_and_the_flag_over_it(tmp_path: Path) -> None:
    first, second = tmp_path / "1.toml", tmp_path / "2.toml"
    first.write_text("[server]\nport = 1")
    second.write_text("[server]\nport = 2")
    environ = {"CLEARSYNC_CONFIG": str(first)}
    assert settings_from(parsed("--dev"), environ).server.port == 1
    assert settings_from(parsed("--dev", "--config", str(second)), environ).server.port == 2
    assert settings_from(parsed("--dev"), {"CLEARSYNC_CONFIG": ""}).server.port == 8080


def test_the_users_file_is_read(tmp_path: Path) -> None:
    users = tmp_path / "users.toml"
    users.write_text("[users.ada]\ntenant = 'a'")
    environ = {"CLEARSYNC_AUTH__USERS_FILE": str(users)}
    with pytest.raises(SettingsError, match=r"\[users.ada\] hash is missing"):
        settings_from(parsed(), environ)
    assert settings_from(parsed("--dev"), environ).dev


def test_who_writes_a_password_into_the_users_file_is_told_what_goes_there(tmp_path: Path) -> None:
    users = tmp_path / "users.toml"
    users.write_text("[users.ada]\npassword = 'hunter2'\ntenant = 'a'")
    with pytest.raises(SettingsError) as caught:
        settings_from(parsed(), {"CLEARSYNC_AUTH__USERS_FILE": str(users)})
    assert str(caught.value) == (
        f"users file {users}: [users.ada] unknown key password: it is hash, and its value is from "
        "`clearsync hash-password`"
    )


def test_weakening_is_a_flag(tmp_path: Path) -> None:
    assert settings_from(parsed("--dev", "--insecure-http"), {}).insecure_http
    assert not settings_from(parsed("--dev"), {}).insecure_http
