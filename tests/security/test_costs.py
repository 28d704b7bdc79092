"""What little work of a caller can make the worker do much of, while everybody else waits for the loop."""

from __future__ import annotations

import base64
import time
from collections import Counter
from collections.abc import Callable
from functools import partial

import pytest

from server.auth.admission import authorize
from server.auth.basic import parse
from server.auth.chain import Chain
from server.auth.principal import DEFAULT_SCOPES, Credentials, Principal
from server.errors import ClearsyncError
from server.events import AgentId
from server.wire import HANDLED_PATH
from tests.running import serving
from tests.security.callers import basic, report, ticket
from tests.security.conftest import PASSWORD
from tests.security.inside import issue, new_id


class Counting:
    """A verifier that takes everything, and counts."""

    challenge = "Basic"
    charged = True

    def __init__(self, grants: Callable[[int], tuple[str, ...]] = lambda n: ()) -> None:
        self.asked = 0
        self._grants = grants

    def claims(self, credentials: bytes) -> bool:
        return True

    async def verify(self, credentials: bytes, app_token: bytes | None) -> Principal:
        self.asked += 1
        return Principal(AgentId.of("acme", "ada"), DEFAULT_SCOPES, None, self._grants(self.asked))

    async def run(self) -> None:
        pass

    async def close(self) -> None:
        pass


def seconds(work: Callable[[], object]) -> float:
    """The least of three."""
    least = 60.0
    for _ in range(3):
        began = time.perf_counter()
        work()
        least = min(least, time.perf_counter() - began)
    return least


@pytest.mark.parametrize("size", [12_000, 48_000])  # what fits into a head, and into a frame of `refresh`
@pytest.mark.parametrize("form", ["{}:x", "ada:{}"])
def test_name_or_password_whose_normal_form_takes_long(size: int, form: str) -> None:
    """Composing sorts the marks behind a letter, in quadratic time, on the loop and before anything is known."""
    marks = "a" + "\u0315" * (size // 4) + "\u0300" * (size // 4)
    said = base64.b64encode(form.format(marks).encode())

    def work() -> None:
        try:
            name, _ = parse(said)
            AgentId.of("acme", name)
        except ClearsyncError:
            pass

    assert seconds(work) < 0.01


def test_tenant_in_a_path_whose_normal_form_takes_long() -> None:
    principal = Principal(AgentId.of("acme", "ada"), DEFAULT_SCOPES)
    tenant = "a" + "\u0315" * 1300 + "\u0300" * 1300  # percent-encoded it fits into a head

    def work() -> None:
        with pytest.raises(ClearsyncError):
            authorize(principal, None, tenant)

    assert seconds(work) < 0.001


def _cased(bit: str, letter: str) -> str:
    return letter.upper() if bit == "1" else letter


@pytest.mark.parametrize(
    "respelt",
    [
        lambda n: Credentials(b"Basic" + b" " * (n + 1) + b"YTpi"),
        lambda n: Credentials("".join(map(_cased, f"{n:05b}", "basic")).encode() + b" YTpi"),
        lambda n: Credentials(b"Basic YTpi", b"app%d" % n),
    ],
    ids=["spaces", "case", "app token"],
)
async def test_known_credentials_are_known_however_they_are_spelt(respelt: Callable[[int], Credentials]) -> None:
    """Else each request costs argon2 or the CRM, and a place in the cache: nothing limits success before that."""
    verifier = Counting()
    chain = Chain({"basic": [verifier]})
    for n in range(20):
        await chain.authenticate(respelt(n), "192.0.2.1")
    assert verifier.asked <= 2


async def test_revocation_does_not_walk_over_all_that_is_known() -> None:
    """Whoever signs in may sign out, as often as he may ask anything; all workers hear of each."""
    took = []
    for known in (200, 20_000):
        chain = Chain({"basic": [Counting(lambda n: (f"web:{n:064x}",))]})
        for n in range(known):
            await chain.authenticate(Credentials(b"Basic %d" % n), "192.0.2.1")
        took.append(seconds(partial(chain.revoke, frozenset({"web:none"}))))
    assert took[1] < 10 * max(took[0], 1e-5)


def test_requests_that_are_refused_count_too(
    tmp_path_factory: pytest.TempPathFactory, settings: dict[str, str], vault_url: str
) -> None:
    """Of an agent who is known: whatever he may not do, he may not do it more often than anything else."""
    env = settings | {
        "CLEARSYNC_LIMITS__REQUESTS_PER_AGENT_S": "1",
        "CLEARSYNC_LIMITS__REQUESTS_PER_AGENT_BURST": "5",
    }
    with serving("--store", vault_url, folder=tmp_path_factory.mktemp("refusing"), env=env) as running:
        outcomes = Counter[str]()
        for kind, credentials, target in (
            ("tenant", ticket(issue(vault_url, "acme/tenant")), f"/globex{HANDLED_PATH}"),
            ("scope", basic("reader", PASSWORD), HANDLED_PATH),
        ):
            for _ in range(15):
                outcomes[f"{kind} {report(running, new_id(), credentials, target=target).status}"] += 1
        assert outcomes["tenant 429"] >= 5
        assert outcomes["scope 429"] >= 5
