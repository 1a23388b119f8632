"""The rig from six depth renders alone: what nobody told is found in what the views say of each other.

Unknown are the field of view, each view's depth scale (two numbers), whether brighter is nearer, which side a view shows, and whether
it was turned or mirrored. One cost judges a guess: points of one view, seen from another, must lie within its silhouette, must not
lie in front of its surface, and should lie on it. The right rig makes all six agree.

The front view sets the frame: camera at +z, +y up, 2.5 units from the origin, to which all cameras look. Lengths follow from
that distance, because nothing in the views tells them.
"""

import itertools
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from contracts.errors import ErrorCode, UserError
from contracts.object_settings import VIEWS, GivenCameras, NormalisedDepth
from contracts.progress import Reporter
from services.mesh import alignment_cost as agreement
from services.mesh.alignment_cost import Guess, Scene, SeenView, Stand
from services.mesh.colour_offset import colour_shift
from services.mesh.depth import DepthScale
from services.mesh.quality import Rig
from services.mesh.rig import ASSUMED_DISTANCE, ASSUMED_FOCAL, VIEW_NAMES, Camera, assumed_cameras, given_cameras
from services.mesh.views import Raw, SixViews

Floats = NDArray[np.float64]
Kind = TypeVar("Kind", bound=np.generic)
_COARSE = (160, 250)
_FINE = (512, 600)
"""Picture width and samples of a view, for the search and for the last refinement."""
_FIRST_FOCAL = 1.25
"""In picture widths; the search finds the right one from far away."""
_KEPT_SIDES, _KEPT_WHOLE = 2, 4
_CLOSE = 1.15
"""Coarse costs within this factor of the best are looked at more closely."""
_TIE = 1.03
"""Fine costs within this factor of the best count as equal, and then the guess that assumes least wins."""
_SIGMA = 0.002
"""What the last refinement tells apart, in picture widths: a pixel."""
_FOCAL_STEP = 0.02
_LEAST_RISE = 0.002
"""By which share the cost must rise where the focal length is wrong by 2 %: less, and the shape does not determine it."""
_SURE_RISE = 0.01


@dataclass(frozen=True)
class Turn:
    """How an upload is brought back: mirrored if it was mirrored, then turned back by quarters (as numpy.rot90 counts)."""

    pose: int
    """Which of the rig's six cameras took it."""
    quarter_turns: int = 0
    mirrored: bool = False

    def restored(self, image: NDArray[Kind]) -> NDArray[Kind]:
        """The picture as its camera saw it."""
        upright = image[:, ::-1] if self.mirrored else image
        return np.ascontiguousarray(np.rot90(upright, -self.quarter_turns))


IDENTITY = tuple(Turn(i) for i in range(VIEWS))


@dataclass(frozen=True)
class Recovered:
    """cameras: of the depth renders after `turns`; scales: what their values mean; colour_shift: in picture widths."""

    turns: tuple[Turn, ...]
    cameras: tuple[Camera, ...]
    scales: tuple[DepthScale, ...]
    colour_shift: tuple[float, float]
    rig: Rig


@dataclass(frozen=True)
class _Candidate:
    turns: tuple[Turn, ...]
    near_is_bright: bool
    guess: Guess
    cost: float

    @property
    def surprise(self) -> int:
        """How many things are not as the API's document assumes."""
        return sum((t.pose != i) + (t.quarter_turns > 0) + t.mirrored for i, t in enumerate(self.turns))


def recover(views: SixViews, given: GivenCameras | None, report: Reporter) -> Recovered:
    """Find the rig, or only the depth scales where cameras are given. Raises UserError for a view that shows nothing."""
    backgrounds = tuple(_background(raw, i, given) for i, raw in enumerate(views.depths))
    if given is not None:
        return _scales_only(views, backgrounds, given, report)
    search = _Search(views.depths, backgrounds)
    best = search.best_rig(report)
    rise = search.rise_off_focal(best)
    ambiguous = rise < _LEAST_RISE
    if ambiguous:
        report.warn(
            f"The six depth maps fit other fields of view as well as {_fov_deg(best.guess.focal):.0f} degrees: the shape does not "
            "determine it (a box does not). The documented cameras are assumed; the form field `cameras` would make it exact."
        )
        best = search.at_assumed_focal(best)
    return _result(views, search, best, rise, report)


def turned(views: SixViews, turns: tuple[Turn, ...]) -> SixViews:
    """The uploads as their cameras saw them."""
    return SixViews(
        tuple(t.restored(image) for t, image in zip(turns, views.colours, strict=True)),
        tuple(None if alpha is None else t.restored(alpha) for t, alpha in zip(turns, views.alphas, strict=True)),
        tuple(t.restored(raw) for t, raw in zip(turns, views.depths, strict=True)),
    )


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


