"""The chain: schemes, the cache before them, and how long it remembers what."""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import dataclass, field

import pytest

from server.auth.apptokens import AppTokens
from server.auth.attempts import Attempts
from server.auth.chain import REFUSED_TTL_S, TTL_S, USER_TTL_S, Chain
from server.auth.principal import Credentials, Principal, Scope
from server.errors import BadRequest, TooManyRequests, Unauthenticated, Unavailable
from server.events import AgentId
from server.metrics import Metrics

ADA = Principal(AgentId.of("acme", "ada"), frozenset(Scope))
HERE = "192.0.2.1"


def said(authorization: bytes | None, app_token: bytes | None = None) -> Credentials:
    return Credentials(authorization, app_token)


def remembered(chain: Chain, credentials: Credentials) -> Principal | None:
    return chain.known(chain.key(credentials))


@dataclass
class Clock:
    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Fake:
    """A verifier that takes `good` alone, or raises what it is given."""

    challenge: str = "Fake realm=x"
    charged: bool = True
    expires_at: float | None = None
    failing: Exception | None = None
    grants: tuple[str, ...] = ()
    form: bytes = b""
    asked: list[bytes] = field(default_factory=list)
    closed: int = 0
    ran: bool = False
    was_asked: asyncio.Event = field(default_factory=asyncio.Event)
    going_on: asyncio.Event | None = None

    def claims(self, credentials: bytes) -> bool:
        return credentials.startswith(self.form)

    async def verify(self, credentials: bytes, app_token: bytes | None) -> Principal:
        self.asked.append(credentials)
        self.was_asked.set()
        if self.going_on:
            await self.going_on.wait()
        if self.failing:
            raise self.failing
        if not credentials.startswith(b"good"):
            raise Unauthenticated("wrong")
        return Principal(ADA.agent, ADA.scopes, self.expires_at, self.grants)

    async def run(self) -> None:
        self.ran = True

    async def close(self) -> None:
        self.closed += 1

    __hash__ = object.__hash__


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def fake() -> Fake:
    return Fake()


@pytest.fixture
def chain(fake: Fake, clock: Clock) -> Chain:
    return Chain({"basic": [fake]}, known=3, refused=2, clock=clock, wall=lambda: clock.now + 1e9)


async def test_verified_once_then_cached(chain: Chain, fake: Fake) -> None:
    assert remembered(chain, said(b"Basic good")) is None
    principal = await chain.authenticate(said(b"Basic good"), HERE)
    assert principal == ADA
    assert remembered(chain, said(b"Basic good")) is principal
    assert await chain.authenticate(said(b"Basic good"), HERE) is principal
    assert fake.asked == [b"good"]


async def test_another_header_is_not_cached(chain: Chain) -> None:
    await chain.authenticate(said(b"Basic good"), HERE)
    for other in (b"basic good", b"Basic good2", b"Basic goo", b"", None):
        assert remembered(chain, said(other)) is None


async def test_a_principal_is_forgotten_in_time(chain: Chain, fake: Fake, clock: Clock) -> None:
    await chain.authenticate(said(b"Basic good"), HERE)
    clock.now += TTL_S - 0.001
    assert remembered(chain, said(b"Basic good"))
    clock.now += 0.001
    assert remembered(chain, said(b"Basic good")) is None
    await chain.authenticate(said(b"Basic good"), HERE)
    assert len(fake.asked) == 2
    assert remembered(chain, said(b"Basic good"))


async def test_a_principal_is_forgotten_when_it_expires(chain: Chain, fake: Fake, clock: Clock) -> None:
    fake.expires_at = 1e9 + clock.now + 60
    await chain.authenticate(said(b"Basic good"), HERE)
    clock.now += 59
    assert remembered(chain, said(b"Basic good"))
    clock.now += 1
    assert remembered(chain, said(b"Basic good")) is None
    await chain.authenticate(said(b"Basic good"), HERE)  # a verifier's leeway; not remembered
    assert remembered(chain, said(b"Basic good")) is None


async def test_a_refusal_is_repeated_for_a_while(chain: Chain, fake: Fake, clock: Clock) -> None:
    for _ in range(3):
        with pytest.raises(Unauthenticated, match=r"^wrong$"):
            await chain.authenticate(said(b"Basic bad"), HERE)
    assert len(fake.asked) == 1
    clock.now += REFUSED_TTL_S
    with pytest.raises(Unauthenticated):
        await chain.authenticate(said(b"Basic bad"), HERE)
    assert len(fake.asked) == 2


