"""The same networks, weights and pictures through hloc and through us. Needs a clone of hloc, and says so where there is none.

    ALIDADE_TEST_HLOC=<clone of github.com/cvg/Hierarchical-Localization> pytest -m slow tests/services/sfm/learned

SuperPoint and SuperGlue in hloc need a submodule with a restrictive licence, LightGlue and ALIKED a package that is not on
the package index: these stay unproven here. `ALIDADE_TEST_LIGHTGLUE=<clone of github.com/cvg/LightGlue>` proves LightGlue
against its authors' own code.
"""

import importlib
import importlib.util
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType

import cv2
import h5py
import numpy as np
import pytest
import torch
from kornia.feature import DISK

from services.sfm.hloc_files import FeatureReader, write_features, write_pairs
from services.sfm.learned import disk, lightglue
from services.sfm.learned.build import build_extractor, build_matcher
from services.sfm.learned.compute import Compute
from services.sfm.learned.extraction import extracted
from services.sfm.learned.matching import matched
from tests.services.sfm.learned.test_matchers import _seen_again, random_side
from tests.services.sfm.room_views import RoomViews

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]
Files = Mapping[str, Path]


@pytest.fixture(scope="module")
def hloc() -> Iterator[str]:
    """hloc's package can be imported."""
    clone = os.environ.get("ALIDADE_TEST_HLOC")
    if not clone:
        pytest.skip("ALIDADE_TEST_HLOC does not name a clone of hloc")
    sys.path.insert(0, clone)
    yield "hloc"
    sys.path.remove(clone)


@pytest.mark.parametrize("width", [400, 2000])
def test_disk_is_what_hloc_makes_of_it(  # noqa: PLR0917  (fixtures)
    hloc: str, width: int, files: Files, compute: Compute, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reading, resizing, padding, detection, and keypoints back in the picture, at a size that is shrunk and one that is not."""
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    coarse = np.random.default_rng(2).uniform(0, 255, (37, 50, 3)).astype(np.float32)
    size = (width, round(width * 0.74))
    noise = cv2.resize(coarse, size, interpolation=cv2.INTER_CUBIC).clip(0, 255).astype(np.uint8)
    cv2.imwrite(str(pictures / "a.png"), noise)
    monkeypatch.setattr(DISK, "from_pretrained", lambda *_: disk.load(files["disk/depth-save.pth"]))
    extract_features = importlib.import_module(f"{hloc}.extract_features")
    conf = {**extract_features.confs["disk"]}
    conf["model"] = {**conf["model"], "max_keypoints": 300}
    extract_features.main(conf, pictures, feature_path=tmp_path / "theirs.h5", as_half=False)
    extractor = build_extractor("disk", files, 300, compute)
    write_features(tmp_path / "ours.h5", extracted(pictures, ["a.png"], extractor, compute))
    with h5py.File(tmp_path / "theirs.h5") as theirs, h5py.File(tmp_path / "ours.h5") as ours:
        assert np.allclose(ours["a.png"]["keypoints"][()], theirs["a.png"]["keypoints"][()], atol=1e-3)
        assert np.allclose(ours["a.png"]["descriptors"][()], theirs["a.png"]["descriptors"][()], atol=2e-3)
        assert np.array_equal(ours["a.png"]["image_size"][()], theirs["a.png"]["image_size"][()])
        assert len(ours["a.png"]["keypoints"]) == 300


def test_nearest_neighbours_are_hlocs(
    hloc: str, room: RoomViews, files: Files, compute: Compute, tmp_path: Path
) -> None:
    match_features = importlib.import_module(f"{hloc}.match_features")
    pairs = [(room.names[0], room.names[1]), (room.names[0], room.names[2])]
    write_pairs(tmp_path / "pairs.txt", pairs)
    match_features.main(
        match_features.confs["NN-ratio"],
        tmp_path / "pairs.txt",
        room.features / "features.h5",
        matches=tmp_path / "m.h5",
    )
    read = importlib.import_module(f"{hloc}.utils.io").get_matches
    with FeatureReader(room.features / "features.h5") as reader:
        for found in matched(pairs, reader, build_matcher("nearest", files, compute), compute):
            theirs, scores = read(tmp_path / "m.h5", *found.names)
            assert len(theirs) > 300
            assert np.array_equal(found.indices, theirs)
            assert np.allclose(found.scores, scores, atol=2e-3)


def test_lightglue_is_its_authors(files: Files, compute: Compute) -> None:
    theirs = _authors_lightglue()
    network = theirs(features=None, input_dim=128).eval()
    state = lightglue.load(files["disk_lightglue/disk_lightglue.pth"], 128).state_dict()
    network.load_state_dict(state, strict=True)
    # Random networks are sure of nothing: every mutual best counts.
    network.conf.filter_threshold = 0.0
    ours = lightglue.network(128)
    ours.load_state_dict(state)
    ours.conf.filter_threshold = 0.0
    first = random_side(200, 128, 3)
    second = _seen_again(first, 3)
    sides = {
        f"image{number}": {
            "keypoints": side.keypoints_px,
            "descriptors": side.descriptors,
            "image_size": side.sizes_px,
        }
        for number, side in enumerate((first, second))
    }
    with torch.inference_mode():
        expected = network(sides)
    (found,) = lightglue.LightGlue(ours, compute).match(first, second)
    assert len(found.indices) > 20
    assert torch.equal(found.indices, expected["matches"][0])
    assert torch.allclose(found.scores, expected["scores"][0], atol=1e-5)


def _authors_lightglue() -> type:
    """The one module: their package also imports extractors that need torchvision."""
    clone = os.environ.get("ALIDADE_TEST_LIGHTGLUE")
    if not clone:
        pytest.skip("ALIDADE_TEST_LIGHTGLUE does not name a clone of LightGlue")
    spec = importlib.util.spec_from_file_location("authors_lightglue", Path(clone) / "lightglue" / "lightglue.py")
    assert spec is not None and spec.loader is not None
    module: ModuleType = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    made: type = module.LightGlue
    return made