class _Search:
    """Tries rigs, coarse to fine."""

    def __init__(self, depths: tuple[Raw, ...], backgrounds: tuple[int, ...]) -> None:
        self._depths = depths
        self.backgrounds = backgrounds
        self._prepared: dict[tuple[int, Turn, bool, int], SeenView] = {}

    def best_rig(self, report: Reporter) -> _Candidate:
        """Sides first, then top and bottom, then everything at once, finely."""
        sides = self._closest(self._sides(), _KEPT_SIDES, 1)
        report.progress(1, 4, "Sides")
        whole = self._closest([c for side in sides for c in self._with_top_and_bottom(side)], _KEPT_WHOLE, 2)
        report.progress(2, 4, "Top and bottom")
        joint = [self._refined(candidate) for candidate in whole]
        lowest = min(candidate.cost for candidate in joint)
        tied = [candidate for candidate in joint if candidate.cost <= _TIE * lowest]
        report.progress(3, 4, "All views")
        found = self.settled(min(tied, key=lambda c: (c.surprise, c.cost)))
        report.progress(4, 4, "Refinement")
        return found

    def rise_off_focal(self, best: _Candidate) -> float:
        """By which share the cost rises, at least, where the focal length is a little off and all else makes the best of it."""
        scene = self.scene(tuple(enumerate(best.turns)), best.near_is_bright, _FINE)
        lowest = agreement.cost(scene, best.guess, _SIGMA)
        rises = []
        for factor in (1 - _FOCAL_STEP, 1 + _FOCAL_STEP):
            moved = best.guess.at_focal(best.guess.focal * factor)
            moved = agreement.optimised(scene, moved, (_SIGMA,), rounds=6, free=_all_values(moved)[1:])
            rises.append(agreement.cost(scene, moved, _SIGMA) / lowest - 1)
        return min(rises)

    def at_assumed_focal(self, best: _Candidate) -> _Candidate:
        """The documented rig, or with its field of view the best arrangement of views where that fits clearly better."""
        found = []
        for turns in (IDENTITY, best.turns):
            scene = self.scene(tuple(enumerate(turns)), best.near_is_bright, _FINE)
            guess = agreement.first_guess(scene, ASSUMED_FOCAL)
            guess = agreement.optimised(scene, guess, (0.04, 0.01, _SIGMA), rounds=8, free=_all_values(guess)[1:])
            found.append(_Candidate(turns, best.near_is_bright, guess, agreement.cost(scene, guess)))
        assumed, arranged = found
        return assumed if assumed.cost <= _CLOSE * arranged.cost else arranged

    def settled(self, candidate: _Candidate) -> _Candidate:
        """The same, as exactly as the pictures allow."""
        scene = self.scene(tuple(enumerate(candidate.turns)), candidate.near_is_bright, _FINE)
        guess = agreement.optimised(scene, candidate.guess, (0.01, 0.005), rounds=8, free=_all_values(candidate.guess))
        guess = agreement.settled_focal(scene, guess, _SIGMA)
        return _Candidate(candidate.turns, candidate.near_is_bright, guess, agreement.cost(scene, guess))

    def _sides(self) -> list[_Candidate]:
        """Front, back, left and right in every arrangement, best first."""
        found = []
        for near_is_bright in (False, True):
            for (left, right), mirrored in itertools.product(((2, 3), (3, 2)), (False, True)):
                turns = (Turn(0), Turn(1), Turn(left, 0, mirrored), Turn(right, 0, mirrored))
                scene = self.scene(tuple(enumerate(turns)), near_is_bright, _COARSE)
                guess = agreement.first_guess(scene, _FIRST_FOCAL)
                guess = agreement.optimised(scene, guess, (0.1, 0.04), rounds=7, free=_all_values(guess))
                found.append(_Candidate(turns, near_is_bright, guess, agreement.cost(scene, guess)))
        return sorted(found, key=lambda candidate: candidate.cost)

    def _with_top_and_bottom(self, side: _Candidate) -> list[_Candidate]:
        """The four views with each way to add top and bottom, tried singly and summed."""
        options = {
            (upload, pose): [self._one_more(side, upload, Turn(pose, k, m)) for k in range(4) for m in (False, True)]
            for upload, pose in itertools.product((4, 5), (4, 5))
        }
        found = []
        for poses in ((4, 5), (5, 4)):
            for top, bottom in itertools.product(options[4, poses[0]], options[5, poses[1]]):
                turns = (*side.turns, top.turn, bottom.turn)
                guess = side.guess.extended(top.scale).extended(bottom.scale)
                found.append(_Candidate(turns, side.near_is_bright, guess, side.cost + top.cost + bottom.cost))
        return found

    def _one_more(self, side: _Candidate, upload: int, turn: Turn) -> "_Option":
        turns = (*enumerate(side.turns), (upload, turn))
        scene = self.scene(turns, side.near_is_bright, _COARSE)
        guess = side.guess.extended(agreement.first_scale(scene, len(scene) - 1))
        free = _all_values(guess)[-2:]
        guess = agreement.optimised(scene, guess, (0.06,), rounds=5, free=free, only=len(scene) - 1)
        return _Option(turn, guess.values[-2:], agreement.cost(scene, guess, only=len(scene) - 1))

    @staticmethod
    def _closest(candidates: list[_Candidate], best: int, plain: int) -> list[_Candidate]:
        """The best few, and those nearly as good that assume less."""
        ordered = sorted(candidates, key=lambda c: c.cost)
        close = [c for c in ordered if c.cost <= _CLOSE * ordered[0].cost]
        few = ordered[:best] + sorted(close, key=lambda c: (c.surprise, c.cost))[:plain]
        return list({(c.turns, c.near_is_bright): c for c in few}.values())

    def _refined(self, candidate: _Candidate) -> _Candidate:
        scene = self.scene(tuple(enumerate(candidate.turns)), candidate.near_is_bright, _COARSE)
        guess = agreement.optimised(scene, candidate.guess, (0.04,), rounds=8, free=_all_values(candidate.guess))
        guess = agreement.other_ranges(scene, guess, 0.015)
        guess = agreement.optimised(scene, guess, (0.015,), rounds=8, free=_all_values(guess))
        return _Candidate(candidate.turns, candidate.near_is_bright, guess, agreement.cost(scene, guess))

    def scene(self, turns: tuple[tuple[int, Turn], ...], near_is_bright: bool, grain: tuple[int, int]) -> Scene:
        """Uploads by number, each with its turn."""
        return tuple(self._view(upload, turn, near_is_bright, grain) for upload, turn in turns)

    def _view(self, upload: int, turn: Turn, near_is_bright: bool, grain: tuple[int, int]) -> SeenView:
        key = (upload, turn, near_is_bright, grain[0])
        if key not in self._prepared:
            self._prepared[key] = agreement.seen_view(
                turn.restored(self._depths[upload]),
                self.backgrounds[upload],
                agreement.rig_stand(turn.pose),
                near_is_bright=near_is_bright,
                size_px=grain[0],
                points=grain[1],
            )
        return self._prepared[key]


