"""Logs: one renderer for us and the libraries, and no credential in a line of theirs or ours."""

from __future__ import annotations

import io
import json
import logging
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from server import logs


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    """Logging is the process's own: what a test configures is taken back."""
    names = (None, "uvicorn", "uvicorn.error", "uvicorn.access", "uvicorn.asgi", "websockets")
    loggers = [logging.getLogger(name) for name in names]
    kept = [(logger, logger.level, logger.propagate, list(logger.handlers)) for logger in loggers]
    yield
    for logger, level, propagate, handlers in kept:
        logger.setLevel(level)
        logger.propagate = propagate
        logger.handlers[:] = handlers
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().err.splitlines()]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_json_line_has_what_and_who_and_when(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("info", "json")
    structlog.contextvars.bind_contextvars(worker=3)
    logs.get("clearsync.gateway").info("connected", device="phone", agent="acme/ada")
    logs.get("clearsync.gateway").debug("frame")
    (line,) = lines(capsys)
    assert line.pop("timestamp").endswith("Z")
    assert line == {
        "event": "connected",
        "logger": "clearsync.gateway",
        "level": "info",
        "device": "phone",
        "agent": "acme/ada",
        "worker": 3,
    }


def test_libraries_go_the_same_way(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("info", "json")
    logging.getLogger("uvicorn.error").info("Started server process [%d]", 7)  # the worker tells of itself
    logging.getLogger("uvicorn.error").warning("Invalid HTTP request received.")  # a line a connection, for anybody
    logging.getLogger("uvicorn.error").error("Exceeded concurrency limit of %d.", 7)
    logging.getLogger("asyncio").warning("slow: %s", "GET http://h/x?ticket=hunter2")
    logging.getLogger("websockets.server").info("connection closed")
    logging.getLogger("uvicorn.access").info("GET /")
    first, second = lines(capsys)
    assert (first["event"], first["logger"]) == ("Exceeded concurrency limit of 7.", "uvicorn.error")
    assert first["level"] == "error"
    assert second["event"] == "slow: GET http://h/x?…masked"


def test_uvicorn_finds_no_handler_for_its_access_log() -> None:
    logs.configure("debug", "json")
    assert not logging.getLogger("uvicorn.access").hasHandlers()


def test_websockets_never_speaks_at_debug(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("debug", "json")
    logging.getLogger("websockets.server").debug("< Authorization: Basic aHVudGVyMg==")
    assert lines(capsys) == []
    logs.configure("error", "json")
    logging.getLogger("websockets.server").warning("x")
    assert lines(capsys) == []


def test_configuring_again_replaces(capsys: pytest.CaptureFixture[str]) -> None:
    before = len(logging.getLogger().handlers)
    logs.configure("info", "json")
    logs.configure("warning", "json")
    assert len(logging.getLogger().handlers) == before + 1
    logging.getLogger("x").info("no")
    logging.getLogger("x").warning("once")
    assert [line["event"] for line in lines(capsys)] == ["once"]


@pytest.mark.parametrize("form", ["json", "text"])
def test_no_credential_reaches_a_line(capsys: pytest.CaptureFixture[str], form: str) -> None:
    logs.configure("debug", form)
    log = logs.get("clearsync.x")
    log.info(
        "asked",
        authorization="Basic hunter2",
        Password="hunter2",
        ticket=b"hunter2",
        cookie="s=hunter2",
        path="/api/v1/sync?device=a&ticket=hunter2",
        url=b"/x?hunter2",
        raw=[(b"authorization", b"Basic hunter2"), (b"host", b"crm")],
        headers={"Cookie": "hunter2", "nested": {"password": "hunter2"}},
    )
    log.warning("can't reach redis://u:hunter2@store/0?password=hunter2")
    log.warning("headers: {'Authorization': 'Bearer hunter2'}")
    log.warning("GET /x password=hunter2&ticket=hunter2", store="rediss://:hunter2@h")
    log.warning(
        "REDISS://u:hunter2@h, sent Bearer hunter2 and SOTicket 7T:hunter2==", app_token="hunter2", secret="hunter2"
    )
    log.warning("so-apptoken: hunter2")
    log.warning("X-XSRF-TOKEN = hunter2")
    logging.getLogger("asyncio").error("'cookie', 'hunter2'")
    try:
        raise ValueError("redis://:hunter2@h refused ticket=hunter2")
    except ValueError:
        log.exception("failed")
        logging.getLogger("asyncio").exception("failed as well")
    written = capsys.readouterr().err
    assert "hunter2" not in written
    for kept in (
        "/api/v1/sync?…masked",
        "/x?…masked",
        "crm",
        "redis://***@store/0",
        "ValueError: redis://***@h refused",
    ):
        assert kept in written


def test_what_is_no_credential_stays(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("info", "json")
    logs.get("x").info("NewTicket:12 by Basic authentication", path="/ready", url="http://h:1/x", count=2, none=None)
    (line,) = lines(capsys)
    assert line["event"] == "NewTicket:12 by Basic authentication"
    assert (line["path"], line["url"], line["count"], line["none"]) == ("/ready", "http://h:1/x", 2, None)


@pytest.mark.parametrize(
    "text", ["://" * 20_000, "authorization " * 5_000, "basic " * 10_000, "a://" * 20_000, "ticket" * 10_000]
)
def test_masking_takes_no_longer_for_being_teased(text: str) -> None:
    began = time.process_time()
    logs.mask(None, "", {"event": text})
    assert time.process_time() - began < 1.5, "it took 0.2 s at most; quadratic it was 4 s and more"


def test_a_caller_can_forge_no_line(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("info", "text")
    logs.get("x").info("a\nb", device="\x1b[31mred\r\n2026 forged")
    try:
        raise ValueError("\x1b[31mred")
    except ValueError:
        logs.get("x").exception("failed")
    written = capsys.readouterr().err
    assert "\x1b" not in written
    assert written.splitlines()[0].count("\\n") == 2
    assert "forged" in written.splitlines()[0]
    assert written.splitlines()[-1] == "ValueError: \\x1b[31mred"


@pytest.mark.parametrize(("no_color", "coloured"), [("", True), ("1", False)])
def test_auto_is_text_in_a_terminal(monkeypatch: pytest.MonkeyPatch, no_color: str, coloured: bool) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("NO_COLOR", no_color)
    logs.configure("info", "auto")
    logs.get("x").info("hello")
    assert "hello" in terminal.getvalue()
    assert ("\x1b[" in terminal.getvalue()) is coloured


def test_auto_is_json_elsewhere(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("info", "auto")
    logs.get("x").info("hello")
    assert lines(capsys)[0]["event"] == "hello"
