"""A whole load: on the real server, and on one that loses, repeats, refuses and leaves."""

from __future__ import annotations

import asyncio
import base64
import resource
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from server.client import CredentialsRefused, RequestRefused, ServerUnavailable, UntrustedServer
from server.errors import BadRequest
from server.loadtest import FIRST_ID, Figures, Load, Login, run_load
from tests.loadtest.fake_server import GONE, RECORDED, SILENT, FakeServer, fake_server, login, refused
from tests.running import Running, kill, serving

Post = Callable[[str, list[int]], bytes]


def _signing_in(*names: str) -> tuple[Login, ...]:
    """Whom a server for development lets in."""
    return tuple(
        Login(name, {"Authorization": f"Basic {base64.b64encode(f'{name}:x'.encode()).decode()}"}) for name in names
    )


# the real server


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """One for all tests that do not hurt it."""
    with serving("--dev", folder=tmp_path_factory.mktemp("serve")) as running:
        yield running


@pytest.mark.parametrize(
    "how",
    [
        pytest.param({"rate": 0}, id="closed"),
        pytest.param({"rate": 200}, id="open"),
        pytest.param({"rate": 0, "events": 7}, id="seven events a post"),
    ],
)
async def test_on_the_real_server_nothing_is_missing(running: Running, how: dict[str, Any]) -> None:
    load = Load(running.url + "/", _signing_in("ada", "bob"), devices=2, publishers=3, seconds=0.3, **how)
    figures = await run_load(load)
    assert figures.ok, figures
    assert (figures.opened, figures.refused, figures.reconnects, figures.said, figures.ended) == (4, 0, 0, "", "")
    assert (figures.expected, figures.clears) == (2 * figures.posts, 2 * figures.posts)
    assert (figures.twice, figures.foreign) == (0, 0)
    assert 0.3 <= figures.seconds < 5
    assert 0 < figures.post_ms.p50 <= figures.post_ms.p90 <= figures.post_ms.p999 <= figures.post_ms.max
    assert 0 < figures.clear_ms.p50 <= figures.clear_ms.max
    assert 0 < figures.posts_per_s <= figures.posts / 0.3
    assert 0 < figures.clears_per_s <= figures.clears / 0.3
    assert figures.cpu > 0
    if load.rate:
        due = load.rate * figures.seconds
        assert due - 5 <= figures.posts + figures.unsent <= due + 1
    else:
        assert figures.unsent == 0


async def test_devices_come_back_to_a_worker_that_was_killed_and_nothing_is_missing(serve: Any) -> None:
    with serve("--dev") as running:
        stop, killed = asyncio.Event(), list[Figures]()

        def watch(figures: Figures) -> None:
            if figures.posts and not killed:
                killed.append(figures)
                kill(running.worker_pids()[0])
            elif killed and figures.reconnects >= 4 and figures.posts > killed[0].posts + 20:
                stop.set()

        load = Load(running.url, _signing_in("ada", "bob"), devices=2, publishers=2, rate=100, seconds=30)
        figures = await run_load(load, watch, stop)
    assert figures.reconnects == 4
    assert figures.ended == "interrupted"
    assert (figures.missing, figures.refused, figures.strayed) == (0, 0, 0)
    assert figures.expected == 2 * figures.posts <= figures.clears
    assert figures.bad.keys() <= {0}


# a server that does what it should not


def _small(fake: FakeServer, **how: Any) -> Load:
    usual: dict[str, Any] = {"devices": 2, "publishers": 2, "rate": 200, "seconds": 0.1, "drain_s": 0.1}
    return Load(fake.url, (login("ada"), login("bob")), **(usual | how))


async def _shown(post: Callable[[FakeServer], Post], **how: Any) -> Figures:
    async with fake_server() as fake:
        fake.post = post(fake)
        return await run_load(_small(fake, **how))


async def test_of_a_server_that_does_what_it_should_all_is_well() -> None:
    figures = await _shown(lambda fake: fake.recorded, events=3)
    assert figures.ok
    assert figures.clears == 2 * figures.posts > 0


async def test_clears_that_do_not_come_are_missing() -> None:
    figures = await _shown(lambda fake: lambda agent, ids: RECORDED)
    assert not figures.ok
    assert figures.missing == figures.expected == 2 * figures.posts > 0


