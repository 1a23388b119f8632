"""Fetching a result into a file, taking up what is there already (RFC 9110, sections 13.1.5 and 14).

The bytes go to `<name>.part`; `<name>.part.json` says of which result they are. A range is asked for with the result's
entity tag, so bytes of two results are never mixed, and the file gets its name once its size is right.
"""

import json
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import BinaryIO

import httpx

from client.errors import ClientError, ConnectionLost, FileUnusable, Refused, UnreadableAnswer
from client.http import Backoff, Patience, explained, raise_for_status
from client.models import Download

Progress = Callable[[int, int], None]
"""Bytes there, bytes in all."""

_CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+)")
_FILE_NAME = re.compile(r'filename="([^"]+)"')


class _StartAgain(ClientError):
    """The part on disk is of no use."""


@dataclass(frozen=True)
class _Answer:
    """Where the bytes of an answer belong."""

    start: int
    size_bytes: int | None
    """Of the whole; None for what the server makes while it sends. That cannot be taken up again."""
    etag: str


class _Part:
    """An incomplete download on disk."""

    def __init__(self, target: Path, path: str) -> None:
        self.file = target.with_name(target.name + ".part")
        self._record = target.with_name(target.name + ".part.json")
        self._path = path

    def known(self) -> tuple[int, str] | None:
        """How many bytes are there and the entity tag of what they belong to."""
        try:
            record = json.loads(self._record.read_text(encoding="utf-8"))
            size_bytes = self.file.stat().st_size
        except (OSError, ValueError):
            return None
        if not isinstance(record, dict) or record.get("path") != self._path:
            return None
        etag = record.get("etag")
        return (size_bytes, etag) if size_bytes and etag and isinstance(etag, str) else None

    def open(self, answer: _Answer) -> BinaryIO:
        """Ready to take the answer's bytes."""
        if answer.start == 0:
            # First the record goes: bytes must never lie beside another result's tag.
            self._record.unlink(missing_ok=True)
            file: BinaryIO = self.file.open("wb")
            self._record.write_text(json.dumps({"path": self._path, "etag": answer.etag}), encoding="utf-8")
            return file
        file = self.file.open("r+b")
        file.seek(answer.start)
        file.truncate()
        return file

    def become(self, target: Path) -> None:
        self.file.replace(target)
        self._record.unlink(missing_ok=True)

    def remove(self) -> None:
        self._record.unlink(missing_ok=True)
        self.file.unlink(missing_ok=True)


def download(
    http: httpx.Client, path: str, out: Path, fallback_name: str, *, patience: Patience, on_progress: Progress
) -> Download:
    """Fetch `path` into `out`, or under the server's name for it if `out` is a folder.

    Raises Refused and its kin, FileUnusable; ConnectionLost once patience ends, and the part stays for a later try.
    """
    try:
        target = out / _name_on_server(http, path, fallback_name) if out.is_dir() else out
        return _download(http, path, target, patience, on_progress)
    except OSError as error:
        raise FileUnusable(f"{error.filename or out} cannot be written: {error.strerror}.") from None


def _download(http: httpx.Client, path: str, target: Path, patience: Patience, on_progress: Progress) -> Download:
    target.parent.mkdir(parents=True, exist_ok=True)
    part = _Part(target, f"{http.base_url}{path}")
    backoff = Backoff(patience)
    found = part.known()
    resumed_at = found[0] if found else 0
    while True:
        there = part.known()
        try:
            size_bytes, start = _fetch(http, path, part, on_progress, backoff)
        except _StartAgain:
            part.remove()
            resumed_at = 0
            continue
        except ConnectionLost as error:
            backoff.wait(error)
            continue
        except Refused as error:
            if error.status is None or error.status < HTTPStatus.INTERNAL_SERVER_ERROR:
                raise
            backoff.wait(error)
            continue
        if there and start == 0:
            resumed_at = 0
        part.become(target)
        return Download(path=target, size_bytes=size_bytes, resumed_at_bytes=resumed_at)


def _fetch(http: httpx.Client, path: str, part: _Part, on_progress: Progress, backoff: Backoff) -> tuple[int, int]:
    """Get what is missing. Returns the size of the whole and where this answer began."""
    there = part.known()
    # Compressed on the way, bytes could not be counted.
    headers = {"Accept-Encoding": "identity"}
    if there:
        headers |= {"Range": f"bytes={there[0]}-", "If-Range": there[1]}
    with explained(http), http.stream("GET", path, headers=headers) as response:
        if response.status_code == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE and there:
            return _already_whole(response, there[0]), there[0]
        raise_for_status(response)
        answer = _answer(response, there)
        with part.open(answer) as file:
            done = answer.start
            on_progress(done, answer.size_bytes or done)
            for chunk in response.iter_raw():
                file.write(chunk)
                done += len(chunk)
                backoff.succeeded()
                on_progress(done, answer.size_bytes or done)
            file.flush()
            os.fsync(file.fileno())
    if answer.size_bytes is None:
        return done, answer.start
    if done < answer.size_bytes:
        raise ConnectionLost(f"The download stopped at {done} of {answer.size_bytes} bytes.")
    if done > answer.size_bytes:
        raise _StartAgain(f"{done} bytes came of {answer.size_bytes}.")
    return answer.size_bytes, answer.start


def _already_whole(response: httpx.Response, there: int) -> int:
    """A range beyond the end: either nothing was missing but the name, or the part belongs to something else."""
    if response.headers.get("Content-Range") != f"bytes */{there}":
        raise _StartAgain("The part is longer than the result.")
    return there


def _answer(response: httpx.Response, there: tuple[int, str] | None) -> _Answer:
    etag = response.headers.get("ETag", "")
    if response.status_code != HTTPStatus.PARTIAL_CONTENT:
        length = response.headers.get("Content-Length", "")
        if length.isdecimal():
            return _Answer(0, int(length), etag)
        if response.headers.get("Transfer-Encoding", "").lower() != "chunked":
            # Nothing would tell a whole answer from one that broke off.
            raise UnreadableAnswer("The server does not say how large the result is.", status=response.status_code)
        return _Answer(0, None, "")
    match = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
    if match is None or there is None or int(match[1]) != there[0] or etag not in ("", there[1]):
        raise _StartAgain("The answer is not the part that was asked for.")
    return _Answer(int(match[1]), int(match[3]), there[1])


def _name_on_server(http: httpx.Client, path: str, fallback_name: str) -> str:
    """The last part of the name in Content-Disposition: a server does not choose the folder."""
    with explained(http):
        response = http.head(path)
    raise_for_status(response)
    match = _FILE_NAME.search(response.headers.get("Content-Disposition", ""))
    name = Path(match[1].replace("\\", "/")).name if match else ""
    return name if name and not name.startswith(".") and name.isprintable() else fallback_name
