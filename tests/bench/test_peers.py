"""The candidates: what they run on is there, and ours serves as it says. The others are run by `make bench`."""

from __future__ import annotations

import base64
import json
import os
import re
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from bench.candidate import Candidate, Target
from bench.peers.all import CANDIDATES
from bench.peers.clearsync import Clearsync
from bench.peers.installed import PEERS
from bench.site import Site

LOCK = PEERS.parent / "requirements.lock"
NPM_LOCKS = sorted(path for path in PEERS.glob("*/package-lock.json"))


def said(candidate: Candidate) -> str:
    return sys.modules[type(candidate).__module__].__doc__ or ""


@pytest.mark.parametrize("candidate", CANDIDATES, ids=lambda each: each.slug)
def test_what_a_candidate_runs_on_is_there(candidate: Candidate) -> None:
    named = [name for name in re.findall(r"`([^`\s]+/[^`\s]*)`", said(candidate)) if name.startswith(candidate.slug)]
    assert [name for name in named if name.startswith(f"{candidate.slug}/")]
    for name in named:
        assert (PEERS / name).exists(), name
    assert candidate.name
    assert candidate.records


def test_candidates_have_names_of_their_own() -> None:
    assert CANDIDATES[0].slug == "clearsync"
    assert len({each.slug for each in CANDIDATES}) == len({each.name for each in CANDIDATES}) == len(CANDIDATES)


@pytest.mark.parametrize("lock", NPM_LOCKS, ids=lambda lock: lock.parent.name)
def test_an_npm_lock_has_hashes_and_no_place(lock: Path) -> None:
    for name, package in json.loads(lock.read_text())["packages"].items():
        assert "resolved" not in package, name
        assert not name or package["integrity"].startswith("sha512-"), name


def test_the_lock_of_the_peers_has_hashes_and_no_place() -> None:
    text = re.sub(r"(?m)^\s*#.*\n", "", LOCK.read_text()).replace("\\\n", " ")
    assert text
    for requirement in text.splitlines():
        assert re.fullmatch(r"[a-z0-9-]+==\S+( ; [^-]+?)?(\s+--hash=sha256:[0-9a-f]{64})+\s*", requirement)


def test_what_both_environments_have_is_the_same_version() -> None:
    """Or a newer uvicorn could be what makes the difference."""
    pinned = re.compile(r"(?m)^([a-z0-9-]+)==(\S+)")
    ours = dict(pinned.findall((PEERS.parents[1] / "requirements.lock").read_text()))
    theirs = dict(pinned.findall(LOCK.read_text()))
    assert {name: theirs[name] for name in ours.keys() & theirs.keys()} == {
        name: ours[name] for name in ours.keys() & theirs.keys()
    }
    assert ours.keys() & theirs.keys() >= {"hiredis", "httptools", "redis", "starlette", "uvicorn", "uvloop"}


def post(target: Target, user: str, password: str) -> int:
    credentials = base64.b64encode(f"{user}:{password}".encode()).decode()
    request = urllib.request.Request(
        f"http://127.0.0.1:{target.http_port}{target.http_path}",
        target.body.replace("%t", "7").encode(),
        {"Content-Type": "application/json", "Authorization": f"Basic {credentials}"},
    )
    try:
        with urllib.request.urlopen(request, timeout=5) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as refused:
        refused.close()
        return refused.code


def test_ours_knows_its_users_and_no_others() -> None:
    with Site() as site, Clearsync(agents=3).running(site) as target:
        assert [post(target, user, "x") for user in ("a0", "a2", "a3")] == [204, 204, 401]
        assert post(target, "a0", "y") == 401
        supervisor, worker = target.pids()
        assert os.sched_getaffinity(worker) == os.sched_getaffinity(supervisor) == {site.server_core}
        assert target.store_pid
        assert os.sched_getaffinity(target.store_pid) == {site.load_core}
        assert site.folder.exists()


def test_ours_runs_workers_where_it_is_told_to() -> None:
    with Site() as site:
        ours = Clearsync(agents=1, workers=2, cores=(site.server_core, site.load_core))
        with ours.running(site) as target:
            _, first, second = target.pids()
            assert os.sched_getaffinity(first) == {site.server_core}
            assert {os.sched_getaffinity(thread).pop() for thread in threads(second)} == {site.load_core}
        assert target.pids() == []


def threads(pid: int) -> list[int]:
    return [int(entry.name) for entry in Path(f"/proc/{pid}/task").iterdir()]


def test_more_settings_go_over_the_file() -> None:
    limit = {"CLEARSYNC_LIMITS__REQUESTS_PER_AGENT_S": "1", "CLEARSYNC_LIMITS__REQUESTS_PER_AGENT_BURST": "1"}
    with Site() as site, Clearsync(agents=1, settings=limit).running(site) as target:
        assert [post(target, "a0", "x") for _ in range(2)] == [204, 429]