async def test_one_event_of_a_post_that_does_not_come_is_enough() -> None:
    def some(fake: FakeServer) -> Post:
        def post(agent: str, ids: list[int]) -> bytes:
            fake.tell(agent, ids[:-1])
            return RECORDED

        return post

    figures = await _shown(some, events=3)
    assert figures.missing == figures.expected > figures.clears == 0


async def test_what_is_told_twice_is_counted_and_bearable() -> None:
    def twice(fake: FakeServer) -> Post:
        def post(agent: str, ids: list[int]) -> bytes:
            fake.tell(agent, ids)
            return fake.recorded(agent, ids)

        return post

    figures = await _shown(twice)
    assert figures.ok
    assert figures.twice == figures.clears == 2 * figures.posts


async def test_what_goes_to_another_agent_strayed() -> None:
    def crossed(fake: FakeServer) -> Post:
        return lambda agent, ids: fake.recorded("bob" if agent == "ada" else "ada", ids)

    figures = await _shown(crossed)
    assert not figures.ok
    assert figures.strayed == figures.missing == 2 * figures.posts > 0


async def test_what_others_do_meanwhile_is_foreign() -> None:
    def busy(fake: FakeServer) -> Post:
        def post(agent: str, ids: list[int]) -> bytes:
            fake.tell(agent, [FIRST_ID - 1])
            ticket = b'{"type":"clear","cursor":"a-1","at":1,"events":[{"Type":"NewTicket","Id":%d}]}'
            fake.say(agent, ticket % ids[0])
            fake.say(agent, b'{"type":"soon"}')
            return fake.recorded(agent, ids)

        return post

    figures = await _shown(busy)
    assert figures.ok
    assert figures.foreign == 2 * 2 * figures.posts > 0
    assert figures.twice == 0


async def test_posts_that_are_not_answered_are_counted_once() -> None:
    figures = await _shown(lambda fake: lambda agent, ids: SILENT)
    assert (figures.posts, figures.bad, figures.missing) == (0, {0: 2}, 0)
    assert figures.unsent > 0
    assert "no answer to a post within 0.1 s after the end" in figures.said


async def test_connections_that_end_are_made_again_and_counted() -> None:
    def leaving(fake: FakeServer) -> Post:
        return lambda agent, ids: GONE if fake.posts % 2 else fake.recorded(agent, ids)

    figures = await _shown(leaving)
    assert figures.posts > 0
    assert figures.bad.keys() == {0}
    assert figures.said == "a connection ended before the answer to a post"


async def test_posts_that_are_refused_for_now_are_counted_on_the_same_connection() -> None:
    async with fake_server() as fake:
        fake.post = lambda agent, ids: refused(429, "too many", "Retry-After: 1")
        figures = await run_load(_small(fake))
    assert (figures.bad, figures.posts, figures.said) == ({429: fake.posts}, 0, "too many (429)")
    assert not figures.ok
    assert fake.connections == 1 + 4 + 2, "one to look, devices, publishers"


async def test_posts_that_are_refused_for_good_end_it_at_once() -> None:
    with pytest.raises(RequestRefused, match=r"no such path \(404\)"):
        await _shown(lambda fake: lambda agent, ids: refused(404, "no such path"), seconds=60, drain_s=60)


async def test_a_server_that_leaves_for_good_and_what_is_missing_then() -> None:
    def leaving(fake: FakeServer) -> Post:
        def post(agent: str, ids: list[int]) -> bytes:
            asyncio.get_running_loop().call_later(0.02, fake.leave)
            return RECORDED

        return post

    figures = await _shown(leaving, seconds=0.2)
    assert not figures.ok
    assert figures.missing == 2 * figures.posts > 0
    assert figures.reconnects == 4


async def test_a_device_goes_on_from_its_cursor() -> None:
    async with fake_server() as fake:

        def once(agent: str, ids: list[int]) -> bytes:
            if fake.posts == 1:
                fake.send(agent, b"\x88\x02\x03\xf4")  # 1012: it restarts
                fake.kept.append(ids)
                return RECORDED
            return fake.recorded(agent, ids)

        fake.post = once
        figures = await run_load(replace(_small(fake, rate=5, drain_s=10), logins=(login("ada"),)))
    assert figures.ok, figures
    assert figures.reconnects == 2
    assert [path.partition("?")[2].partition("&")[2] for path in fake.paths if "device=" in path] == [
        *("", ""),
        *("cursor=a-1", "cursor=a-1"),
    ]