async def test_guesses_push_out_guesses_only(chain: Chain, fake: Fake) -> None:
    await chain.authenticate(said(b"Basic good"), HERE)
    for guess in (b"Basic a", b"Basic b", b"Basic c"):
        with pytest.raises(Unauthenticated):
            await chain.authenticate(said(guess), HERE)
    assert remembered(chain, said(b"Basic good"))
    with pytest.raises(Unauthenticated):
        await chain.authenticate(said(b"Basic a"), HERE)
    assert fake.asked[1:] == [b"a", b"b", b"c", b"a"]


async def test_the_oldest_goes_when_the_bound_is_reached(chain: Chain, clock: Clock) -> None:
    for header in (b"Basic good1", b"Basic good2", b"Basic good3", b"Basic good4"):
        clock.now += 1
        await chain.authenticate(said(header), HERE)
    assert remembered(chain, said(b"Basic good1")) is None
    assert remembered(chain, said(b"Basic good2"))
    clock.now += TTL_S
    await chain.authenticate(said(b"Basic good5"), HERE)
    assert len(chain._known.entries) == 1


@pytest.mark.parametrize("failing", [Unavailable(), BadRequest("a name that is none")])
async def test_what_says_nothing_of_the_credentials_is_not_remembered(
    chain: Chain, fake: Fake, failing: Exception
) -> None:
    fake.failing = failing
    with pytest.raises(type(failing)):
        await chain.authenticate(said(b"Basic good"), HERE)
    fake.failing = None
    assert await chain.authenticate(said(b"Basic good"), HERE) == ADA


@pytest.mark.parametrize("header", [None, b"", b"Basic", b"Nope good", b"Basic  bad ", b"\xff\xfe \x00"])
async def test_a_refusal_carries_every_challenge(header: bytes | None, fake: Fake) -> None:
    chain = Chain({"basic": [fake], "soticket": [Fake("Other")], "bearer": [Fake("Other")]})
    with pytest.raises(Unauthenticated) as caught:
        await chain.authenticate(said(header), HERE)
    assert caught.value.headers == (("WWW-Authenticate", "Fake realm=x, Other"),)


async def test_a_scheme_has_no_case_and_spaces_do_not_count(chain: Chain, fake: Fake) -> None:
    assert await chain.authenticate(said(b"bASIC   good "), HERE) == ADA
    assert fake.asked == [b"good"]


async def test_what_is_remembered_is_no_credential(chain: Chain) -> None:
    await chain.authenticate(said(b"Basic good-hunter2"), HERE)
    assert all(len(digest) == 16 for digest in chain._known.entries)
    assert "hunter2" not in repr(chain._known.entries)
    assert Chain({})._digest(said(b"x")) != Chain({})._digest(said(b"x"))


async def test_the_verifiers_run_and_are_closed(chain: Chain, fake: Fake) -> None:
    await chain.run()
    assert fake.ran
    await chain.close()
    assert fake.closed == 1


# several verifiers of one scheme, application tokens


async def test_the_first_that_claims_credentials_judges_them(fake: Fake) -> None:
    ours = Fake(form=b"good-ours")
    chain = Chain({"basic": [ours, fake]})
    await chain.authenticate(said(b"Basic good-ours"), HERE)
    await chain.authenticate(said(b"Basic good-theirs"), HERE)
    assert (ours.asked, fake.asked) == ([b"good-ours"], [b"good-theirs"])
    with pytest.raises(Unauthenticated, match="form that is known here"):
        await Chain({"basic": [ours]}).authenticate(said(b"Basic good-theirs"), HERE)


async def test_soticket_needs_an_application_token_where_these_are_configured(fake: Fake) -> None:
    known = AppTokens((hashlib.sha256(b"app").hexdigest(),))
    chain = Chain({"soticket": [fake], "basic": [Fake()]}, app_tokens=known)
    for token in (None, b"", b"App", b"another"):
        with pytest.raises(Unauthenticated, match="SO-AppToken is missing or not known"):
            await chain.authenticate(said(b"SOTicket good", token), HERE)
    assert fake.asked == []
    assert await chain.authenticate(said(b"SoTicket good", b"app"), HERE) == ADA
    assert remembered(chain, said(b"SoTicket good", b"app"))
    for token in (None, b"another"):  # what the cache knows is all that counts
        assert remembered(chain, said(b"SoTicket good", token)) is None
    assert await chain.authenticate(said(b"Basic good"), HERE) == ADA


