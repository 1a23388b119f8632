"""The catalogue of weights, and digests against those that other programs compute."""

import hashlib
import subprocess
from pathlib import Path

import pytest

from contracts.capture_settings import FeatureType, MatcherType
from contracts.weights import (
    RECORD_NAME,
    WEIGHTS,
    DigestRecord,
    FileState,
    WeightsFile,
    agrees,
    digest_of,
    file_key,
    read_record,
    state_of,
    weights_for,
)

NEED_NONE = {FeatureType.SIFT, MatcherType.NEAREST, MatcherType.ADALAM}


def test_every_name_of_the_settings_has_its_weights_or_needs_none() -> None:
    for name in (*FeatureType, *MatcherType):
        if name in NEED_NONE:
            with pytest.raises(KeyError):
                weights_for(name)
        else:
            assert all(name in entry.serves for entry in weights_for(name))


def test_names_and_places_are_unambiguous() -> None:
    keys = [file_key(entry, file) for entry in WEIGHTS for file in entry.files]
    assert len(set(keys)) == len(keys)
    assert all(file.url.startswith("https://") for entry in WEIGHTS for file in entry.files)
    assert all(weights_for(entry.name)[0] is entry for entry in WEIGHTS if entry.name not in entry.serves)


def test_magic_leaps_weights_and_no_others_forbid_commercial_use() -> None:
    restricted = {entry.name for entry in WEIGHTS if not entry.licence.commercial}
    assert restricted == {"superpoint", "superglue_outdoor"}


@pytest.mark.parametrize("content", [b"", b"weights", bytes(range(256)) * 9000])
def test_digests_are_those_of_sha256_and_of_git(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(content)
    assert digest_of(path, "sha256") == f"sha256:{hashlib.sha256(content).hexdigest()}"
    git = subprocess.run(["git", "hash-object", str(path)], capture_output=True, text=True, check=True)
    assert digest_of(path, "git-sha1") == f"git-sha1:{git.stdout.strip()}"
    assert agrees(path, digest_of(path, "git-sha1"))
    with pytest.raises(ValueError, match="md5"):
        digest_of(path, "md5")


@pytest.mark.parametrize("entry", WEIGHTS, ids=lambda entry: entry.name)
def test_the_catalogues_digests_can_be_checked(entry, tmp_path: Path) -> None:
    (tmp_path / "other").write_bytes(b"other")
    for file in entry.files:
        if file.digest is not None:
            assert not agrees(tmp_path / "other", file.digest)
            assert len(file.digest.split(":")[1]) == (64 if file.digest.startswith("sha256") else 40)


def test_the_states_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    unknown = WeightsFile(name="file", url="https://example.org/file")
    assert state_of(path, unknown, None) is FileState.MISSING
    path.write_bytes(b"one")
    one = digest_of(path, "sha256")
    known = unknown.model_copy(update={"digest": one})
    assert state_of(path, unknown, None) is FileState.UNRECORDED
    assert state_of(path, unknown, one) is FileState.AS_RECORDED
    assert state_of(path, known, None) is FileState.VERIFIED
    path.write_bytes(b"two")
    assert state_of(path, unknown, one) is FileState.WRONG
    assert state_of(path, known, digest_of(path, "sha256")) is FileState.WRONG


def test_a_record_that_is_not_there_is_empty(tmp_path: Path) -> None:
    assert read_record(tmp_path) == DigestRecord()
    (tmp_path / RECORD_NAME).write_text('{"digests": {"a/b": "sha256:0"}, "later": 1}')
    assert read_record(tmp_path).digests == {"a/b": "sha256:0"}
