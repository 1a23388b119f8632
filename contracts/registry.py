"""The register of messages: every model that is stored or sent, its version, and an example of it.

`python -m contracts.registry` writes `contracts/schemas/` and `contracts/examples/`. A committed schema is published:
it may grow, but a change that a reader of the old one cannot take needs a new version, and a test holds us to it.
"""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

from pydantic import Field, JsonValue

from contracts.building_settings import BuildingRequest, BuildingSettings, IfcSettings
from contracts.capture_settings import CaptureRequest, CaptureSettings, Colorspace
from contracts.captures import (
    CapturedFrame,
    CaptureManifest,
    CaptureSource,
    ConventionEvidence,
    Intrinsics,
    Pose,
)
from contracts.clouds import CloudManifest
from contracts.devices import Gpu, WorkerDevice
from contracts.drift import Baseline, Measured, Measurements, Statistic
from contracts.errors import ErrorCode
from contracts.events import EventType, JobEvent, JobEventData, event_type_name
from contracts.jobs import Claim, Failure, Job, JobKind, JobStatus, LogLine, Progress, ResultFile
from contracts.manifests import StageManifest, StepManifest, StoredFile
from contracts.model import Frozen, Message
from contracts.object_settings import (
    GivenCameras,
    GivenView,
    MetricDepth,
    ModelType,
    ObjectRequest,
    ObjectSettings,
)
from contracts.object_settings import Intrinsics as ViewIntrinsics
from contracts.photos import LeftOut, Photo, PhotoManifest
from contracts.scene_settings import SceneRequest
from contracts.uploads import Dataset, Inspection, InspectRequest
from contracts.work import DeadItem, WorkItem

_FOLDER = Path(__file__).parent
SCHEMAS = _FOLDER / "schemas"
EXAMPLES = _FOLDER / "examples"
_WORDS = frozenset({"description", "title", "default", "examples"})
_OPEN_LISTS = ("/required", "/oneOf", "/$defs/ErrorCode/enum")
"""What may grow: properties, kinds of a tagged union (pydantic writes oneOf for these only), and error codes, which a
reader shows or passes on without having to know them."""
_NAMED = ("/properties", "/$defs")
"""Below these a name is one that we gave, not one of JSON Schema."""


class Topic(Frozen):
    """One registered message: its schema's file is `<name>.v<version>.json`."""

    name: str
    version: Annotated[int, Field(ge=1)]
    model: type[Message]
    example: Message

    @property
    def file_name(self) -> str:
        return f"{self.name}.v{self.version}.json"


_NOON = datetime(2026, 1, 15, 12, 0, tzinfo=UTC)
_REQUEST = CaptureRequest(dataset_id="a1b2c3d4e5f6", settings=CaptureSettings(output_colorspace=Colorspace.ACESCG))
_WORK = WorkItem(service="sfm", job_id="f7e8d9c0b1a2", kind=JobKind.CAPTURE, published_at=_NOON)
_FAILURE = Failure(
    code=ErrorCode.TOO_FEW_FRAMES,
    message="Only 1 frame could be read from rgb.mp4; record at least 2 seconds.",
    field="rgb.mp4",
)
_CAMERAS = GivenCameras(
    views=tuple(
        GivenView(
            camera_from_world=(
                (1.0, 0.0, 0.0, 0.0),
                (0.0, -1.0, 0.0, 0.0),
                (0.0, 0.0, -1.0, 2.5),
                (0.0, 0.0, 0.0, 1.0),
            )
        )
        for _ in range(6)
    ),
    intrinsics=ViewIntrinsics(width=512, height=512, fx=1111.0, fy=1111.0, cx=256.0, cy=256.0),
    depth=MetricDepth(encoding="metric", scale=0.0001),
)
_MEASUREMENTS = Measurements(
    features={"sharpness": Statistic(mean=412.7, std=80.3, count=45)}, registration_rate=0.9333, registration_count=45
)
_JOB = Job(
    job_id="f7e8d9c0b1a2",
    kind=JobKind.CAPTURE,
    owner="admin",
    status=JobStatus.COMPLETED,
    stage="sfm",
    progress=Progress(percent=100, step="packaging", processed_items=245, total_items=245),
    request=_REQUEST,
    warnings=("superpoint_aachen is not available on this worker; sift was used.",),
    results=(
        ResultFile(
            name="remap_result_f7e8d9c0b1a2.zip",
            key="results/f7e8d9c0b1a2/2/remap_result.zip",
            content_type="application/zip",
            size_bytes=81_234_567,
            etag="9b2cf535f27731c974343645a3985328",
        ),
    ),
    claim=Claim(service="sfm", worker="sfm-7d9f", attempt=2),
    attempts=2,
    created_at=_NOON,
    updated_at=_NOON,
    started_at=_NOON,
    finished_at=_NOON,
)

