"""Collections of rendered pictures become the models that they should."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from plyfile import PlyData

from contracts.errors import ErrorCode, UserError
from services.sfm.cloud import read_ply
from services.sfm.photos import clouds, features, mapping, matching, pairs, submission
from services.sfm.photos.mapping import SceneMapping
from services.sfm.photos.submission import PosedPicture
from tests.services.sfm.listening import Listener
from tests.services.sfm.photos.photo_scenes import (
    CAMERA,
    OUTLIER,
    Shot,
    around_house,
    look_alike_house,
    outlier_shots,
    room_shots,
    shoot,
    write_collection,
)
from tests.services.sfm.photos.pose_errors import relative_errors_deg


@dataclass(frozen=True)
class Mapped:
    folder: Path
    shots: dict[str, Shot]
    summary: SceneMapping
    poses: dict[str, PosedPicture]

    def errors_deg(self, scene: str) -> np.ndarray:
        """Of all pairs of pictures in one model of that scene."""
        inside = {name: posed for name, posed in self.poses.items() if self.shots[name].scene == scene}
        models = {posed.scene for posed in inside.values()}
        found = []
        for model in models:
            estimated = {name: posed.camera_from_world for name, posed in inside.items() if posed.scene == model}
            truth = {name: pose for name in estimated if (pose := self.shots[name].world_from_camera) is not None}
            found.append(relative_errors_deg(estimated, truth))
        return np.concatenate(found)


def mapped(folder: Path, shots: Sequence[Shot], *, focal_px: float | None) -> Mapped:
    listener = Listener()
    write_collection(folder / "in", shots, focal_px=focal_px)
    features.main(folder / "in", folder / "features", listener)
    pairs.main(folder / "in", folder / "features", folder / "pairs", listener)
    matching.main(folder / "in", folder / "features", folder / "pairs", folder / "matching", listener)
    summary = mapping.main(folder / "in", folder / "matching", folder / "mapping", listener)
    poses = submission.read_poses(folder / "mapping" / "sparse")
    return Mapped(folder, {f"{number:06d}.jpg": shot for number, shot in enumerate(shots)}, summary, poses)


@pytest.fixture(scope="module")
def two_rooms(tmp_path_factory: pytest.TempPathFactory) -> Mapped:
    """Two rooms and a tenth of pictures of nothing else, shuffled, by a camera that does not tell its focal length."""
    shots = [*room_shots("a", 1, 18), *room_shots("b", 2, 18), *outlier_shots(1, 4)]
    order = np.random.default_rng(0).permutation(len(shots))
    return mapped(tmp_path_factory.mktemp("rooms"), [shots[index] for index in order], focal_px=None)


@pytest.mark.slow
def test_two_scenes_come_apart_and_outliers_stay_out(two_rooms: Mapped) -> None:
    assert len(two_rooms.summary.models) == 2
    scenes = [Counter(two_rooms.shots[name].scene for name in model.pictures) for model in two_rooms.summary.models]
    assert all(len(scene) == 1 for scene in scenes)
    assert {name for scene in scenes for name in scene} == {"a", "b"}
    assert sum(scene.total() for scene in scenes) >= 0.95 * 36
    assert not any(two_rooms.shots[name].scene == OUTLIER for name in two_rooms.poses)


@pytest.mark.slow
@pytest.mark.parametrize("scene", ["a", "b"])
def test_poses_are_right_without_a_known_focal_length(two_rooms: Mapped, scene: str) -> None:
    assert np.median(two_rooms.errors_deg(scene)) < 0.5
    for model in two_rooms.summary.models:
        assert model.focal_lengths_px[0] == pytest.approx(CAMERA.fx_px, rel=0.02)


@pytest.mark.slow
def test_clouds_lie_on_the_walls(two_rooms: Mapped) -> None:
    """After a similarity from the cameras, points are on one of the room's six planes; in the room's own size."""
    summary = clouds.main(
        two_rooms.folder / "in", two_rooms.folder / "mapping", two_rooms.folder / "clouds", Listener()
    )
    assert len(summary.clouds) == 2
    for number, facts in enumerate(summary.clouds):
        model = two_rooms.summary.models[number]
        assert facts.dense_pictures >= 0.9 * len(model.pictures)
        assert clouds.MAX_POINTS >= facts.points > 5 * facts.sparse_points
        path = two_rooms.folder / "clouds" / facts.file
        cloud = read_ply(path)
        assert "red" in PlyData.read(str(path))["vertex"].data.dtype.names
        world_m = in_the_room(two_rooms, number, cloud.points_m.astype(np.float64))
        planes = ((0, 0.0), (0, 5.0), (1, 0.0), (1, 2.6), (2, 0.0), (2, 4.0))
        distance_m = np.min([np.abs(world_m[:, axis] - at) for axis, at in planes], axis=0)
        assert np.median(distance_m) < 0.015
        assert (distance_m < 0.06).mean() > 0.9
        assert np.abs(np.linalg.norm(cloud.normals, axis=1) - 1).max() < 1e-3


def in_the_room(found: Mapped, model: int, points: np.ndarray) -> np.ndarray:
    """Model points (n, 3) in the room's metres, by the similarity of the camera centres (Umeyama 1991)."""
    names = found.summary.models[model].pictures
    poses = [found.poses[name].camera_from_world for name in names]
    source = np.array([-pose[:, :3].T @ pose[:, 3] for pose in poses])
    target = np.array([pose[:3, 3] for name in names if (pose := found.shots[name].world_from_camera) is not None])
    a, b = source - source.mean(0), target - target.mean(0)
    u, singular, vt = np.linalg.svd(b.T @ a)
    sign = np.diag([1, 1, np.linalg.det(u @ vt)])
    rotation = u @ sign @ vt
    scale = (singular * np.diag(sign)).sum() / (a**2).sum()
    return np.asarray(scale * (points - source.mean(0)) @ rotation.T + target.mean(0))


@pytest.mark.slow
def test_front_and_back_of_a_house_that_look_alike_do_not_fold_it(tmp_path: Path) -> None:
    house = mapped(tmp_path, shoot("house", look_alike_house(3), around_house(28)), focal_px=CAMERA.fx_px)
    assert len(house.summary.models) == 1
    assert len(house.poses) >= 26
    errors = house.errors_deg("house")
    assert np.median(errors) < 0.5
    assert np.quantile(errors, 0.98) < 3.0


@pytest.mark.slow
def test_front_and_back_without_the_sides_are_two_models(tmp_path: Path) -> None:
    """Seven pictures of either side, none between: windows match, walls do not."""
    poses = around_house(32)
    kept = [pose for number, pose in enumerate(poses) if min(abs(number - side) for side in (0, 16, 32)) <= 3]
    house = mapped(tmp_path, shoot("house", look_alike_house(3), kept), focal_px=CAMERA.fx_px)
    front = {f"{number:06d}.jpg" for number, pose in enumerate(kept) if pose[2, 3] < 2.0}
    for model in house.summary.models:
        assert len(front & set(model.pictures)) in {0, len(model.pictures)}
    assert np.median(house.errors_deg("house")) < 0.5


def test_pictures_that_have_nothing_in_common_are_no_model(tmp_path: Path) -> None:
    with pytest.raises(UserError) as refused:
        mapped(tmp_path, outlier_shots(7, 3), focal_px=None)
    assert refused.value.code is ErrorCode.NO_MODEL
    assert "3 pictures" in refused.value.message
