"""Submitting what needs one request only: clouds, photographs, views of an object."""

from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO

import httpx

from client.errors import FileUnusable
from client.http import explained, parse, with_read_timeout
from client.kinds import SixViews
from client.models import SubmittedJob
from client.uploading import CountedFile, Progress

INSPECTION_S = 300.0
"""After an upload the server looks into it before it answers."""
_EMPTY_CONFIGURATION = b""

Part = tuple[str, tuple[str, BinaryIO | bytes, str]]


def submit_cloud(http: httpx.Client, path: Path, configuration: Path | None, on_progress: Progress) -> SubmittedJob:
    """`configuration`: YAML of the Cloud2BIM document; None asks for every default. Raises FileUnusable."""
    with ExitStack() as stack:
        cloud = _open(stack, path, on_progress)
        yaml = _EMPTY_CONFIGURATION if configuration is None else _open(stack, configuration, _uncounted)
        parts: list[Part] = [
            ("point_cloud_file", (path.name, cloud, "application/octet-stream")),
            ("config_file", ("config.yaml", yaml, "application/yaml")),
        ]
        return _send(http, "submit", parts, {})


def submit_photos(
    http: httpx.Client, path: Path, dataset_name: str, scene_name: str, on_progress: Progress
) -> SubmittedJob:
    """A ZIP of photographs. Raises FileUnusable."""
    with ExitStack() as stack:
        parts: list[Part] = [("file", (path.name, _open(stack, path, on_progress), "application/zip"))]
        return _send(http, "upload", parts, {"dataset_name": dataset_name, "scene_name": scene_name})


def submit_views(
    http: httpx.Client, files: SixViews, model_type: str, cameras: Path | None, on_progress: Progress
) -> SubmittedJob:
    """`cameras`: JSON of `contracts.object_settings.GivenCameras`; None has them recovered. Raises FileUnusable."""
    with ExitStack() as stack:
        total = sum(path.stat().st_size for path in (*files.views, *files.depths))
        parts: list[Part] = []
        before = 0
        for field, paths in (("views", files.views), ("depth_renders", files.depths)):
            for path in paths:
                opened = _open(stack, path, _shifted(on_progress, before, total))
                parts.append((field, (path.name, opened, "image/png")))
                before += path.stat().st_size
        fields = {"model_type": model_type}
        if cameras is not None:
            fields["cameras"] = _text(cameras)
        return _send(http, "jobs", parts, fields)


def _send(http: httpx.Client, path: str, parts: list[Part], fields: Mapping[str, str]) -> SubmittedJob:
    timeout = with_read_timeout(http.timeout, INSPECTION_S)
    with explained(http):
        response = http.post(path, files=parts, data=fields, timeout=timeout)
    return parse(response, SubmittedJob)


def _open(stack: ExitStack, path: Path, on_progress: Progress) -> CountedFile:
    try:
        return stack.enter_context(CountedFile(path, on_progress))
    except OSError as error:
        raise FileUnusable(f"{path} cannot be read: {error.strerror}.") from None


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise FileUnusable(f"{path} cannot be read: {error}.") from None


def _shifted(on_progress: Progress, before: int, total: int) -> Progress:
    """The progress of one file of several."""
    return lambda done, _: on_progress(before + done, total)


def _uncounted(_done: int, _total: int) -> None:
    pass
