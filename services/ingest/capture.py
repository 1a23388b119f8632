"""From a capture's ZIP to the canonical form of `contracts.captures`."""

import os
import tempfile
import threading
import zipfile
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from contracts.capture_settings import CaptureSettings
from contracts.captures import (
    MANIFEST_NAME,
    TRAJECTORY_NAME,
    CapturedFrame,
    CaptureManifest,
    CaptureSource,
    ConventionEvidence,
    Intrinsics,
)
from contracts.errors import ErrorCode, UserError
from contracts.progress import Reporter
from services.ingest import conventions, pictures
from services.ingest.archive import CAMERA_NAME, ODOMETRY_NAME, Inspection, extract, inspect_archive, read_entry
from services.ingest.colour import ColourConverter, ColourPlan
from services.ingest.depth import DepthMaps
from services.ingest.frames import ChosenPicture, plan_slots, sharpest_per_slot
from services.ingest.odometry import (
    Calibration,
    Odometry,
    calibrate,
    files_of_rows,
    fitting_scale,
    native_fps,
    parse_camera_matrix,
    parse_odometry,
)
from services.ingest.video import Images, Rotation, Source, SourceInfo, Video

MOTION_FRAMES = 300
"""Small copies kept for the motion test of the axes."""
MOTION_SIDE_PX = 160
_CLIPPED_WORTH_A_WARNING = 0.001


class _Notes:
    """Warnings, said at once and kept for the manifest."""

    def __init__(self, report: Reporter) -> None:
        self._report = report
        self.kept: list[str] = []

    def warn(self, *messages: str) -> None:
        for message in messages:
            self._report.warn(message)
            self.kept.append(message)


@dataclass(frozen=True)
class _Geometry:
    """How pictures and camera belong together."""

    rotation_deg: Rotation
    """Clockwise turn applied to every picture."""
    width_px: int
    height_px: int
    calibration: Calibration
    rows_scale: float | None
    """Pictures' resolution over that of the per-row intrinsics; None if there are none that fit."""


@dataclass(frozen=True)
class _Opened:
    """A capture that was found readable."""

    source: Source
    depth: DepthMaps | None
    odometry: Odometry
    geometry: _Geometry


@dataclass(frozen=True)
class _Written:
    """A frame whose files are on disk."""

    name: str
    row: int
    sharpness: float
    has_depth: bool
    lidar_pixels: int
    clipped_pixels: int


def build_capture(archive: Path, settings: CaptureSettings, out_dir: Path, report: Reporter) -> CaptureManifest:
    """Convert the capture in `archive` and write its canonical form into `out_dir`, the manifest last.

    Pictures are read once, in order, and written by threads while the next ones are decoded; a few are in memory at a
    time. Raises UserError with the code of what is wrong with the capture; TOO_FEW_FRAMES under two usable frames.
    """
    notes = _Notes(report)
    out_dir.mkdir(parents=True, exist_ok=True)
    with archive.open("rb") as file, tempfile.TemporaryDirectory(dir=out_dir, prefix=".unpacked-") as unpacked:
        inspection = inspect_archive(file)
        notes.warn(*inspection.notes)
        with zipfile.ZipFile(file) as opened:
            odometry = parse_odometry(read_entry(opened, inspection, ODOMETRY_NAME))
            notes.warn(*odometry.notes)
            k = parse_camera_matrix(read_entry(opened, inspection, CAMERA_NAME))
            if inspection.video is not None:
                extract(file, inspection, Path(unpacked), [inspection.video])
            source = _open_source(opened, inspection, odometry, Path(unpacked), settings)
            depth = _open_depth(opened, inspection, odometry)
            geometry = _fit(source.info, k, odometry, notes, report)
            depth = _matching_depth(depth, geometry, notes)
            return _convert(_Opened(source, depth, odometry, geometry), settings, out_dir, notes, report)


