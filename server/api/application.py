"""The HTTP application: which endpoint answers which path."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.routing import Route
from starlette.types import ASGIApp

from server import __version__
from server.api.bounds import Bodiless, InFlight
from server.api.callers import Callers
from server.api.cors import cors
from server.api.development import LocalHosts
from server.api.handled import NotificationHandled, NotificationsHandled
from server.api.openapi import OPENAPI_PATH, OpenApi
from server.api.overview import Overview, Overviews
from server.api.problems import HANDLERS
from server.api.session import BrowserSession, SyncTicket
from server.api.short import ShortWay
from server.api.status import Status
from server.api.sync import Sync, SyncOnce
from server.auth.address import Way
from server.auth.build import Authentication
from server.broker.base import Broker
from server.console.pages import console
from server.metrics import Metrics
from server.settings import Settings
from server.wire import HANDLED_ONE_PATH, HANDLED_PATH, OVERVIEW_PATH, SESSION_PATH, SYNC_PATH, TICKET_PATH


def application(
    settings: Settings,
    known: Authentication,
    broker: Broker,
    metrics: Metrics,
    way: Way,
    ready: Callable[[], bool],
    state: dict[str, Any],
    event_streams: ASGIApp,
    overviews: Overviews | None = None,
) -> Starlette:
    """The ASGI application of a worker. By its lifespan `state` comes to uvicorn's protocol classes. `event_streams`
    answers those who ask for one, `overviews` those who ask for all workers' figures; without it, nobody answers."""

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[dict[str, Any]]:
        yield {**state, "short": short}

    guards = [Middleware(LocalHosts)] if settings.dev else []
    origins = cors(settings.gateway.allowed_origins) if settings.gateway.allowed_origins else None
    if origins is not None:
        guards.append(origins)
    callers = Callers(known.chain, known.quota, way, settings.gateway.allowed_origins, known.cookie)
    base, limits = settings.server.base_path, settings.limits
    in_flight = InFlight(metrics, requests=limits.requests_in_flight, body_bytes=limits.bodies_in_flight_bytes)
    # in development all requests pass the guard of hosts
    short = (
        None
        if settings.dev
        else ShortWay(base, callers, broker, metrics, in_flight, max_body_bytes=limits.body_bytes, guard=origins)
    )
    routes = [
        *_for_agents(base, settings, known, broker, metrics, callers, in_flight, event_streams, overviews),
        *_for_anybody(base, settings, ready),
        *(console(base, dev=settings.dev) if settings.console.enabled or settings.dev else ()),
    ]
    app = Starlette(routes=routes, exception_handlers=HANDLERS, middleware=guards, lifespan=lifespan)
    app.router.redirect_slashes = False
    return app


def _for_agents(
    base: str,
    settings: Settings,
    known: Authentication,
    broker: Broker,
    metrics: Metrics,
    callers: Callers,
    in_flight: InFlight,
    event_streams: ASGIApp,
    overviews: Overviews | None,
) -> list[Route]:
    """What knows its caller; the caller's tenant may stand before the path."""
    handled = NotificationsHandled(
        callers,
        broker,
        metrics,
        in_flight,
        max_body_bytes=settings.limits.body_bytes,
        store_timeout_s=settings.store.timeout_s,
    )
    sync = Sync(Bodiless(SyncOnce(callers, broker), in_flight), event_streams)
    ticket = SyncTicket(callers, known.web)
    overview = Overview(callers, overviews or Overviews(lambda: None))
    browser = BrowserSession(callers, known.web, known.quota, base)
    endpoints = (
        (HANDLED_PATH, handled, ["POST"]),
        (HANDLED_ONE_PATH, NotificationHandled(handled), ["POST"]),
        (SYNC_PATH, sync, ["GET"]),
        (TICKET_PATH, Bodiless(ticket, in_flight), ["POST"]),
        (OVERVIEW_PATH, Bodiless(overview, in_flight), ["GET"]),
        (SESSION_PATH, Bodiless(browser, in_flight), ["POST", "DELETE"]),
    )
    return [
        Route(f"{base}{tenant}{path}", endpoint, methods=methods)
        for path, endpoint, methods in endpoints
        for tenant in ("", "/{tenant}")
    ]


def _for_anybody(base: str, settings: Settings, ready: Callable[[], bool]) -> list[Route]:
    status = Status(ready)
    routes = [
        Route(f"{at}/{name}", endpoint, methods=["GET"])
        for at in dict.fromkeys(("", base))  # health checks do not know the base path
        for name, endpoint in (("live", status.live), ("ready", status.ready), ("version", status.version))
    ]
    openapi = OpenApi(base, __version__, secure_cookies=not settings.dev)
    return [*routes, Route(f"{base}{OPENAPI_PATH}", openapi, methods=["GET"])]
