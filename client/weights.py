"""`alidade weights`: fetch the weights of networks into a folder that workers read, list them, and check them.

Who publishes weights decides what they may be used for. Licences are shown, and those that forbid commercial use must be
agreed to before anything is fetched.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
from pydantic import ValidationError

from client.errors import ConnectionLost, FileUnusable, InvalidSetting, Misconfigured, Refused
from contracts.weights import (
    RECORD_NAME,
    USABLE,
    WEIGHTS,
    DigestRecord,
    FileState,
    Licence,
    Weights,
    WeightsFile,
    agrees,
    digest_of,
    file_key,
    read_record,
    state_of,
    weights_for,
)

FOLDER_VARIABLE = "ALIDADE_WEIGHTS__FOLDER"
DEFAULT_FOLDER = Path(".alidade/weights")
_CHUNK_BYTES = 1 << 18
_TIMEOUT = httpx.Timeout(30.0, connect=10.0)

ShowBytes = Callable[[int, int], None]
Agree = Callable[[Licence, Sequence[str]], bool]
"""Shows a licence with the names of the weights under it, and returns whether a person agrees."""


@dataclass(frozen=True)
class Entry:
    """A file of weights and how it stands."""

    weights: Weights
    file: WeightsFile
    path: Path
    state: FileState


def folder_or_default(folder: Path | None) -> Path:
    """What was given, else what services read from their environment, else the state folder's."""
    return folder or Path(os.environ.get(FOLDER_VARIABLE) or DEFAULT_FOLDER)


def chosen(names: Sequence[str]) -> tuple[Weights, ...]:
    """The weights of these names, each once; all for no names. Raises InvalidSetting for an unknown one."""
    if not names:
        return WEIGHTS
    found: dict[str, Weights] = {}
    for name in names:
        try:
            found |= {entry.name: entry for entry in weights_for(name)}
        except KeyError:
            known = sorted({entry.name for entry in WEIGHTS} | {name for entry in WEIGHTS for name in entry.serves})
            raise InvalidSetting(f"There are no weights for {name!r}. Known: {', '.join(known)}.") from None
    return tuple(found.values())


def entries(folder: Path, names: Sequence[str] = ()) -> list[Entry]:
    """Every file of the chosen weights. Raises InvalidSetting, FileUnusable."""
    record = _record(folder)
    found = []
    for weights in chosen(names):
        for file in weights.files:
            path = folder / file_key(weights, file)
            with _readable(path):
                state = state_of(path, file, record.digests.get(file_key(weights, file)))
            found.append(Entry(weights, file, path, state))
    return found


def verify(folder: Path, names: Sequence[str] = ()) -> list[Entry]:
    """Check every file that is there, and record the digest of those that were never seen: from now on they must not change."""
    found = entries(folder, names)
    fresh = [entry for entry in found if entry.state is FileState.UNRECORDED]
    for entry in fresh:
        with _readable(entry.path):
            _remember(folder, file_key(entry.weights, entry.file), digest_of(entry.path, "sha256"))
    return found


def pull(
    folder: Path, names: Sequence[str], agree: Agree, show: Callable[[str], ShowBytes], mirror: str | None = None
) -> list[Entry]:
    """Fetch what is missing or wrong. `show(name)` is called at every file's start and told its bytes.

    `mirror` is a URL below which files lie as they do in the folder; None takes each from who published it.

    Raises Misconfigured if a licence is not agreed to: then nothing is fetched. Raises ConnectionLost or Refused if a
    source does not answer, FileUnusable if what came is not what it should be.
    """
    wanted = [entry for entry in entries(folder, names) if entry.state not in USABLE]
    _settle_licences([entry.weights for entry in wanted], agree)
    for entry in wanted:
        key = file_key(entry.weights, entry.file)
        with _writable(entry.path):
            entry.path.parent.mkdir(parents=True, exist_ok=True)
            fetched = entry.path.with_name(f".{entry.path.name}.part")
            url = f"{mirror.rstrip('/')}/{key}" if mirror else entry.file.url
            _download(url, fetched, show(key))
            _require_right(entry, url, fetched, _record(folder).digests.get(key))
            digest = digest_of(fetched, "sha256")
            fetched.replace(entry.path)
        _remember(folder, key, digest)
    return entries(folder, names)


def _settle_licences(weights: Sequence[Weights], agree: Agree) -> None:
    restricted: dict[str, tuple[Licence, list[str]]] = {}
    for entry in weights:
        if not entry.licence.commercial:
            restricted.setdefault(entry.licence.url, (entry.licence, []))[1].append(entry.name)
    for licence, names in restricted.values():
        if not agree(licence, names):
            raise Misconfigured(
                f"Nothing was fetched: the licence of {', '.join(names)} was not agreed to. Name only other weights, "
                "or agree with --accept-non-commercial."
            )


def _require_right(entry: Entry, url: str, fetched: Path, recorded: str | None) -> None:
    expected = entry.file.digest or recorded
    if expected is not None and not agrees(fetched, expected):
        fetched.unlink()
        raise FileUnusable(
            f"What {url} sent is not the {file_key(entry.weights, entry.file)} that is known here ({expected}). "
            f"It was thrown away. If the source has published another version, remove its line from {RECORD_NAME}."
        )


def _download(url: str, path: Path, show: ShowBytes) -> None:
    """Raises ConnectionLost, Refused; OSError if it cannot be written."""
    try:
        with (
            httpx.Client(follow_redirects=True, timeout=_TIMEOUT) as client,
            client.stream("GET", url) as response,
            path.open("wb") as file,
        ):
            if response.is_error:
                raise Refused(f"{url} answered with {response.status_code}.", status=response.status_code)
            total = int(response.headers.get("Content-Length", 0))
            done = 0
            for chunk in response.iter_bytes(_CHUNK_BYTES):
                file.write(chunk)
                done += len(chunk)
                show(done, max(total, done))
    except httpx.HTTPError as error:
        raise ConnectionLost(f"{url} cannot be fetched: {error or type(error).__name__}.") from None


def _remember(folder: Path, key: str, digest: str) -> None:
    record = _record(folder)
    path = folder / RECORD_NAME
    with _writable(path):
        unfinished = path.with_name(f".{RECORD_NAME}.part")
        unfinished.write_text(
            DigestRecord(digests={**record.digests, key: digest}).model_dump_json(indent=2), encoding="utf-8"
        )
        unfinished.replace(path)


def _record(folder: Path) -> DigestRecord:
    with _readable(folder / RECORD_NAME):
        try:
            return read_record(folder)
        except ValidationError:
            raise FileUnusable(
                f"{folder / RECORD_NAME} cannot be understood. Remove it: `alidade weights verify` makes it anew."
            ) from None


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise FileUnusable(f"{path} cannot be read: {error.strerror}.") from None


@contextmanager
def _writable(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise FileUnusable(f"{error.filename or path} cannot be written: {error.strerror}.") from None