def _open_source(
    opened: zipfile.ZipFile, inspection: Inspection, odometry: Odometry, unpacked: Path, settings: CaptureSettings
) -> Source:
    if inspection.video is not None:
        return Video(unpacked / inspection.video, _num_threads(settings))
    return Images(opened, inspection, files_of_rows(inspection.images, odometry.frame_ids))


def _open_depth(opened: zipfile.ZipFile, inspection: Inspection, odometry: Odometry) -> DepthMaps | None:
    depth_of_row = files_of_rows(inspection.depth, odometry.frame_ids)
    if not depth_of_row:
        return None
    return DepthMaps(opened, inspection, depth_of_row, files_of_rows(inspection.confidence, odometry.frame_ids))


def _num_threads(settings: CaptureSettings) -> int:
    return min(settings.num_threads or os.cpu_count() or 1, 16)


def _fit(
    info: SourceInfo, k: npt.NDArray[np.float64], odometry: Odometry, notes: _Notes, report: Reporter
) -> _Geometry:
    """Choose the pictures' orientation by K. Poses, K and depth are the sensor's, so a rotation tag is followed only
    where K fits the turned picture and not the picture as stored."""
    width_px, height_px, rotation = info.width_px, info.height_px, info.rotation_deg
    follows_tag = (
        rotation in (90, 270)
        and fitting_scale(k, width_px, height_px) is None
        and fitting_scale(k, height_px, width_px) is not None
    )
    if follows_tag:
        width_px, height_px = height_px, width_px
        report.log(f"  The pictures were turned by {rotation}° clockwise: camera_matrix.csv is for the upright picture")
    elif rotation:
        report.log(
            f"  The video's tag asks for a {rotation}° turn; poses and depth are the sensor's, so it stays as is"
        )
        rotation = 0
    calibration = calibrate(k, width_px, height_px)
    notes.warn(*calibration.notes)
    rows_scale = None
    if odometry.intrinsics_px is not None:
        fx, fy, cx, cy = np.nanmedian(odometry.intrinsics_px, axis=0)
        scale = fitting_scale(np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]]), width_px, height_px)
        rows_scale = None if scale is None else float(scale)
        if scale is None:
            notes.warn(
                f"The intrinsics in odometry.csv (cx {cx:.0f}, cy {cy:.0f}) do not belong to the "
                f"{width_px}x{height_px} pictures; camera_matrix.csv is used for all frames."
            )
    return _Geometry(rotation, width_px, height_px, calibration, rows_scale)


def _matching_depth(depth: DepthMaps | None, geometry: _Geometry, notes: _Notes) -> DepthMaps | None:
    """The depth, if it is there and shows the same view as the pictures."""
    if depth is None or depth.size_px is None:
        if depth is not None:
            notes.warn(*depth.warnings())
        notes.warn("The capture has no depth pictures that can be used: no LiDAR cloud, and poses alone give scale.")
        return None
    width_px, height_px = depth.size_px
    if abs(width_px / height_px * geometry.height_px / geometry.width_px - 1) > 0.03:
        notes.warn(
            f"The depth pictures ({width_px}x{height_px}) have another shape than the pictures "
            f"({geometry.width_px}x{geometry.height_px}) and are not used."
        )
        return None
    return depth


