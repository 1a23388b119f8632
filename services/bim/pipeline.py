"""From a canonical cloud to everything a building job delivers: what the child process of a bim worker runs.

preprocessing → slab_detection → wall_detection → opening_detection → zone_detection → generating_ifc → finalizing
"""

import time
from datetime import datetime
from pathlib import Path

import numpy as np
from pydantic import AwareDatetime, BaseModel, ConfigDict

from contracts.building_settings import BuildingRequest, BuildingSettings
from contracts.errors import ErrorCode, UserError
from contracts.progress import StageReporter
from services.bim import glb, labels, mapping, recognition
from services.bim import report as reports
from services.bim.cloud import CanonicalCloud, open_cloud
from services.bim.ifc import writer
from services.bim.ifc.writer import ElementIds
from services.bim.model import Building
from services.bim.plans import drawing

IFC_NAME = "model.ifc"
GLB_NAME = "model.glb"
MAPPING_NAME = "point_mapping.json"
REPORT_NAME = "report.json"


class Arguments(BaseModel):
    """The task, as the worker hands it over."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    job_id: str
    created_at: AwareDatetime
    """When the job was made: the time in the IFC file's header, so that a second attempt writes the same file."""
    request: BuildingRequest
    cloud: Path
    out: Path


class Listener:
    """Passes on what the steps say; keeps warnings and the wall time of each step for the report."""

    def __init__(self, report: StageReporter) -> None:
        self._report = report
        self._step: str | None = None
        self._began = time.monotonic()
        self.seconds: dict[str, float] = {}
        self.warnings: list[str] = []

    def step(self, name: str) -> None:
        self.lap()
        self._step = name
        self._report.step(name)

    def lap(self) -> None:
        """The present step's time so far counts as its own."""
        now = time.monotonic()
        if self._step is not None:
            self.seconds[self._step] = self.seconds.get(self._step, 0.0) + now - self._began
        self._began = now

    def progress(self, done: int, total: int, operation: str | None = None) -> None:
        self._report.progress(done, total, operation)

    def log(self, message: str) -> None:
        self._report.log(message)

    def warn(self, message: str) -> None:
        self.warnings.append(message)
        self._report.warn(message)


def run(arguments: dict[str, object], report: StageReporter) -> None:
    """Recognise the building and write all files into the folder `out`. Raises UserError if there is none."""
    task = Arguments.model_validate(arguments)
    settings = task.request.settings
    listener = Listener(report)
    task.out.mkdir(parents=True, exist_ok=True)
    cloud = open_cloud(task.cloud)
    recognised = recognition.recognise(task.cloud, settings, listener)
    building = recognised.building
    _check_found(building)
    listener.step("generating_ifc")
    ids = writer.main(building, cloud.manifest, settings, task.out / IFC_NAME, listener, created=task.created_at)
    glb.main(task.out / IFC_NAME, task.out / GLB_NAME)
    listener.step("finalizing")
    fits = _map_points(recognised, cloud, ids, settings=settings, out=task.out / MAPPING_NAME, report=listener)
    _draw_plans(building, cloud, settings, created=task.created_at, out=task.out, report=listener)
    listener.lap()
    summary = reports.build(
        building=building,
        manifest=cloud.manifest,
        settings=settings,
        ids=ids,
        fits=fits,
        seconds=listener.seconds,
        unknown_settings=task.request.unknown_settings,
        warnings=tuple(listener.warnings),
    )
    (task.out / REPORT_NAME).write_text(summary.model_dump_json(indent=2), encoding="utf-8")


def _check_found(building: Building) -> None:
    if not building.walls and not building.slabs:
        raise UserError(
            ErrorCode.INVALID_CLOUD,
            f"No wall and no slab was found on {len(building.storeys)} storeys: the cloud is too sparse, or shows no building. "
            "Upload a denser scan, with points every 3 cm or closer.",
        )


def _map_points(
    recognised: recognition.Recognition,
    cloud: CanonicalCloud,
    ids: ElementIds,
    *,
    settings: BuildingSettings,
    out: Path,
    report: Listener,
) -> dict[str, reports.PointFit]:
    found = labels.main(recognised.building, cloud, settings, report, recognised.level_from_cloud)
    mapping.write(
        found.index,
        found.elements,
        ids,
        source_index=cloud.source_index,
        total_points=cloud.manifest.points_in_file,
        out=out,
        report=report,
    )
    return {
        element: reports.PointFit(int(count), float(residual), float(np.nan_to_num(covered)))
        for element, count, residual, covered in zip(
            found.elements, found.counts, found.residual_median_m, found.coverage, strict=True
        )
    }


def _draw_plans(
    building: Building,
    cloud: CanonicalCloud,
    settings: BuildingSettings,
    *,
    created: datetime,
    out: Path,
    report: Listener,
) -> None:
    title = drawing.title_of(cloud.manifest, settings, created)
    for number, storey in enumerate(building.storeys):
        report.progress(number, len(building.storeys), "Drawing plans")
        name = f"plan_{storey.index}"
        drawing.main(building, storey.index, out / f"{name}.png", out / f"{name}.svg", title)
