"""What a worker can do, by the weights and libraries that it has; and the page that tells it."""

from pathlib import Path

import pytest

from contracts.capture_settings import FeatureType, MatcherType
from contracts.weights import weights_for
from services.sfm.learned import equipment as subject
from services.sfm.learned.build import build_extractor, build_matcher
from services.sfm.learned.catalogue import EXTRACTORS, MATCHERS
from services.sfm.learned.compute import Compute
from services.sfm.learned.equipment import Equipment, capabilities, equipment, spoilt
from services.sfm.learned.table import PAGE, with_table
from services.sfm.resolution import AVAILABLE_FEATURES, AVAILABLE_MATCHERS
from services.sfm.weights.places import Places, find

UNCHECKED = ("superpoint_aachen", "superpoint_max", "superpoint+lightglue", "disk+lightglue", "aliked+lightglue", "superglue")  # fmt: skip
"""Whose weights have no digest in the catalogue: random ones can stand for them."""


def test_without_weights_there_is_what_needs_none() -> None:
    assert capabilities(Places()) == ("adalam",)


def test_names_come_with_their_weights(weights_folder: Path) -> None:
    # Of the others the catalogue knows the digest, and random parameters have another one.
    assert set(capabilities(Places(folder=weights_folder))) == {*UNCHECKED, "adalam"}
    found = equipment(Places(folder=weights_folder))
    assert all(path.is_file() for path in found.files.values())
    said = spoilt(find(Places(folder=weights_folder)))
    assert said is not None and "aliked-n16.pth" in said and "superpoint_lightglue" not in said


def test_without_the_libraries_there_is_nothing(weights_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subject, "find_spec", lambda module: None if module == "kornia" else object())
    assert set(capabilities(Places(folder=weights_folder))) == {"superpoint_aachen", "superpoint_max", "superglue"}


def test_every_name_of_the_settings_is_built_in_or_in_the_catalogue() -> None:
    assert set(FeatureType) - AVAILABLE_FEATURES == set(EXTRACTORS) - {"xfeat"}
    assert set(MatcherType) - AVAILABLE_MATCHERS == set(MATCHERS)
    for name, entry in {**EXTRACTORS, **MATCHERS}.items():
        assert entry.weights == (() if name == "adalam" else weights_for(name))


def test_every_name_of_the_catalogue_can_be_built(everything: Equipment, compute: Compute) -> None:
    for name in EXTRACTORS:
        assert build_extractor(name, everything.files, 10, compute).preparation.longest_side_px >= 1024
    for name in MATCHERS:
        assert build_matcher(name, everything.files, compute).most_together >= 1
    for build in (lambda: build_extractor("r2d2", {}, 10, compute), lambda: build_matcher("loftr", {}, compute)):
        with pytest.raises(KeyError):
            build()


def test_it_crosses_to_the_child_as_it_is(weights_folder: Path) -> None:
    found = equipment(Places(folder=weights_folder))
    assert Equipment.model_validate(found.model_dump(mode="json")) == found


def test_the_page_has_the_table_that_the_code_makes() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert with_table(page) == page, "run `python -m services.sfm.learned.table --write`"
    assert all(f"`{name}`" in page for name in (*EXTRACTORS, *MATCHERS, *FeatureType, *MatcherType))
