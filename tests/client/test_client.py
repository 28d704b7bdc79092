"""The client against a server that plays the protocol from a script (`fake_gateway`)."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from typing import Any

import msgspec
import pytest
from websockets.asyncio.server import ServerConnection

from server.client import (
    AccessRefused,
    Clear,
    Client,
    ClientError,
    CredentialsRefused,
    CursorKey,
    HandledEvent,
    NotConnected,
    Problem,
    Received,
    RequestRefused,
    Reset,
    ServerUnavailable,
    Timing,
    UntrustedServer,
    Welcome,
    base_url,
    is_loopback,
)
from server.client.handshake import MAX_FRAME_BYTES
from server.errors import BadRequest, TooLarge
from server.events import Event, EventType
from tests.client.fake_gateway import (
    Answer,
    FakeGateway,
    Refuse,
    Scene,
    clear,
    endpoint,
    gateway,
    reset,
    says,
    says_and_closes,
    stay,
    welcome,
)

TICKET = Event(EventType.NewTicket, 12)
SHORT = Timing(open_s=5, ping_margin_s=0, answer_s=0.05, close_s=0.2)
"""For tests in which something does not come: it is waited for in full."""


class Waits:
    """Stands for `asyncio.sleep`: notes how long, and is over at once. `enough` is set after `count` of them."""

    def __init__(self, count: int = 0) -> None:
        self.s: list[float] = []
        self.enough = asyncio.Event()
        self._count = count

    async def __call__(self, seconds: float) -> None:
        self.s.append(seconds)
        if len(self.s) == self._count:
            self.enough.set()
        await asyncio.sleep(0)


class Kept:
    """A store of cursors that keeps them all."""

    def __init__(self, cursor: str | None = None) -> None:
        self.cursors = [] if cursor is None else [cursor]
        self.keys: list[CursorKey] = []
        self.was_set = asyncio.Event()

    def get(self, key: CursorKey) -> str | None:
        self.keys.append(key)
        return self.cursors[-1] if self.cursors else None

    def set(self, key: CursorKey, cursor: str) -> None:
        self.keys.append(key)
        self.cursors.append(cursor)
        self.was_set.set()


def client_of(url: str, **options: Any) -> Client:
    """Ada's phone, which waits for nothing and draws 0.5 as its random number."""
    given: dict[str, Any] = {"device": "phone", "sleep": Waits(), "random": lambda: 0.5} | options
    return Client(url, user="ada", password="secret", **given)


@asynccontextmanager
async def listening(fake: FakeGateway, **options: Any) -> AsyncIterator[tuple[Client, Callable[[], Any]]]:
    """A client, and the way to ask it for the next frame."""
    async with client_of(fake.url, **options) as client, aclosing(client.frames()) as frames:
        yield client, frames.__anext__


async def test_frames_come_in_order_as_received() -> None:
    texts = [welcome("a-1"), clear("a-2", 12), reset("a-3"), '{"type":"soon","x":1}', clear("a-4")]
    async with gateway(says(*texts)) as fake, listening(fake) as (_, following):
        received = [await following() for _ in texts]
    assert [r.text for r in received] == texts
    assert received[0].frame == Welcome("a-1", 1795456363957, 25)
    assert received[1].frame == Clear("a-2", 1795456363957, (HandledEvent("NewTicket", 12),))
    assert received[2].frame == Reset("a-3")


async def test_the_handshake_says_who_which_device_and_where_from() -> None:
    async with gateway(says(welcome("a-7"))) as fake:
        async with listening(fake, cursor="a-7", device="desk:1~x") as (_, following):
            await following()
        request = fake.requests[0]
    assert request.path.startswith("/api/v1/sync?")
    assert fake.query(0) == {"device": "desk:1~x", "cursor": "a-7"}
    assert request.headers["Authorization"] == "Basic " + base64.b64encode(b"ada:secret").decode()
    assert request.headers["Sec-WebSocket-Protocol"] == "clearsync.v1"
    assert "Sec-WebSocket-Extensions" not in request.headers


