"""Views on the bus: answers whether an upload can be made an object of. The object itself is made from the upload as it came."""

from typing import BinaryIO

from contracts.uploads import InspectRequest
from services.ingest.views.inspection import inspect_views


def look_into_views(file: BinaryIO, _: InspectRequest) -> tuple[str, ...]:
    """The pictures' names. Reads and decodes all of them."""
    return inspect_views(file)
