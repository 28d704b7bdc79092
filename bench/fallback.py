"""The load generator in Python, `server.loadtest`, where there is no compiler: slower, and for clearsync alone."""

from __future__ import annotations

import asyncio
import base64
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from bench.candidate import Target
from bench.compiled import CONNECT_S, SLACK_S
from bench.generator import At, GeneratorError
from bench.load import Load, Outcome
from server.errors import ClearsyncError
from server.loadtest import Figures, Login, run_load
from server.loadtest import Load as Asked

CLEARSYNC: Final = "/NotificationsHandled"


class Fallback:
    """It has no warm-up, and no phases that one could look at: what servers took is not known."""

    name = f"server.loadtest (Python {platform.python_version()}), which is slower than the server: a C compiler helps"

    def lacks(self, target: Target, load: Load) -> str:
        needs = {
            "servers other than clearsync": not target.http_path.endswith(CLEARSYNC),
            "devices that come back with a cursor": load.catchup or load.cursor,
            "connections that are only held": load.hold_s or not load.seconds,
            "heads that never repeat": load.unique_heads,
            "a bound on posts under way": load.outstanding,
        }
        missing = [what for what, needed in needs.items() if needed]
        return f"{', '.join(missing)}: for that the load needs a C compiler" if missing else ""

    def run(self, target: Target, load: Load, core: int, at: At) -> Outcome:
        logins = tuple(_login(target.http_head, load.first_agent + number) for number in range(load.agents))
        url = f"http://127.0.0.1:{target.ws_port}"
        try:
            asked = Asked(url, logins, load.devices, load.publishers, load.rate, load.seconds, load.batch, load.drain_s)
            with _bound_to(core):
                figures = asyncio.run(asyncio.wait_for(run_load(asked), CONNECT_S + load.seconds + SLACK_S))
        except (ClearsyncError, TimeoutError) as problem:
            raise GeneratorError(f"the generator in Python: {problem}") from problem
        if figures.ended:
            raise GeneratorError(f"the generator in Python: {figures.ended}")
        return _outcome(figures, load)


@contextmanager
def _bound_to(core: int) -> Iterator[None]:
    """This process itself, on `core` meanwhile."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def _login(head: str, agent: int) -> Login:
    """What the templates of `head` make of an agent."""
    credentials = base64.b64encode(f"a{agent}:x".encode()).decode()
    lines = head.replace("%a", str(agent)).replace("%B", credentials).split("\r\n")
    fields = (line.partition(":") for line in lines if line)
    return Login(f"a{agent}", {name: value.strip() for name, _, value in fields})


def _outcome(figures: Figures, load: Load) -> Outcome:
    clear, post, answered = figures.clear_ms, figures.post_ms, bool(figures.posts)
    bad, lost = sum(count for status, count in figures.bad.items() if status), figures.bad.get(0, 0)
    return Outcome(
        elapsed_s=figures.seconds,
        cpu=figures.cpu,
        posts_per_s=figures.posts_per_s,
        frames_per_s=figures.clears_per_s * load.batch,
        wanted=load.agents * load.devices,
        opened=figures.opened,
        failed=figures.refused,
        closed=figures.reconnects,
        connect_s=figures.opened / figures.connects_per_s if figures.connects_per_s else 0.0,
        connects_per_s=figures.connects_per_s,
        sent=figures.posts + bad + lost,
        posts=figures.posts,
        bad=bad,
        lost=lost,
        unsent=figures.unsent,
        late=0,
        redialled=0,
        frames=figures.clears * load.batch,
        expected=figures.expected * load.batch,
        missing=figures.missing * load.batch,
        other_frames=0,
        unwanted=0,
        caught_up=0,
        p50_ms=clear.p50 if answered else None,
        p90_ms=clear.p90 if answered else None,
        p99_ms=clear.p99 if answered else None,
        p999_ms=clear.p999 if answered else None,
        max_ms=clear.max if answered else None,
        post_p50_ms=post.p50 if answered else None,
        post_p99_ms=post.p99 if answered else None,
        catchup_p50_ms=None,
        catchup_max_ms=None,
        pauses=figures.over_20ms,
    )
