"""The chain: schemes, the cache before them, and how long it remembers what."""

from __future__ import annotations

import base64
from dataclasses import dataclass, field
from pathlib import Path

import argon2
import pytest

from server.auth.chain import REFUSED_TTL_S, TTL_S, Chain, build
from server.auth.principal import Authenticator, Principal, Scope
from server.errors import BadRequest, SettingsError, Unauthenticated, Unavailable
from server.events import AgentId
from server.settings import load

ADA = Principal(AgentId.of("acme", "ada"), frozenset(Scope))


@dataclass
class Clock:
    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Fake:
    """A verifier that takes `good` alone, or raises what it is given."""

    challenge: str = "Fake realm=x"
    expires_at: float | None = None
    failing: Exception | None = None
    asked: list[bytes] = field(default_factory=list)
    closed: int = 0

    async def verify(self, credentials: bytes) -> Principal:
        self.asked.append(credentials)
        if self.failing:
            raise self.failing
        if not credentials.startswith(b"good"):
            raise Unauthenticated("wrong")
        return Principal(ADA.agent, ADA.scopes, self.expires_at)

    def close(self) -> None:
        self.closed += 1


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def fake() -> Fake:
    return Fake()


@pytest.fixture
def chain(fake: Fake, clock: Clock) -> Chain:
    return Chain({"fake": fake}, known=3, refused=2, clock=clock, wall=lambda: clock.now + 1e9)


async def test_verified_once_then_cached(chain: Chain, fake: Fake) -> None:
    assert chain.cached(b"Fake good") is None
    principal = await chain.authenticate(b"Fake good")
    assert principal == ADA
    assert chain.cached(b"Fake good") is principal
    assert await chain.authenticate(b"Fake good") is principal
    assert fake.asked == [b"good"]


async def test_another_header_is_not_cached(chain: Chain) -> None:
    await chain.authenticate(b"Fake good")
    for other in (b"fake good", b"Fake good2", b"Fake goo", b"", None):
        assert chain.cached(other) is None


async def test_a_principal_is_forgotten_in_time(chain: Chain, fake: Fake, clock: Clock) -> None:
    await chain.authenticate(b"Fake good")
    clock.now += TTL_S - 0.001
    assert chain.cached(b"Fake good")
    clock.now += 0.001
    assert chain.cached(b"Fake good") is None
    await chain.authenticate(b"Fake good")
    assert len(fake.asked) == 2
    assert chain.cached(b"Fake good")


async def test_a_principal_is_forgotten_when_it_expires(chain: Chain, fake: Fake, clock: Clock) -> None:
    fake.expires_at = 1e9 + clock.now + 60
    await chain.authenticate(b"Fake good")
    clock.now += 59
    assert chain.cached(b"Fake good")
    clock.now += 1
    assert chain.cached(b"Fake good") is None
    await chain.authenticate(b"Fake good")  # a verifier's leeway; not remembered
    assert chain.cached(b"Fake good") is None


async def test_a_refusal_is_repeated_for_a_while(chain: Chain, fake: Fake, clock: Clock) -> None:
    for _ in range(3):
        with pytest.raises(Unauthenticated, match=r"^wrong$"):
            await chain.authenticate(b"Fake bad")
    assert len(fake.asked) == 1
    clock.now += REFUSED_TTL_S
    with pytest.raises(Unauthenticated):
        await chain.authenticate(b"Fake bad")
    assert len(fake.asked) == 2


async def test_guesses_push_out_guesses_only(chain: Chain, fake: Fake) -> None:
    await chain.authenticate(b"Fake good")
    for guess in (b"Fake a", b"Fake b", b"Fake c"):
        with pytest.raises(Unauthenticated):
            await chain.authenticate(guess)
    assert chain.cached(b"Fake good")
    with pytest.raises(Unauthenticated):
        await chain.authenticate(b"Fake a")
    assert fake.asked[1:] == [b"a", b"b", b"c", b"a"]


async def test_the_oldest_goes_when_the_bound_is_reached(chain: Chain, clock: Clock) -> None:
    for header in (b"Fake good1", b"Fake good2", b"Fake good3", b"Fake good4"):
        clock.now += 1
        await chain.authenticate(header)
    assert chain.cached(b"Fake good1") is None
    assert chain.cached(b"Fake good2")
    clock.now += TTL_S
    await chain.authenticate(b"Fake good5")
    assert len(chain._known.entries) == 1


@pytest.mark.parametrize("failing", [Unavailable(), BadRequest("a name that is none")])
async def test_what_says_nothing_of_the_credentials_is_not_remembered(
    chain: Chain, fake: Fake, failing: Exception
) -> None:
    fake.failing = failing
    with pytest.raises(type(failing)):
        await chain.authenticate(b"Fake good")
    fake.failing = None
    assert await chain.authenticate(b"Fake good") == ADA


@pytest.mark.parametrize("header", [None, b"", b"Fake", b"Nope good", b"Fake  bad ", b"\xff\xfe \x00"])
async def test_a_refusal_carries_every_challenge(header: bytes | None, fake: Fake) -> None:
    chain = Chain({"fake": fake, "other": Fake("Other"), "same": Fake("Other")})
    with pytest.raises(Unauthenticated) as caught:
        await chain.authenticate(header)
    assert caught.value.headers == (("WWW-Authenticate", "Fake realm=x, Other"),)


async def test_a_scheme_has_no_case_and_spaces_do_not_count(chain: Chain, fake: Fake) -> None:
    assert await chain.authenticate(b"fAKE   good ") == ADA
    assert fake.asked == [b"good"]


async def test_what_is_remembered_is_no_credential(chain: Chain) -> None:
    await chain.authenticate(b"Fake good-hunter2")
    assert all(len(digest) == 16 for digest in chain._known.entries)
    assert "hunter2" not in repr(chain._known.entries)
    assert Chain({})._digest(b"x") != Chain({})._digest(b"x")


def test_closing_closes(chain: Chain, fake: Fake) -> None:
    chain.close()
    assert fake.closed == 1


async def test_a_chain_of_a_users_file(tmp_path: Path) -> None:
    hash_ = argon2.PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash("secret")
    path = tmp_path / "users.toml"
    path.write_text(f"[users.ada]\nhash = '{hash_}'\ntenant = 'acme'")
    chain = build(load(None, {"CLEARSYNC_AUTH__USERS_FILE": str(path)}, {}))
    port: Authenticator = chain
    header = b"Basic " + base64.b64encode(b"ada:secret")
    assert str((await port.authenticate(header)).agent) == "acme/ada"
    assert port.cached(header)
    chain.close()
    chain.close()
    assert port.cached(header)  # the threads are gone: no argon2 was asked
    path.write_text("[users.ada]")
    with pytest.raises(SettingsError, match=r"\[users.ada\] tenant is missing"):
        build(load(None, {"CLEARSYNC_AUTH__USERS_FILE": str(path)}, {}))


async def test_a_chain_of_development() -> None:
    chain = build(load(None, {}, {"dev": True}))
    assert str((await chain.authenticate(b"basic " + base64.b64encode(b"ada:x"))).agent) == "dev/ada"
    chain.close()