async def test_without_a_cursor_none_is_sent_and_the_welcomes_is_kept() -> None:
    scenes = [says_and_closes(1012, welcome("a-7")), says(welcome("a-7"))]
    async with gateway(*scenes) as fake, listening(fake) as (_, following):
        await following()
        await following()
        assert fake.query(0) == {"device": "phone"}
        assert fake.query(1) == {"device": "phone", "cursor": "a-7"}


async def test_the_base_path_of_the_server_is_kept() -> None:
    async with gateway(says(welcome("a-1"))) as fake:
        async with client_of(f"{fake.url}/clearsync/") as client, aclosing(client.frames()) as frames:
            await anext(frames)
        assert fake.requests[0].path.startswith("/clearsync/api/v1/sync?")


async def test_the_cursor_moves_when_the_next_frame_is_asked_for() -> None:
    saved = Kept()
    scene = says(welcome("a-1"), clear("a-2", 1), reset("a-3"), clear("a-4", 2))
    async with gateway(scene) as fake, listening(fake, cursors=saved) as (client, following):
        seen = []
        for _ in range(4):
            frame = (await following()).frame
            seen.append((frame.cursor, client.cursor, list(saved.cursors)))
    assert seen == [
        ("a-1", None, []),
        ("a-2", "a-1", ["a-1"]),
        ("a-3", "a-2", ["a-1", "a-2"]),
        ("a-4", "a-3", ["a-1", "a-2", "a-3"]),
    ]
    assert client.cursor == "a-3"  # the last one was handed over, and nobody said that it was applied


async def test_a_cursor_is_saved_before_the_wait_for_the_next_frame() -> None:
    saved = Kept()
    async with gateway(says(welcome("a-1"))) as fake, listening(fake, cursors=saved) as (_, following):
        await following()
        waiting = asyncio.ensure_future(following())
        await saved.was_set.wait()
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting


async def test_only_welcome_clear_and_reset_move_the_cursor() -> None:
    scene = says(
        welcome("a-1"),
        '{"type":"recorded","ref":"x","cursor":"a-9"}',
        '{"type":"error","code":"busy","message":"m","cursor":"a-9"}',
        '{"type":"soon","cursor":"a-9"}',
        clear("a-2"),
        clear("a-3"),
    )
    async with gateway(scene) as fake, listening(fake) as (client, following):
        for _ in range(5):
            await following()
        assert client.cursor == "a-1"
        await following()
        assert client.cursor == "a-2"


@pytest.mark.parametrize("code", [1001, 1006, 1011, 1012])
async def test_a_lost_connection_is_resumed_at_the_cursor(code: int) -> None:
    scenes = [says_and_closes(code, welcome("a-1"), clear("a-2", 1)), says(welcome("a-2"), clear("a-3", 2))]
    async with gateway(*scenes) as fake, listening(fake) as (_, following):
        cursors = [(await following()).frame.cursor for _ in range(4)]
        assert cursors == ["a-1", "a-2", "a-2", "a-3"]
        assert fake.query(1)["cursor"] == "a-2"


async def test_a_frame_that_broke_the_caller_comes_again() -> None:
    async def apply_all(client: Client) -> None:
        async for received in client.frames():
            if isinstance(received.frame, Clear):
                raise ZeroDivisionError

    scenes = [says(welcome("a-1"), clear("a-2", 1)), says(welcome("a-1"))]
    async with gateway(*scenes) as fake, client_of(fake.url) as client:
        with pytest.raises(ZeroDivisionError):
            await apply_all(client)
        async with aclosing(client.frames()) as frames:
            await anext(frames)
        assert fake.query(1)["cursor"] == "a-1"


async def test_a_callers_own_os_error_is_not_a_lost_connection() -> None:
    class Full(Kept):
        def set(self, key: CursorKey, cursor: str) -> None:
            raise OSError("disk full")

    async with gateway(says(welcome("a-1"))) as fake, listening(fake, cursors=Full()) as (_, following):
        await following()
        with pytest.raises(OSError, match="disk full"):
            await following()