TOPICS: tuple[Topic, ...] = (
    Topic(
        name="job-event",
        version=1,
        model=JobEvent,
        example=JobEvent(
            id="0b6c3f0e-5c57-4f0c-9d1c-6c0f0a3f6c11",
            source="/alidade/sfm",
            type=event_type_name(EventType.COMPLETED),
            subject="f7e8d9c0b1a2",
            time=_NOON,
            data=JobEventData(job=_JOB, lines=(LogLine(time=_NOON, message="Pipeline finished", step="Done"),)),
        ),
    ),
    Topic(name="work-item", version=1, model=WorkItem, example=_WORK),
    Topic(
        name="dead-item",
        version=1,
        model=DeadItem,
        example=DeadItem(work=_WORK, reason=_FAILURE, deliveries=5, died_at=_NOON),
    ),
    Topic(
        name="inspect-request",
        version=1,
        model=InspectRequest,
        example=InspectRequest(
            kind=JobKind.CAPTURE,
            key="uploads/a1b2c3d4e5f6/upload",
            etag="9b2cf535f27731c974343645a3985328",
            size_bytes=81_234_567,
        ),
    ),
    Topic(
        name="inspection",
        version=1,
        model=Inspection,
        example=Inspection(files=("rgb.mp4", "odometry.csv", "camera_matrix.csv", "depth/000000.png")),
    ),
    Topic(
        name="dataset",
        version=1,
        model=Dataset,
        example=Dataset(
            dataset_id="a1b2c3d4e5f6",
            kind=JobKind.CAPTURE,
            owner="admin",
            key="uploads/a1b2c3d4e5f6/upload",
            etag="9b2cf535f27731c974343645a3985328",
            size_bytes=81_234_567,
            files=("rgb.mp4", "odometry.csv", "camera_matrix.csv"),
            created_at=_NOON,
        ),
    ),
    Topic(
        name="step-manifest",
        version=1,
        model=StepManifest,
        example=StepManifest(
            step="features",
            recipe="5d41402abc4b2a76b9719d911017c592",
            prefix="steps/a1b2c3d4e5f6/features/5d41402abc4b2a76b9719d911017c592/0b6c3f0e/",
            files=(StoredFile(path="features.h5", size_bytes=51_200_000),),
            seconds=41.2,
            lines=("Step 2/5 — Feature extraction (sift)",),
            created_at=_NOON,
        ),
    ),
    Topic(
        name="stage-manifest",
        version=1,
        model=StageManifest,
        example=StageManifest(
            job_id="f7e8d9c0b1a2",
            stage="ingest",
            steps={"conversion": "steps/a1b2c3d4e5f6/conversion/5d41402abc4b2a76b9719d911017c592/manifest.json"},
            recipes={"frames": "7d793037a0760186574b0282f2f435e7"},
            created_at=_NOON,
        ),
    ),
    Topic(
        name="capture-manifest",
        version=1,
        model=CaptureManifest,
        example=CaptureManifest(
            source=CaptureSource(
                kind="video",
                codec="hevc",
                width_px=1920,
                height_px=1440,
                bit_depth=8,
                native_fps=59.94,
                frames_found=1200,
                frames_expected=1200,
            ),
            frames=(
                CapturedFrame(
                    name="000001.png",
                    source_index=0,
                    timestamp_s=0.0,
                    pose=Pose(quaternion_xyzw=(0.0, 0.0, 0.0, 1.0), position_m=(0.0, 0.0, 0.0)),
                    intrinsics=Intrinsics(fx_px=1440.0, fy_px=1440.0, cx_px=960.0, cy_px=720.0),
                    has_depth=True,
                    sharpness=312.5,
                ),
            ),
            delivered_folder="matching",
            delivered_bit_depth=8,
            input_colorspace=None,
            output_colorspace=None,
            convention=ConventionEvidence(
                axes="opencv", decided_by="depth", residual_m=0.011, rejected_residual_m=0.42
            ),
            confidence_scale="0-2",
            depth_width_px=256,
            depth_height_px=192,
        ),
    ),
    Topic(
        name="cloud-manifest",
        version=1,
        model=CloudManifest,
        example=CloudManifest(
            file_name="house.ptx",
            format="ptx",
            points=9_412_003,
            points_in_file=10_485_760,
            points_invalid=1_073_757,
            file_from_cloud=(
                (1.0, 0.0, 0.0, 742_310.0),
                (0.0, 1.0, 0.0, 1_043_225.0),
                (0.0, 0.0, 1.0, 212.0),
                (0.0, 0.0, 0.0, 1.0),
            ),
            up_axis="z",
            bounds_m=((-8.2, -6.1, -0.4), (11.9, 9.3, 7.8)),
            spacing_m=0.011,
            has_colours=True,
            has_intensity=True,
            scanners_m=((1.2, 0.4, 1.6), (5.9, -2.2, 1.6)),
            crs="EPSG:5514",
        ),
    ),
    Topic(
        name="building-request",
        version=1,
        model=BuildingRequest,
        example=BuildingRequest(
            dataset_id="550e8400-e29b-41d4-a716-446655440000",
            file_name="house.ptx",
            settings=BuildingSettings(exterior_scan=True, ifc=IfcSettings(project_name="Villa", crs="EPSG:5514")),
            unknown_settings=("detection.cell",),
        ),
    ),
    Topic(
        name="object-request",
        version=1,
        model=ObjectRequest,
        example=ObjectRequest(
            dataset_id="a1b2c3d4e5f6", settings=ObjectSettings(model_type=ModelType.BOTH, cameras=_CAMERAS)
        ),
    ),
    Topic(
        name="scene-request",
        version=1,
        model=SceneRequest,
        example=SceneRequest(dataset_id="a1b2c3d4e5f6", dataset_name="heritage", scene_name="north_portal"),
    ),
    Topic(
        name="photo-manifest",
        version=1,
        model=PhotoManifest,
        example=PhotoManifest(
            photos=(
                Photo(
                    name="north/IMG_0001.jpg",
                    file="pictures/000000.jpg",
                    width_px=4032,
                    height_px=3024,
                    camera="Acme One 4.25 mm 3028.6 px 4032x3024",
                    focal_px=3028.6,
                    sharpness=412.7,
                    brightness=121.3,
                    contrast=55.2,
                ),
            ),
            left_out=(LeftOut(name="north/copy.jpg", reason="duplicate", same_as="north/IMG_0001.jpg"),),
        ),
    ),
    Topic(name="measurements", version=1, model=Measurements, example=_MEASUREMENTS),
    Topic(name="measured", version=1, model=Measured, example=Measured(measurements=_MEASUREMENTS, images=45)),
    Topic(
        name="baseline",
        version=1,
        model=Baseline,
        example=Baseline(
            owner="admin",
            dataset_name="heritage",
            number=1,
            measurements=_MEASUREMENTS,
            jobs=("3f7a91b2-1234-5678-abcd-ef0123456789",),
            updated_at=_NOON,
        ),
    ),
    Topic(
        name="worker-device",
        version=1,
        model=WorkerDevice,
        example=WorkerDevice(
            service="mesh",
            ready=True,
            device="NVIDIA A100 (40.0 GB)",
            gpu=Gpu(
                name="NVIDIA A100",
                driver_version="550.54.15",
                memory_total_gb=40.0,
                memory_free_gb=31.5,
                memory_used_gb=8.5,
            ),
        ),
    ),
)


