"""From an uploaded point cloud of any kind to the canonical form of `contracts.clouds`."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from contracts.building_settings import BuildingSettings
from contracts.clouds import (
    CLOUD_MANIFEST_NAME,
    COLOURS_NAME,
    INTENSITY_NAME,
    POINTS_NAME,
    SCAN_NAME,
    SOURCE_INDEX_NAME,
    CloudManifest,
    Point,
    Row,
)
from contracts.progress import Reporter
from services.ingest.clouds.arrays import rewrite
from services.ingest.clouds.axes import find_up_axis
from services.ingest.clouds.e57 import read_e57
from services.ingest.clouds.errors import bad_cloud, shown_name
from services.ingest.clouds.extent import MILLIMETRE_M, find_degeneracy, is_in_millimetres, robust_extent
from services.ingest.clouds.formats import CloudFormat, CloudInspection, inspect_cloud
from services.ingest.clouds.las import read_las
from services.ingest.clouds.pcd import read_pcd
from services.ingest.clouds.ply import read_ply
from services.ingest.clouds.ptx import read_ptx
from services.ingest.clouds.source import Floats, Notes, Reading
from services.ingest.clouds.spacing import measure_spacing
from services.ingest.clouds.writer import ABSURD, CloudWriter, Counts, unlink_arrays
from services.ingest.clouds.xyz import read_xyz

__all__ = ["CloudFormat", "CloudInspection", "inspect_cloud", "main"]

MIN_POINTS = 1000
_MAX_BAD_SHARE = 0.5
_GEOREFERENCED_M = 10_000.0
"""Who shifts a cloud this far has surveyed it, and surveyors' z is up."""
_STRAY_TIMES = 10.0
_STRAY_M = 1000.0
_Z_UP_FROM_Y_UP = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, -1.0], [0.0, 1.0, 0.0]])


@dataclass(frozen=True)
class _Frame:
    """The cloud's frame: how it comes from the file's coordinates less their origin."""

    unit_m: float
    is_y_up: bool
    origin: Floats
    """(3,) in the file's units."""

    @property
    def turn(self) -> Floats:
        """(3, 3) cloud from file."""
        return _Z_UP_FROM_Y_UP if self.is_y_up else np.eye(3)

    def to_cloud(self, shifted: npt.NDArray[np.floating]) -> Floats:
        """(n, 3) metres, of file coordinates less the origin."""
        metres = shifted.astype(np.float64) * self.unit_m
        return np.asarray(metres @ self.turn.T if self.is_y_up else metres, np.float64)

    @property
    def file_from_cloud(self) -> tuple[Row, Row, Row, Row]:
        """Rigid: the file's coordinates in metres."""
        matrix = np.eye(4)
        matrix[:3, :3] = self.turn.T
        matrix[:3, 3] = self.origin * self.unit_m
        first, second, third, fourth = ((float(a), float(b), float(c), float(d)) for a, b, c, d in matrix)
        return first, second, third, fourth


def main(settings: BuildingSettings, source: Path, file_name: str, out_dir: Path, report: Reporter) -> CloudManifest:
    """Read the cloud at `source`, uploaded as `file_name`, and write its canonical form into `out_dir`, the manifest last.

    Files larger than memory are fine: points are read, shifted and written in pieces. Raises UserError: INVALID_CLOUD where the
    file is damaged or its points are no building's, UNSUPPORTED_FORMAT where its variant is not read.
    """
    notes = Notes(report)
    out_dir.mkdir(parents=True, exist_ok=True)
    unlink_arrays(out_dir, (COLOURS_NAME, INTENSITY_NAME, SCAN_NAME, SOURCE_INDEX_NAME, CLOUD_MANIFEST_NAME))
    with source.open("rb") as file:
        cloud_format = inspect_cloud(file, file_name).format
    with _open(cloud_format, source, shown_name(file_name), out_dir, notes) as reading:
        writer = _read_all(reading, out_dir, settings, report)
    _check_counts(writer.counts, settings, notes)
    assert writer.origin is not None
    frame = _find_frame(writer, reading, settings, notes, report)
    sample_m = frame.to_cloud(writer.sample.rows()).astype(np.float32)
    if (found := find_degeneracy(sample_m)) is not None:
        raise bad_cloud(
            f"This is no cloud of a room or building: {found}. Send the whole scan, with coordinates in metres."
        )
    if frame.unit_m != 1 or frame.is_y_up:
        rewrite(out_dir / POINTS_NAME, lambda rows: frame.to_cloud(rows.astype(np.float32)).astype(np.float32))
    writer.finish_colours()
    manifest = _describe(
        writer,
        reading,
        frame,
        cloud_format=cloud_format,
        file_name=file_name,
        notes=notes,
        sample_m=sample_m,
        out_dir=out_dir,
    )
    (out_dir / CLOUD_MANIFEST_NAME).write_text(manifest.model_dump_json(indent=2), encoding="utf-8")
    report.log(_summary(manifest))
    return manifest


