"""Walls of a storey."""

from dataclasses import dataclass, replace

import numpy as np
import shapely
from numpy.typing import NDArray

from contracts.building_settings import BuildingSettings
from contracts.progress import Reporter
from services.bim.junctions import aligned, close_junctions, joined_over_openings
from services.bim.levels import Layering, StoreyLayers
from services.bim.model import Wall
from services.bim.plan_columns import upright_columns
from services.bim.preprocessing import WorkingCloud
from services.bim.reveals import agreed_m, reveal_depths_m, surely_agreed_m
from services.bim.room_cover import RoomCover, room_cover, rows_of_storey
from services.bim.wall_faces import Line, find_faces
from services.bim.wall_runs import Backing, WallRun, find_runs

_MIN_TOLERANCE_M = 0.015
_TALL_SHARE = 0.1
_MIN_TALL_M = 0.1
_COLUMN_ASPECT = 1.5
_MAX_LONE_M = 0.8
_CONTAINED_SHARE = 0.6
_SAME_WAY_SINE = np.sin(np.deg2rad(4.0))
_HANGING_M = 0.5
_HANGING_SHARE = 0.7
_MIN_LONE_FACE_M = 0.5
_BESIDE_M = 0.5
_STANDS_BY_SHARE = 0.3
_SEEN_SHARE = 0.25
_SAME_FLOOR_M = 0.05
_EXTERNAL_SHARE = 0.5

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class StoreyRuns:
    """The stretches of wall of a storey, before its exterior walls have their thickness and its junctions are closed."""

    index: int
    storey: StoreyLayers
    cover: RoomCover
    runs: tuple[WallRun, ...]
    reveals: tuple["Reveal", ...]
    """Of exterior walls without an outer face."""

    @property
    def own_depths_m(self) -> tuple[float, ...]:
        """Depths of reveals on the storey's own floor, without annexes."""
        return self.depths_on(self.storey.floor_m)

    def depths_on(self, floor_m: float) -> tuple[float, ...]:
        return tuple(r.depth_m for r in self.reveals if abs(r.floor_m - floor_m) < _SAME_FLOOR_M)


@dataclass(frozen=True)
class Reveal:
    """How deep the jambs of a wall's windows are, and the floor beside it."""

    depth_m: float
    floor_m: float


def find_storey_runs(
    cloud: WorkingCloud, layering: Layering, index: int, settings: BuildingSettings, report: Reporter
) -> StoreyRuns:
    """Find the stretches of wall of storey number `index`."""
    storey = layering.storeys[index]
    rows = rows_of_storey(cloud, layering, index)
    cover = room_cover(cloud, layering, index, rows)
    report.progress(4 * index + 1, 4 * len(layering.storeys), "Rooms in plan")
    columns = upright_columns(cloud, rows, cover)
    tolerance = float(np.clip(4 * cloud.noise_m, _MIN_TOLERANCE_M, settings.preprocessing.noise_threshold))
    faces = find_faces(columns, tolerance)
    report.progress(4 * index + 2, 4 * len(layering.storeys), "Wall faces")
    runs = [run for run in find_runs(faces, cover, settings) if _stands_by(run, cover)]
    runs = _with_usual_thickness(_walls_among(runs, settings))
    report.progress(4 * index + 3, 4 * len(layering.storeys), "Walls from faces")
    lone = [run for run in runs if run.backed_by is Backing.OUTSIDE]
    limits = (float(settings.min_wall_thickness), float(settings.max_wall_thickness))
    depths = zip(lone, reveal_depths_m(cloud, rows, lone, limits), strict=True)
    reveals = [Reveal(depth, _heights(run, storey, cover)[0]) for run, depth in depths if depth is not None]
    return StoreyRuns(index, storey, cover, tuple(runs), tuple(reveals))


def close_walls(
    found: StoreyRuns, shared_m: float | None, settings: BuildingSettings, report: Reporter
) -> tuple[Wall, ...]:
    """The walls of a storey, closed at their junctions, the longest first.

    `shared_m`: how thick exterior walls without an outer face are on all storeys, None where nothing shows it.
    """
    runs = [_with_reveals_depth(run, found, shared_m) for run in found.runs]
    runs = [run for run in joined_over_openings(aligned(runs), found.cover) if not _is_scrap(run)]
    runs, ends = _closed(runs, found.cover)
    walls = [_wall(run, spots, found) for run, spots in zip(runs, ends, strict=True)]
    kept = [wall for wall in walls if wall.length_m >= settings.min_wall_length]
    report.log(f"  Storey {found.index}: {len(kept)} walls")
    return tuple(kept)


