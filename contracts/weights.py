"""Weights of networks: what there is, where it comes from, what its licence allows, and how a file is checked.

In a folder of weights each file lies at `<weights>/<file>`, and `digests.json` remembers the digest of every file that was
seen there first. The client fills such folders and workers read them, so both take the rules from here.

A digest is written `sha256:<hex>` or `git-sha1:<hex>`; the latter is the id that git gives a file's content, which is all
that is known of a file that lies in a public repository and was never hashed by us.
"""

import hashlib
from enum import StrEnum
from pathlib import Path

from pydantic import Field

from contracts.model import Frozen, Message

RECORD_NAME = "digests.json"
_CHUNK_BYTES = 1 << 20


class Licence(Frozen):
    name: str
    url: str
    commercial: bool
    """Whether commercial use is allowed. Where it is not, a person has to agree before a download."""


class WeightsFile(Frozen):
    name: str
    url: str
    digest: str | None = None
    """None: not known. The digest of the first download is then recorded and held to (trust on first use)."""


class Weights(Frozen):
    """The trained parameters of one network."""

    name: str
    serves: tuple[str, ...]
    """Features and matchers, by their names in a job's settings, that cannot do without these."""
    files: tuple[WeightsFile, ...]
    licence: Licence
    hub: str | None = None
    """Repository on the Hugging Face hub whose cache on this machine may hold the files too."""


class DigestRecord(Message):
    """`digests.json` of a folder of weights."""

    digests: dict[str, str] = Field(default_factory=dict)
    """By `<weights>/<file>`."""


class FileState(StrEnum):
    MISSING = "missing"
    WRONG = "wrong"
    """Not the file that the catalogue or the record knows."""
    UNRECORDED = "unrecorded"
    """There, and nothing is known to check it against."""
    AS_RECORDED = "as recorded"
    """What was here first."""
    VERIFIED = "verified"
    """What the catalogue says."""


USABLE = frozenset({FileState.UNRECORDED, FileState.AS_RECORDED, FileState.VERIFIED})

_APACHE = Licence(name="Apache-2.0", url="https://www.apache.org/licenses/LICENSE-2.0", commercial=True)
_SUPERPOINT = Licence(
    name="Magic Leap, academic or non-profit research, non-commercial",
    url="https://github.com/magicleap/SuperPointPretrainedNetwork/blob/master/LICENSE",
    commercial=False,
)
_SUPERGLUE = Licence(
    name="Magic Leap, academic or non-profit research, non-commercial",
    url="https://github.com/magicleap/SuperGluePretrainedNetwork/blob/master/LICENSE",
    commercial=False,
)


def _of_hub(repository: str, name: str) -> WeightsFile:
    return WeightsFile(name=name, url=f"https://huggingface.co/{repository}/resolve/main/{name}")


def _lightglue(features: str, serves: str) -> Weights:
    file = f"{features}_lightglue.pth"
    return Weights(
        name=f"{features}_lightglue",
        serves=(serves,),
        files=(WeightsFile(name=file, url=f"https://github.com/cvg/LightGlue/releases/download/v0.1_arxiv/{file}"),),
        licence=_APACHE,
    )


WEIGHTS: tuple[Weights, ...] = (
    Weights(
        name="superpoint",
        serves=("superpoint_aachen", "superpoint_max"),
        files=(_of_hub("magic-leap-community/superpoint", "model.safetensors"),),
        licence=_SUPERPOINT,
        hub="magic-leap-community/superpoint",
    ),
    Weights(
        name="disk",
        serves=("disk",),
        files=(
            WeightsFile(
                name="depth-save.pth",
                url="https://raw.githubusercontent.com/cvlab-epfl/disk/8dc6d4d65b47210f629e21ad1fbfb56944b11696/depth-save.pth",
                digest="git-sha1:0ae0911444297ea0fa5179ac7e9d0e8d7354d537",
            ),
        ),
        licence=_APACHE,
    ),
    Weights(
        name="aliked-n16",
        serves=("aliked-n16",),
        files=(
            WeightsFile(
                name="aliked-n16.pth",
                url="https://raw.githubusercontent.com/Shiaoming/ALIKED/683d7c65197395c0b3f01ebe76e1084a27e73a65/models/aliked-n16.pth",
                digest="sha256:5be8704840ed662d9d8c561bf7279c222092674e7eb05fd0feab94899e9d82f2",
            ),
        ),
        licence=Licence(
            name="BSD-3-Clause", url="https://github.com/Shiaoming/ALIKED/blob/main/LICENSE", commercial=True
        ),
    ),
    Weights(
        name="xfeat",
        serves=("xfeat",),
        files=(
            WeightsFile(
                name="xfeat.pt",
                url="https://raw.githubusercontent.com/verlab/accelerated_features/e92685f57f8318b18725c5c8c0bd28c7fe188d9a/weights/xfeat.pt",
                digest="git-sha1:9da942e9c7406b8add3746bf98d4b1840233cd92",
            ),
        ),
        licence=_APACHE,
    ),
    _lightglue("superpoint", "superpoint+lightglue"),
    _lightglue("disk", "disk+lightglue"),
    _lightglue("aliked", "aliked+lightglue"),
    Weights(
        name="superglue_outdoor",
        serves=("superglue",),
        files=(_of_hub("magic-leap-community/superglue_outdoor", "model.safetensors"),),
        licence=_SUPERGLUE,
        hub="magic-leap-community/superglue_outdoor",
    ),
)
"""All weights that are known here."""


def weights_for(name: str) -> tuple[Weights, ...]:
    """By their own name, or by that of a feature or matcher that needs them. Raises KeyError if nothing is known."""
    found = tuple(entry for entry in WEIGHTS if name == entry.name or name in entry.serves)
    if not found:
        raise KeyError(name)
    return found


def file_key(weights: Weights, file: WeightsFile) -> str:
    """`<weights>/<file>`: its path in a folder of weights, its name in the record, its key below a prefix of a store."""
    return f"{weights.name}/{file.name}"


def digest_of(path: Path, algorithm: str) -> str:
    """`algorithm` is `sha256` or `git-sha1`. Raises ValueError for any other, OSError if the file cannot be read."""
    match algorithm:
        case "sha256":
            hashed = hashlib.sha256()
        case "git-sha1":
            hashed = hashlib.sha1(usedforsecurity=False)
            hashed.update(f"blob {path.stat().st_size}\0".encode())
        case _:
            raise ValueError(f"no digest is called {algorithm}")
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            hashed.update(chunk)
    return f"{algorithm}:{hashed.hexdigest()}"


def agrees(path: Path, digest: str) -> bool:
    """Whether a file's content has that digest."""
    return digest_of(path, digest.split(":", 1)[0]) == digest


def state_of(path: Path, file: WeightsFile, recorded: str | None) -> FileState:
    """How a file stands to the catalogue and to `recorded`, the digest that was seen first."""
    if not path.is_file():
        return FileState.MISSING
    if file.digest is not None:
        return FileState.VERIFIED if agrees(path, file.digest) else FileState.WRONG
    if recorded is not None:
        return FileState.AS_RECORDED if agrees(path, recorded) else FileState.WRONG
    return FileState.UNRECORDED


def read_record(folder: Path) -> DigestRecord:
    """Of a folder of weights; empty where there is none. Raises pydantic.ValidationError if it cannot be understood."""
    try:
        return DigestRecord.model_validate_json((folder / RECORD_NAME).read_bytes())
    except FileNotFoundError:
        return DigestRecord()