async def test_full_jitter_starts_over_after_a_welcome() -> None:
    waits = Waits()
    told: list[tuple[str, float]] = []
    scenes: list[Scene | Refuse] = [Refuse(503, "not ready")] * 3
    scenes += [says_and_closes(1012, welcome("a-1"), clear("a-2"), reason="drain"), Refuse(500), says(welcome("a-2"))]
    async with (
        gateway(*scenes) as fake,
        listening(fake, sleep=waits, on_retry=lambda reason, s: told.append((reason, s))) as (_, following),
    ):
        for _ in range(3):
            await following()
    assert waits.s == [0.25, 0.5, 1.0, 0.25, 0.5]
    assert told[0] == ("not ready (503)", 0.25)
    assert told[3] == ("restart (1012): drain", 0.25)


async def test_the_wait_is_anywhere_below_the_growing_ceiling_and_never_over_the_cap() -> None:
    for draw, expected in ((0.0, [0.0] * 9), (1.0, [0.5, 1, 2, 4, 8, 16, 30, 30, 30])):
        waits = Waits(9)
        async with (
            gateway(*[Refuse(502)] * 9) as fake,
            listening(fake, sleep=waits, random=lambda draw=draw: draw) as (_, following),
        ):
            waiting = asyncio.ensure_future(following())
            await waits.enough.wait()
            waiting.cancel()
            await asyncio.wait([waiting])
        assert waits.s[:9] == expected


async def test_a_server_that_is_not_there_is_waited_for() -> None:
    async with gateway() as gone:
        url = gone.url
    waits = Waits(20)
    reasons: set[str] = set()
    async with (
        client_of(url, sleep=waits, on_retry=lambda reason, _: reasons.add(reason)) as client,
        aclosing(client.frames()) as frames,
    ):
        waiting = asyncio.ensure_future(anext(frames))
        await waits.enough.wait()
        assert not waiting.done()
        waiting.cancel()
        await asyncio.wait([waiting])
    assert reasons == {"nothing listens there (connection refused)"}


async def test_a_503_is_honoured_for_as_long_as_it_says() -> None:
    waits = Waits()
    async with (
        gateway(Refuse(503, "later", {"Retry-After": "7"}), says(welcome("a-1"))) as fake,
        listening(fake, sleep=waits) as (_, following),
    ):
        await following()
    assert waits.s == [7.25]


@pytest.mark.parametrize("scene", [says_and_closes(4008), Refuse(429, "too many sessions")])
async def test_too_many_sessions_waits_a_minute_or_more(scene: Scene | Refuse) -> None:
    waits = Waits()
    async with gateway(scene, says(welcome("a-1"))) as fake, listening(fake, sleep=waits) as (_, following):
        await following()
    assert waits.s == [60.25]


@pytest.mark.parametrize(
    ("scene", "error"),
    [
        (Refuse(400, "cursor must be one that this service gave, or 0"), RequestRefused),
        (Refuse(401, "who"), CredentialsRefused),
        (Refuse(403, "not you"), AccessRefused),
        (Refuse(404, "nothing here"), RequestRefused),
        (says_and_closes(4001, reason="who"), CredentialsRefused),
        (says_and_closes(4001, welcome("a-1"), reason="who"), CredentialsRefused),
        (says_and_closes(4003, welcome("a-1"), reason="not you"), AccessRefused),
        (says_and_closes(4009, welcome("a-1"), reason="what"), RequestRefused),
        (says_and_closes(1009, welcome("a-1"), reason="too big"), RequestRefused),
    ],
)
async def test_what_coming_back_would_not_help_ends_it(scene: Scene | Refuse, error: type[ClientError]) -> None:
    async def drain(client: Client) -> None:
        async for _ in client.frames():
            pass

    waits = Waits()
    async with gateway(scene) as fake, client_of(fake.url, sleep=waits) as client:
        with pytest.raises(error) as caught:
            await drain(client)
    assert len(fake.requests) == 1
    assert not waits.s
    said = scene.message if isinstance(scene, Refuse) else "("
    assert said in str(caught.value)


