"""How much one agent, and one address, may ask of a worker."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec
import pytest

from server.auth.build import NO_LIMITS
from server.auth.quota import Quota
from server.errors import TooManyRequests
from server.events import AgentId
from server.metrics import Metrics

ADA, BOB = AgentId.of("acme", "ada"), AgentId.of("acme", "bob")
OTHER_ADA = AgentId.of("other", "ada")
LIMITS = msgspec.structs.replace(
    NO_LIMITS,
    requests_per_agent_s=10,
    requests_per_agent_burst=20,
    requests_per_address_s=2,
    requests_per_address_burst=4,
    web_sessions_per_agent_minute=3,
)


@dataclass
class Clock:
    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


@pytest.fixture
def quota(metrics: Metrics, clock: Clock) -> Quota:
    return Quota(LIMITS, metrics, clock)


def limited(metrics: Metrics) -> dict[str, int]:
    """What was counted."""
    return {name: count for (name,), count in metrics.limited_total.items() if count}


def test_an_agent_has_a_burst_and_then_its_rate(quota: Quota, metrics: Metrics, clock: Clock) -> None:
    for _ in range(20):
        quota.of_agent(ADA)
    with pytest.raises(TooManyRequests, match=r"^this agent sends more than 10 requests a second$") as caught:
        quota.of_agent(ADA)
    assert caught.value.headers == (("Retry-After", "1"),)
    assert limited(metrics) == {"agent_requests": 1}
    quota.of_agent(BOB)
    quota.of_agent(OTHER_ADA)
    clock.now += 0.1
    quota.of_agent(ADA)
    with pytest.raises(TooManyRequests):
        quota.of_agent(ADA)
    assert limited(metrics) == {"agent_requests": 2}


def test_an_address_has_a_burst_and_then_its_rate(quota: Quota, metrics: Metrics, clock: Clock) -> None:
    for _ in range(4):
        quota.of_address(lambda: "192.0.2.1")
    with pytest.raises(TooManyRequests, match=r"^this address sends more than 2 requests a second$"):
        quota.of_address(lambda: "192.0.2.1")
    assert limited(metrics) == {"address_requests": 1}
    quota.of_address(lambda: "192.0.2.2")
    clock.now += 0.5
    quota.of_address(lambda: "192.0.2.1")


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("2001:db8::1", "2001:db8::ffff:1", True),
        ("2001:db8::1", "2001:db8:0:100::1", False),
        ("::ffff:192.0.2.1", "192.0.2.1", True),
        ("", "", True),
    ],
)
def test_an_ipv6_network_is_one_address(quota: Quota, one: str, other: str, same: bool) -> None:
    for _ in range(4):
        quota.of_address(lambda: one)
    if same:
        with pytest.raises(TooManyRequests):
            quota.of_address(lambda: other)
    else:
        quota.of_address(lambda: other)


def test_browsers_are_signed_in_at_a_rate_of_their_own(quota: Quota, metrics: Metrics, clock: Clock) -> None:
    for _ in range(3):
        quota.of_web_sessions(ADA)
    with pytest.raises(TooManyRequests, match=r"^this agent signs in more than 3 browsers a minute$") as caught:
        quota.of_web_sessions(ADA)
    assert caught.value.headers == (("Retry-After", "20"),)
    assert limited(metrics) == {"web_sessions": 1}
    quota.of_agent(ADA)
    quota.of_web_sessions(BOB)
    clock.now += 20
    quota.of_web_sessions(ADA)


def test_zero_is_off_and_looks_at_nothing(metrics: Metrics, clock: Clock) -> None:
    quota = Quota(NO_LIMITS, metrics, clock)

    def nobody() -> str:
        raise AssertionError("the address is not asked for")

    for _ in range(10_000):
        quota.of_agent(ADA)
        quota.of_web_sessions(ADA)
        quota.of_address(nobody)
    assert limited(metrics) == {}