@contextlib.contextmanager
def _open(cloud_format: CloudFormat, source: Path, file_name: str, scratch: Path, notes: Notes) -> Iterator[Reading]:
    with source.open("rb") as file:
        match cloud_format:
            case "ptx":
                yield read_ptx(file, file_name, notes)
            case "xyz":
                yield read_xyz(file, file_name, notes)
            case "ply":
                yield read_ply(file, file_name, notes)
            case "pcd":
                yield read_pcd(file, file_name, scratch, notes)
            case "e57":
                yield read_e57(source, file_name, notes)
            case "las" | "laz":
                yield read_las(source, file_name, notes)


def _read_all(reading: Reading, out_dir: Path, settings: BuildingSettings, report: Reporter) -> CloudWriter:
    step = settings.dilution_factor if settings.dilute else 1
    # Files may hold any bits: signalling NaNs, numbers that single precision cannot hold.
    with contextlib.closing(CloudWriter(out_dir, step)) as writer, np.errstate(invalid="ignore", over="ignore"):
        for piece in reading.pieces:
            writer.add(piece)
            done = writer.counts.in_file
            report.progress(done, reading.total_estimate(done), "Reading points")
    return writer


def _check_counts(counts: Counts, settings: BuildingSettings, notes: Notes) -> None:
    looked_at = counts.in_file - counts.diluted
    if counts.bad > _MAX_BAD_SHARE * looked_at:
        raise bad_cloud(
            f"{counts.bad:,} of {looked_at:,} points have coordinates that are no numbers or lie nowhere on earth; "
            "the file is damaged or was written by a faulty export. Export the cloud again."
        )
    if counts.kept < MIN_POINTS:
        left_out = [
            f"{count:,} {what}"
            for count, what in (
                (counts.no_return, "directions without a return"),
                (counts.bad, "invalid ones"),
                (counts.diluted, f"left out by dilution_factor {settings.dilution_factor}"),
            )
            if count
        ]
        found = f"{counts.in_file:,} points" + (f", of which {' and '.join(left_out)}" if left_out else "")
        raise bad_cloud(
            f"The file has {found}: {counts.kept:,} are left, and a building needs {MIN_POINTS:,} at least. "
            "Send the whole scan" + (", or dilute less." if counts.diluted else ".")
        )
    if counts.bad:
        notes.warn(f"{counts.bad:,} of {looked_at:,} points have no valid coordinates and were left out.")


