"""The result of a capture: everything a person downloads, in one ZIP.

    report.json                     what came out and how far to trust it
    preview.png                     cameras and points from above
    images/000001.png …             the pictures, in the output colour space
    hloc_outputs/                   features.h5, pairs.txt, matches.h5 in hloc's layout
    sparse/0/                       cameras.bin, images.bin, points3D.bin, with COLMAP 4's rigs.bin and frames.bin
    sparse/1/ …                     models that could not be joined with the first, largest first
    pointcloud.ply                  the LiDAR cloud, if there is one

Pictures are stored as they are; the rest is deflated where a sample shows that it pays. Time stamps are fixed, so that the
same files give the same archive.
"""

import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pycolmap

from contracts.capture_settings import Approach, CaptureSettings
from contracts.captures import MANIFEST_NAME, CaptureManifest
from contracts.progress import Reporter
from services.sfm import preview
from services.sfm.cloud import CLOUD_NAME, SUMMARY_NAME, CloudSummary, PointCloud, model_with_cloud, read_ply
from services.sfm.hloc_files import FEATURES_NAME, MATCHES_NAME, PAIRS_NAME, FeatureReader, read_pairs
from services.sfm.learned.equipment import BUILT_IN, Equipment
from services.sfm.models import MAPPING_NAME, MappingSummary
from services.sfm.report import Matching, build, matching_facts
from services.sfm.resolution import resolve

REPORT_NAME = "report.json"
PREVIEW_NAME = "preview.png"

_EPOCH = (1980, 1, 1, 0, 0, 0)
_PACKED_ALREADY = frozenset({".png"})
_CHUNK_BYTES = 1 << 20
_SAMPLES = 4
_WORTH_DEFLATING = 0.5
"""Half-float descriptors shrink to 0.55 at 8 MB/s: that costs more time than their transfer does."""
_DEFLATE_LEVEL = 1


@dataclass(frozen=True)
class Inputs:
    """The folders that the steps wrote, and what the worker had to compute them with."""

    capture: Path
    features: Path
    pairs: Path
    matches: Path
    mapping: Path
    cloud: Path
    equipment: Equipment = BUILT_IN


@dataclass(frozen=True)
class Entry:
    """A file and its name in the archive."""

    name: str
    path: Path


def main(
    settings: CaptureSettings, inputs: Inputs, seconds: Mapping[str, float], result_path: Path, report: Reporter
) -> None:
    """Write the archive to `result_path`; what is half written is never there under that name."""
    manifest = CaptureManifest.model_validate_json((inputs.capture / MANIFEST_NAME).read_bytes())
    mapping = MappingSummary.model_validate_json((inputs.mapping / MAPPING_NAME).read_bytes())
    cloud = read_ply(inputs.cloud / CLOUD_NAME) if (inputs.cloud / CLOUD_NAME).exists() else None
    with tempfile.TemporaryDirectory(dir=result_path.parent, prefix="packaging-") as scratch:
        made = Path(scratch)
        report.progress(0, 1, "report and preview")
        model_dir, lidar_points = _final_model(settings, inputs, cloud, made)
        summary = (
            CloudSummary.model_validate_json((inputs.cloud / SUMMARY_NAME).read_bytes()) if cloud is not None else None
        )
        facts = build(
            settings=settings,
            manifest=manifest,
            mapping=mapping,
            cloud=summary,
            matching=_matching(settings, inputs),
            seconds=seconds,
            lidar_points=lidar_points,
        )
        (made / REPORT_NAME).write_text(facts.model_dump_json(indent=2), encoding="utf-8")
        preview.main(manifest, inputs.mapping / "sparse" / "0", cloud, made / PREVIEW_NAME)
        unfinished = made / "result.zip"
        write_archive(unfinished, list(_entries(inputs, manifest, made, model_dir)), report)
        unfinished.replace(result_path)
    report.log(f"  ✓ Result: {result_path.stat().st_size / 1e6:,.0f} MB, {mapping.registered} cameras with poses")


