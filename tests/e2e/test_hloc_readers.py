"""hloc goes on from a result: its own readers open features, pairs and matches, and it triangulates the model anew.

Needs hloc (https://github.com/cvg/Hierarchical-Localization) beside the project: `pip install --no-deps <clone> tqdm`.
"""

import warnings
import zipfile
from pathlib import Path

import numpy as np
import pycolmap
import pytest

from client.api import Alidade

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]


@pytest.fixture
def result(alidade: Alidade, small_capture, tmp_path: Path) -> Path:
    dataset = alidade.upload(small_capture.stray)
    job = alidade.process(
        dataset.dataset_id,
        {"feature_type": "sift", "matcher_type": "nearest", "pairing_mode": "poses", "stray_approach": "known_poses"},
    )
    alidade.wait(job.job_id)
    alidade.download(job.job_id, tmp_path / "result.zip")
    with zipfile.ZipFile(tmp_path / "result.zip") as archive:
        archive.extractall(tmp_path)
    return tmp_path


def test_hloc_goes_on_from_a_result(result: Path, tmp_path: Path) -> None:
    hloc_io = pytest.importorskip("hloc.utils.io")
    parsers = pytest.importorskip("hloc.utils.parsers")
    triangulation = pytest.importorskip("hloc.triangulation")
    features, matches = result / "hloc_outputs" / "features.h5", result / "hloc_outputs" / "matches.h5"
    ours = pycolmap.Reconstruction(str(result / "sparse" / "0"))

    names = sorted(image.name for image in ours.images.values())
    assert sorted(hloc_io.list_h5_names(features)) == names
    for image in ours.images.values():
        # hloc counts pixels from the centre of the first, COLMAP from its corner.
        keypoints = hloc_io.get_keypoints(features, image.name) + 0.5
        assert np.abs(keypoints - [point.xy for point in image.points2D]).max() < 1e-3
    for first, seconds in parsers.parse_retrieval(result / "hloc_outputs" / "pairs.txt").items():
        for second in seconds:
            pairs, scores = hloc_io.get_matches(matches, first, second)
            assert pairs.shape == (len(scores), 2)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = triangulation.main(
            tmp_path / "hloc",
            result / "sparse" / "0",
            result / "images",
            result / "hloc_outputs" / "pairs.txt",
            features,
            matches,
            # Its other way writes two-view geometries without their kind, which COLMAP 4 leaves out.
            estimate_two_view_geometries=True,
        )
    assert theirs.num_reg_images() == ours.num_reg_images()
    assert theirs.compute_mean_reprojection_error() < 1.0
    # The LiDAR's points in the model are seen by no picture.
    seen = sum(point.track.length() > 0 for point in ours.points3D.values())
    assert theirs.num_points3D() > 0.5 * seen
