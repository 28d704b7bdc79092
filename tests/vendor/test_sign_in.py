"""The vendor's client with every kind of credentials it knows, against a server that takes them all."""

from __future__ import annotations

import hashlib
import secrets
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from websockets.exceptions import ConnectionClosedError

from server.auth.basic import hash_password
from server.auth.vault import name_of
from tests.auth.issuer import pem, token
from tests.running import Running, run, serving, wait_until
from tests.vendor.vendor import WITHIN_S, Credentials, Vendor, basic, device, received

pytestmark = pytest.mark.vendor

PASSWORD: Final = secrets.token_urlsafe()
ADA: Final = basic("ada", PASSWORD)
APP_TOKEN: Final = secrets.token_urlsafe()
WAYS: Final = ("password", "ticket", "bearer")
NEW_TICKET: Final = {"Type": "NewTicket", "Id": 12}


@dataclass(frozen=True)
class Installation:
    """A server with users, tickets and an issuer of tokens; in all of them there is ada of acme."""

    running: Running
    folder: Path
    key: Any

    @property
    def url(self) -> str:
        return self.running.url

    def token_command(self, *words: str) -> str:
        """What `clearsync token …` prints on this server's store."""
        done = run("token", *words, "--data-dir", str(self.running.data_dir), cwd=self.folder)
        assert done.returncode == 0, done.stderr
        return done.stdout.rstrip("\n")

    def ticket(self, ttl: str = "1h") -> str:
        """A ticket as an operator makes one."""
        return self.token_command("issue", "--agent", "acme/ada", "--ttl", ttl)

    def token(self, **claims: object) -> str:
        """A token of the issuer's, with other claims than a good one has."""
        good = {"sub": "ada", "tenant": "acme", "aud": "clearsync", "exp": time.time() + 600}
        return token(self.key, "ES256", good | claims).decode()


@pytest.fixture(scope="module")
def key() -> ec.EllipticCurvePrivateKey:
    """What the issuer signs with."""
    return ec.generate_private_key(ec.SECP256R1())


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory, key: ec.EllipticCurvePrivateKey) -> dict[str, str]:
    """An environment in which passwords, tickets and tokens are taken."""
    folder = tmp_path_factory.mktemp("settings")
    users, keys = folder / "users.toml", folder / "keys.pem"
    users.write_text(f'[users.ada]\nhash = "{hash_password(PASSWORD)}"\ntenant = "acme"\n')
    keys.write_bytes(pem(key))
    return {
        "CLEARSYNC_AUTH__USERS_FILE": str(users),
        "CLEARSYNC_AUTH__TICKETS": "true",
        "CLEARSYNC_JWT__KEYS_FILE": str(keys),
        "CLEARSYNC_JWT__AUDIENCE": "clearsync",
    }


@pytest.fixture(scope="module")
def installation(
    tmp_path_factory: pytest.TempPathFactory, settings: dict[str, str], key: ec.EllipticCurvePrivateKey
) -> Iterator[Installation]:
    """One for all tests that can share it: a device that connects anew starts from now."""
    folder = tmp_path_factory.mktemp("installation")
    with serving(folder=folder, env=settings) as running:
        yield Installation(running, folder, key)


@pytest.fixture(scope="module")
def callers(installation: Installation) -> dict[str, Credentials]:
    """Ada's credentials of each kind, as the vendor's client takes them."""
    return {
        "password": {"user": "ada", "password": PASSWORD},
        "ticket": {"ticket": installation.ticket()},
        "bearer": {"token": installation.token()},
    }


@pytest.mark.parametrize(
    ("way", "prefix"),
    [(way, prefix) for way in WAYS for prefix in ("", "/acme")] + [("ticket", "/Acme/"), ("bearer", "/acme/api")],
)
def test_each_kind_of_credentials_clears_a_device(
    installation: Installation, callers: dict[str, Credentials], vendor: Vendor, way: str, prefix: str
) -> None:
    with device(installation.url, "phone", ADA) as phone, device(installation.url, "desk", ADA) as desk:
        vendor.succeeds(installation.url + prefix, callers[way], [["NewTicket", 12]], "desk")
        clear = received(phone)
        assert (clear["type"], clear["events"]) == ("clear", [NEW_TICKET])
        assert received(desk)["events"] == []


