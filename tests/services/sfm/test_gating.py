import zlib  # noqa: F401  (the system's zlib has to be bound before pycolmap brings its own)
from pathlib import Path

import numpy as np
import pycolmap

from services.sfm.gating import impossible_pairs, without_pairs
from services.sfm.scene import read_scene
from tests.services.sfm.exact_room import Walk, make_scene


def test_pairs_of_look_alike_places_are_found_through_drift_and_left_out(tmp_path: Path) -> None:
    database, capture, _ = make_scene(Walk(drift_m=0.15, drift_deg=4.0, track_scale=1.04), tmp_path)
    geometry = pycolmap.TwoViewGeometry()
    geometry.config = pycolmap.TwoViewGeometryConfiguration.CALIBRATED
    geometry.inlier_matches = np.repeat(np.arange(25, dtype=np.uint32)[:, None], 2, axis=1)
    with pycolmap.Database.open(database) as db:
        verified = db.num_verified_image_pairs()
        for pair in ((2, 39), (3, 37)):
            db.write_two_view_geometry(*pair, geometry)
    scene = read_scene(capture, database)
    rejected = impossible_pairs(scene, scene.track.at(scene.times_s))
    assert sorted(rejected) == [(2, 39), (3, 37)]
    without_pairs(database, rejected, tmp_path / "gated.db")
    with pycolmap.Database.open(tmp_path / "gated.db") as db:
        assert db.num_verified_image_pairs() == verified
        assert not db.exists_two_view_geometry(2, 39)
    with pycolmap.Database.open(database) as db:
        assert db.exists_two_view_geometry(2, 39)
