"""The load generator in C, on a server of which all is known: what is wrong here falsifies every figure."""

from __future__ import annotations

import asyncio
import base64
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from bench import compiled
from bench.candidate import Target
from bench.compiled import Compiled
from bench.generator import GeneratorError
from bench.load import PHASES, Load, Outcome
from tests.bench.known_server import KnownServer


@pytest.fixture(scope="module")
def generator() -> Compiled:
    try:
        return Compiled.build()
    except GeneratorError as problem:
        pytest.skip(str(problem))


SMALL = Load(agents=3, devices=2, publishers=2, seconds=0.3, drain_s=5.0)


async def outcome_of(
    generator: Compiled, server: KnownServer, load: Load, target: Callable[[Target], Target] = lambda found: found
) -> Outcome:
    async with server.serving() as found:
        return await asyncio.to_thread(generator.run, target(found), load, 0, {})


async def test_every_post_and_every_frame_is_counted(generator: Compiled) -> None:
    server = KnownServer()
    outcome = await outcome_of(generator, server, replace(SMALL, warmup_s=0.1))
    assert outcome.posts == outcome.sent == server.posts
    assert outcome.frames == outcome.expected == server.pushed == 2 * server.posts
    assert (outcome.opened, outcome.missing, outcome.bad, outcome.lost, outcome.closed) == (6, 0, 0, 0, 0)
    assert outcome.other_frames == 6, "the welcome of each device, and no event"
    assert outcome.problems(SMALL) == []


async def test_rates_are_of_the_measured_time_alone(generator: Compiled) -> None:
    outcome = await outcome_of(generator, KnownServer(), replace(SMALL, rate=100.0, seconds=0.5, warmup_s=0.5))
    assert (outcome.posts, outcome.frames) == (100, 200), "both halves"
    assert outcome.posts_per_s * outcome.elapsed_s == pytest.approx(50, abs=10)


async def test_percentiles_are_in_order(generator: Compiled) -> None:
    found = await outcome_of(generator, KnownServer(), SMALL)
    ladder = [found.p50_ms, found.p90_ms, found.p99_ms, found.p999_ms, found.max_ms]
    numbers = [number for number in ladder if number is not None]
    assert len(numbers) == 5
    assert numbers == sorted(numbers)
    assert numbers[0] > 0


async def test_a_push_that_is_late_shows(generator: Compiled) -> None:
    outcome = await outcome_of(generator, KnownServer(push_after_s=0.05), SMALL)
    assert outcome.p50_ms is not None
    assert outcome.p50_ms >= 50
    assert outcome.pauses > 0
    assert outcome.missing == 0, "what comes after the load is waited for"


async def test_an_answer_that_is_late_shows(generator: Compiled) -> None:
    outcome = await outcome_of(generator, KnownServer(answer_after_s=0.05), SMALL)
    assert outcome.post_p50_ms is not None
    assert outcome.post_p50_ms >= 50


@pytest.mark.parametrize("publishers", [1, 64])
async def test_in_an_open_loop_a_stall_counts_for_all_that_was_due_meanwhile(
    generator: Compiled, publishers: int
) -> None:
    """Counted from when a post was sent, one connection would have shown a stall once."""
    server = KnownServer(stall_at=50, stall_s=0.3)
    load = Load(agents=1, devices=1, publishers=publishers, rate=200.0, seconds=1.0)
    outcome = await outcome_of(generator, server, load)
    assert outcome.posts == server.posts == 200, "what was due while all were waiting is sent later"
    assert outcome.max_ms is not None
    assert outcome.max_ms >= 290
    assert outcome.pauses >= 50, "60 posts were due in 0.3 s, and all but the last few had to wait"
    assert outcome.p90_ms is not None
    assert outcome.p90_ms >= 20
    assert (outcome.late >= 50) == (publishers == 1)