async def test_refused_credentials_end_it() -> None:
    async with fake_server(refused(401, "who")) as fake:
        with pytest.raises(CredentialsRefused, match=r"who \(401\)"):
            await run_load(_small(fake))
        assert fake.posts == 0


async def test_credentials_that_are_taken_back_end_it_at_once() -> None:
    def revoked(fake: FakeServer) -> Post:
        def post(agent: str, ids: list[int]) -> bytes:
            fake.send(agent, b"\x88\x02\x0f\xa1")  # 4001
            return RECORDED

        return post

    with pytest.raises(CredentialsRefused, match="4001"):
        await _shown(revoked, seconds=60, drain_s=60)


async def test_a_device_that_is_refused_for_now_stays_away_and_the_others_go_on() -> None:
    async with fake_server(refused(429, "20 sessions")) as fake:
        figures = await run_load(_small(fake))
    assert not figures.ok
    assert (figures.opened, figures.refused, figures.missing) == (3, 1, 0)
    assert figures.said == "20 sessions (429)"
    assert figures.posts > 0


async def test_without_any_device_nothing_is_posted() -> None:
    async with fake_server(*[refused(503, "not now")] * 4) as fake:
        with pytest.raises(ServerUnavailable, match=r"no device was let in: not now \(503\)"):
            await run_load(_small(fake))
        assert fake.posts == 0


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"\x81\x01x", id="no json"),
        pytest.param(b'\x81\x10{"type":"\xff\xff\xff\xff\xff"}', id="no utf-8"),
        pytest.param(b"\xc1\x02{}", id="compressed"),
    ],
)
async def test_a_server_that_talks_nonsense_is_none_of_ours(data: bytes) -> None:
    def nonsense(fake: FakeServer) -> Post:
        def post(agent: str, ids: list[int]) -> bytes:
            fake.send(agent, data)
            return RECORDED

        return post

    with pytest.raises(UntrustedServer, match="not of a clearsync server"):
        await _shown(nonsense, seconds=60, drain_s=60)


# an end before its time


async def test_stopped_before_it_began_it_posts_nothing() -> None:
    stop = asyncio.Event()
    stop.set()
    async with fake_server() as fake:
        figures = await run_load(_small(fake, seconds=60), stop=stop)
        assert fake.posts == 0
    assert (figures.posts, figures.ended, figures.ok) == (0, "interrupted", False)


async def test_stopped_in_the_middle_it_waits_for_what_is_under_way() -> None:
    stop = asyncio.Event()
    async with fake_server() as fake:

        def late(agent: str, ids: list[int]) -> bytes:
            stop.set()
            asyncio.get_running_loop().call_later(0.05, fake.tell, agent, ids)
            return RECORDED

        fake.post = late
        figures = await run_load(_small(fake, seconds=60, drain_s=60), stop=stop)
    assert (figures.ended, figures.ok) == ("interrupted", True)
    assert figures.clears == 2 * figures.posts > 0
    assert figures.clears_per_s == 0, "they came after the end of posting"
    assert figures.seconds < 30


async def test_progress_is_told() -> None:
    seen: list[Figures] = []
    stop = asyncio.Event()

    def progress(figures: Figures) -> None:
        if figures.posts:
            seen.append(figures)
        if len(seen) == 2:
            stop.set()

    async with fake_server() as fake:
        figures = await run_load(_small(fake, seconds=60), progress, stop)
    assert seen[0].opened == 4
    assert 0 < seen[0].posts < seen[1].posts <= figures.posts
    assert 0 < seen[0].seconds < seen[1].seconds <= figures.seconds


async def test_more_connections_than_there_may_be_files_are_not_begun(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda what: (256, 256))
    monkeypatch.setattr(resource, "setrlimit", lambda what, limits: None)
    async with fake_server() as fake:
        with pytest.raises(BadRequest, match="needs 402 connections, and this process may open 256 files"):
            await run_load(_small(fake, devices=200))
        assert fake.connections == 0


async def test_where_nothing_listens_it_says_so(unused_tcp_port: int) -> None:
    load = Load(f"http://127.0.0.1:{unused_tcp_port}", (login("ada"),))
    with pytest.raises(ServerUnavailable, match="nothing listens there"):
        await run_load(load)
