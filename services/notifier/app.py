"""The streams: full and basic progress of one job, at the documented paths."""

import re
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import dataclass
from http import HTTPStatus

from aiohttp import web
from aiohttp.typedefs import Handler

from contracts.errors import DependencyUnavailable
from contracts.jobs import Job
from runtime.access import Access
from runtime.admission import by_any_key
from runtime.bus import Bus
from runtime.job_log import JobLog, Recorded
from runtime.job_view import JobView
from runtime.logs import get_logger
from runtime.metrics import SSE_DROPPED
from runtime.refusals import not_found
from runtime.settings import NotifierSettings
from services.notifier import frames
from services.notifier.following import FeedEnded, newest_known, place_to_resume, states
from services.notifier.progress_view import event_name, percentage, progress_data, status_word
from services.notifier.refusals import errors_as_json
from services.notifier.streams import ClientTooSlow, OpenStreams, Stream

log = get_logger(__name__)

_RETRY_S = 2.0
_STALL_S = 10.0
_JOB_ID = re.compile(r"[0-9A-Za-z-]{1,64}")
"""What an id may look like: it becomes part of a subject, where `*` and `>` have a meaning."""
_HEADERS = {
    "Content-Type": "text/event-stream; charset=utf-8",
    "Cache-Control": "no-cache",
    "X-Accel-Buffering": "no",
}


@dataclass(frozen=True)
class Parts:
    """What the streams are served from."""

    settings: NotifierSettings
    access: Access
    bus: Bus
    job_log: JobLog
    view: JobView
    streams: OpenStreams
    stall_s: float = _STALL_S
    """A client that takes nothing for so long is dropped."""


class BasicFrames:
    """The basic stream: a number when it changes, and a word at the end."""

    def __init__(self) -> None:
        self._last: int | None = None

    def __call__(self, job: Job, sequence: int) -> bytes:
        name = event_name(job)
        if name != "progress":
            return frames.message(status_word(job), event=name, event_id=sequence)
        percent = percentage(job)
        if percent == self._last:
            return b""
        self._last = percent
        return frames.message(str(percent), event=name, event_id=sequence)


def full_frames(job: Job, sequence: int) -> bytes:
    """The full stream: the whole state, for both kinds of listener."""
    return frames.for_both_listeners(progress_data(job).model_dump_json(), event=event_name(job), event_id=sequence)


ToFrames = Callable[[Job, int], bytes]


def build_app(parts: Parts) -> web.Application:
    """The application. `parts` belong to the caller and outlive it."""
    app = web.Application(middlewares=[errors_as_json])
    full = _handler(parts, lambda: full_frames)
    app.router.add_get("/api/progress/{job_id}/stream", full, allow_head=False)
    app.router.add_get("/api/stream/progress/{job_id}", full, allow_head=False)
    app.router.add_get("/api/progress/{job_id}/stream/basic", _handler(parts, BasicFrames), allow_head=False)

    async def stop(_: web.Application) -> None:
        parts.streams.stop()

    app.on_shutdown.append(stop)
    return app


def _handler(parts: Parts, make_frames: Callable[[], ToFrames]) -> Handler:
    async def handle(request: web.Request) -> web.StreamResponse:
        asked = request.headers.get("Last-Event-ID") or request.query.get("last_event_id")
        heard = frames.parse_last_event_id(asked)
        known = await newest_known(parts.job_log, await _owned_job(parts, request), heard)
        resume_after = await place_to_resume(parts.bus, known, heard)
        if known.job.status.is_final and resume_after is not None and resume_after >= known.sequence:
            # Nothing will ever follow: this is how a browser is told not to connect again.
            return web.Response(status=HTTPStatus.NO_CONTENT)
        return await _stream(parts, request, known.job.job_id, resume_after, make_frames())

    return handle


async def _owned_job(parts: Parts, request: web.Request) -> Recorded:
    principal = by_any_key(request.headers, parts.access)
    job_id = request.match_info["job_id"]
    known = await parts.view.find(job_id) if _JOB_ID.fullmatch(job_id) else None
    if known is None or known.job.owner != principal.owner:
        raise not_found("Job not found.")
    return known


async def _stream(
    parts: Parts, request: web.Request, job_id: str, resume_after: int | None, to_frames: ToFrames
) -> web.StreamResponse:
    response = web.StreamResponse(headers=_HEADERS)
    await response.prepare(request)
    if request.transport is None:
        return response
    stream = Stream(response, request.transport, parts.stall_s)
    following = states(
        parts.job_log,
        parts.view,
        job_id,
        resume_after,
        lambda: parts.streams.feed(stream, parts.view, job_id, parts.settings.client_queue),
    )
    with parts.streams.opened(stream):
        try:
            await stream.send(frames.retry_hint(_RETRY_S))
            async with aclosing(following):
                async for recorded in following:
                    if data := to_frames(recorded.job, recorded.sequence):
                        await stream.send(data)
                    if parts.streams.is_stopping:
                        break
            await stream.finish()
        except (ClientTooSlow, FeedEnded) as reason:
            if not parts.streams.is_stopping:
                SSE_DROPPED.inc()
                log.warning("client_dropped", job_id=job_id, reason=reason.message)
                stream.cut()
        except DependencyUnavailable as error:
            # The client comes back and resumes.
            log.warning("stream_broke", job_id=job_id, reason=error.message)
            stream.cut()
        except ConnectionError:
            log.debug("client_left", job_id=job_id)
        except Exception:
            # The answer has begun: it cannot become another one any more.
            log.exception("stream_broke", job_id=job_id)
            stream.cut()
    return response