def _convert(
    capture: _Opened, settings: CaptureSettings, out_dir: Path, notes: _Notes, report: Reporter
) -> CaptureManifest:
    source, depth, odometry, geometry = capture.source, capture.depth, capture.odometry, capture.geometry
    timestamps_s, fps = _clock(odometry, source.info, notes)
    slots = plan_slots(timestamps_s, odometry.usable, fps, settings.fps)
    plan = ColourPlan(
        settings.input_colorspace, settings.output_colorspace, source.info.bit_depth > 8, source.info.is_float
    )
    _make_folders(out_dir, plan, depth is not None)
    writer = _FrameWriter(out_dir, ColourConverter(plan), geometry, depth, settings)
    written, greys = _write_all(source, slots, writer, _num_threads(settings), report)
    _report_losses(capture, written, plan, notes)
    if depth is not None:
        notes.warn(*depth.warnings())
    if len(written) < 2:
        raise UserError(
            ErrorCode.TOO_FEW_FRAMES,
            f"Only {len(written)} usable frame at {settings.fps:g} fps (the capture has {len(odometry)} frames at "
            f"{fps:.0f} fps); set a higher fps or record for longer.",
            field="fps",
        )
    evidence = _detect_axes(odometry, timestamps_s, depth, greys, geometry)
    report.log(_convention_line(evidence))
    if evidence.decided_by in ("gravity", "default"):
        notes.warn(
            f"Neither depth nor pictures could tell the odometry's camera axes; {evidence.axes} axes were assumed by "
            f"{evidence.decided_by}."
        )
    report.log(f"  ✓ {len(written)} images, {sum(frame.lidar_pixels for frame in written):,} LiDAR points")
    _write_trajectory(out_dir, timestamps_s, odometry, evidence)
    manifest = CaptureManifest(
        source=_describe_source(source, geometry, fps, len(odometry)),
        frames=tuple(_captured_frame(frame, timestamps_s, odometry, geometry, evidence) for frame in written),
        delivered_folder="matching" if plan.delivers_matching_copies else "images",
        delivered_bit_depth=16 if plan.delivered_bit_depth == 16 else 8,
        input_colorspace=settings.input_colorspace,
        output_colorspace=settings.output_colorspace,
        convention=evidence,
        confidence_scale="none" if depth is None else depth.scale,
        depth_width_px=None if depth is None or depth.size_px is None else depth.size_px[0],
        depth_height_px=None if depth is None or depth.size_px is None else depth.size_px[1],
        warnings=tuple(notes.kept),
    )
    (out_dir / MANIFEST_NAME).write_text(manifest.model_dump_json(indent=1))
    return manifest


def _clock(odometry: Odometry, info: SourceInfo, notes: _Notes) -> tuple[npt.NDArray[np.float64], float]:
    """Time of every row and the native frame rate; the video's own rate where odometry.csv's time stands still."""
    fps = native_fps(odometry.timestamps_s[odometry.usable])
    if fps is not None:
        return odometry.timestamps_s, fps
    if info.fps is None:
        raise UserError(
            ErrorCode.INVALID_ODOMETRY, "All time stamps in odometry.csv are equal; export again.", field=ODOMETRY_NAME
        )
    notes.warn(f"All time stamps in odometry.csv are equal; the video's {info.fps:g} fps is used.")
    return np.arange(len(odometry)) / info.fps, info.fps


def _make_folders(out_dir: Path, plan: ColourPlan, with_depth: bool) -> None:
    names = ["matching"]
    names += [] if plan.delivers_matching_copies else ["images"]
    names += ["depth", "confidence"] if with_depth else []
    for name in names:
        (out_dir / name).mkdir(exist_ok=True)


@dataclass(frozen=True)
class _FrameWriter:
    """Writes one chosen frame's files; runs in several threads at once."""

    out_dir: Path
    converter: ColourConverter
    geometry: _Geometry
    depth: DepthMaps | None
    settings: CaptureSettings

    def write(self, ordinal: int, chosen: ChosenPicture) -> _Written:
        """Frame `ordinal`, from 1."""
        name = f"{ordinal:06d}.png"
        picture = pictures.turn(chosen.picture.rgb(), self.geometry.rotation_deg)
        pictures.write_png(self.out_dir / "matching" / name, self.converter.matching(picture))
        clipped_pixels = 0
        if not self.converter.plan.delivers_matching_copies:
            delivered = self.converter.delivered(picture)
            pictures.write_png(self.out_dir / "images" / name, delivered.picture)
            clipped_pixels = delivered.clipped_pixels
        row = chosen.picture.index
        frame = None if self.depth is None else self.depth.frame(row)
        lidar_pixels = 0
        if frame is not None:
            pictures.write_png(self.out_dir / "depth" / name, frame.depth_mm)
            pictures.write_png(self.out_dir / "confidence" / name, frame.confidence)
            in_cloud = (ordinal - 1) % self.settings.stray_depth_subsample == 0 and self.settings.stray_gen_pointcloud
            lidar_pixels = frame.measured_pixels(self.settings.stray_confidence) if in_cloud else 0
        return _Written(name, row, chosen.sharpness, frame is not None, lidar_pixels, clipped_pixels)