def _final_model(settings: CaptureSettings, inputs: Inputs, cloud: PointCloud | None, made: Path) -> tuple[Path, int]:
    """The folder of the model to deliver as sparse/0, and how many LiDAR points were added to it.

    With known poses the LiDAR cloud is the better part of the geometry, and goes into points3D.bin.
    """
    mapped = inputs.mapping / "sparse" / "0"
    if settings.stray_approach is not Approach.KNOWN_POSES or cloud is None:
        return mapped, 0
    model = pycolmap.Reconstruction(mapped)
    before = model.num_points3D()
    model_with_cloud(model, cloud)
    folder = made / "sparse"
    folder.mkdir()
    model.write_binary(folder)
    return folder, model.num_points3D() - before


def _matching(settings: CaptureSettings, inputs: Inputs) -> Matching:
    with FeatureReader(inputs.features / FEATURES_NAME) as features:
        counts = [features.count(name) for name in features.names()]
    pairs = len(read_pairs(inputs.pairs / PAIRS_NAME))
    return matching_facts(
        resolve(settings, inputs.equipment), round(float(np.mean(counts)), 1) if counts else 0.0, pairs
    )


def _entries(inputs: Inputs, manifest: CaptureManifest, made: Path, model_dir: Path) -> Iterator[Entry]:
    """In the order in which somebody who unpacks while downloading wants them."""
    for name in (REPORT_NAME, PREVIEW_NAME):
        yield Entry(name, made / name)
    for path in sorted(model_dir.glob("*.bin")):
        yield Entry(f"sparse/0/{path.name}", path)
    others = [folder for folder in (inputs.mapping / "sparse").iterdir() if folder.is_dir() and folder.name != "0"]
    for folder in sorted(others, key=lambda folder: int(folder.name)):
        for path in sorted(folder.glob("*.bin")):
            yield Entry(f"sparse/{folder.name}/{path.name}", path)
    if (inputs.cloud / CLOUD_NAME).exists():
        yield Entry(CLOUD_NAME, inputs.cloud / CLOUD_NAME)
    for frame in manifest.frames:
        yield Entry(f"images/{frame.name}", inputs.capture / manifest.delivered_folder / frame.name)
    yield Entry(f"hloc_outputs/{FEATURES_NAME}", inputs.features / FEATURES_NAME)
    yield Entry(f"hloc_outputs/{PAIRS_NAME}", inputs.pairs / PAIRS_NAME)
    yield Entry(f"hloc_outputs/{MATCHES_NAME}", inputs.matches / MATCHES_NAME)


def write_archive(path: Path, entries: list[Entry], report: Reporter) -> None:
    """Write a ZIP (ZIP64 where a file or the whole needs it), one file after the other, in constant memory."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for number, entry in enumerate(entries):
            report.progress(number, len(entries), f"packing {entry.name}")
            info = zipfile.ZipInfo(entry.name, _EPOCH)
            info.create_system = 3
            info.external_attr = 0o100644 << 16
            info.file_size = entry.path.stat().st_size
            info.compress_type = zipfile.ZIP_DEFLATED if _deflating_pays(entry.path) else zipfile.ZIP_STORED
            with entry.path.open("rb") as source, archive.open(info, "w") as target:
                shutil.copyfileobj(source, target, _CHUNK_BYTES)
    report.progress(len(entries), len(entries), "packing")


def _deflating_pays(path: Path) -> bool:
    """Judged by a few samples spread over the file."""
    if path.suffix in _PACKED_ALREADY:
        return False
    size = path.stat().st_size
    plain = packed = 0
    with path.open("rb") as source:
        for part in range(_SAMPLES):
            source.seek(size * part // _SAMPLES)
            sample = source.read(min(_CHUNK_BYTES // 4, max(size // _SAMPLES, 1)))
            plain += len(sample)
            packed += len(zlib.compress(sample, _DEFLATE_LEVEL))
    return packed < _WORTH_DEFLATING * plain
