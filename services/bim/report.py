"""`report.json` of a building: what was found, how large it is, how far to trust it."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from contracts.building_settings import BuildingSettings
from contracts.clouds import CloudManifest
from contracts.model import Frozen
from contracts.progress import Silence
from services.bim import fitting, footprints, quantities
from services.bim.ifc import georeference
from services.bim.ifc.writer import ElementIds
from services.bim.model import Building, Floats, OpeningKind, Storey
from services.bim.quantities import Quantities

_COUNTED = {OpeningKind.DOOR: "doors", OpeningKind.WINDOW: "windows", OpeningKind.PASSAGE: "passages"}


@dataclass(frozen=True)
class PointFit:
    """How the points of one element lie to it."""

    points: int
    residual_m: float
    """Median distance to the element's surface; NaN without points."""
    coverage: float
    """Share of the element's surface that points were seen on, 0 to 1; NaN where it has none to be seen."""


class Counts(Frozen):
    storeys: int
    slabs: int
    walls: int
    doors: int
    windows: int
    passages: int
    columns: int
    spaces: int


class Sizes(Frozen):
    """Sums over the building, from the geometry in model.ifc."""

    height_m: float
    """From the lowest floor to the top of the highest slab."""
    footprint_m2: float
    gross_floor_m2: float
    net_floor_m2: float
    net_volume_m3: float
    """Air in the rooms."""
    wall_length_m: float
    wall_net_area_m2: float
    wall_net_volume_m3: float
    slab_net_volume_m3: float


class StoreySummary(Frozen):
    index: int
    name: str
    elevation_m: float
    """Above the lowest floor, as in model.ifc."""
    height_m: float
    """Clear height from floor to ceiling."""
    gross_floor_m2: float
    net_floor_m2: float
    counts: Counts


class CloudSummary(Frozen):
    """The uploaded file, and what was done with it."""

    file_name: str
    format: str
    points_in_file: int
    points_invalid: int
    points_diluted: int
    points_used: int
    spacing_m: float
    up_axis: Literal["z", "y"]
    unit_m: float
    notes: tuple[str, ...]
    """Sentences on what is unusual about the file's coordinates."""


class Georeference(Frozen):
    """What model.ifc says in its IfcMapConversion."""

    crs: str
    known: bool
    """False where neither the file nor the settings name a reference system."""
    eastings_m: float
    northings_m: float
    height_m: float


class Fit(Frozen):
    """How the cloud agrees with the model."""

    mapped_points: int
    mapped_share: float
    """Of the points that were used."""
    residual_median_m: float | None
    """Over elements, weighted by their points."""
    residual_p90_m: float | None
    coverage: float | None
    """Mean over elements with a surface of their own."""


class ElementSummary(Frozen):
    """One element: `element_id` as in point_mapping.json, `global_id` as in model.ifc."""

    element_id: str
    global_id: str
    element_type: str
    storey: int
    confidence: float
    points: int
    residual_m: float | None
    coverage: float | None


class BuildingReport(Frozen):
    """`report.json` of a building's result. Lengths in metres, z up."""

    version: Literal[1] = 1
    counts: Counts
    sizes: Sizes
    storeys: tuple[StoreySummary, ...]
    fit: Fit
    cloud: CloudSummary
    georeference: Georeference | None
    """None where the model's coordinates are those of the file and no reference system is known."""
    elements: tuple[ElementSummary, ...]
    failed_storeys: tuple[str, ...]
    warnings: tuple[str, ...]
    unknown_settings: tuple[str, ...]
    """Keys of the configuration file that mean nothing here."""
    seconds: dict[str, float]
    """Wall time of each step."""
    settings: BuildingSettings


def build(
    *,
    building: Building,
    manifest: CloudManifest,
    settings: BuildingSettings,
    ids: ElementIds,
    fits: Mapping[str, PointFit],
    seconds: Mapping[str, float],
    unknown_settings: tuple[str, ...] = (),
    warnings: tuple[str, ...] = (),
) -> BuildingReport:
    """Put the report together. `fits` by ids of the model; `warnings` beyond those of the building and of its cloud."""
    whole = fitting.main(building, Silence())
    measured = quantities.main(whole, footprints.main(whole.walls))
    return BuildingReport(
        counts=_counts(whole, len(whole.storeys), None),
        sizes=_sizes(measured),
        storeys=tuple(_storeys(whole, measured)),
        fit=_fit(fits, manifest),
        cloud=_cloud(manifest),
        georeference=_georeference(manifest, settings),
        elements=tuple(_elements(whole, ids, fits)),
        failed_storeys=building.failed_storeys,
        warnings=tuple(dict.fromkeys((*manifest.warnings, *building.warnings, *warnings))),
        unknown_settings=unknown_settings,
        seconds={step: round(value, 3) for step, value in seconds.items()},
        settings=settings,
    )


def _counts(building: Building, storeys: int, index: int | None) -> Counts:
    """Of one storey, or of all with `index` None."""
    openings = Counter(_COUNTED[o.kind] for o in building.openings if index in (None, o.storey))
    return Counts(
        storeys=storeys,
        slabs=sum(index in (None, slab.storey) for slab in building.slabs),
        walls=sum(index in (None, wall.storey) for wall in building.walls),
        doors=openings["doors"],
        windows=openings["windows"],
        passages=openings["passages"],
        columns=sum(index in (None, column.storey) for column in building.columns),
        spaces=sum(index in (None, space.storey) for space in building.spaces),
    )


