"""Finding weights: in a folder of ours, else in the cache that the Hugging Face hub's own tools have filled.

Nothing is downloaded here. Only files that pass their check are found: a wrong one counts as missing, and is named.
"""

from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from contracts.model import Frozen
from contracts.weights import (
    USABLE,
    WEIGHTS,
    DigestRecord,
    FileState,
    Weights,
    WeightsFile,
    file_key,
    read_record,
    state_of,
)

_SHA256_HEX = 64


class Places(Frozen):
    """Where to look, in this order."""

    folder: Path | None = None
    """`<weights>/<file>`, as `alidade weights pull` fills it."""
    hub_cache: Path | None = None
    """As the hub's tools lay it out, commonly `~/.cache/huggingface/hub`."""


@dataclass(frozen=True)
class Found:
    """The files of all weights that are here and pass, by `<weights>/<file>`, and what is here and does not pass."""

    files: dict[str, Path] = field(default_factory=dict)
    wrong: tuple[Path, ...] = ()

    def has(self, weights: Weights) -> bool:
        return all(file_key(weights, file) in self.files for file in weights.files)


def find(places: Places) -> Found:
    """Everything that can be used. Files are hashed once as long as they do not change."""
    record = read_record(places.folder) if places.folder is not None else DigestRecord()
    files: dict[str, Path] = {}
    wrong: list[Path] = []
    for weights in WEIGHTS:
        for file in weights.files:
            key = file_key(weights, file)
            for path, known in _candidates(places, weights, file, record.digests.get(key)):
                state = _state(path, file, known)
                if state in USABLE:
                    files[key] = path
                    break
                if state is FileState.WRONG:
                    wrong.append(path)
    return Found(files, tuple(wrong))


def _candidates(
    places: Places, weights: Weights, file: WeightsFile, recorded: str | None
) -> list[tuple[Path, str | None]]:
    """Paths where a file may be, each with what is known of its digest besides the catalogue."""
    candidates: list[tuple[Path, str | None]] = []
    if places.folder is not None:
        candidates.append((places.folder / weights.name / file.name, recorded))
    if places.hub_cache is not None and weights.hub is not None:
        path = _in_hub_cache(places.hub_cache, weights.hub, file.name)
        if path is not None:
            candidates.append((path, _blob_digest(path)))
    return candidates


def _in_hub_cache(cache: Path, repository: str, name: str) -> Path | None:
    """The snapshot that the branch `main` points at (huggingface.co/docs/huggingface_hub/guides/manage-cache)."""
    of_repository = cache / f"models--{repository.replace('/', '--')}"
    try:
        revision = (of_repository / "refs" / "main").read_text(encoding="ascii").strip()
    except OSError:
        return None
    return of_repository / "snapshots" / revision / name


def _blob_digest(path: Path) -> str | None:
    """The cache links to blobs that are named by their SHA-256 where they are large files."""
    name = path.resolve().name
    is_digest = len(name) == _SHA256_HEX and all(letter in "0123456789abcdef" for letter in name)
    return f"sha256:{name}" if is_digest else None


def _state(path: Path, file: WeightsFile, known: str | None) -> FileState:
    try:
        stat = path.stat()
    except OSError:
        return FileState.MISSING
    return _state_of_content(path, file, known, stat.st_size, stat.st_mtime_ns)


@lru_cache(maxsize=256)
def _state_of_content(
    path: Path,
    file: WeightsFile,
    known: str | None,
    size_bytes: int,  # noqa: ARG001  (size and time stand for the content in the cache's key)
    modified_ns: int,  # noqa: ARG001
) -> FileState:
    return state_of(path, file, known)