def test_no_two_credentials_are_the_same_to_the_cache() -> None:
    chain = Chain({}, forwarded=["bearer"])
    different = [
        Credentials(b"Bearer a", b"b"),
        Credentials(b"Bearer a"),
        Credentials(b"Bearer ab"),
        Credentials(b"Basic a"),
        Credentials(b"Basic"),
        Credentials(b"other a"),
        Credentials(None, None, b"a"),
        Credentials(None, None, b""),
    ]
    digests = [chain._digest(each) for each in different]
    assert len(set(digests)) == len(different)
    same = [
        Credentials(b"Bearer a", None, b"cookie"),  # which does not count beside an Authorization
        Credentials(b"bEARER  a", None),
    ]
    assert {chain._digest(each) for each in same} == {digests[1]}
    assert chain._digest(Credentials(b"Basic a", b"token")) == digests[3]  # nobody reads the token


# revocation


async def test_what_stands_on_a_revoked_grant_is_forgotten(chain: Chain, fake: Fake) -> None:
    for number, grant in enumerate(("a", "b")):
        fake.grants = (grant, "both")
        await chain.authenticate(said(b"Basic good%d" % number), HERE)
    chain.revoke(frozenset({"a"}))
    assert remembered(chain, said(b"Basic good0")) is None
    assert remembered(chain, said(b"Basic good1"))
    chain.revoke(frozenset({"both", "unknown"}))
    assert remembered(chain, said(b"Basic good1")) is None


async def test_a_grant_that_ends_while_it_is_verified_counts_no_more(chain: Chain, fake: Fake) -> None:
    fake.grants, fake.going_on = ("a",), asyncio.Event()
    late = asyncio.ensure_future(chain.authenticate(said(b"Basic good"), HERE))
    await fake.was_asked.wait()
    chain.revoke(frozenset({"a"}))
    fake.going_on.set()
    with pytest.raises(Unauthenticated, match="were revoked"):
        await late
    assert remembered(chain, said(b"Basic good")) is None
    # the same grant may come to stand again, as that of a user who is back in the file
    fake.going_on = None
    assert await chain.authenticate(said(b"Basic good2"), HERE) == Principal(ADA.agent, ADA.scopes, None, ("a",))


# limits and metrics


async def test_failures_are_limited_by_address_and_what_is_known_goes_on(fake: Fake) -> None:
    metrics = Metrics()
    chain = Chain({"basic": [fake]}, attempts=Attempts(3), metrics=metrics)
    await chain.authenticate(said(b"Basic good"), HERE)
    for number in range(3):
        with pytest.raises(Unauthenticated):
            await chain.authenticate(said(b"Basic %d" % number), HERE)
    for wrong_or_not in (b"Basic 4", b"Basic good2"):
        with pytest.raises(TooManyRequests) as caught:
            await chain.authenticate(said(wrong_or_not), HERE)
        assert dict(caught.value.headers)["Retry-After"] == "20"
    assert len(fake.asked) == 4
    assert await chain.authenticate(said(b"Basic good"), HERE) == ADA
    assert await chain.authenticate(said(b"Basic good2"), "192.0.2.2") == ADA
    with pytest.raises(Unauthenticated, match="missing"):
        await chain.authenticate(said(None), HERE)
    assert metrics.sign_ins_total["basic", "limited"] == 2
    assert metrics.limited_total["failed_logins",] == 2


async def test_who_repeats_what_is_wrong_is_limited_alone(fake: Fake, clock: Clock) -> None:
    chain = Chain({"basic": [fake]}, attempts=Attempts(10, clock=clock), clock=clock)
    for _ in range(10):
        with pytest.raises(Unauthenticated):
            await chain.authenticate(said(b"Basic wrong"), HERE)
    for _ in range(100):
        with pytest.raises(TooManyRequests, match="again and again"):
            await chain.authenticate(said(b"Basic wrong"), HERE)
    assert fake.asked == [b"wrong"]
    for number in range(9):  # the address has paid for one
        with pytest.raises(Unauthenticated, match=r"^wrong$"):
            await chain.authenticate(said(b"Basic %d" % number), HERE)
    with pytest.raises(TooManyRequests, match="too many failed"):
        await chain.authenticate(said(b"Basic 9"), HERE)