def _find_frame(
    writer: CloudWriter, reading: Reading, settings: BuildingSettings, notes: Notes, report: Reporter
) -> _Frame:
    assert writer.origin is not None
    sample = writer.sample.rows()
    unit_m = reading.unit_m
    if unit_m is None:
        unit_m = 1.0
        if is_in_millimetres(sample):
            unit_m = MILLIMETRE_M
            notes.warn(
                f"The cloud measures {' x '.join(f'{size:,.0f}' for size in robust_extent(sample))} units, which was taken for "
                "millimetres. If that is wrong, send it in metres."
            )
    elif unit_m != 1:
        notes.warn(f"The file's unit is {unit_m:.6g} m; coordinates were brought to metres.")
    if np.abs(writer.origin).max() * unit_m > ABSURD:
        raise bad_cloud(
            f"The cloud lies {np.abs(writer.origin).max() * unit_m / 1000:,.0f} km from the origin of its coordinates, which is "
            "nowhere on earth. Export it again, in metres."
        )
    _warn_of_strays(writer, sample, unit_m, notes)
    if settings.up_axis != "auto":
        return _Frame(unit_m, settings.up_axis == "y", writer.origin)
    if reading.crs is not None or np.abs(writer.origin).max() * unit_m > _GEOREFERENCED_M:
        report.log("  Up axis: +z (the cloud has survey coordinates)")
        return _Frame(unit_m, False, writer.origin)
    up = find_up_axis((sample * np.float32(unit_m)).astype(np.float32))
    report.log(f"  Up axis: {'+y' if up.is_y else '+z'} ({up.evidence})")
    if up.is_y:
        notes.warn(
            f"The cloud's +y points up ({up.evidence}); it was turned so that +z does. If that is wrong, set up_axis: z."
        )
    elif up.may_be_y:
        notes.warn(f"The cloud's +y may point up ({up.evidence}). If it does, set up_axis: y; +z was taken.")
    return _Frame(unit_m, up.is_y, writer.origin)


def _warn_of_strays(writer: CloudWriter, sample: npt.NDArray[np.float32], unit_m: float, notes: Notes) -> None:
    inner_m = robust_extent(sample).max() * unit_m
    whole_m = (writer.highest - writer.lowest).max() * unit_m
    if whole_m > _STRAY_M and whole_m > _STRAY_TIMES * inner_m:
        notes.warn(
            f"Nearly all points lie within {inner_m:,.0f} m, but some are up to {whole_m:,.0f} m apart: stray points, "
            "or several places in one file."
        )


def _describe(
    writer: CloudWriter,
    reading: Reading,
    frame: _Frame,
    *,
    cloud_format: CloudFormat,
    file_name: str,
    notes: Notes,
    sample_m: npt.NDArray[np.float32],
    out_dir: Path,
) -> CloudManifest:
    counts = writer.counts
    scanners_m = _scanners(reading, frame)
    if not scanners_m:
        writer.drop_scans()
    corners = frame.to_cloud(np.stack([writer.lowest, writer.highest]).astype(np.float32)).astype(np.float32)
    return CloudManifest(
        file_name=file_name,
        format=cloud_format,
        points=counts.kept,
        points_in_file=counts.in_file,
        points_invalid=counts.bad + counts.no_return,
        points_diluted=counts.diluted,
        file_from_cloud=frame.file_from_cloud,
        up_axis="y" if frame.is_y_up else "z",
        unit_m=frame.unit_m,
        bounds_m=(_point(corners.min(axis=0)), _point(corners.max(axis=0))),
        spacing_m=measure_spacing(out_dir / POINTS_NAME, counts.kept, sample_m),
        has_colours=writer.has_colours,
        has_intensity=writer.has_intensity,
        scanners_m=scanners_m,
        crs=reading.crs,
        warnings=tuple(notes.kept),
    )


def _scanners(reading: Reading, frame: _Frame) -> tuple[Point, ...]:
    """In the cloud's frame; none unless all are known, so that scan numbers stay their places."""
    places = [place for place in reading.scanners if place is not None]
    if not places or len(places) < len(reading.scanners):
        return ()
    return tuple(_point(row) for row in frame.to_cloud(np.stack(places) - frame.origin))


def _point(values: Floats) -> Point:
    x, y, z = values.tolist()
    return float(x), float(y), float(z)


def _summary(manifest: CloudManifest) -> str:
    size = " x ".join(f"{high - low:.1f}" for low, high in zip(*manifest.bounds_m, strict=True))
    extras = [
        text
        for text, there in (
            (f"{len(manifest.scanners_m)} scans", bool(manifest.scanners_m)),
            ("colours", manifest.has_colours),
            ("intensity", manifest.has_intensity),
            (manifest.crs or "", manifest.crs is not None and len(manifest.crs) < 40),
        )
        if there
    ]
    return (
        f"  ✓ {manifest.points:,} of {manifest.points_in_file:,} points, {size} m, {manifest.spacing_m * 1000:.1f} mm apart"
        + (f"; {', '.join(extras)}" if extras else "")
    )
