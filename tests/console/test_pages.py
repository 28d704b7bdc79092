"""The console's files: who gets them, with which headers, and that they hold together."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from server import __version__
from server.console.pages import ABOUT, INDEX, MEDIA, STATIC, files
from tests.browser.guarded import BASE, guarded
from tests.running import Running

NOT_FOUND = {"Error": True, "ErrorType": "NotFound", "ErrorMessage": "no such path", "ErrorSource": "clearsync"}


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A server that asks who one is, with the console on, under a base path."""
    with guarded(tmp_path_factory.mktemp("guarded")) as running:
        yield running


def ask(running: Running, method: str, path: str, **headers: str) -> tuple[HTTPResponse, bytes]:
    """An answer, without following where it sends one."""
    connection = HTTPConnection(urlsplit(running.url).netloc.split("/")[0], timeout=10)
    try:
        connection.request(method, path, headers={name.replace("_", "-"): value for name, value in headers.items()})
        answer = connection.getresponse()
        return answer, answer.read()
    finally:
        connection.close()


def test_it_is_off_unless_it_is_enabled(tmp_path: Path) -> None:
    with guarded(tmp_path, console=False) as plain:
        for path in ("", "/", "/clearsync.js"):
            answer, body = ask(plain, "GET", f"{BASE}/console{path}")
            assert (answer.status, json.loads(body)) == (404, NOT_FOUND)
        assert "console" not in plain.printed


def test_it_is_served_under_the_base_path_to_anybody(running: Running) -> None:
    assert f"console on {running.url}/console/\n" in running.printed
    answer, body = ask(running, "GET", f"{BASE}/console/")
    assert (answer.status, answer.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert body == (STATIC / INDEX).read_bytes()
    for name, file in files(dev=False).items():
        answer, body = ask(running, "GET", f"{BASE}/console/{name}")
        assert (answer.status, answer.headers["content-type"], body) == (200, file.media, file.body), name
    answer, body = ask(running, "GET", f"{BASE}/console/{ABOUT}")
    assert json.loads(body) == {"version": __version__, "dev": False}
    assert ask(running, "GET", "/console/")[0].status == 404


def test_without_the_slash_it_leads_there(running: Running) -> None:
    answer, body = ask(running, "GET", f"{BASE}/console")
    assert (answer.status, answer.headers["location"], body) == (307, f"{BASE}/console/", b"")


def test_the_page_is_kept_to_itself(running: Running) -> None:
    for name in ("", "clearsync.js"):
        answer, _ = ask(running, "GET", f"{BASE}/console/{name}")
        policy = answer.headers["content-security-policy"].split("; ")
        assert {"default-src 'none'", "script-src 'self'", "style-src 'self'", "connect-src 'self'"} <= set(policy)
        assert {"base-uri 'none'", "form-action 'none'", "frame-ancestors 'none'"} <= set(policy)
        assert "unsafe" not in answer.headers["content-security-policy"]
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert answer.headers["cross-origin-opener-policy"] == "same-origin"


def test_what_a_browser_has_it_is_not_sent_again(running: Running) -> None:
    answer, body = ask(running, "GET", f"{BASE}/console/main.js")
    assert answer.headers["cache-control"] == "no-cache"
    etag = answer.headers["etag"]
    for known in (etag, f'"other", W/{etag}', "*"):
        answer, body = ask(running, "GET", f"{BASE}/console/main.js", if_none_match=known)
        assert (answer.status, answer.headers["etag"], body) == (304, etag, b""), known
        assert "content-security-policy" in answer.headers
    answer, body = ask(running, "GET", f"{BASE}/console/main.js", if_none_match='"other"')
    assert answer.status == 200


def test_head_is_the_same_without_the_file(running: Running) -> None:
    got, body = ask(running, "GET", f"{BASE}/console/main.js")
    answer, nothing = ask(running, "HEAD", f"{BASE}/console/main.js")
    assert (answer.status, nothing) == (200, b"")
    assert answer.headers["etag"] == got.headers["etag"]
    assert answer.headers["content-length"] == str(len(body))


@pytest.mark.parametrize("name", ["nothing.js", "../pages.py", "%2e%2e/pages.py", "static/main.js", "main.js/", "%0A"])
def test_nothing_else_exists(running: Running, name: str) -> None:
    answer, body = ask(running, "GET", f"{BASE}/console/{name}")
    assert (answer.status, json.loads(body)) == (404, NOT_FOUND)


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS"])
def test_it_is_only_for_reading(running: Running, method: str) -> None:
    answer, body = ask(running, method, f"{BASE}/console/")
    assert (answer.status, json.loads(body)["ErrorType"]) == (405, "MethodNotAllowed")


# the files


def test_all_files_are_served_and_none_leads_nowhere() -> None:
    there = {path.name for path in STATIC.iterdir()}
    assert there == set(files(dev=False)) - {ABOUT}
    assert {Path(name).suffix for name in there} <= set(MEDIA)
    assert (STATIC / "clearsync.js").resolve() == Path(__file__).parents[2] / "clients" / "js" / "clearsync.js"


def test_what_a_file_names_is_there() -> None:
    known = set(files(dev=False))
    for path in STATIC.glob("*.js"):
        text = path.read_text(encoding="utf-8")
        named = set(re.findall(r'^(?:import|export) .*? from "\./([^"]+)"', text, re.MULTILINE))
        assert named <= known, path.name
    named = set(re.findall(r'(?:href|src)="([^"#]+)"', (STATIC / INDEX).read_text(encoding="utf-8")))
    assert named >= {"main.js", "base.css", "icon.svg"}
    assert named <= known


def test_no_file_names_another_host() -> None:
    for name, file in files(dev=True).items():
        hosts = set(re.findall(rb"https?://([\w.-]+\.\w+)", file.body)) - {b"www.w3.org"}
        assert not hosts, name
