"""How a command finds the store, and what it says where there is none."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from server.auth.vault import name_of
from server.broker.whereabouts import Whereabouts
from server.cli import main
from tests.running import RealStore, client

Words = Callable[..., int]


@pytest.fixture
def listed(monkeypatch: pytest.MonkeyPatch) -> Words:
    monkeypatch.delenv("CLEARSYNC_CONFIG", raising=False)
    return lambda *words: main(["token", "list", *words])


def test_a_store_that_was_killed_is_an_error_of_one_line(
    real_store: RealStore, tmp_path: Path, listed: Words, capsys: pytest.CaptureFixture[str]
) -> None:
    where = ("--data-dir", str(tmp_path))
    Whereabouts(real_store.url.removeprefix("unix://"), real_store.pid).write(tmp_path)
    assert listed(*where) == 0
    capsys.readouterr()
    real_store.kill()
    assert listed(*where) == 4
    err = capsys.readouterr().err
    assert f"the embedded store of {tmp_path} can't be used, does clearsync serve run: " in err
    assert err.count("\n") == 1


def test_where_no_service_runs_it_says_with_what_to_run_it(
    tmp_path: Path, listed: Words, capsys: pytest.CaptureFixture[str]
) -> None:
    assert listed("--data-dir", str(tmp_path)) == 4
    assert capsys.readouterr().err == (
        f"clearsync: no service runs on {tmp_path}: run this with the same --store, --data-dir or --config as "
        "clearsync serve, while that runs\n"
    )


def test_a_folder_that_others_may_enter_is_not_trusted(
    real_store: RealStore, tmp_path: Path, listed: Words, capsys: pytest.CaptureFixture[str]
) -> None:
    socket = Path(real_store.url.removeprefix("unix://"))
    Whereabouts(str(socket)).write(tmp_path)
    socket.parent.chmod(0o755)
    assert listed("--data-dir", str(tmp_path)) == 4
    assert "is not this user's" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("url", "status", "said"),
    [
        ("memory", 2, "which only the process that serves can see"),
        ("redis://user:hidden@127.0.0.1:1/0", 4, "the store at redis://user:***@127.0.0.1:1/0 can't be used: "),
        ("unix:///nowhere", 4, "the store at unix:///nowhere can't be used: "),
        ("http://x", 2, "store.url"),
        ("rediss://127.0.0.1:1?ssl_ca_certs=/nowhere", 4, "store.url can't be used: "),
    ],
)
def test_a_store_that_cant_be_used(
    url: str, status: int, said: str, listed: Words, capsys: pytest.CaptureFixture[str]
) -> None:
    assert listed("--store", url) == status
    out, err = capsys.readouterr()
    assert said in err
    assert (out, err.count("\n")) == ("", 1)
    assert "hidden" not in err


def test_the_store_may_come_from_a_file(
    store_url: str, tmp_path: Path, listed: Words, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "clearsync.toml"
    config.write_text(f'[store]\nurl = "{store_url}"\nprefix = "other"\n[auth]\ntickets = true\n')
    assert main(["token", "issue", "--agent", "acme/ada", "--ttl", "1d", "--config", str(config)]) == 0
    out, err = capsys.readouterr()
    assert not err
    with client(store_url) as raw:
        assert raw.keys() == [f"other:{name_of('ticket', out.strip())}".encode()]