async def test_a_silent_server_is_asked_and_then_given_up() -> None:
    asked: list[str | bytes] = []

    async def scene(connection: ServerConnection) -> None:
        await connection.send(welcome("a-1", ping=0))
        asked.append(await connection.recv())
        await connection.send('{"type":"pong"}')
        asked.append(await connection.recv())
        await connection.send(clear("a-2"))
        asked.append(await connection.recv())
        await stay(connection)

    told: list[str] = []
    async with (
        gateway(scene, says(welcome("a-2"))) as fake,
        listening(fake, timing=SHORT, on_retry=lambda reason, _: told.append(reason)) as (_, following),
    ):
        frames = [(await following()).frame for _ in range(3)]
    assert asked == ['{"type":"ping"}'] * 3
    assert told == ["nothing came for 0.05 s"]
    assert frames == [Welcome("a-1", 1795456363957, 0), Clear("a-2", 1795456363957, ()), frames[2]]
    assert isinstance(frames[2], Welcome)
    assert fake.query(1)["cursor"] == "a-2"


async def test_the_server_is_not_asked_before_it_was_silent_for_its_ping_and_the_margin() -> None:
    async with gateway(says(welcome("a-1", ping=25))) as fake, listening(fake, timing=Timing()) as (client, following):
        await following()
        assert client._listener.connection._silence_s == 30


async def test_a_connection_without_a_welcome_is_given_up_and_the_backoff_goes_on() -> None:
    waits = Waits()
    timing = Timing(open_s=0.3, close_s=0.2)
    async with (
        gateway(stay, says_and_closes(1011), says(welcome("a-1"))) as fake,
        listening(fake, sleep=waits, timing=timing) as (_, following),
    ):
        await following()
    assert waits.s == [0.25, 0.5]


@pytest.mark.parametrize("nonsense", ['{"type":"clear","cursor":"a-3"}', "hello", b"\x00"])
async def test_after_a_frame_that_cant_be_read_nothing_more_is_handed_over(nonsense: str | bytes) -> None:
    async def scene(connection: ServerConnection) -> None:
        for frame in (welcome("a-1"), clear("a-2"), nonsense, clear("a-4")):
            await connection.send(frame)
        await stay(connection)

    async with gateway(scene) as fake, listening(fake) as (client, following):
        await following()
        await following()
        with pytest.raises(UntrustedServer):
            await following()
        assert client.cursor == "a-2"


async def test_a_first_frame_that_is_no_welcome_is_not_our_protocol() -> None:
    async with gateway(says(clear("a-2"))) as fake, listening(fake) as (_, following):
        with pytest.raises(UntrustedServer):
            await following()


async def test_a_catch_up_frame_of_a_whole_batch_fits() -> None:
    events = ",".join(f'{{"Type":"AppointmentInvitation","Id":{-(2**31) + i},"At":1795456363957}}' for i in range(5000))
    big = f'{{"type":"clear","cursor":"a-2","at":1,"events":[{events}]}}'
    async with gateway(says(welcome("a-1"), big)) as fake, listening(fake) as (_, following):
        await following()
        assert len((await following()).frame.events) == 5000


async def test_a_server_that_sends_too_much_is_not_asked_again() -> None:
    async with gateway(says(welcome("a-1"), "x" * (MAX_FRAME_BYTES + 1))) as fake, listening(fake) as (_, following):
        await following()
        with pytest.raises(UntrustedServer, match="the server sends more"):
            await following()
    assert len(fake.requests) == 1


async def test_another_loop_takes_over_at_the_cursor() -> None:
    scenes = [says(welcome("a-1"), clear("a-2")), says(welcome("a-1"))]
    async with (
        gateway(*scenes) as fake,
        client_of(fake.url) as client,
        aclosing(client.frames()) as first,
        aclosing(client.frames()) as second,
    ):
        await anext(first)
        await anext(first)
        await anext(second)
        assert fake.query(1)["cursor"] == "a-1"
        with pytest.raises(RuntimeError, match="called again"):
            await anext(first)
        assert not client._listener.connection._ahead


async def test_a_loop_that_was_left_says_goodbye() -> None:
    left = asyncio.Event()

    async def scene(connection: ServerConnection) -> None:
        await connection.send(welcome("a-1"))
        await connection.wait_closed()
        assert connection.close_code == 1000
        left.set()

    async with gateway(scene) as fake:
        async with listening(fake) as (_, following):
            await following()
        await left.wait()


