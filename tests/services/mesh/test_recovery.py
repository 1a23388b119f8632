"""The rig from depth maps alone, against the rig that took them."""

import numpy as np
import pytest

from contracts.errors import ErrorCode, UserError
from contracts.object_settings import GivenCameras
from contracts.progress import Silence
from samples.objects import make_object
from samples.objects_files import Upload, make_upload
from samples.objects_views import ViewSpec, degraded_spec
from services.mesh import outlines
from services.mesh.colour_offset import colour_shift
from services.mesh.depth import decode
from services.mesh.recovery import Recovered, recover
from services.mesh.rig import ASSUMED_FOCAL
from services.mesh.turns import IDENTITY, Turn, turned
from services.mesh.views import SixViews

SIZE_PX = 256


def views_of(upload: Upload) -> SixViews:
    colours = tuple(colour.astype(np.float32) / np.float32(255) for colour in upload.colours)
    return SixViews(colours, (None,) * 6, upload.depths)


@pytest.fixture(scope="module")
def robot() -> tuple[ViewSpec, SixViews, Recovered]:
    spec = degraded_spec(SIZE_PX, 4, "robot")
    views = views_of(make_upload(make_object("robot", 1), spec))
    return spec, views, recover(views, None, Silence())


def test_the_field_of_view_is_found(robot: tuple[ViewSpec, SixViews, Recovered]) -> None:
    spec, _, found = robot
    assert found.rig.source == "recovered"
    assert found.rig.focal_px / SIZE_PX == pytest.approx(spec.focal, rel=0.02)


def test_sides_turns_and_mirrors_are_found(robot: tuple[ViewSpec, SixViews, Recovered]) -> None:
    spec, _, found = robot
    assert found.turns == tuple(Turn(a.camera, a.quarter_turns, a.mirrored) for a in spec.arrangements)


def test_depth_scales_are_those_of_the_views(robot: tuple[ViewSpec, SixViews, Recovered]) -> None:
    """In units of the recovered rig, whose cameras are 2.5 from the middle."""
    spec, views, found = robot
    upright = turned(views, found.turns)
    for raw, scale, camera in zip(upright.depths, found.scales, found.cameras, strict=True):
        depth = decode(raw, scale)
        points = camera.centre + camera.rays(camera.centres()) * depth[..., None]
        size = np.abs(points[depth > 0]).max()
        assert size == pytest.approx(0.42 * 2.5 / spec.distance, rel=0.05) or size < 0.42 * 2.5 / spec.distance


def test_the_offset_between_pictures_and_depth_is_found(robot: tuple[ViewSpec, SixViews, Recovered]) -> None:
    spec, _, found = robot
    assert found.colour_shift == pytest.approx(spec.colour_shift, abs=0.5 / SIZE_PX)


def test_pictures_that_lie_on_the_depth_are_left_there() -> None:
    depth = np.zeros((64, 64), np.uint8)
    depth[20:40, 16:50] = 9
    colour = np.where(depth[..., None] > 0, 0.3, 1.0).astype(np.float32) * np.ones(3, np.float32)
    views = SixViews((colour,) * 6, (None,) * 6, (depth,) * 6)
    assert colour_shift(views, (0,) * 6) == pytest.approx((0, 0), abs=1e-3)


def test_a_box_is_called_ambiguous() -> None:
    """Its outlines bound the field of view, and the documented one does not fit them."""
    spec = degraded_spec(SIZE_PX, 1, "box")
    found = recover(views_of(make_upload(make_object("box", 1), spec)), None, Silence())
    assert "ambiguous" in found.rig.notes
    assert found.rig.confidence < 0.2
    assert found.rig.focal_px / SIZE_PX == pytest.approx(spec.focal, rel=0.1)


def test_a_box_that_the_documented_cameras_fit_gets_them() -> None:
    spec = degraded_spec(SIZE_PX, 1, "box")
    documented = type(spec)(**{**vars(spec), "focal": ASSUMED_FOCAL, "distance": 2.5})
    found = recover(views_of(make_upload(make_object("box", 1), documented)), None, Silence())
    assert found.rig.source == "assumed"
    assert "ambiguous" in found.rig.notes
    assert found.rig.focal_px == pytest.approx(ASSUMED_FOCAL * SIZE_PX)


def test_given_cameras_leave_only_the_scales_to_be_found() -> None:
    spec = degraded_spec(SIZE_PX, 2, "chair")
    untouched = tuple(type(a)(i) for i, a in enumerate(spec.arrangements))
    upload = make_upload(make_object("chair", 1), type(spec)(**{**vars(spec), "arrangements": untouched}))
    told = {**upload.cameras, "depth": {"encoding": "normalised"}}
    found = recover(views_of(upload), GivenCameras.model_validate(told), Silence())
    assert found.rig.source == "given"
    for raw, scale, camera in zip(upload.depths, found.scales, found.cameras, strict=True):
        depth = decode(raw, scale)
        points = camera.centre + camera.rays(camera.centres()) * depth[..., None]
        assert np.abs(points[depth > 0]).max() < 0.42 + 0.01


def test_turning_back_undoes_turning() -> None:
    image = np.arange(12).reshape(3, 4)
    for quarter_turns in range(4):
        for mirrored in (False, True):
            uploaded = np.rot90(image, quarter_turns)
            uploaded = uploaded[:, ::-1] if mirrored else uploaded
            assert np.array_equal(Turn(0, quarter_turns, mirrored).restored(uploaded), image)


def test_a_depth_render_without_an_object_is_refused() -> None:
    depth = np.zeros((32, 32), np.uint8)
    views = SixViews((np.ones((32, 32, 3), np.float32),) * 6, (None,) * 6, (depth,) * 6)
    with pytest.raises(UserError, match="Depth render 1") as caught:
        recover(views, None, Silence())
    assert (caught.value.code, caught.value.field) == (ErrorCode.INVALID_DEPTH, "depth_renders")


def test_outlines_alone_find_the_arrangement_and_nearly_the_focal_length() -> None:
    spec = degraded_spec(SIZE_PX, 2, "pebble")
    upload = make_upload(make_object("pebble", 2), spec)
    best, second = outlines.fits(tuple(raw > 0 for raw in upload.depths))[:2]
    assert best.turns == tuple(Turn(a.camera, a.quarter_turns, a.mirrored) for a in spec.arrangements)
    assert best.focal == pytest.approx(spec.focal, rel=0.02)
    assert best.possible[0] < spec.focal < best.possible[1]
    assert best.misfit * SIZE_PX < 0.3
    assert second.misfit > 5 * best.misfit


def test_outlines_of_a_ball_fit_whatever_was_turned() -> None:
    y, x = np.mgrid[:101, :101] - 50.0
    found = outlines.fits((np.hypot(x, y) < 30,) * 6)
    assert len(found) == len({fit.turns for fit in found}) == 512
    assert IDENTITY in {fit.turns for fit in found}
    assert max(fit.misfit for fit in found) * 101 < 0.05


@pytest.mark.parametrize("quarter_turns", range(4))
@pytest.mark.parametrize("mirrored", [False, True])
def test_places_are_turned_back_as_pictures_are(quarter_turns: int, mirrored: bool) -> None:
    image = np.zeros((7, 7), np.uint8)
    image[1, 5] = 9
    turn = Turn(0, quarter_turns, mirrored)
    ((x, y),) = turn.restored_places(np.array([[5 - 3.0, 1 - 3.0]]))
    assert turn.restored(image)[round(y) + 3, round(x) + 3] == 9