def schema_text(topic: Topic) -> str:
    """The JSON Schema (2020-12) of a topic, as it is committed."""
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:alidade:schema:{topic.name}:{topic.version}",
        **topic.model.model_json_schema(mode="serialization"),
    }
    return json.dumps(schema, indent=2, ensure_ascii=False, sort_keys=True) + "\n"


def example_text(topic: Topic) -> str:
    """The example of a topic, as it is committed."""
    return json.dumps(topic.example.model_dump(mode="json"), indent=2, ensure_ascii=False) + "\n"


def breaking_changes(old: JsonValue, new: JsonValue, path: str = "") -> list[str]:
    """Where a reader of the `old` schema could not take what is written by the `new` one.

    New properties, new definitions, new kinds of a tagged union, new error codes and new words are additive. What is gone
    or different is not.
    """
    if isinstance(old, dict) and isinstance(new, dict):
        found = []
        for name, value in old.items():
            if name in _WORDS and not path.endswith(_NAMED):
                continue
            if name not in new:
                found.append(f"{path}/{name} is gone")
            else:
                found += breaking_changes(value, new[name], f"{path}/{name}")
        return found
    if isinstance(old, list) and isinstance(new, list):
        if path.endswith(_OPEN_LISTS):
            return [f"{path}: {name} is gone" for name in old if name not in new]
        return [] if old == new else [f"{path} changed"]
    return [] if old == new else [f"{path} changed from {old!r} to {new!r}"]


def main() -> None:
    """Write the schema and the example of every topic. Refuses to break a schema that is published."""
    for folder in (SCHEMAS, EXAMPLES):
        folder.mkdir(exist_ok=True)
    for topic in TOPICS:
        path = SCHEMAS / topic.file_name
        if path.exists():
            published = json.loads(path.read_text(encoding="utf-8"))
            if found := breaking_changes(published, json.loads(schema_text(topic))):
                raise SystemExit(f"{topic.file_name} is published. A breaking change needs a new version: {found}")
        path.write_text(schema_text(topic), encoding="utf-8")
        (EXAMPLES / topic.file_name).write_text(example_text(topic), encoding="utf-8")


if __name__ == "__main__":
    main()