def _with_reveals_depth(run: WallRun, found: StoreyRuns, shared_m: float | None) -> WallRun:
    """A run of one face as thick as reveals show it; that of the settings where none were seen."""
    if run.backed_by is not Backing.OUTSIDE:
        return run
    floor_m = _heights(run, found.storey, found.cover)[0]
    depths = found.depths_on(floor_m)
    if abs(floor_m - found.storey.floor_m) < _SAME_FLOOR_M:
        thickness = surely_agreed_m(depths) or shared_m
    else:
        # An annexe on a floor of its own was built by itself: one window there says more than many elsewhere.
        thickness = agreed_m(depths) or max(depths, default=None) or shared_m
    return run if thickness is None else run.thinned_to(thickness)


def _closed(runs: list[WallRun], cover: RoomCover) -> tuple[list[WallRun], list[tuple[Floats, Floats]]]:
    """Runs with the ends of their centre lines, without those that others cover once these are led to their corners."""
    while True:
        ends = close_junctions(runs, cover)
        led = [
            replace(run, low=float(run.axis.places(start[None])[0]), high=float(run.axis.places(end[None])[0]))
            for run, (start, end) in zip(runs, ends, strict=True)
        ]
        kept = [run for run, final in zip(runs, led, strict=True) if not _is_part_of(final, _stronger(final, led))]
        if len(kept) == len(runs):
            return runs, ends
        runs = kept


def _stronger(run: WallRun, others: list[WallRun]) -> list[WallRun]:
    return [other for other in others if (other.faces, other.length_m) > (run.faces, run.length_m)]


def _walls_among(runs: list[WallRun], settings: BuildingSettings) -> list[WallRun]:
    """Runs that are walls: not beams, columns, or a second view of another wall."""
    solid = [
        run for run in runs if _reaches_the_floor(run) and _is_proven(run) and run.length_m >= settings.min_wall_length
    ]
    # Two faces prove more than one; among equals the longer wall stands.
    solid.sort(key=lambda run: (-run.faces, -run.length_m))
    kept: list[WallRun] = []
    for run in solid:
        if not _is_part_of(run, kept) and not _hangs_before(run, kept):
            kept.append(run)
    return [run for run in kept if not _is_column(run, kept)]


def _is_scrap(run: WallRun) -> bool:
    """A short piece of one face that belongs to nothing longer: a frame, a jamb."""
    return run.faces == 1 and run.length_m < _MIN_LONE_FACE_M


def _stands_by(run: WallRun, cover: RoomCover) -> bool:
    """Whether a run belongs to the building, and not to a garden: the storey lies beside a good part of it.

    Not all of it: furniture and dark corridors leave holes in a storey's outline.
    """
    places = np.linspace(run.low, run.high, 2 + int(run.length_m / _BESIDE_M))
    offsets = np.array([-_BESIDE_M, 0.0, _BESIDE_M])
    spots = run.axis.at(places[:, None], offsets[None, :])
    indoors = cover.is_indoors(spots.reshape(-1, 2)).reshape(len(places), len(offsets))
    return float(indoors.any(1).mean()) > _STANDS_BY_SHARE


def _is_proven(run: WallRun) -> bool:
    """Whether one face alone was seen over more of the length than the frames of a glazed front would be."""
    return run.faces == 2 or run.seen_m >= _SEEN_SHARE * run.length_m


def _reaches_the_floor(run: WallRun) -> bool:
    """Beams and lintels are seen below the ceiling only. With no room behind there is no beam, but a hidden wall."""
    if min(run.rooms) < 0.3 and run.backed_by is Backing.OUTSIDE:
        return run.tall_m >= _MIN_TALL_M or run.seen_m > 1.0
    return run.tall_m >= max(_MIN_TALL_M, _TALL_SHARE * run.length_m)


def strip_of(run: WallRun, margin_m: float = 0.0) -> shapely.Polygon:
    """The plan area of a run, and a margin around its sides."""
    half = run.thickness_m / 2 + margin_m
    corners = [(run.low, -half), (run.high, -half), (run.high, half), (run.low, half)]
    return shapely.Polygon([run.axis.at(s, d) for s, d in corners])