def _write_all(
    source: Source, slots: npt.NDArray[np.int64], writer: _FrameWriter, num_threads: int, report: Reporter
) -> tuple[list[_Written], list[conventions.GreyFrame]]:
    """Decode, choose and write; returns the written frames in order and small copies of the first ones."""
    total = len(slots)

    def wanted(index: int) -> bool:
        report.progress(min(index + 1, total), total, f"Frame {min(index + 1, total)} of {total}")
        return index < total and int(slots[index]) >= 0

    futures: list[Future[_Written]] = []
    greys: list[conventions.GreyFrame] = []
    with _bounded_pool(num_threads) as submit:
        for ordinal, chosen in enumerate(sharpest_per_slot(source.read(wanted), slots), 1):
            if len(greys) < MOTION_FRAMES:
                small = pictures.turn(pictures.shrink(chosen.grey, MOTION_SIDE_PX), writer.geometry.rotation_deg)
                greys.append(conventions.GreyFrame(chosen.picture.index, np.asarray(small, dtype=np.uint8)))
            futures.append(submit(writer, ordinal, chosen))
        written = [future.result() for future in futures]
    return written, greys


class _Submit:
    """Hands frames to a pool; waits while more are under way than there are threads, so that memory stays bounded."""

    def __init__(self, pool: ThreadPoolExecutor, slots: int) -> None:
        self._pool = pool
        self._free = threading.BoundedSemaphore(slots)
        self._failed: BaseException | None = None

    def __call__(self, writer: _FrameWriter, ordinal: int, chosen: ChosenPicture) -> "Future[_Written]":
        self._free.acquire()
        if self._failed is not None:
            raise self._failed
        future = self._pool.submit(writer.write, ordinal, chosen)
        future.add_done_callback(self._done)
        return future

    def _done(self, future: "Future[_Written]") -> None:
        if not future.cancelled():
            self._failed = self._failed or future.exception()
        self._free.release()


@contextmanager
def _bounded_pool(num_threads: int) -> Iterator[_Submit]:
    pool = ThreadPoolExecutor(num_threads, thread_name_prefix="frame")
    try:
        yield _Submit(pool, num_threads + 1)
    finally:
        pool.shutdown(cancel_futures=True)


def _report_losses(capture: _Opened, written: list[_Written], plan: ColourPlan, notes: _Notes) -> None:
    """Say what could not be decoded, what has no pose, and what a PNG cannot hold."""
    source, tally, rows = capture.source, capture.source.tally, len(capture.odometry)
    if tally.damaged_names:
        others = f" and {len(tally.damaged_names) - 1} more" if len(tally.damaged_names) > 1 else ""
        notes.warn(f"{tally.damaged_names[0]}{others} cannot be decoded or differ in size; they are left out.")
    elif tally.found < rows:
        how = "is damaged or was cut short" if tally.damaged else "is shorter than odometry.csv"
        notes.warn(f"The video {how}: {tally.found} of {rows} frames could be decoded and are used.")
    elif source.info.kind == "video" and tally.found > rows:
        notes.warn(f"The video has {tally.found} frames, odometry.csv {rows} rows; frames without a row are not used.")
    pixels = len(written) * capture.geometry.width_px * capture.geometry.height_px
    clipped_pixels = sum(frame.clipped_pixels for frame in written)
    if clipped_pixels > _CLIPPED_WORTH_A_WARNING * pixels:
        space = plan.output.value if plan.output is not None else "linear"
        notes.warn(
            f"{clipped_pixels:,} pixels ({100 * clipped_pixels / pixels:.1f} %) lie outside 0..1 in {space} and were "
            "clipped: a PNG holds no more. An output colour space with a log curve keeps highlights."
        )


