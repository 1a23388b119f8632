"""Finding weights: which file is taken, and which never."""

from pathlib import Path

import pytest

from contracts.weights import RECORD_NAME, WEIGHTS, DigestRecord, digest_of, file_key, weights_for
from services.sfm.weights.places import Places, find

(LIGHTGLUE,) = weights_for("superpoint+lightglue")
(SUPERPOINT,) = weights_for("superpoint_aachen")
(ALIKED,) = weights_for("aliked-n16")
KEY = "superpoint_lightglue/superpoint_lightglue.pth"


def put(folder: Path, key: str, content: bytes = b"parameters") -> Path:
    path = folder / key
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def record(folder: Path, key: str, digest: str) -> None:
    (folder / RECORD_NAME).write_text(DigestRecord(digests={key: digest}).model_dump_json())


def in_hub_cache(cache: Path, content: bytes, blob_name: str | None = None) -> Path:
    """As the hub's tools lay it out: a link below the snapshot to a blob that is named by its SHA-256."""
    repository = cache / "models--magic-leap-community--superpoint"
    blob = put(repository / "blobs", "unnamed", content)
    named = blob.rename(blob.with_name(blob_name or digest_of(blob, "sha256").removeprefix("sha256:")))
    put(repository, "refs/main", b"abc123")
    link = repository / "snapshots" / "abc123" / "model.safetensors"
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(named)
    return link


def test_an_empty_folder_or_none_has_nothing(tmp_path: Path) -> None:
    for places in (Places(), Places(folder=tmp_path), Places(folder=tmp_path / "missing", hub_cache=tmp_path)):
        found = find(places)
        assert found.files == {} and found.wrong == ()
        assert not any(found.has(entry) for entry in WEIGHTS)


def test_a_file_in_the_folder_is_found(tmp_path: Path) -> None:
    path = put(tmp_path, KEY)
    found = find(Places(folder=tmp_path))
    assert found.files == {KEY: path}
    assert found.has(LIGHTGLUE) and not found.has(SUPERPOINT)


def test_what_has_changed_since_it_was_recorded_is_not_taken_and_named(tmp_path: Path) -> None:
    path = put(tmp_path, KEY)
    record(tmp_path, KEY, digest_of(path, "sha256"))
    assert find(Places(folder=tmp_path)).has(LIGHTGLUE)
    path.write_bytes(b"something else")
    found = find(Places(folder=tmp_path))
    assert not found.has(LIGHTGLUE)
    assert found.wrong == (path,)


def test_a_digest_that_the_catalogue_knows_cannot_be_recorded_away(tmp_path: Path) -> None:
    key = file_key(ALIKED, ALIKED.files[0])
    path = put(tmp_path, key, b"not the network")
    record(tmp_path, key, digest_of(path, "sha256"))
    found = find(Places(folder=tmp_path))
    assert not found.has(ALIKED) and found.wrong == (path,)


def test_the_hubs_cache_comes_after_the_folder(tmp_path: Path) -> None:
    folder, cache = tmp_path / "folder", tmp_path / "hub"
    cached = in_hub_cache(cache, b"from the hub")
    key = "superpoint/model.safetensors"
    assert find(Places(folder=folder, hub_cache=cache)).files == {key: cached}
    own = put(folder, key)
    assert find(Places(folder=folder, hub_cache=cache)).files == {key: own}
    # One that is spoilt does not stand in the way of the other.
    record(folder, key, "sha256:" + "0" * 64)
    found = find(Places(folder=folder, hub_cache=cache))
    assert found.files == {key: cached} and found.wrong == (own,)


def test_a_blob_that_is_not_what_its_name_says_is_not_taken(tmp_path: Path) -> None:
    link = in_hub_cache(tmp_path, b"cut off", blob_name="1" * 64)
    found = find(Places(hub_cache=tmp_path))
    assert found.files == {} and found.wrong == (link,)


@pytest.mark.parametrize("content", [b"", b"x" * 3_000_000])
def test_files_of_any_size_are_hashed_whole(content: bytes, tmp_path: Path) -> None:
    path = put(tmp_path, KEY, content)
    record(tmp_path, KEY, digest_of(path, "sha256"))
    assert find(Places(folder=tmp_path)).has(LIGHTGLUE)
    put(tmp_path, KEY, content + b"\n")
    assert not find(Places(folder=tmp_path)).has(LIGHTGLUE)
