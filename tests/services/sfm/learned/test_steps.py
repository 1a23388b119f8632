"""Learned names through the steps of a capture job: nothing is lost or moved between network, files and database."""

from dataclasses import dataclass, field
from pathlib import Path

import h5py
import numpy as np
import pycolmap
import pytest

from contracts.capture_settings import Approach, CaptureSettings, FeatureType, MatcherType
from contracts.errors import ErrorCode, UserError
from services.sfm import features, hloc_files, hloc_matches, matching, pipeline
from services.sfm.hloc_files import FeatureReader
from services.sfm.learned.build import build_extractor
from services.sfm.learned.compute import Compute
from services.sfm.learned.equipment import Equipment
from services.sfm.learned.preparation import read_picture
from tests.services.sfm.listening import Listener
from tests.services.sfm.room_views import RoomViews

CONF = CaptureSettings(
    feature_type=FeatureType.SUPERPOINT_AACHEN,
    matcher_type=MatcherType.SUPERPOINT_LIGHTGLUE,
    max_keypoints=400,
    num_threads=1,
    stray_approach=Approach.KNOWN_POSES,
    stray_gen_pointcloud=False,
)
F, M = FeatureType, MatcherType
FEWEST_FOR_COLMAP = 15


@dataclass
class StageListener(Listener):
    done: list[str] = field(default_factory=list)

    def finished(self, step: str) -> None:
        self.done.append(step)


@dataclass(frozen=True)
class Ran:
    features: Path
    matching: Path
    pairs: list[tuple[str, str]]
    listener: Listener


@pytest.fixture(scope="module")
def ran(room: RoomViews, everything: Equipment, tmp_path_factory: pytest.TempPathFactory) -> Ran:
    """SuperPoint and nearest neighbours: random networks match little, but descriptors of one picture match themselves."""
    folder = tmp_path_factory.mktemp("learned")
    listener = Listener()
    conf = CONF.model_copy(update={"matcher_type": M.NEAREST})
    features.main(conf, room.capture, folder / "features", listener, everything)
    # One of them given the other way round.
    pairs = [(room.names[1], room.names[0]), (room.names[0], room.names[2]), (room.names[0], room.names[3])]
    hloc_files.write_pairs(folder / "pairs.txt", pairs)
    matching.main(
        conf, room.capture, folder / "features", folder / "pairs.txt", folder / "matching", listener, everything
    )
    return Ran(folder / "features", folder / "matching", pairs, listener)


def test_the_file_has_what_the_network_found(
    ran: Ran, room: RoomViews, everything: Equipment, compute: Compute
) -> None:
    extractor = build_extractor(CONF.feature_type, everything.files, CONF.max_keypoints, compute)
    picture = read_picture(room.capture / "matching" / room.names[0], grey=True)
    (found,) = extractor.detect(compute.send(extractor.preparation.prepare(picture)[None]))
    with h5py.File(ran.features / "features.h5") as file:
        assert sorted(file) == sorted(room.names)
        group = file[room.names[0]]
        assert group["keypoints"].dtype == np.float32
        # The picture was not resized: hloc's keypoints are the network's own.
        assert np.array_equal(group["keypoints"][()], found.keypoints_px.numpy())
        assert group["descriptors"].shape == (256, CONF.max_keypoints)
        assert np.allclose(group["descriptors"][()].T.astype(np.float32), found.descriptors.numpy(), atol=1e-3)
        assert group["scores"][()] == pytest.approx(found.scores.numpy())
        assert group["image_size"][()].tolist() == [480, 360]
        assert group["keypoints"].attrs["uncertainty"] > 0


def test_the_database_has_the_files_keypoints_half_a_pixel_on(ran: Ran, room: RoomViews) -> None:
    with (
        pycolmap.Database.open(ran.matching / "database.db") as db,
        FeatureReader(ran.features / "features.h5") as reader,
    ):
        for image in db.read_all_images():
            rows = np.asarray(db.read_keypoints(image.image_id))
            assert np.array_equal(rows, reader.read(image.name).keypoints_px)
            with h5py.File(ran.features / "features.h5") as file:
                assert np.allclose(rows, file[image.name]["keypoints"][()] + 0.5, atol=1e-4)