async def test_listening_needs_a_device() -> None:
    async with client_of("http://127.0.0.1:1", device=None) as client:
        with pytest.raises(BadRequest, match="device"):
            await anext(client.frames())


# check


async def answers_check(connection: ServerConnection, *before: str) -> None:
    """Take one check; send `before`, then say that all it asked about was handled at 5."""
    asked = msgspec.json.decode(await connection.recv())
    assert asked["type"] == "check"
    for frame in before:
        await connection.send(frame)
    events = [event | {"At": 5} for event in asked["events"]]
    await connection.send(msgspec.json.encode({"type": "checked", "ref": asked["ref"], "events": events}).decode())


async def test_check_inside_the_loop_keeps_the_frames_that_come_before_its_answer() -> None:
    async def scene(connection: ServerConnection) -> None:
        await connection.send(welcome("a-1"))
        await answers_check(connection, clear("a-2"), clear("a-3"))
        await answers_check(connection)
        await stay(connection)

    async with gateway(scene) as fake, listening(fake) as (client, following):
        await following()
        assert await client.check([TICKET]) == (HandledEvent("NewTicket", 12, 5),)
        assert [(await following()).frame.cursor for _ in range(2)] == ["a-2", "a-3"]
        assert await client.check([TICKET, TICKET]) == (HandledEvent("NewTicket", 12, 5),)


async def test_check_beside_a_loop_that_waits() -> None:
    async def scene(connection: ServerConnection) -> None:
        await connection.send(welcome("a-1"))
        await answers_check(connection)
        await answers_check(connection, clear("a-2"))
        await stay(connection)

    async with gateway(scene) as fake, listening(fake) as (client, following):
        await following()
        waiting = asyncio.ensure_future(following())
        for _ in range(2):
            assert await client.check([TICKET]) == (HandledEvent("NewTicket", 12, 5),)
        assert (await waiting).frame.cursor == "a-2"


async def test_a_loop_gets_at_once_what_a_check_has_read() -> None:
    shown = asyncio.Event()

    async def scene(connection: ServerConnection) -> None:
        await connection.send(welcome("a-1"))
        ref = msgspec.json.decode(await connection.recv())["ref"]
        await connection.send(clear("a-2"))
        await shown.wait()
        await connection.send(f'{{"type":"checked","ref":"{ref}","events":[]}}')
        await stay(connection)

    async with gateway(scene) as fake, listening(fake) as (client, following):
        await following()
        asking = asyncio.ensure_future(client.check([TICKET]))
        await asyncio.sleep(0)  # it reads before the loop does
        assert (await following()).frame.cursor == "a-2"
        shown.set()
        assert await asking == ()


async def test_a_check_reads_only_so_far_past_what_the_loop_has_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("server.client.connection.MAX_READ_AHEAD", 2)

    async def scene(connection: ServerConnection) -> None:
        await connection.send(welcome("a-1"))
        await answers_check(connection, *[clear(f"a-{i}") for i in range(2, 5)])
        await stay(connection)

    async with gateway(scene) as fake, listening(fake) as (client, following):
        await following()
        with pytest.raises(ServerUnavailable, match="2 frames came before the answer"):
            await client.check([TICKET])
        assert [(await following()).frame.cursor for _ in range(3)] == ["a-2", "a-3", "a-4"]


async def test_many_checks_at_once_each_get_their_own_answer() -> None:
    async def scene(connection: ServerConnection) -> None:
        await connection.send(welcome("a-1"))
        asked = [msgspec.json.decode(await connection.recv()) for _ in range(5)]
        for one in reversed(asked):
            events = [event | {"At": 5} for event in one["events"]]
            await connection.send(
                msgspec.json.encode({"type": "checked", "ref": one["ref"], "events": events}).decode()
            )
        await stay(connection)

    async with gateway(scene) as fake, listening(fake) as (client, following):
        await following()
        events = [Event(EventType.NewTicket, i) for i in range(5)]
        answers = await asyncio.gather(*(client.check([event]) for event in events))
        assert [a[0].id for a in answers] == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    ("code", "error"),
    [("bad_events", RequestRefused), ("busy", ServerUnavailable), ("unavailable", ServerUnavailable)],
)
async def test_a_refused_check_says_why_and_the_loop_goes_on(code: str, error: type[ClientError]) -> None:
    async def scene(connection: ServerConnection) -> None:
        await connection.send(welcome("a-1"))
        ref = msgspec.json.decode(await connection.recv())["ref"]
        await connection.send(f'{{"type":"error","ref":"{ref}","code":"{code}","message":"no and no"}}')
        await connection.send('{"type":"error","ref":"other","code":"busy","message":"not yours"}')
        await stay(connection)

    async with gateway(scene) as fake, listening(fake) as (client, following):
        await following()
        with pytest.raises(error, match=r"^no and no$"):
            await client.check([TICKET])
        assert (await following()).frame == Problem("busy", "not yours", "other")