async def test_what_can_not_be_guessed_is_not_charged(fake: Fake) -> None:
    fake.charged = False
    chain = Chain({"basic": [fake]}, attempts=Attempts(1))
    for number in range(20):
        for _ in range(20):
            with pytest.raises(Unauthenticated, match=r"^wrong$"):
                await chain.authenticate(said(b"Basic %d" % number), HERE)
    assert len(fake.asked) == 20  # each once, all the same
    assert await chain.authenticate(said(b"Basic good"), HERE) == ADA


async def test_who_was_refused_may_be_a_user_now(chain: Chain, fake: Fake) -> None:
    fake.failing = Unauthenticated("not yet")
    with pytest.raises(Unauthenticated, match="not yet"):
        await chain.authenticate(said(b"Basic good"), HERE)
    fake.failing = None
    with pytest.raises(Unauthenticated, match="not yet"):
        await chain.authenticate(said(b"Basic good"), HERE)
    chain.users_changed()
    assert await chain.authenticate(said(b"Basic good"), HERE) == ADA


@pytest.mark.parametrize("spelt", [b"basic good", b"BASIC  good", b" Basic good ", b"Basic good\t"])
async def test_credentials_are_known_however_they_are_spelt(chain: Chain, fake: Fake, spelt: bytes) -> None:
    await chain.authenticate(said(b"Basic good"), HERE)
    assert await chain.authenticate(said(spelt), HERE) == ADA
    assert await chain.authenticate(said(spelt, b"nobody reads it"), HERE) == ADA
    assert fake.asked == [b"good"]


async def test_metrics_count_by_scheme_and_result(fake: Fake) -> None:
    metrics = Metrics()
    chain = Chain({"basic": [fake]}, metrics=metrics)
    await chain.authenticate(said(b"Basic good"), HERE)
    await chain.authenticate(said(b"Basic good"), HERE)  # the cache's
    for bad in (b"Basic bad", b"Nope x"):
        with pytest.raises(Unauthenticated):
            await chain.authenticate(said(bad), HERE)
    fake.failing = Unavailable()
    with pytest.raises(Unavailable):
        await chain.authenticate(said(b"Basic good2"), HERE)
    counted = {labels: count for labels, count in metrics.sign_ins_total.items() if count}
    assert counted == {
        ("basic", "ok"): 1,
        ("basic", "refused"): 1,
        ("other", "refused"): 1,
        ("basic", "unavailable"): 1,
    }


async def test_a_user_is_known_for_a_day_and_whoever_has_a_token_too_for_minutes(
    chain: Chain, fake: Fake, clock: Clock
) -> None:
    fake.grants = ("user:ab",)
    await chain.authenticate(said(b"Basic good"), HERE)
    clock.now += USER_TTL_S - 1
    assert remembered(chain, said(b"Basic good"))
    chain.revoke(frozenset({"user:ab"}))
    assert remembered(chain, said(b"Basic good")) is None
    fake.grants = ("user:ab", "web:cd")
    await chain.authenticate(said(b"Basic good"), HERE)
    clock.now += TTL_S
    assert remembered(chain, said(b"Basic good")) is None


async def test_what_was_good_is_no_guess(fake: Fake, clock: Clock) -> None:
    chain = Chain({"basic": [fake]}, attempts=Attempts(3, clock=clock), clock=clock)
    await chain.authenticate(said(b"Basic good"), HERE)
    for minute in range(1, 20):
        clock.now += TTL_S
        for number in range(3):
            with pytest.raises(Unauthenticated):
                await chain.authenticate(said(b"Basic %d" % (10 * minute + number)), HERE)
        with pytest.raises(TooManyRequests):
            await chain.authenticate(said(b"Basic %d" % (10 * minute + 9)), HERE)
        assert await chain.authenticate(said(b"Basic good"), HERE) == ADA
    fake.failing = Unauthenticated("another password by now")
    clock.now += TTL_S
    with pytest.raises(Unauthenticated, match="another password"):
        await chain.authenticate(said(b"Basic good"), HERE)
    clock.now += REFUSED_TTL_S
    for number in range(3):
        with pytest.raises(Unauthenticated):
            await chain.authenticate(said(b"Basic last%d" % number), HERE)
    with pytest.raises(TooManyRequests):  # it had its one try
        await chain.authenticate(said(b"Basic good"), HERE)