def test_matches_for_hloc_are_those_of_the_database(ran: Ran, tmp_path: Path) -> None:
    hloc_matches.main(ran.features, ran.matching, ran.matching, tmp_path)
    counted = 0
    with pycolmap.Database.open(ran.matching / "database.db") as db:
        ids = {image.name: image.image_id for image in db.read_all_images()}
        for first, second in ran.pairs:
            indices, scores = hloc_files.read_matches(tmp_path / "matches.h5", first, second)
            stored = np.asarray(db.read_matches(ids[first], ids[second]), np.int64).reshape(-1, 2)
            # COLMAP drops what could not be verified anyhow.
            assert np.array_equal(stored, indices if len(indices) >= FEWEST_FOR_COLMAP else indices[:0])
            assert ((scores > 0) & (scores <= 1)).all()
            counted += len(stored)
    assert counted > 30
    assert ran.listener.warnings == []
    assert ran.listener.progressed[-1] == (3, 3, "Matching pairs")


def test_few_keypoints_are_said_as_for_sift(ran: Ran) -> None:
    assert any(line.startswith("  ✓ 1,600 keypoints in 4 images, 400") for line in ran.listener.lines)


def run_job(conf: CaptureSettings, room: RoomViews, equipment: Equipment, work: Path) -> StageListener:
    """A whole sfm stage; it may find no model, as the API documents, and nothing else may go wrong."""
    listener = StageListener()
    arguments = {
        "settings": conf.model_dump(mode="json"),
        "capture": str(room.capture),
        "work": str(work),
        "done": {},
        "equipment": equipment.model_dump(mode="json"),
    }
    work.mkdir()
    try:
        result = pipeline.run(arguments, listener)
        assert Path(str(result["result"])).stat().st_size > 0
    except UserError as error:
        assert error.code is ErrorCode.NO_MODEL
        assert listener.done == ["features", "pairs", "matching"]
    return listener


@pytest.mark.parametrize(
    ("feature", "matcher"),
    [
        (F.SUPERPOINT_AACHEN, M.SUPERPOINT_LIGHTGLUE),
        *(
            pytest.param(*names, marks=pytest.mark.slow)
            for names in (
                (F.SUPERPOINT_AACHEN, M.SUPERGLUE),
                (F.SUPERPOINT_MAX, M.SUPERPOINT_LIGHTGLUE),
                (F.DISK, M.DISK_LIGHTGLUE),
                (F.ALIKED_N16, M.ALIKED_LIGHTGLUE),
                (F.DISK, M.NEAREST),
                (F.SIFT, M.ADALAM),
            )
        ),
    ],
)
def test_a_job_with_every_name_ends_as_documented(
    feature: FeatureType, matcher: MatcherType, room: RoomViews, everything: Equipment, tmp_path: Path
) -> None:
    conf = CONF.model_copy(update={"feature_type": feature, "matcher_type": matcher})
    listener = run_job(conf, room, everything, tmp_path / "work")
    assert f"Step 2/5 — Feature extraction ({feature})" in listener.lines
    assert f"Step 4/5 — Matching ({matcher})" in listener.lines
    assert not [warning for warning in listener.warnings if "was asked for" in warning]


def test_weights_that_vanish_before_their_use_fail_the_job_and_nothing_else_is_used(
    room: RoomViews, everything: Equipment, tmp_path: Path
) -> None:
    gone = everything.model_copy(
        update={"files": {**everything.files, "superpoint/model.safetensors": tmp_path / "gone" / "model.safetensors"}}
    )
    with pytest.raises(OSError, match="gone"):
        features.main(CONF, room.capture, tmp_path / "features", Listener(), gone)
