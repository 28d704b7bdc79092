"""A body that takes long to read: others get their turns in between, and its agent pays for it."""

from __future__ import annotations

import asyncio
import gzip
import json
from typing import Any, cast

import pytest

from server.api import handled
from server.api.bounds import InFlight
from server.api.handled import NotificationsHandled
from server.api.head import Head
from server.errors import TooLarge
from server.events import AgentId, Batch
from server.metrics import Metrics

ADA, BOB = AgentId.of("acme", "ada"), AgentId.of("acme", "bob")
PATCH = b"application/json-patch+json"


class Callers:
    """Knows everybody; ada reports for herself."""

    cookie = "c"

    def __init__(self) -> None:
        self.asked = 0
        self.charged: list[tuple[AgentId, int]] = []

    async def reporter(self, scope: Any, head: Head) -> tuple[AgentId, AgentId]:
        self.asked += 1
        return ADA, BOB

    def charge(self, agent: AgentId, requests: int) -> None:
        self.charged.append((agent, requests))


class Broker:
    def __init__(self) -> None:
        self.recorded: list[int] = []

    async def record(self, agent: AgentId, batch: Batch, origin: object) -> int:
        assert agent == BOB
        self.recorded.append(len(batch))
        return 1


class House:
    def __init__(self) -> None:
        self.callers, self.broker, metrics = Callers(), Broker(), Metrics()
        self.endpoint = NotificationsHandled(
            cast(Any, self.callers),
            cast(Any, self.broker),
            metrics,
            InFlight(metrics, requests=100, body_bytes=64 * 1024 * 1024),
            max_body_bytes=262_144,
            store_timeout_s=2.0,
        )

    async def post(self, body: bytes, content_type: bytes = b"application/json", *more: tuple[bytes, bytes]) -> None:
        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(message: object) -> None:
            """The answer is not what this is about."""

        scope = {"type": "http", "headers": [(b"content-type", content_type), *more], "path_params": {}}
        await self.endpoint(scope, receive, send)


@pytest.fixture
def house() -> House:
    return House()


def events(count: int) -> bytes:
    return json.dumps({"NotificationEvents": [{"Type": "NewTicket", "Id": id_} for id_ in range(count)]}).encode()


def patch(count: int) -> bytes:
    add = [{"op": "add", "path": "/NotificationEvents/-", "value": {"Type": 1, "Id": id_}} for id_ in range(count)]
    return json.dumps([{"op": "add", "path": "/NotificationEvents", "value": []}, *add]).encode()


async def test_light_ones_come_between_heavy_ones(house: House) -> None:
    heavy = [house.post(patch(count), PATCH) for count in range(900, 910)]
    await asyncio.gather(*heavy, house.post(events(1)), house.post(events(2)))
    recorded = house.broker.recorded
    assert sorted(recorded) == [1, 2, *range(900, 910)]
    assert [recorded.index(1), recorded.index(2)] == [0, 1]
    assert recorded[2:] == list(range(900, 910))


async def test_who_sends_pays_for_what_it_takes(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handled, "REQUEST_COST_S", 1e-6)
    await house.post(patch(900), PATCH)
    await house.post(gzip.compress(events(1)), b"application/json", (b"content-encoding", b"gzip"))
    await house.post(events(1000))
    await house.post(events(1))
    assert [agent for agent, _ in house.callers.charged] == [ADA, ADA, ADA]
    assert all(requests > 0 for _, requests in house.callers.charged)
    first, second, _ = (requests for _, requests in house.callers.charged)
    assert first > second


async def test_what_is_refused_is_paid_for_too(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handled, "REQUEST_COST_S", 1e-6)
    with pytest.raises(TooLarge):
        await house.post(patch(2500), PATCH)
    assert house.callers.charged[0][1] > 0
    await asyncio.wait_for(house.post(patch(900), PATCH), 5)  # and nobody waits for it


async def test_who_took_long_to_send_is_asked_again(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """Credentials may have been taken back while the body was on its way."""
    await house.post(events(1))
    assert house.callers.asked == 1
    monkeypatch.setattr(handled, "LONG_BODY_S", -1.0)
    await house.post(events(1))
    assert house.callers.asked == 3
