"""What goes into the `Authorization` of a client, and over which roads."""

from __future__ import annotations

import base64

import pytest

from server.client import Client
from server.client.address import check_exposure
from server.client.credentials import authorization_of, checked, checked_app_token, headers_of
from server.errors import BadRequest


def test_user_and_password_are_basic() -> None:
    expected = "Basic " + base64.b64encode("ada:é:b".encode()).decode()
    assert authorization_of("ada", "é:b", None) == expected


@pytest.mark.parametrize("header", ["SoTicket cs1.x_-1", "Bearer a.b.c", "Basic YTpi", "X-1 7T:a b"])
def test_a_whole_header_is_taken_as_it_is(header: str) -> None:
    assert authorization_of(None, None, header) == checked(header) == header


@pytest.mark.parametrize(
    ("user", "password", "authorization"),
    [
        (None, None, None),
        ("ada", "secret", "Bearer secret"),
        ("ada", None, "Bearer secret"),
        (None, "secret", "Bearer secret"),
        ("ada", None, None),
        (None, "secret", None),
        ("", "secret", None),
        ("a:b", "secret", None),
        ("ada", "secret\udcff", None),
    ],
)
def test_there_is_exactly_one_way(user: str | None, password: str | None, authorization: str | None) -> None:
    with pytest.raises(BadRequest) as caught:
        authorization_of(user, password, authorization)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "header",
    [
        "",
        "Bearer",
        "Bearer ",
        "Bearer  secret",
        " Bearer secret",
        "Bearer secret ",
        "Bearer secret\r\nX-Agent-Id: bob",
        "Bearer secret\n",
        "Bearer sec\x00ret",
        "Bearer sec\tret",
        "Bearer sécret",
        "Bea\rrer secret",
        "Beä secret",
        "Bea:rer secret",
    ],
)
def test_what_is_no_header_is_refused_and_not_quoted(header: str) -> None:
    for taken in (checked, lambda given: authorization_of(None, None, given)):
        with pytest.raises(BadRequest, match="printable ASCII") as caught:
            taken(header)
        assert "secret" not in str(caught.value)


@pytest.mark.parametrize("token", ["x", "SuperOffice-1.2/~", "two words"])
def test_an_application_token_is_taken_as_it_is(token: str) -> None:
    assert headers_of("Bearer x", checked_app_token(token)) == {"Authorization": "Bearer x", "SO-AppToken": token}
    assert headers_of("Bearer x", None) == {"Authorization": "Bearer x"}


@pytest.mark.parametrize(
    "token", ["", " secret", "secret ", "secret\r\nX-Agent-Id: bob", "secret\n", "sec\x00ret", "sec\tret", "sécret"]
)
def test_what_is_no_application_token_is_refused_and_not_quoted(token: str) -> None:
    for taken in (
        checked_app_token,
        lambda given: Client("http://127.0.0.1:1", authorization="Bearer x", app_token=given),
    ):
        with pytest.raises(BadRequest, match="app_token must be printable ASCII") as caught:
            taken(token)
        assert "secret" not in str(caught.value)


def test_a_client_shows_no_secret() -> None:
    client = Client("http://127.0.0.1:1", authorization="Bearer secret", app_token="secret")
    assert "secret" not in repr(client)


@pytest.mark.parametrize("url", ["https://sync.example.com", "http://127.0.0.1:1", "http://[::1]", "http://localhost"])
def test_these_roads_are_safe(url: str) -> None:
    check_exposure(url, insecure=False)


@pytest.mark.parametrize("url", ["http://sync.example.com", "http://10.0.0.1:8080", "http://localhost.example.com"])
def test_plain_http_beyond_this_machine_needs_the_callers_word(url: str) -> None:
    with pytest.raises(BadRequest, match=r"in the clear: use https, or --insecure-http"):
        check_exposure(url, insecure=False, remedy="--insecure-http")
    check_exposure(url, insecure=True)
