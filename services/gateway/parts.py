"""What the handlers stand on. Made in `__main__`, handed to the application as one value."""

from dataclasses import dataclass

from aiohttp import web

from runtime.access import Access, Principal
from runtime.bus import Bus
from runtime.job_log import JobLog
from runtime.job_view import JobView
from runtime.object_store import ObjectStore
from runtime.settings import Settings


@dataclass(frozen=True)
class Parts:
    settings: Settings
    access: Access
    bus: Bus
    store: ObjectStore
    job_log: JobLog
    view: JobView


PARTS = web.AppKey("parts", Parts)
PRINCIPAL = web.RequestKey("principal", Principal)
REQUEST_ID = web.RequestKey("request_id", str)


def parts_of(request: web.Request) -> Parts:
    return request.app[PARTS]


def owner_of(request: web.Request) -> str:
    """Whose request this is. Only for routes that admit nobody without a name."""
    return request[PRINCIPAL].owner