def _detect_axes(
    odometry: Odometry,
    timestamps_s: npt.NDArray[np.float64],
    depth: DepthMaps | None,
    greys: list[conventions.GreyFrame],
    geometry: _Geometry,
) -> ConventionEvidence:
    intrinsics = geometry.calibration.intrinsics
    depth_source = None
    if depth is not None and depth.size_px is not None:
        factors = depth.size_px[0] / geometry.width_px, depth.size_px[1] / geometry.height_px
        rows = [row for row in depth.rows() if odometry.usable[row]]
        depth_source = conventions.DepthSource(rows, depth.depth_mm, conventions.scaled(intrinsics, *factors))
    grey_factor = greys[0].grey.shape[1] / geometry.width_px
    return conventions.detect(
        conventions.matrices(odometry.positions_m, odometry.quaternions_xyzw),
        timestamps_s,
        depth_source,
        greys,
        conventions.scaled(intrinsics, grey_factor, grey_factor),
    )


def _convention_line(evidence: ConventionEvidence) -> str:
    app = "OpenCV (Stray Scanner)" if evidence.axes == "opencv" else "ARKit (ReScan)"
    why = f"decided by {evidence.decided_by}"
    if evidence.residual_m is not None and evidence.rejected_residual_m is not None:
        why += f": depth agrees to {evidence.residual_m:.3f} m, {evidence.rejected_residual_m:.3f} m under the other"
    return f"  Camera axes: {app}, {why}"


def _write_trajectory(
    out_dir: Path, timestamps_s: npt.NDArray[np.float64], odometry: Odometry, evidence: ConventionEvidence
) -> None:
    poses = conventions.world_from_camera(odometry.positions_m, odometry.quaternions_xyzw, evidence.axes)
    with (out_dir / TRAJECTORY_NAME).open("wb") as file:
        np.savez(file, timestamps_s=timestamps_s, world_from_camera=poses)


def _describe_source(source: Source, geometry: _Geometry, fps: float, rows: int) -> CaptureSource:
    return CaptureSource(
        kind=source.info.kind,
        codec=source.info.codec,
        width_px=geometry.width_px,
        height_px=geometry.height_px,
        bit_depth=source.info.bit_depth,
        native_fps=fps,
        frames_found=source.tally.found,
        frames_expected=rows,
        rotation_deg=geometry.rotation_deg,
    )


def _captured_frame(
    frame: _Written,
    timestamps_s: npt.NDArray[np.float64],
    odometry: Odometry,
    geometry: _Geometry,
    evidence: ConventionEvidence,
) -> CapturedFrame:
    return CapturedFrame(
        name=frame.name,
        source_index=frame.row,
        timestamp_s=float(timestamps_s[frame.row]),
        pose=conventions.pose(odometry.positions_m[frame.row], odometry.quaternions_xyzw[frame.row], evidence.axes),
        intrinsics=_intrinsics_of(frame.row, odometry, geometry),
        has_depth=frame.has_depth,
        sharpness=frame.sharpness,
    )


def _intrinsics_of(row: int, odometry: Odometry, geometry: _Geometry) -> Intrinsics:
    """The row's own, where odometry.csv has them; else camera_matrix.csv's."""
    if odometry.intrinsics_px is None or geometry.rows_scale is None or np.isnan(odometry.intrinsics_px[row]).any():
        return geometry.calibration.intrinsics
    fx, fy, cx, cy = (float(value) * geometry.rows_scale for value in odometry.intrinsics_px[row])
    return Intrinsics(fx_px=fx, fy_px=fy, cx_px=cx, cy_px=cy)