def _sizes(measured: Quantities) -> Sizes:
    walls, whole = measured.walls.values(), measured.building
    return Sizes(
        height_m=round(whole.height_m, 4),
        footprint_m2=round(whole.footprint_m2, 3),
        gross_floor_m2=round(whole.gross_floor_m2, 3),
        net_floor_m2=round(whole.net_floor_m2, 3),
        net_volume_m3=round(whole.net_volume_m3, 3),
        wall_length_m=round(sum(wall.length_m for wall in walls), 3),
        wall_net_area_m2=round(sum(wall.net_side_m2 for wall in walls), 3),
        wall_net_volume_m3=round(sum(wall.net_volume_m3 for wall in walls), 3),
        slab_net_volume_m3=round(sum(slab.net_volume_m3 for slab in measured.slabs.values()), 3),
    )


def _storeys(building: Building, measured: Quantities) -> Iterator[StoreySummary]:
    ground_m = min((storey.floor_m for storey in building.storeys), default=0.0)

    def summary(storey: Storey) -> StoreySummary:
        found = measured.storeys[storey.index]
        return StoreySummary(
            index=storey.index,
            name=storey.name,
            elevation_m=round(storey.floor_m - ground_m, 4),
            height_m=round(found.net_height_m, 4),
            gross_floor_m2=round(found.gross_floor_m2, 3),
            net_floor_m2=round(found.net_floor_m2, 3),
            counts=_counts(building, 1, storey.index),
        )

    return map(summary, building.storeys)


def _fit(fits: Mapping[str, PointFit], manifest: CloudManifest) -> Fit:
    seen = [fit for fit in fits.values() if fit.points and np.isfinite(fit.residual_m)]
    mapped = sum(fit.points for fit in fits.values())
    residuals = np.array([fit.residual_m for fit in seen])
    weights = np.array([fit.points for fit in seen], np.float64)
    coverages = [fit.coverage for fit in fits.values() if np.isfinite(fit.coverage)]
    return Fit(
        mapped_points=mapped,
        mapped_share=round(mapped / max(manifest.points, 1), 4),
        residual_median_m=_weighted_quantile(residuals, weights, 0.5),
        residual_p90_m=_weighted_quantile(residuals, weights, 0.9),
        coverage=round(float(np.mean(coverages)), 4) if coverages else None,
    )


def _weighted_quantile(values: Floats, weights: Floats, share: float) -> float | None:
    if not len(values):
        return None
    order = np.argsort(values, kind="stable")
    reached = np.searchsorted(np.cumsum(weights[order]), share * weights.sum())
    return round(float(values[order][min(int(reached), len(values) - 1)]), 5)


def _cloud(manifest: CloudManifest) -> CloudSummary:
    return CloudSummary(
        file_name=manifest.file_name,
        format=manifest.format,
        points_in_file=manifest.points_in_file,
        points_invalid=manifest.points_invalid,
        points_diluted=manifest.points_diluted,
        points_used=manifest.points,
        spacing_m=round(manifest.spacing_m, 5),
        up_axis=manifest.up_axis,
        unit_m=manifest.unit_m,
        notes=tuple(_notes(manifest)),
    )


def _notes(manifest: CloudManifest) -> Iterator[str]:
    if manifest.up_axis == "y":
        yield "The file has +y up: it was turned upright, so that (x, y, z) of the file is (x, -z, y) here."
    if manifest.unit_m != 1.0:
        yield f"A unit of the file is {manifest.unit_m:g} m: all lengths were converted to metres."


def _georeference(manifest: CloudManifest, settings: BuildingSettings) -> Georeference | None:
    frame = georeference.map_frame(manifest, settings)
    if frame is None:
        return None
    return Georeference(
        crs=frame.crs,
        known=frame.named,
        eastings_m=frame.eastings_m,
        northings_m=frame.northings_m,
        height_m=frame.height_m,
    )


def _elements(building: Building, ids: ElementIds, fits: Mapping[str, PointFit]) -> Iterator[ElementSummary]:
    storeys: dict[str, tuple[int, float]] = {}
    storeys |= {slab.slab_id: (slab.storey, slab.confidence) for slab in building.slabs}
    storeys |= {wall.wall_id: (wall.storey, wall.confidence) for wall in building.walls}
    storeys |= {opening.opening_id: (opening.storey, opening.confidence) for opening in building.openings}
    storeys |= {column.column_id: (column.storey, column.confidence) for column in building.columns}
    storeys |= {space.space_id: (space.storey, space.confidence) for space in building.spaces}
    for model_id, (storey, confidence) in storeys.items():
        fit = fits.get(model_id)
        yield ElementSummary(
            element_id=ids[model_id].name,
            global_id=ids[model_id].global_id,
            element_type=ids[model_id].ifc_class,
            storey=storey,
            confidence=round(confidence, 4),
            points=fit.points if fit is not None else 0,
            residual_m=round(fit.residual_m, 5) if fit is not None and np.isfinite(fit.residual_m) else None,
            coverage=round(fit.coverage, 4) if fit is not None and np.isfinite(fit.coverage) else None,
        )