@dataclass(frozen=True)
class _Option:
    """One view beside four others: its turn, the two values of its depth scale, and what it costs."""

    turn: Turn
    scale: Floats
    cost: float


def _all_values(guess: Guess) -> NDArray[np.int64]:
    return np.arange(len(guess.values))


def _scales(scene: Scene, guess: Guess, near_is_bright: bool, backgrounds: tuple[int, ...]) -> tuple[DepthScale, ...]:
    scales = []
    for i, (view, background) in enumerate(zip(scene, backgrounds, strict=True)):
        step = guess.extent(i) / max(view.high - view.low, 1.0)
        if near_is_bright:
            scales.append(DepthScale(guess.near(i) + step * view.high, -step, background))
        else:
            scales.append(DepthScale(guess.near(i) - step * view.low, step, background))
    return tuple(scales)


def _result(views: SixViews, search: _Search, best: _Candidate, rise: float, report: Reporter) -> Recovered:
    upright = turned(views, best.turns)
    backgrounds = search.backgrounds
    scene = search.scene(tuple(enumerate(best.turns)), best.near_is_bright, _FINE)
    cameras = tuple(
        assumed_cameras(width, height, best.guess.focal)[turn.pose]
        for turn, (width, height) in zip(best.turns, upright.depth_sizes, strict=True)
    )
    ambiguous = rise < _LEAST_RISE
    shift = colour_shift(upright, backgrounds)
    notes = (*_notes(best), *(("ambiguous",) if ambiguous else ()))
    report.log(
        f"Cameras {'assumed' if ambiguous else 'recovered'}: field of view {_fov_deg(best.guess.focal):.1f} degrees; "
        + ("; ".join(_notes(best)))
    )
    rig = Rig(
        source="assumed" if ambiguous else "recovered",
        confidence=round(float(np.clip(rise / _SURE_RISE, 0, 1)), 3),
        focal_px=cameras[0].fx_px,
        notes=notes,
    )
    scales = _scales(scene, best.guess, best.near_is_bright, backgrounds)
    return Recovered(best.turns, cameras, scales, shift, rig)


def _notes(best: _Candidate) -> tuple[str, ...]:
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
        scene = tuple(
            agreement.seen_view(raw, b, stand, near_is_bright=near_is_bright, size_px=_FINE[0], points=_FINE[1] // 2)
            for raw, b, stand in zip(views.depths, backgrounds, stands, strict=True)
        )
        guess = agreement.first_guess(scene, 1.0)
        guess = agreement.optimised(scene, guess, (0.1, 0.03), rounds=8, free=_all_values(guess)[1:])
        guess = agreement.other_ranges(scene, guess, 0.015)
        guess = agreement.optimised(scene, guess, (0.015, 0.006, 0.003), rounds=8, free=_all_values(guess)[1:])
        tried.append((agreement.cost(scene, guess), near_is_bright, scene, guess))
    cost, near_is_bright, scene, guess = min(tried, key=lambda t: t[0])
    del cost
    scales = tuple(
        DepthScale(s.offset * unit, s.step * unit, s.background)
        for s in _scales(scene, guess, near_is_bright, backgrounds)
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
