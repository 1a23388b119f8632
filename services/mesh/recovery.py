"""The rig from six depth renders alone: what nobody told is found in what the views say of each other.

Unknown are the field of view, each view's depth scale (two numbers), whether brighter is nearer, which side a view shows, and whether
it was turned or mirrored. One cost judges a guess: points of one view, seen from another, must lie within its silhouette, must not
lie in front of its surface, and should lie on it. The right rig makes all six agree.

The front view sets the frame: camera at +z, +y up, 2.5 units from the origin, to which all cameras look. Lengths follow from
that distance, because nothing in the views tells them.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from contracts.errors import ErrorCode, UserError
from contracts.object_settings import GivenCameras, NormalisedDepth
from contracts.progress import Reporter
from services.mesh import alignment_cost as agreement
from services.mesh.alignment_cost import Scene, Stand
from services.mesh.colour_offset import Shift, colour_shift
from services.mesh.depth import DepthScale
from services.mesh.quality import Rig
from services.mesh.rig import ASSUMED_DISTANCE, ASSUMED_FOCAL, VIEW_NAMES, Camera, assumed_cameras, given_cameras
from services.mesh.rig_search import Candidate, RigSearch, all_values, depth_scales
from services.mesh.turns import IDENTITY, Turns, turned
from services.mesh.views import Raw, SixViews

Floats = NDArray[np.float64]
_LEAST_RISE = 0.002
"""By which share the cost must rise where the focal length is wrong by 2 %: less, and the shape does not determine it."""
_SURE_RISE = 0.01
_GIVEN_GRAIN = (512, 300)
"""Picture width and samples of a view where only depth scales are looked for."""


@dataclass(frozen=True)
class Recovered:
    """cameras: of the depth renders after `turns`; scales: what their values mean; colour_shift: in picture widths."""

    turns: Turns
    cameras: tuple[Camera, ...]
    scales: tuple[DepthScale, ...]
    colour_shift: Shift
    rig: Rig


def recover(views: SixViews, given: GivenCameras | None, report: Reporter) -> Recovered:
    """Find the rig, or only the depth scales where cameras are given. Raises UserError for a view that shows nothing."""
    backgrounds = tuple(_background(raw, i, given) for i, raw in enumerate(views.depths))
    if given is not None:
        return _scales_only(views, backgrounds, given, report)
    search = RigSearch(views, backgrounds)
    best = search.best(report)
    rise = search.rise_off_focal(best)
    if rise >= _LEAST_RISE:
        return _result(views, search, best, _Verdict("recovered", rise, backgrounds), report)
    fov = _fov_deg(best.guess.focal)
    if not _assumed_fits(search, best):
        report.warn(
            f"The shape hardly determines the field of view; {fov:.0f} degrees fit best, and the documented one does not fit. "
            "The form field `cameras` would make it exact."
        )
        return _result(views, search, best, _Verdict("recovered", rise, backgrounds, ambiguous=True), report)
    report.warn(
        f"The six views fit other fields of view as well as {fov:.0f} degrees: the shape does not determine it (a box does not). "
        "The documented cameras are assumed; the form field `cameras` would make it exact."
    )
    best = search.at_focal(best, ASSUMED_FOCAL)
    return _result(views, search, best, _Verdict("assumed", rise, backgrounds, ambiguous=True), report)


def _assumed_fits(search: RigSearch, best: Candidate) -> bool:
    """Whether the documented focal length agrees with the outlines about as well as any."""
    lowest, highest = search.fits[best.turns].possible
    return lowest <= ASSUMED_FOCAL <= highest


def _fov_deg(focal: float) -> float:
    return float(np.degrees(2 * np.arctan(0.5 / focal)))


def _background(raw: Raw, index: int, given: GivenCameras | None) -> int:
    """The value of pixels that show nothing: what most of the border has."""
    top = int(np.iinfo(raw.dtype).max)
    if given is not None and isinstance(given.depth, NormalisedDepth) and given.depth.background != "unknown":
        return 0 if given.depth.background == "zero" else top
    border = np.concatenate([raw[0], raw[-1], raw[:, 0], raw[:, -1]])
    value = top if (border == top).sum() > (border == 0).sum() else 0
    if (raw != value).sum() < 16:
        raise UserError(
            ErrorCode.INVALID_DEPTH,
            f"Depth render {index + 1} shows no object: all of it is background.",
            field="depth_renders",
        )
    return value


@dataclass(frozen=True)
class _Verdict:
    """Where the focal length comes from, and how much the cost rises beside it."""

    source: Literal["recovered", "assumed"]
    rise: float
    backgrounds: tuple[int, ...]
    ambiguous: bool = False


def _result(views: SixViews, search: RigSearch, best: Candidate, verdict: _Verdict, report: Reporter) -> Recovered:
    upright = turned(views, best.turns)
    cameras = tuple(
        assumed_cameras(width, height, best.guess.focal)[turn.pose]
        for turn, (width, height) in zip(best.turns, upright.depth_sizes, strict=True)
    )
    said = _notes(best)
    report.log(f"Cameras {verdict.source}: field of view {_fov_deg(best.guess.focal):.1f} degrees; {'; '.join(said)}")
    rig = Rig(
        source=verdict.source,
        confidence=round(float(np.clip(verdict.rise / _SURE_RISE, 0, 1)), 3),
        focal_px=cameras[0].fx_px,
        notes=(*said, "ambiguous") if verdict.ambiguous else said,
    )
    shift = colour_shift(upright, verdict.backgrounds)
    return Recovered(best.turns, cameras, search.scales(best), shift, rig)


def _notes(best: Candidate) -> tuple[str, ...]:
    """What was found, in words."""
    notes = ["brighter is nearer" if best.near_is_bright else "brighter is farther"]
    for i, turn in enumerate(best.turns):
        said = []
        if turn.pose != i:
            said.append(f"shows the {VIEW_NAMES[turn.pose]}")
        if turn.quarter_turns:
            said.append(f"turned by {90 * turn.quarter_turns} degrees")
        if turn.mirrored:
            said.append("mirrored")
        if said:
            notes.append(f"{VIEW_NAMES[i]} view: {', '.join(said)}")
    return tuple(notes)


def _scales_only(views: SixViews, backgrounds: tuple[int, ...], given: GivenCameras, report: Reporter) -> Recovered:
    """Cameras are known, depth scales are not. The search thinks of cameras 2.5 units from the object at the origin."""
    cameras = given_cameras(given, views.depth_sizes)
    middle, unit = _object_frame(cameras, views.depths, backgrounds)
    stands = [_stand(camera, middle, unit) for camera in cameras]
    assert isinstance(given.depth, NormalisedDepth)
    signs = {"darker": (False,), "brighter": (True,), "unknown": (False, True)}[given.depth.nearer_is]
    tried = []
    for near_is_bright in signs:
        scene = Scene(
            tuple(
                agreement.seen_view(
                    raw, b, stand, near_is_bright=near_is_bright, size_px=_GIVEN_GRAIN[0], points=_GIVEN_GRAIN[1]
                )
                for raw, b, stand in zip(views.depths, backgrounds, stands, strict=True)
            )
        )
        guess = agreement.first_guess(scene, 1.0)
        guess = agreement.optimised(scene, guess, (0.04,), rounds=8, free=all_values(guess)[1:])
        guess = agreement.other_ranges(scene, guess, 0.015)
        guess = agreement.optimised(scene, guess, (0.015, 0.006, 0.003), rounds=8, free=all_values(guess)[1:])
        tried.append((agreement.cost(scene, guess), near_is_bright, scene, guess))
    cost, near_is_bright, scene, guess = min(tried, key=lambda t: t[0])
    del cost
    scales = tuple(
        DepthScale(s.offset * unit, s.step * unit, s.background)
        for s in depth_scales(scene, guess, near_is_bright, backgrounds)
    )
    note = "brighter is nearer" if near_is_bright else "brighter is farther"
    report.log(f"Cameras as given; depth scales recovered: {note}")
    rig = Rig(source="given", confidence=1.0, focal_px=cameras[0].fx_px, notes=(note, "depth scales recovered"))
    return Recovered(IDENTITY, cameras, scales, (0.0, 0.0), rig)


def _object_frame(
    cameras: tuple[Camera, ...], depths: tuple[Raw, ...], backgrounds: tuple[int, ...]
) -> tuple[Floats, float]:
    """Where the rays through the middles of the silhouettes meet best, (3,), and the unit that makes its mean distance 2.5."""
    normal, right = np.zeros((3, 3)), np.zeros(3)
    for camera, raw, background in zip(cameras, depths, backgrounds, strict=True):
        rows, columns = np.nonzero(raw != background)
        place = np.array([[(columns.min() + columns.max() + 1) / 2, (rows.min() + rows.max() + 1) / 2]])
        ray = camera.rays(place)[0]
        ray /= np.linalg.norm(ray)
        across = np.eye(3) - np.outer(ray, ray)
        normal += across
        right += across @ camera.centre
    middle = np.asarray(np.linalg.solve(normal, right), np.float64)
    distance = float(np.mean([np.linalg.norm(camera.centre - middle) for camera in cameras]))
    return middle, distance / ASSUMED_DISTANCE


def _stand(camera: Camera, middle: Floats, unit: float) -> Stand:
    pose = camera.camera_from_world.copy()
    pose[:3, 3] = (pose[:3, :3] @ middle + pose[:3, 3]) / unit
    width, height = camera.width_px, camera.height_px
    return Stand(
        pose,
        np.array([camera.fx_px, camera.fy_px]) / width,
        np.array([camera.cx_px - width / 2, camera.cy_px - height / 2]) / width,
    )