def _is_part_of(run: WallRun, others: list[WallRun]) -> bool:
    """Whether a run repeats others; the one face of some runs is a window's frame, in the middle of another wall."""
    strip = strip_of(run)
    around = shapely.union_all([strip_of(other, 0.02) for other in others if other is not run])
    if strip.intersection(around).area > _CONTAINED_SHARE * strip.area:
        return True
    if run.faces == 2:
        return False
    face = shapely.LineString(run.axis.at(np.array([run.low, run.high]), run.face_side * run.thickness_m / 2))
    return bool(face.intersection(around).length > _CONTAINED_SHARE * face.length)


def _hangs_before(run: WallRun, others: list[WallRun]) -> bool:
    """Whether a run is a curtain or a cupboard: one face, nothing known behind it but another wall that looks the same way."""
    if run.backed_by not in {Backing.OUTSIDE, Backing.UNSEEN}:
        return False
    face = Line(run.axis.at(0.0, run.face_side * run.thickness_m / 2), run.axis.along)
    for other in others:
        if abs(float(run.axis.along @ other.axis.normal)) > _SAME_WAY_SINE:
            continue
        places = run.axis.places(other.axis.at(np.array([other.low, other.high])))
        common = min(run.high, float(places.max())) - max(run.low, float(places.min()))
        spot = other.axis.at(np.clip(float(other.axis.places(face.at(0.0)[None])[0]), other.low, other.high))
        # The other wall's near face lies behind this one's, by less than a cupboard.
        behind = -run.face_side * float(face.offsets(spot[None])[0]) - other.thickness_m / 2
        if common > _HANGING_SHARE * run.length_m and -0.02 < behind < _HANGING_M and other.length_m > run.length_m:
            return True
    return False


def _with_usual_thickness(runs: list[WallRun]) -> list[WallRun]:
    """Where furniture hides the far side, the ceiling's gap is an upper bound: then the wall is as thick as others are."""
    known = [run.thickness_m for run in runs if run.faces == 2 and min(run.rooms) > _EXTERNAL_SHARE]
    if not known:
        return runs
    usual = float(np.median(known))
    unsure = (Backing.ROOM, Backing.UNSEEN)
    return [run.thinned_to(usual) if run.backed_by in unsure and run.thickness_m > usual else run for run in runs]


def _is_column(run: WallRun, others: list[WallRun]) -> bool:
    """As thick as it is long, or a short lone thing that no wall leads to."""
    if run.length_m > max(_MAX_LONE_M, _COLUMN_ASPECT * run.thickness_m):
        return False
    reach = strip_of(run).buffer(0.1)
    meets = [other for other in others if other is not run and strip_of(other, 0.02).intersects(reach)]
    if run.length_m < _COLUMN_ASPECT * run.thickness_m:
        return len(meets) < 2
    return not meets


def _wall(run: WallRun, ends: tuple[Floats, Floats], found: StoreyRuns) -> Wall:
    base, top = _heights(run, found.storey, found.cover)
    external = min(run.rooms) < _EXTERNAL_SHARE
    support = min(run.seen_m / max(run.length_m, 1e-6), 1.0)
    return Wall(
        wall_id="",
        storey=found.index,
        start=ends[0],
        end=ends[1],
        thickness_m=run.thickness_m,
        base_m=base,
        top_m=top,
        is_external=external,
        measured_faces=run.faces,
        residual_m=run.spread_m,
        confidence=round(float((0.6 + 0.4 * support) * (1.0 if run.faces == 2 else 0.7)), 3),
    )


def _heights(run: WallRun, storey: StoreyLayers, cover: RoomCover) -> tuple[float, float]:
    """Base and top: the storey's own, unless all the rooms beside the wall have another floor, or a higher ceiling."""
    places = np.linspace(run.low, run.high, 9)[1:-1]
    reach = run.thickness_m / 2 + 0.15
    spots = np.concatenate([run.axis.at(places, reach), run.axis.at(places, -reach)])
    cell = cover.grid.cells(spots)
    seen = cover.cover.ravel()[cell] > 0.5
    if cover.from_outside or not seen.any():
        return storey.floor_m, storey.ceiling_m
    floor = float(np.median(cover.floor_m.ravel()[cell][seen]))
    highest = float(np.percentile(cover.ceiling_m.ravel()[cell][seen], 75))
    return floor, max(highest, storey.ceiling_m)
