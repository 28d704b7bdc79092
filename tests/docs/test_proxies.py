"""The rules for nginx in the pages, in a real nginx before a real server."""

from __future__ import annotations

import base64
import json
import os
import re
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Final

import pytest
from websockets.sync.client import connect

from server.wire import HANDLED_PATH, SYNC_PATH
from tests.docs.blocks import DOCS, blocks
from tests.nginx import find_nginx, nginx, replaced
from tests.running import Running, wait_until

ADA: Final = {"Authorization": "Basic " + base64.b64encode(b"ada:dev").decode()}


@pytest.fixture(scope="module")
def path() -> str:
    """Where nginx is; without it these are skipped, in CI they fail."""
    found = find_nginx()
    if found is None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)("nginx is not installed")
    assert found is not None
    return found


class Crm(ThreadingHTTPServer):
    """Answers everything with 200 and keeps what it was asked."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Asked)
        self.asked: list[tuple[str, str, bytes]] = []


class Asked(BaseHTTPRequestHandler):
    """One request of the CRM."""

    server: Crm

    def do_GET(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.server.asked.append((self.command, self.path, body))
        self.send_response(200)
        self.send_header("Content-Length", "3")
        self.end_headers()
        self.wfile.write(b"crm")

    do_POST = do_GET

    def log_message(self, format: str, *args: object) -> None:
        pass


@contextmanager
def crm() -> Iterator[Crm]:
    """One that answers, until the context ends."""
    with Crm() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def ask(url: str, body: object = None) -> tuple[int, bytes]:
    """Status and body of what Ada is answered."""
    request = urllib.request.Request(url, None if body is None else json.dumps(body).encode())
    for name, value in (ADA | {"Content-Type": "application/json"}).items():
        request.add_header(name, value)
    try:
        with urllib.request.urlopen(request, timeout=10) as response:
            return response.status, response.read()
    except urllib.error.HTTPError as refused:
        with refused:
            return refused.code, refused.read()


def whole(http: str) -> Callable[[str], str]:
    """A configuration with `http` in it, in place of our sample, listening where that would have."""

    def instead(sample: str) -> str:
        [listen] = re.findall(r"listen 127\.0\.0\.1:\d+;", sample)
        own = "\n".join(re.findall(r"\w+_temp_path [^;]+;", sample))
        return f"events {{}}\nhttp {{\naccess_log off;\n{own}\n{replaced(r'listen [^;]+;', listen, http)}\n}}\n"

    return instead


def rules_of(page: str, title: str = "") -> str:
    """The block for nginx of a page."""
    [rules] = [block.text for block in blocks(DOCS / page) if block.language == "nginx" and block.title == title]
    return rules


def test_just_the_calls_that_are_meant_for_it_come_to_clearsync(path: str, running: Running, tmp_path: Path) -> None:
    with crm() as there:
        http = f"""
            map $http_upgrade $clearsync_connection {{ default upgrade; "" ""; }}
            upstream clearsync {{ server 127.0.0.1:{running.port}; }}
            upstream crm {{ server 127.0.0.1:{there.server_port}; }}
            server {{
                listen 80;
                {rules_of("superoffice.md", "superoffice.conf")}
                location / {{ proxy_pass http://crm; }}
                location = /ready {{ proxy_pass http://clearsync; proxy_set_header Host $http_host; }}
            }}"""
        with nginx(path, [running.port], tmp_path / "nginx", whole(http)) as url:
            batch = {"NotificationEvents": [{"Type": "NewTicket", "Id": 12}]}
            assert ask(f"{url}/dev{HANDLED_PATH}", batch)[0] == 204
            status, answer = ask(f"{url}{SYNC_PATH}?device=phone&cursor=0")
            assert (status, json.loads(answer)["events"][-1]["Id"]) == (200, 12)
            assert ask(f"{url}/contoso{HANDLED_PATH}", batch)[0] == 403
            assert ask(f"{url}/api/v1/MDOList/category") == (200, b"crm")

            copy = ("POST", f"/dev{HANDLED_PATH}", json.dumps(batch).encode())
            wait_until(lambda: copy in there.asked, what="the CRM has its copy")
            assert ("GET", "/api/v1/MDOList/category", b"") in there.asked
            assert not [asked for asked in there.asked if "sync" in asked[1]]


def test_devices_come_through_the_rules_of_the_installation(path: str, running: Running, tmp_path: Path) -> None:
    """But for TLS: the certificate is the reader's."""
    rules = rules_of("install.md")
    for name in ("ssl_certificate ", "ssl_certificate_key "):
        rules = replaced(rf"(?m)^ *{name}.*\n", "", rules)
    rules = replaced("127.0.0.1:8080", f"127.0.0.1:{running.port}", rules)
    with nginx(path, [running.port], tmp_path / "nginx", whole(rules)) as url:
        assert ask(f"{url}{SYNC_PATH}?device=phone")[0] == 200
        address = f"{url.replace('http', 'ws', 1)}{SYNC_PATH}?device=phone"
        with connect(address, additional_headers=ADA, proxy=None) as phone:
            assert json.loads(phone.recv(timeout=10))["type"] == "welcome"