async def test_what_was_due_and_never_sent_is_told(generator: Compiled) -> None:
    load = Load(agents=1, devices=1, publishers=1, rate=100.0, seconds=0.5, drain_s=0.1)
    outcome = await outcome_of(generator, KnownServer(answer_after_s=0.2), load)
    assert outcome.unsent >= 30
    assert any("never sent" in problem for problem in outcome.problems(load))


async def test_what_is_missing_is_told(generator: Compiled) -> None:
    load = replace(SMALL, drain_s=0.2)
    server = KnownServer(drop_every=10)
    outcome = await outcome_of(generator, server, load)
    assert outcome.missing == server.pushed // 10 > 0
    assert outcome.problems(load) == [f"{outcome.missing} frames missing"]


async def test_what_comes_twice_is_told(generator: Compiled) -> None:
    server = KnownServer(twice_every=2)
    outcome = await outcome_of(generator, server, SMALL)
    assert outcome.missing < 0
    assert any("too many" in problem for problem in outcome.problems(SMALL))


async def test_what_is_refused_is_told_and_not_expected(generator: Compiled) -> None:
    server = KnownServer(refuse_every=3)
    outcome = await outcome_of(generator, server, SMALL)
    assert outcome.bad == server.posts // 3 > 0
    assert outcome.posts == server.posts - outcome.bad
    assert outcome.missing == 0
    assert outcome.problems(SMALL) == [f"{outcome.bad} posts refused"]


async def test_a_connection_that_ends_after_an_answer_is_dialled_again(generator: Compiled) -> None:
    outcome = await outcome_of(generator, KnownServer(close_every=5), SMALL)
    assert outcome.redialled > 0
    assert (outcome.lost, outcome.missing) == (0, 0)
    assert outcome.problems(SMALL) == []


async def test_a_connection_that_ends_before_an_answer_is_told(generator: Compiled) -> None:
    server = KnownServer(cut_every=5)
    outcome = await outcome_of(generator, server, SMALL)
    assert outcome.lost == server.posts // 5 > 0
    assert outcome.posts == server.posts - outcome.lost
    assert outcome.problems(SMALL) == [f"{outcome.lost} posts without an answer"]


async def test_devices_that_are_refused_are_told(generator: Compiled) -> None:
    outcome = await outcome_of(generator, KnownServer(refuse_devices=True), replace(SMALL, seconds=0.0))
    assert (outcome.opened, outcome.failed) == (0, 6)
    assert outcome.problems(replace(SMALL, seconds=0.0)) == ["6 websockets not opened"]


@pytest.mark.parametrize("batch", [1, 10, 2000])  # 2,000 make a frame of more than 64 KiB
async def test_a_batch_has_so_many_different_events_and_one_time(generator: Compiled, batch: int) -> None:
    server = KnownServer()
    outcome = await outcome_of(generator, server, replace(SMALL, batch=batch))
    assert outcome.frames == 2 * batch * outcome.posts
    assert outcome.missing == 0
    seen: set[int] = set()
    for body in server.bodies:
        ids = [event["Id"] for event in body["events"]]
        assert len(ids) == batch
        assert [number >= 0 for number in ids] == [True] + [False] * (batch - 1)
        assert seen.isdisjoint(ids[1:])
        assert len(set(ids)) == batch
        seen.update(ids[1:])
        assert body["share"] == "100%"


@pytest.mark.parametrize("unique", [True, False])
async def test_heads_never_repeat_where_that_is_asked(generator: Compiled, unique: bool) -> None:
    server = KnownServer()
    await outcome_of(generator, server, replace(SMALL, unique_heads=unique))
    found = [head.get("X-Request-Id") for head in server.posted_heads]
    assert len(set(found)) == (len(found) if unique else 1)
    assert (None in found) != unique


