"""The application: every route, and what stands around all of them."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

from aiohttp import web
from aiohttp.typedefs import Middleware

from runtime.admission import admit
from runtime.clock import now
from runtime.job_view import JobView
from runtime.refusals import Refusal
from services.gateway import (
    cloud2bim,
    docs,
    remap,
    retraining,
    scene,
    scene_metrics,
    shared_paths,
    six_views,
    streams,
    tokens,
)
from services.gateway.cors import Cors
from services.gateway.failures import answer_failures, note_start
from services.gateway.json_bodies import JSON_LIMIT_BYTES
from services.gateway.observation import mark_with_id, observe
from services.gateway.openapi import DOCUMENT, build_document
from services.gateway.owned_jobs import LogReader
from services.gateway.parts import PARTS, PRINCIPAL, Parts
from services.gateway.rate_limits import RateLimit
from services.gateway.routes import Handler, Route
from services.gateway.uploads import refuse_announced_upload
from services.gateway.worker_devices import DEVICES, WorkerDevices

_EXPIRY_SWEEP_S = 3600.0

ROUTES: tuple[Route, ...] = (
    *remap.ROUTES,
    *cloud2bim.ROUTES,
    *scene.ROUTES,
    *retraining.ROUTES,
    *six_views.ROUTES,
    *shared_paths.ROUTES,
    *scene_metrics.ROUTES,
    *tokens.ROUTES,
    *streams.ROUTES,
    *docs.ROUTES,
)


def build_app(parts: Parts) -> web.Application:
    """The gateway on top of connected parts."""
    cors = Cors(parts.settings.access.cors_origins)
    app = web.Application(
        client_max_size=JSON_LIMIT_BYTES, middlewares=[observe, _preflights_with(cors), answer_failures]
    )
    app[PARTS] = parts
    app[DOCUMENT] = build_document(ROUTES)
    app[cloud2bim.SUBMISSIONS] = RateLimit(parts.settings.gateway.rate_limit_per_minute)
    app[remap.LOG_READER] = LogReader(parts.job_log)
    app[tokens.DESK] = tokens.TokenDesk(parts.access, parts.settings.access.token_lifetime_s)
    app[retraining.AIRFLOW] = retraining.Airflow(parts.settings.airflow)
    app[DEVICES] = WorkerDevices(parts.bus)
    for route in ROUTES:
        _add(app, route, parts)
    app.on_response_prepare.append(note_start)
    app.on_response_prepare.append(mark_with_id)
    app.on_response_prepare.append(cors.mark)
    app.cleanup_ctx.append(_proxy)
    app.cleanup_ctx.append(_expiry)
    app.on_shutdown.append(_stop_streams)
    return app


def _preflights_with(cors: Cors) -> Middleware:
    @web.middleware
    async def preflights(request: web.Request, handler: Handler) -> web.StreamResponse:
        return cors.preflight(request) or await handler(request)

    return preflights


def _add(app: web.Application, route: Route, parts: Parts) -> None:
    """Register a route behind its admission."""

    async def admitted(request: web.Request) -> web.StreamResponse:
        principal = admit(request.headers, parts.access, route.admission)
        if principal is not None:
            request[PRINCIPAL] = principal
        return await route.handler(request)

    async def expected(request: web.Request) -> None:
        # Who will be refused is not asked to send the body first; the refusal itself comes from the handler.
        with contextlib.suppress(Refusal):
            admit(request.headers, parts.access, route.admission)
            if route.upload_limit is not None:
                refuse_announced_upload(request, route.upload_limit(parts.settings.gateway))
            if request.headers.get("Expect", "").lower() == "100-continue":
                await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
                # What was written so far is not part of the answer.
                request.writer.output_size = 0

    if route.method == "GET":
        app.router.add_get(route.path, admitted, allow_head=route.answers_head, expect_handler=expected)
    else:
        app.router.add_route(route.method, route.path, admitted, expect_handler=expected)


async def _proxy(app: web.Application) -> AsyncIterator[None]:
    app[streams.PROXY] = streams.StreamProxy()
    yield
    await app[streams.PROXY].close()


async def _stop_streams(app: web.Application) -> None:
    app[streams.PROXY].stop()


async def _expiry(app: web.Application) -> AsyncIterator[None]:
    """The stream drops jobs by age without a word; the view has to be told."""
    parts = app[PARTS]
    sweeping = asyncio.create_task(_forget_expired(parts.view, parts.settings.bus.keep_jobs_s))
    yield
    sweeping.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await sweeping


async def _forget_expired(view: JobView, keep_s: float) -> None:
    while True:
        moment = now()
        for recorded in view.all_jobs():
            if (moment - recorded.job.updated_at).total_seconds() > keep_s:
                view.forget(recorded.job.job_id)
        await asyncio.sleep(_EXPIRY_SWEEP_S)