async def test_a_check_without_an_answer_ends() -> None:
    async with gateway(says(welcome("a-1"))) as fake, listening(fake, timing=SHORT) as (client, following):
        await following()
        with pytest.raises(ServerUnavailable, match="no answer within"):
            await client.check([TICKET])


async def test_a_check_without_a_connection_says_so() -> None:
    scenes = [says_and_closes(1012, welcome("a-1")), says(welcome("a-1"))]
    async with gateway(*scenes) as fake, client_of(fake.url) as client:
        with pytest.raises(NotConnected):
            await client.check([TICKET])
        async with aclosing(client.frames()) as frames:
            await anext(frames)
            with pytest.raises(NotConnected, match="1012"):
                await client.check([TICKET])
            assert isinstance(await anext(frames), Received)


async def test_what_a_check_could_not_read_ends_the_loop_too() -> None:
    async def scene(connection: ServerConnection) -> None:
        await connection.send(welcome("a-1"))
        await connection.recv()
        await connection.send("nonsense")
        await connection.send(clear("a-3"))
        await stay(connection)

    async with gateway(scene) as fake, listening(fake) as (client, following):
        await following()
        with pytest.raises(NotConnected):
            await client.check([TICKET])
        with pytest.raises(UntrustedServer):
            await following()


# handled


async def test_handled_is_the_vendors_request() -> None:
    async with endpoint(Answer(204), Answer(204)) as fake, client_of(f"{fake.url}/base") as client:
        await client.handled([TICKET, Event(EventType.AppointmentCancelled, 699), TICKET])
        await client.handled([TICKET], device="desk")
    first, second = fake.posted
    assert first.line == "POST /base/api/v1/Agents/Pocket/NotificationsHandled HTTP/1.1"
    assert first.headers["content-type"] == "application/json"
    assert first.headers["authorization"] == "Basic " + base64.b64encode(b"ada:secret").decode()
    assert (first.headers["x-device-id"], second.headers["x-device-id"]) == ("phone", "desk")
    assert msgspec.json.decode(first.body) == {
        "NotificationEvents": [{"Type": "NewTicket", "Id": 12}, {"Type": "AppointmentCancelled", "Id": 699}]
    }


async def test_handled_without_a_device_has_no_origin() -> None:
    async with endpoint(Answer(204)) as fake, client_of(fake.url, device=None) as client:
        await client.handled([TICKET])
    assert "x-device-id" not in fake.posted[0].headers


async def test_handled_is_sent_again_where_nobody_knows_whether_it_was_recorded() -> None:
    waits = Waits()
    async with (
        endpoint(Answer(503, "the store", retry_after="1"), None, Answer(204)) as fake,
        client_of(fake.url, sleep=waits) as client,
    ):
        await client.handled([TICKET])
    assert waits.s == [1.25, 0.5]
    assert len({p.body for p in fake.posted}) == 1


@pytest.mark.parametrize(("retry_after", "tries"), [("1", 4), ("99", 1), (None, 4)])
async def test_handled_gives_up_in_time(retry_after: str | None, tries: int) -> None:
    async with (
        endpoint(*[Answer(503, "the store did not answer", retry_after=retry_after)] * 4) as fake,
        client_of(fake.url) as client,
    ):
        with pytest.raises(ServerUnavailable, match="the store did not answer") as caught:
            await client.handled([TICKET])
    assert len(fake.posted) == tries
    assert caught.value.code == 503