async def test_no_more_than_so_many_posts_are_outstanding(generator: Compiled) -> None:
    server = KnownServer(push_after_s=0.02)
    outcome = await outcome_of(generator, server, replace(SMALL, publishers=8, outstanding=3))
    assert server.most_unpushed == 3
    assert outcome.problems(SMALL) == []
    freely = KnownServer(push_after_s=0.02)
    await outcome_of(generator, freely, replace(SMALL, publishers=8))
    assert freely.most_unpushed > 3


async def test_templates_are_filled_in(generator: Compiled) -> None:
    server = KnownServer()
    load = replace(SMALL, first_agent=41)
    target: Callable[[Target], Target] = lambda found: replace(  # noqa: E731
        found, first_frames=("i am %a", "%d%%"), subprotocol="known.v1"
    )
    outcome = await outcome_of(generator, server, load, target)
    assert {head["path"] for head in server.ws_heads} == {f"/ws/{a}/{d}?as={a}" for a in (41, 42, 43) for d in (0, 1)}
    for head in server.ws_heads:
        agent = head["path"].split("/")[2]
        assert base64.b64decode(head["Authorization"].removeprefix("Basic ")) == f"a{agent}:x".encode()
        assert head["Sec-WebSocket-Protocol"] == "known.v1"
    assert (1, b"i am 42") in server.heard
    assert (1, b"1%") in server.heard
    assert server.heard.count((10, b"still there?")) == 6, "pings are answered, with what they had"
    assert outcome.problems(load) == []


async def test_a_catch_up_is_waited_for(generator: Compiled) -> None:
    server = KnownServer(catchup=40)
    load = Load(agents=3, devices=2, window=2, cursor="x-17", catchup=40)
    outcome = await outcome_of(generator, server, load)
    assert all(head["path"].endswith("&cursor=x-17") for head in server.ws_heads)
    assert outcome.caught_up == 6
    assert outcome.catchup_max_ms is not None
    assert outcome.problems(load) == []


async def test_a_catch_up_that_is_not_whole_is_told(generator: Compiled, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiled, "CONNECT_S", 0.3)
    load = Load(agents=1, devices=1, catchup=40)
    outcome = await outcome_of(generator, KnownServer(catchup=39), load)
    assert outcome.problems(load) == ["1 devices not caught up"]


async def test_phases_come_in_order(generator: Compiled) -> None:
    seen: list[str] = []
    at = {phase: lambda phase=phase: seen.append(phase) for phase in PHASES}
    async with KnownServer().serving() as target:
        await asyncio.to_thread(generator.run, target, replace(SMALL, hold_s=0.1), 0, at)
    assert seen == list(PHASES)


async def test_a_server_that_is_not_there_is_an_error(generator: Compiled) -> None:
    async with KnownServer().serving() as target:
        pass
    with pytest.raises(GeneratorError, match="posts were accepted"):
        await asyncio.to_thread(generator.run, target, replace(SMALL, agents=1, devices=0, drain_s=0.2), 0, {})


def test_it_compiles_without_a_warning(tmp_path: Path, generator: Compiled) -> None:
    command = ["cc", *compiled.FLAGS, "-Werror", "-o", str(tmp_path / "wsload"), str(compiled.SOURCE)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=50, check=False)
    assert done.returncode == 0, done.stderr


def test_it_is_compiled_once(generator: Compiled, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(compiled, "CACHE", tmp_path / "cache")
    Compiled.build()
    (program,) = (tmp_path / "cache").iterdir()
    made = program.stat().st_mtime_ns
    Compiled.build()
    assert [made] == [each.stat().st_mtime_ns for each in (tmp_path / "cache").iterdir()]


def test_without_a_compiler_it_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(GeneratorError, match="no C compiler"):
        Compiled.build()


def test_options_that_it_does_not_know_are_refused(generator: Compiled) -> None:
    for wrong in (["--nonsense", "1"], ["--agents"]):
        done = subprocess.run([generator.program, *wrong], capture_output=True, text=True, timeout=10, check=False)
        assert done.returncode == 2
        assert wrong[0] in done.stderr
