"""Step 6: what is delivered besides the clouds, and the figures of the job.

Out: `submission.csv` and `measurements.json`, which drift is judged by.
"""

import json
from pathlib import Path

from contracts.drift import Measurements, measurements_of
from contracts.outcomes import SceneCluster, SceneOutcome
from contracts.progress import Reporter
from services.sfm.models import MAPPING_NAME
from services.sfm.photos import submission
from services.sfm.photos.clouds import SUMMARY_NAME, CloudsSummary
from services.sfm.photos.collection import read_manifest
from services.sfm.photos.features import NORMS_NAME
from services.sfm.photos.mapping import SceneMapping

SUBMISSION_NAME = "submission.csv"
MEASUREMENTS_NAME = "measurements.json"


def ply_name(number: int, job_id: str) -> str:
    """Of a cluster's cloud among the job's results."""
    return f"cluster{number}_decimated_model0_{job_id[:8]}.ply"


def outcome_of(mapping: SceneMapping, job_id: str) -> SceneOutcome:
    """The figures that mapping settles."""
    clusters = tuple(
        SceneCluster(
            cluster_id=number,
            name=f"cluster{number}_model0",
            images=len(model.pictures),
            points=model.points,
            file_name=ply_name(number, job_id),
        )
        for number, model in enumerate(mapping.models)
    )
    registered = sum(cluster.images for cluster in clusters)
    return SceneOutcome(
        images=mapping.pictures,
        points=sum(cluster.points for cluster in clusters),
        registration_rate=registered / mapping.pictures,
        clusters=clusters,
    )


def read_mapping(mapping_dir: Path) -> SceneMapping:
    """`mapping.json`."""
    return SceneMapping.model_validate_json((mapping_dir / MAPPING_NAME).read_bytes())


def measure(collection: Path, features_dir: Path, mapping: SceneMapping) -> Measurements:
    """Of the pictures, their features, and how many were registered."""
    norms: dict[str, float] = json.loads((features_dir / NORMS_NAME).read_bytes())
    registered = sum(len(model.pictures) for model in mapping.models)
    photos = read_manifest(collection).photos
    return measurements_of(photos, descriptor_norms=list(norms.values()), registered=registered)


def main(dataset: str, collection: Path, work: Path, out_dir: Path, report: Reporter) -> None:
    """Write the step's files; `work` has the folders of the steps before."""
    out_dir.mkdir(parents=True, exist_ok=True)
    mapping = read_mapping(work / "mapping")
    poses = submission.read_poses(work / "mapping" / "sparse")
    table = submission.rows(dataset, read_manifest(collection), poses)
    submission.write(out_dir / SUBMISSION_NAME, table)
    measurements = measure(collection, work / "features", mapping)
    (out_dir / MEASUREMENTS_NAME).write_text(measurements.model_dump_json(indent=2), encoding="utf-8")
    clouds = CloudsSummary.model_validate_json((work / "clouds" / SUMMARY_NAME).read_bytes())
    report.progress(1, 1, "Results written")
    registered = sum(len(model.pictures) for model in mapping.models)
    report.log(
        f"Pipeline finished: {registered} of {mapping.pictures} pictures in {len(mapping.models)} model(s), "
        f"{sum(cloud.points for cloud in clouds.clouds):,} points"
    )
