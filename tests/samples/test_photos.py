"""Collections of photographs: pictures agree with their truth, files are as cameras write them, errors are measured exactly."""

import io
import math
import zipfile
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pycolmap
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, ImageOps
from PIL.ExifTags import IFD, Base
from scipy.spatial.transform import Rotation

from samples.evaluate_photos import photo_errors
from samples.photos import CollectionSpec, make_collection, scene_seeds
from samples.photos_render import PhotoCamera
from samples.photos_scenes import ORDINARY, PhotoScene, SceneKind, make_scene
from samples.photos_truth import (
    OUTLIERS,
    CollectionTruth,
    PictureTruth,
    TableRow,
    load_collection,
    read_table,
    write_table,
)
from samples.photos_walk import looking_at

Floats = NDArray[np.float64]
SPEC = CollectionSpec(
    scenes=("house", "terrace"), images=6, outliers=3, seed=3, width_px=320, turned_share=0.5, cameras=3
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("photos")


@pytest.fixture(scope="module")
def truth(folder: Path) -> CollectionTruth:
    return make_collection(SPEC, folder)


@pytest.fixture(scope="module")
def files(folder: Path, truth: CollectionTruth) -> dict[str, bytes]:
    """Content by the picture's name."""
    with zipfile.ZipFile(folder / "photos.zip") as archive:
        return {name.removeprefix(f"{truth.top_folder}/"): archive.read(name) for name in archive.namelist()}


def inverse(transform: Floats) -> Floats:
    return np.asarray(np.linalg.inv(transform), np.float64)


def upright(content: bytes) -> NDArray[np.float32]:
    """Grey values as a viewer that knows EXIF shows them."""
    with Image.open(io.BytesIO(content)) as stored:
        return np.asarray(ImageOps.exif_transpose(stored).convert("L"), np.float32)


# --- geometry --------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("k1", [0.0, 0.06, -0.06])
def test_rays_through_pixels_project_back_to_them(k1: float) -> None:
    camera = PhotoCamera(640, 480, 500.0, 322.0, 238.5, k1)
    pixels = camera.centres()[::7, ::9]
    rays = camera.directions(pixels)
    assert np.abs(camera.project(rays * 3.7) - pixels).max() < 1e-5
    reference = pycolmap.Camera(model="SIMPLE_RADIAL", width=640, height=480, params=[500.0, 322.0, 238.5, k1])
    theirs = reference.img_from_cam(rays.reshape(-1, 3))
    assert np.abs(np.asarray(theirs).reshape(pixels.shape) - pixels).max() < 1e-4


def test_a_turned_camera_sees_the_turned_picture() -> None:
    camera = PhotoCamera(640, 480, 500.0, 322.0, 238.5, 0.05)
    where = np.rot90(camera.centres(), 1)
    turned = camera.turned(1)
    assert (turned.width_px, turned.height_px) == (480, 640)
    assert (
        np.abs(
            np.linalg.norm(turned.directions(turned.centres()), axis=-1)
            - np.linalg.norm(camera.directions(where), axis=-1)
        ).max()
        < 1e-9
    )
    assert turned.turned(3) == camera


@pytest.fixture(scope="module")
def house() -> PhotoScene:
    return make_scene("house", scene_seeds(SPEC)[0], SPEC.texture_scale)


def test_pictures_agree_with_their_poses(house: PhotoScene, truth: CollectionTruth, files: dict[str, bytes]) -> None:
    """A picture warped by exact depth into its neighbour looks like it, and less so if the pose is a degree off."""
    pictures = truth.of_scene("house")
    nearest = min(
        ((a, b) for a in pictures for b in pictures if a.name < b.name),
        key=lambda pair: np.linalg.norm(pair[0].pose()[:3, :3] - pair[1].pose()[:3, :3]),
    )
    a, b = nearest
    exact = likeness(house, files, a, b, np.eye(3))
    assert exact > 0.8
    for axis in ("x", "y", "z"):
        off = Rotation.from_euler(axis, 2.0, degrees=True).as_matrix()
        assert likeness(house, files, a, b, off) < exact - 0.05


def likeness(scene: PhotoScene, files: dict[str, bytes], a: PictureTruth, b: PictureTruth, turned: Floats) -> float:
    """Correlation of picture a with picture b where both see the same place, b's camera turned by `turned`."""
    from_camera, to_camera = a.intrinsics(), b.intrinsics()
    pixels = from_camera.centres().reshape(-1, 2)
    world_from_a, world_from_b, b_from_world = inverse(a.pose()), inverse(b.pose()), b.pose()
    depth = scene.renderer.depth(from_camera, world_from_a, pixels)
    points = from_camera.directions(pixels) * depth[:, None]
    world = points @ world_from_a[:3, :3].T + world_from_a[:3, 3]
    local = (world @ b_from_world[:3, :3].T + b_from_world[:3, 3]) @ turned.T
    ahead = (depth > 0) & (depth < 40) & (local[:, 2] > 0.1)
    seen_at = to_camera.project(local[ahead])
    inside = ((seen_at > 4) & (seen_at < [to_camera.width_px - 4, to_camera.height_px - 4])).all(axis=1)
    seen_at, chosen = seen_at[inside], np.flatnonzero(ahead)[inside]
    shows = scene.renderer.depth(to_camera, world_from_b, seen_at)
    visible = np.abs(shows - local[chosen, 2]) < 0.05 * shows
    maps = (seen_at[visible] - 0.5).astype(np.float32)
    rows = np.array_split(np.arange(len(maps)), max(1, len(maps) // 2000))
    grey_b = cv2.GaussianBlur(upright(files[b.name]), (0, 0), 1.0)
    grey_a = cv2.GaussianBlur(upright(files[a.name]), (0, 0), 1.0)
    there = np.concatenate([cv2.remap(grey_b, maps[r, :1], maps[r, 1:], cv2.INTER_LINEAR).ravel() for r in rows])
    here = grey_a.reshape(-1)[chosen[visible]]
    assert len(here) > 5000
    return float(np.corrcoef(here, there)[0, 1])


def test_depth_is_exact_on_a_plane_of_the_house(house: PhotoScene) -> None:
    """All that lies on the ground has a height of a few centimetres, whatever the distance."""
    camera = PhotoCamera(200, 150, 170.0, 100.0, 75.0, 0.03)
    pose = looking_at(np.array([14.0, 3.0, 9.0]), np.array([12.0, 2.0, 0.0]), 0.1)
    pixels = camera.centres().reshape(-1, 2)
    depth = house.renderer.depth(camera, pose, pixels)
    points = (camera.directions(pixels) * depth[:, None]) @ pose[:3, :3].T + pose[:3, 3]
    assert (depth > 0).all()
    assert np.median(np.abs(points[:, 2])) < 0.1


def test_twins_look_alike_from_places_that_correspond() -> None:
    scene = make_scene("twins", 7, 0.125)
    camera = PhotoCamera(96, 128, 260.0, 48.0, 64.0)
    views = [
        scene.renderer.view(camera, looking_at(np.array([x + 0.6, -6.5, 2.0]), np.array([x, 0.0, 2.2]), 0.0))
        for x in (-3.2, 3.2)
    ]
    left, right = (view[90:124, 30:66].mean(axis=2).ravel() for view in views)
    assert np.corrcoef(left, right)[0, 1] > 0.9


# --- files -----------------------------------------------------------------------------------------------------------------------


def test_the_archive_holds_what_the_truth_names(files: dict[str, bytes], truth: CollectionTruth, folder: Path) -> None:
    assert sorted(files) == [p.name for p in truth.pictures]
    assert truth.scenes() == ("house", "terrace_back", "terrace_front")
    assert [len(truth.of_scene(name)) for name in truth.scenes()] == [6, 3, 3]
    assert sorted(str(p.outlier) for p in truth.of_scene(None)) == ["blurred", "elsewhere", "noise"]
    assert load_collection(folder / "truth.json") == truth
    assert len({name.split("/")[0] for name in files}) == 3


def test_pictures_shown_upright_have_the_size_of_the_truth(files: dict[str, bytes], truth: CollectionTruth) -> None:
    for picture in truth.pictures:
        assert upright(files[picture.name]).shape == (picture.height_px, picture.width_px)
    assert {p.exif_orientation for p in truth.pictures} >= {1, 6, 8}
    portrait = [p for p in truth.pictures if p.exif_orientation in {6, 8}]
    assert all(p.height_px > p.width_px for p in portrait)


def test_files_tell_of_their_camera(files: dict[str, bytes], truth: CollectionTruth) -> None:
    assert len({p.camera for p in truth.pictures}) == 3
    for picture in truth.pictures:
        with Image.open(io.BytesIO(files[picture.name])) as stored:
            tags = stored.getexif()
            diagonal_px = math.hypot(*stored.size)
        assert f"{tags[Base.Make]} {tags[Base.Model]}" == picture.camera
        details = tags.get_ifd(IFD.Exif)
        on_film = details[Base.FocalLengthIn35mmFilm] / math.hypot(36, 24) * diagonal_px
        assert on_film == pytest.approx(picture.focal_px, rel=0.02)
        per_mm = float(details[Base.FocalPlaneXResolution]) / 10
        assert float(details[Base.FocalLength]) * per_mm == pytest.approx(picture.focal_px, rel=0.005)


def test_the_same_seed_gives_the_same_archive_and_another_one_another(tmp_path: Path) -> None:
    spec = CollectionSpec(scenes=("elsewhere",), images=2, outliers=1, width_px=160, layout="flat", exif="camera")
    first, again = make_collection(spec, tmp_path / "a"), make_collection(spec, tmp_path / "b")
    other = make_collection(replace(spec, seed=2, exif="none"), tmp_path / "c")
    content = [(tmp_path / name / "photos.zip").read_bytes() for name in "abc"]
    assert first == again
    assert content[0] == content[1] != content[2]
    assert [p.camera_from_world for p in first.pictures] != [p.camera_from_world for p in other.pictures]
    with zipfile.ZipFile(tmp_path / "a" / "photos.zip") as archive:
        tags = Image.open(archive.open(archive.namelist()[0])).getexif()
    assert Base.Make in tags
    assert not tags.get_ifd(IFD.Exif)
    with zipfile.ZipFile(tmp_path / "c" / "photos.zip") as archive:
        assert all(Base.Make not in Image.open(archive.open(name)).getexif() for name in archive.namelist())


def test_blurred_pictures_are_blurred_and_the_rest_is_sharp(files: dict[str, bytes], truth: CollectionTruth) -> None:
    def sharpness(picture: PictureTruth) -> float:
        return float(cv2.Laplacian(cv2.GaussianBlur(upright(files[picture.name]), (0, 0), 1.0), cv2.CV_32F).var())

    scenes = [sharpness(p) for p in truth.pictures if p.scene is not None]
    assert min(scenes) > 3 * max(sharpness(p) for p in truth.pictures if p.outlier == "blurred")


def test_exposure_is_that_of_photographs(files: dict[str, bytes], truth: CollectionTruth) -> None:
    for picture in truth.pictures:
        grey = upright(files[picture.name])
        assert 60 < grey.mean() < 200
        assert (grey > 250).mean() < 0.2


# --- the table of poses ------------------------------------------------------------------------------------------------------------


def test_the_truths_table_is_the_truth(folder: Path, truth: CollectionTruth) -> None:
    rows = {row.image: row for row in read_table(folder / "truth.csv")}
    assert len(rows) == len(truth.pictures)
    for picture in truth.pictures:
        row = rows[picture.name]
        assert (row.dataset, row.scene) == ("generated", picture.scene or OUTLIERS)
        if picture.scene is None:
            assert row.camera_from_world is None
        else:
            assert row.camera_from_world is not None
            assert np.array_equal(row.camera_from_world, picture.pose())


NAMES = st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs")), min_size=1, max_size=20)
NUMBERS = st.floats(allow_nan=False, allow_infinity=False)


@given(NAMES, NAMES, st.lists(NAMES, unique=True, max_size=5), st.lists(NUMBERS, min_size=12, max_size=12))
def test_what_is_written_is_read_back(
    tmp_path_factory: pytest.TempPathFactory, dataset: str, scene: str, images: list[str], values: list[float]
) -> None:
    pose = np.eye(4)
    pose[:3] = np.array(values).reshape(3, 4)
    path = tmp_path_factory.getbasetemp() / "table.csv"
    rows = [TableRow(dataset, scene, image, pose if k % 2 else None) for k, image in enumerate(images)]
    write_table(rows, path)
    back = read_table(path)
    assert [(r.dataset, r.scene, r.image) for r in back] == [(dataset, scene, image) for image in images]
    for k, row in enumerate(back):
        assert (row.camera_from_world is None) == (k % 2 == 0)
        assert row.camera_from_world is None or np.array_equal(row.camera_from_world, pose)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("dataset,scene,image\n", "rotation_matrix, translation_vector"),
        (
            "dataset,scene,image,rotation_matrix,translation_vector\na,b,c,1;0;0,0;0;0\n",
            "line 2: rotation_matrix needs 9",
        ),
        (
            "dataset,scene,image,rotation_matrix,translation_vector\na,b,c,1;0;0;0;1;0;0;0;1,0;x;0\n",
            "translation_vector",
        ),
        ("dataset,scene,image,rotation_matrix,translation_vector\na,b,c\n", "line 2"),
        (
            "dataset,scene,image,rotation_matrix,translation_vector\n" + 2 * "a,b,c,1;0;0;0;1;0;0;0;1,0;0;0\n",
            "c of a more than once",
        ),
    ],
)
def test_what_is_no_table_of_poses_is_refused(tmp_path: Path, text: str, complaint: str) -> None:
    path = tmp_path / "poses.csv"
    path.write_text(text)
    with pytest.raises(ValueError, match=complaint):
        read_table(path)


# --- errors ------------------------------------------------------------------------------------------------------------------------


def invented(scenes: dict[str, int], outliers: int) -> CollectionTruth:
    """A truth without pictures: cameras on a ring of radius 10 that look inwards."""
    pictures = []
    for scene, count in scenes.items():
        for k in range(count):
            turn = 2 * math.pi * k / count
            eye = np.array([10 * math.cos(turn), 10 * math.sin(turn), 1.5])
            pose = inverse(looking_at(eye, np.zeros(3), 0.0))
            pictures.append(picture(f"{scene}_{k}.jpg", scene, pose))
    pictures += [picture(f"stray_{k}.jpg", None, None) for k in range(outliers)]
    ordered = tuple(sorted(pictures, key=lambda p: p.name))
    return CollectionTruth(dataset="invented", seed=0, top_folder="", pictures=ordered)


def picture(name: str, scene: str | None, pose: Floats | None) -> PictureTruth:
    return PictureTruth.model_validate(
        {
            "name": name, "scene": scene, "outlier": None if scene else "noise", "camera": "x", "width_px": 4, "height_px": 3,
            "focal_px": 3.0, "cx_px": 2.0, "cy_px": 1.5, "k1": 0.0, "exif_orientation": 1,
            "camera_from_world": None if pose is None else pose.tolist(),
        }
    )  # fmt: skip


def test_the_truth_has_no_errors_in_whatever_world(truth: CollectionTruth) -> None:
    world = np.eye(4)
    world[:3, :3] = Rotation.from_euler("xyz", [1.0, 2.0, 3.0]).as_matrix()
    world[:3, 3] = [5.0, -6.0, 7.0]
    rows = []
    for row in truth.table():
        pose = row.camera_from_world
        if pose is not None:
            pose = pose @ world
            pose[:3, 3] *= 0.2
        rows.append(replace(row, camera_from_world=pose))
    errors = photo_errors(truth, rows)
    assert errors.pose_error_deg.max() < 1e-5
    assert len(errors.rotation_deg) == 15 + 3 + 3
    assert (errors.clusters, errors.purity, errors.registration_rate) == (3, 1, 1)
    assert not errors.strays
    assert not errors.split_scenes


def test_a_turned_camera_is_off_by_its_turn() -> None:
    truth = invented({"castle": 8}, 0)
    rows = list(truth.table())
    off = np.eye(4)
    off[:3, :3] = Rotation.from_euler("y", 2.0, degrees=True).as_matrix()
    assert rows[-1].camera_from_world is not None
    rows[-1] = replace(rows[-1], camera_from_world=off @ rows[-1].camera_from_world)
    errors = photo_errors(truth, rows)
    wrong = errors.rotation_deg > 1e-6
    assert wrong.sum() == 7
    assert errors.rotation_deg[wrong] == pytest.approx(2.0, abs=1e-6)
    assert errors.median_deg == pytest.approx(0, abs=1e-6)
    # Directions are those in which the second camera of a pair sees the first.
    assert np.nanmax(errors.direction_deg) == pytest.approx(2.0, abs=0.3)


def test_scenes_thrown_together_are_impure() -> None:
    truth = invented({"castle": 8, "bridge": 4}, 2)
    errors = photo_errors(truth, [replace(row, scene="one") for row in truth.table()])
    assert errors.purity == pytest.approx(8 / 14)
    assert errors.strays == (*(f"bridge_{k}.jpg" for k in range(4)), "stray_0.jpg", "stray_1.jpg")
    assert errors.clusters == 1
    assert len(errors.rotation_deg) == 28 + 6


def test_lost_and_split_scenes_are_told() -> None:
    truth = invented({"castle": 8, "bridge": 4}, 2)
    rows = [
        replace(row, scene=OUTLIERS, camera_from_world=None)
        if row.scene == "bridge"
        else replace(row, scene="part")
        if row.image in {"castle_0.jpg", "castle_1.jpg"}
        else row
        for row in truth.table()
    ]
    errors = photo_errors(truth, rows)
    assert errors.registration_rate == pytest.approx(8 / 12)
    assert errors.split_scenes == ("castle",)
    assert errors.purity == 1


def test_a_picture_that_nobody_took_is_refused() -> None:
    truth = invented({"castle": 3}, 0)
    with pytest.raises(ValueError, match=r"does not know other\.jpg"):
        photo_errors(truth, [TableRow("invented", "castle", "other.jpg", None)])


# --- reconstruction ------------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("kind", ORDINARY)
def test_every_scene_can_be_reconstructed(kind: SceneKind, tmp_path: Path) -> None:
    """SIFT, every pair, incremental mapping, with the true camera: nearly all pictures, and poses to fractions of a degree."""
    spec = replace(CollectionSpec(seed=11, images=20, outliers=0), scenes=(kind,))
    truth = make_collection(spec, tmp_path)
    rows = reconstructed(truth, tmp_path)
    errors = photo_errors(truth, rows)
    assert errors.registration_rate >= 0.95
    assert errors.median_deg < 0.25
    assert np.percentile(errors.pose_error_deg, 95) < 1.0


def reconstructed(truth: CollectionTruth, folder: Path) -> list[TableRow]:
    """The largest model of the collection, by plain pycolmap with true intrinsics that stay as they are."""
    pictures = folder / "pictures"
    with zipfile.ZipFile(folder / "photos.zip") as archive:
        for picture in truth.pictures:
            path = pictures / picture.name
            path.parent.mkdir(parents=True, exist_ok=True)
            stored = Image.open(archive.open(f"{truth.top_folder}/{picture.name}"))
            ImageOps.exif_transpose(stored).save(path, quality=95)
    database = folder / "database.db"
    for group in {(p.camera, p.width_px, p.height_px) for p in truth.pictures}:
        members = [p for p in truth.pictures if (p.camera, p.width_px, p.height_px) == group]
        for one in {p.intrinsics() for p in members}:
            names = [p.name for p in members if p.intrinsics() == one]
            reader = pycolmap.ImageReaderOptions(
                camera_model="SIMPLE_RADIAL", camera_params=f"{one.focal_px},{one.cx_px},{one.cy_px},{one.k1}"
            )
            pycolmap.extract_features(
                database, pictures, image_names=names, camera_mode=pycolmap.CameraMode.SINGLE,
                reader_options=reader, device=pycolmap.Device.cpu,
            )  # fmt: skip
    pycolmap.match_exhaustive(database, device=pycolmap.Device.cpu)
    options = pycolmap.IncrementalPipelineOptions(
        ba_refine_focal_length=False, ba_refine_extra_params=False, random_seed=0
    )
    models = pycolmap.incremental_mapping(database, pictures, folder / "models", options)
    largest = max(models.values(), key=lambda model: model.num_reg_images())
    poses = {
        image.name: np.vstack([image.cam_from_world().matrix(), [0, 0, 0, 1]])
        for image in largest.images.values()
        if image.has_pose
    }
    return [
        TableRow(truth.dataset, "model" if p.name in poses else OUTLIERS, p.name, poses.get(p.name))
        for p in truth.pictures
    ]