@pytest.mark.parametrize("way", WAYS)
def test_the_path_of_another_tenant_is_not_the_callers(
    installation: Installation, callers: dict[str, Credentials], vendor: Vendor, way: str
) -> None:
    with device(installation.url, "phone", ADA) as phone:
        status, error = vendor.refused(f"{installation.url}/contoso", callers[way])
        assert (status, error["ErrorType"]) == (403, "Forbidden")
        assert error["ErrorMessage"] == "the tenant in the path is not the caller's"
        # what comes after it comes first: nothing of the refused one was recorded
        vendor.succeeds(installation.url, callers[way], [["NewTicketMessage", 13]])
        assert received(phone)["events"] == [{"Type": "NewTicketMessage", "Id": 13}]


@pytest.mark.parametrize("way", ["ticket", "bearer"])
def test_one_event_alone_clears(
    installation: Installation, callers: dict[str, Credentials], vendor: Vendor, way: str
) -> None:
    with device(installation.url, "phone", ADA) as phone:
        vendor.succeeds(f"{installation.url}/acme", callers[way], ["NewTicket", 12])
        assert received(phone)["events"] == [NEW_TICKET]


def test_a_ticket_that_is_revoked_is_out_and_so_are_its_devices(installation: Installation, vendor: Vendor) -> None:
    ticket = installation.ticket()
    with device(installation.url, "phone", f"SoTicket {ticket}") as phone:
        vendor.succeeds(installation.url, {"ticket": ticket}, [["NewTicket", 12]])
        assert received(phone)["events"] == [NEW_TICKET]
        installation.token_command("revoke", name_of("ticket", ticket).partition(":")[2])
        with pytest.raises(ConnectionClosedError) as closed:
            phone.recv(timeout=WITHIN_S)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 4001
    status, error = vendor.refused(installation.url, {"ticket": ticket})
    assert (status, error["ErrorType"]) == (401, "Unauthenticated")
    assert ticket not in str(error)


def test_a_ticket_that_expired_is_out(installation: Installation, vendor: Vendor) -> None:
    ticket = installation.ticket("1s")
    wait_until(lambda: vendor.handled(installation.url, {"ticket": ticket}, []).returncode, what="the ticket expires")
    status, error = vendor.refused(installation.url, {"ticket": ticket})
    assert (status, error["ErrorType"]) == (401, "Unauthenticated")


@pytest.mark.parametrize("claims", [{"exp": 1}, {"aud": "other"}])
def test_a_token_that_does_not_count_is_refused(
    installation: Installation, vendor: Vendor, claims: dict[str, object]
) -> None:
    status, error = vendor.refused(installation.url, {"token": installation.token(**claims)})
    assert (status, error["ErrorType"]) == (401, "Unauthenticated")


def test_with_app_tokens_a_ticket_needs_one(
    tmp_path: Path, settings: dict[str, str], key: ec.EllipticCurvePrivateKey, vendor: Vendor
) -> None:
    listed = settings | {"CLEARSYNC_AUTH__APP_TOKENS": hashlib.sha256(APP_TOKEN.encode()).hexdigest()}
    with serving(folder=tmp_path, env=listed) as running:
        installation = Installation(running, tmp_path, key)
        ticket = {"ticket": installation.ticket()}
        for refused in (ticket, {**ticket, "appToken": "other"}):
            status, error = vendor.refused(running.url, refused)
            assert status == 401
            assert error["ErrorMessage"].startswith("SO-AppToken is missing or not known")
        with device(running.url, "phone", ADA) as phone:
            vendor.succeeds(f"{running.url}/acme", {**ticket, "appToken": APP_TOKEN}, [["NewTicket", 12]])
            assert received(phone)["events"] == [NEW_TICKET]
            # other credentials need none
            vendor.succeeds(running.url, {"token": installation.token()}, [["NewTicketMessage", 13]])
            assert received(phone)["events"] == [{"Type": "NewTicketMessage", "Id": 13}]