async def test_handled_is_sent_again_when_a_limit_allows() -> None:
    waits = Waits()
    async with (
        endpoint(Answer(429, "too many", retry_after="3"), Answer(204)) as fake,
        client_of(fake.url, sleep=waits) as client,
    ):
        await client.handled([TICKET])
    assert waits.s == [3.25]


@pytest.mark.parametrize(
    ("status", "retry_after", "said"),
    [
        (429, "30", r"^too many \(429\); come back in 30 s$"),
        (429, None, r"^too many \(429\); come back in 60 s$"),
        (503, "99", r"^too many \(503\); come back in 99 s$"),
    ],
)
async def test_handled_says_when_to_come_back_where_that_is_too_long_to_wait(
    status: int, retry_after: str | None, said: str
) -> None:
    waits = Waits()
    async with (
        endpoint(Answer(status, "too many", retry_after=retry_after)) as fake,
        client_of(fake.url, sleep=waits) as client,
    ):
        with pytest.raises(ServerUnavailable, match=said):
            await client.handled([TICKET])
    assert (len(fake.posted), waits.s) == (1, [])


async def test_handled_with_no_server_there() -> None:
    async with endpoint() as gone:
        url = gone.url
    async with client_of(url) as client:
        with pytest.raises(ServerUnavailable, match=r"gave no answer .*connection refused"):
            await client.handled([TICKET])


@pytest.mark.parametrize(
    ("status", "error"),
    [(400, RequestRefused), (401, CredentialsRefused), (403, AccessRefused), (404, RequestRefused)],
)
async def test_handled_raises_the_servers_words(status: int, error: type[ClientError]) -> None:
    async with endpoint(Answer(status, "no and no")) as fake, client_of(fake.url) as client:
        with pytest.raises(error, match="no and no"):
            await client.handled([TICKET])
    assert len(fake.posted) == 1


async def test_a_batch_over_the_limit_is_not_sent() -> None:
    async with endpoint() as fake, client_of(fake.url) as client:
        with pytest.raises(TooLarge):
            await client.handled(Event(EventType.NewTicket, i) for i in range(1001))
        assert not fake.posted


async def test_no_proxy_stands_before_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "ws_proxy", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    async with endpoint(Answer(204)) as fake, client_of(fake.url) as client:
        await client.handled([TICKET])
    async with gateway(says(welcome("a-1"))) as gate, listening(gate) as (_, following):
        await following()


# what is given


@pytest.mark.parametrize(
    ("given", "used"),
    [
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
        ("HTTPS://Example.com/", "https://Example.com"),
        ("https://example.com/a/b/", "https://example.com/a/b"),
        ("http://[::1]:8080", "http://[::1]:8080"),
    ],
)
def test_an_address_has_one_form(given: str, used: str) -> None:
    assert base_url(given) == used


@pytest.mark.parametrize(
    "url",
    [
        "",
        "127.0.0.1:8080",
        "ws://host",
        "http://",
        "http://host:99999",
        "http://[::1",
        "http://a:b@host",
        "http://h?x=1",
    ],
)
def test_an_address_that_is_none(url: str) -> None:
    with pytest.raises(BadRequest):
        client_of(url)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://127.0.0.1:1", True),
        ("http://127.9.9.9", True),
        ("http://[::1]:1", True),
        ("http://LOCALHOST", True),
        ("http://10.0.0.1", False),
        ("http://localhost.example.com", False),
        ("http://127.0.0.1.example.com", False),
    ],
)
def test_this_machine_is_known(url: str, expected: bool) -> None:
    assert is_loopback(url) is expected


@pytest.mark.parametrize(
    "wrong", [{"user": "a:b"}, {"user": ""}, {"device": "-"}, {"device": "a b"}, {"cursor": "x"}, {"cursor": ""}]
)
def test_a_value_no_server_takes_is_refused_at_once(wrong: dict[str, str]) -> None:
    options: dict[str, Any] = {"user": "ada", "password": "x"} | wrong
    with pytest.raises(BadRequest):
        Client("http://127.0.0.1:1", **options)
