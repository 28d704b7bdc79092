"""What is served is what is described: schemathesis makes requests of the description and judges the answers.

`make schema` runs more examples than `make test`. A failure comes again with the same seed.
"""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Callable, Iterator
from typing import Any, Final

import argon2
import pytest
import requests
import schemathesis
from schemathesis.checks import CHECKS, load_all_checks
from schemathesis.core.parameters import ParameterLocation

from server import __version__
from server.api.openapi import OPENAPI_PATH, description
from server.auth.websession import XSRF_COOKIE
from server.wire import HANDLED_ONE_PATH, SESSION_PATH, TICKET_PATH
from tests.running import Running, get, serving
from tests.schema.leniency import (
    FORM,
    PATCH,
    fits_the_last_choice_only,
    has_a_float,
    is_name,
    is_the_same_in_xml,
    says_a_name_twice,
)

EXAMPLES: Final = int(os.environ.get("SCHEMA_EXAMPLES") or "50")
"""Of each operation, beside the cases that schemathesis makes of every bound in the description."""
SEED: Final = int(os.environ.get("SCHEMA_SEED") or "1")
SAME_UNDER_A_TENANT: Final = [f"/{{tenant}}{path}" for path in (HANDLED_ONE_PATH, TICKET_PATH, SESSION_PATH)]
"""Left out of a short run: what a tenant before the path changes, the other two show."""
TENANT: Final = "acme"
DESCRIPTION: Final = description("", __version__)
SIGNED_IN: Final = {"Authorization": "Basic " + base64.b64encode(b"ada:any").decode()}
load_all_checks()
[REJECTION, ACCEPTANCE, NO_CREDENTIALS] = CHECKS.get_by_names(
    ["negative_data_rejection", "positive_data_acceptance", "ignored_auth"]
)
_guarded: Final[set[str]] = set()


def _described() -> Any:
    generation = {"max-examples": EXAMPLES, "database": "none"}
    config = schemathesis.Config.from_dict({"seed": SEED, "generation": generation, "request-timeout": 10})
    described = schemathesis.openapi.from_dict(DESCRIPTION, config=config)
    return described if EXAMPLES > 100 else described.exclude(path=SAME_UNDER_A_TENANT)


schema: Final = _described()


@pytest.fixture(scope="module")
def running(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A server with one user, who may do everything, and without limits."""
    folder = tmp_path_factory.mktemp("schema")
    capture: Any = request.config.pluginmanager.getplugin("capturemanager")
    with capture.global_and_fixture_disabled():
        print(f"\nschemathesis: SCHEMA_SEED={SEED} SCHEMA_EXAMPLES={EXAMPLES}")
    cheap = argon2.PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash("any")
    users = folder / "users.toml"
    scopes = json.dumps(["handled:write", "sync:read", "agents:write", "admin"])
    users.write_text(f'[users.ada]\nhash = "{cheap}"\ntenant = "{TENANT}"\nscopes = {scopes}\n')
    settings = {
        "CLEARSYNC_AUTH__USERS_FILE": str(users),
        "CLEARSYNC_LIMITS__REQUESTS_PER_AGENT_S": "0",
        "CLEARSYNC_LIMITS__FAILED_LOGINS_PER_MINUTE": "0",
        "CLEARSYNC_LIMITS__WEB_SESSIONS_PER_AGENT_MINUTE": "0",
    }
    with serving(folder=folder, env=settings) as running:
        yield running


def test_the_description_is_the_one_that_is_served(running: Running) -> None:
    assert get(running.url + OPENAPI_PATH) == (200, DESCRIPTION)


@schema.parametrize()  # type: ignore[untyped-decorator]
def test_answers_are_as_described(case: schemathesis.Case[Any], running: Running) -> None:
    if case.path_parameters and case.meta is not None and case.meta.generation.mode.is_positive:
        case.path_parameters["tenant"] = TENANT  # or everything under a tenant would be 403
    headers = in_a_session(running) if case.method == "DELETE" else SIGNED_IN
    answer = case.call_and_validate(base_url=running.url, headers=headers, excluded_checks=excused(case))
    if answer.status_code < 300:
        _guarded.add(case.operation.label)


def in_a_session(running: Running) -> dict[str, str]:
    """What a browser sends that has just signed in."""
    signed_in = requests.post(running.url + SESSION_PATH, headers=SIGNED_IN, timeout=10)
    cookies = signed_in.cookies.get_dict()
    return {
        "Cookie": "; ".join(f"{name}={value}" for name, value in cookies.items()),
        "X-XSRF-TOKEN": cookies[XSRF_COOKIE] or "",
    }


def excused(case: schemathesis.Case[Any]) -> list[Callable[..., Any]]:
    """The checks that do not count for a request, each for a reason."""
    checks = []
    if case.operation.label in _guarded:
        checks.append(NO_CREDENTIALS)  # asked once, with five requests, of what an operation answers whom it knows
    if case.meta is not None and case.meta.is_negative_at(ParameterLocation.BODY):
        checks.append(REJECTION)  # a body is read leniently, as the vendor reads it
    if case.method == "DELETE":
        checks.append(REJECTION)  # all that could be wrong with it are the credentials, and these are ours
    if case.headers and "X-Agent-Id" in case.headers and not is_name(str(case.headers["X-Agent-Id"]), TENANT):
        checks.append(ACCEPTANCE)  # a pattern can't say which percent signs are UTF-8, and of how many characters
    if case.operation.path.endswith(TICKET_PATH):
        if "X-Device-Id" in (case.headers or {}):
            checks.append(REJECTION)  # then what the query says of the device does not count
        elif "device" not in (case.query or {}):
            checks.append(ACCEPTANCE)  # of two parameters one has to be there
    if has_a_float(case.body):
        checks.append(ACCEPTANCE)  # to a JSON schema 1.0 is an integer, to the vendor and to us it is not
    if says_a_name_twice(case.body):
        checks.append(ACCEPTANCE)  # a schema can't count names that differ in case only
    if case.media_type in (FORM, PATCH) and fits_the_last_choice_only(DESCRIPTION, schema_of(case), case.body):
        checks.append(ACCEPTANCE)  # nor run a patch, nor tell which fields of a form belong together
    if case.media_type in ("application/xml", "text/xml") and not is_the_same_in_xml(case.body):
        checks.append(ACCEPTANCE)  # nor say how another name and null are written in XML
    return checks


def schema_of(case: schemathesis.Case[Any]) -> str:
    """The reference to that of a request's body."""
    operation = DESCRIPTION["paths"][case.operation.path][case.method.lower()]
    return str(operation["requestBody"]["content"][case.media_type]["schema"]["$ref"])
