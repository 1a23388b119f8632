"""A laser scan travels through the real gateway, bus, object store and workers, and comes back as an IFC model."""

import io
import json
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import ifcopenshell
import numpy as np
import pytest
import trimesh
from httpx_sse import connect_sse
from PIL import Image

from deploy.local.system import System
from samples.building import BuildingSpec, make_building, scan
from samples.building_files import write_building
from samples.building_truth import BuildingTruth, load_building_truth
from samples.scanner import ScanSpec

CONFIG = b"pc_resolution: 0.02\nexterior_scan: true\nifc:\n  project_name: Villa\nsurprise: 1\n"


@dataclass(frozen=True)
class SmallScan:
    """A house without furniture, at 2 cm."""

    path: Path
    points: int
    truth: BuildingTruth


@pytest.fixture(scope="module")
def small_scan() -> Iterator[SmallScan]:
    with tempfile.TemporaryDirectory(prefix="alidade-scan-") as folder:
        building = make_building(BuildingSpec("simple_house", seed=2, furnished=False))
        cloud = scan(building, ScanSpec(spacing_m=0.02, coverage="both", seed=2))
        path = write_building(cloud, Path(folder), "ply")
        truth = load_building_truth(Path(folder) / "truth.json")
        yield SmallScan(path, len(cloud.points), truth)


def submit(client: httpx.Client, cloud: bytes, name: str) -> httpx.Response:
    files = {"point_cloud_file": (name, cloud), "config_file": ("config.yaml", CONFIG)}
    return client.post("/submit", files=files)


def last_event(client: httpx.Client, job_id: str) -> tuple[str, dict[str, object]]:
    """The event that ends the job's stream, and what it says."""
    name, data = "", "{}"
    with connect_sse(client, "GET", f"/api/progress/{job_id}/stream") as source:
        for event in source.iter_sse():
            if event.event in {"complete", "error"}:
                name, data = event.event, event.data
    return name, json.loads(data)


def test_a_laser_scan_becomes_a_building(system: System, small_scan: SmallScan) -> None:
    with httpx.Client(base_url=system.url, timeout=120) as client:
        answer = submit(client, small_scan.path.read_bytes(), small_scan.path.name)
        assert answer.status_code == 202, answer.text
        job_id = answer.json()["job_id"]
        name, data = last_event(client, job_id)
        assert (name, data["status"]) == ("complete", "completed"), data
        status = client.get(f"/status/{job_id}").json()
        assert (status["status"], status["progress"]) == ("completed", 100)
        files = {
            name: client.get(f"/results/{job_id}/{name}").raise_for_status().content
            for name in ("model.ifc", "point_mapping.json", "model.glb", "report.json", "plan_0.png", "plan_0.svg")
        }
    model = ifcopenshell.file.from_string(files["model.ifc"].decode())
    truth = small_scan.truth
    assert model.by_type("IfcProject")[0].Name == "Villa"
    assert len(model.by_type("IfcBuildingStorey")) == len(truth.storeys)
    assert len(model.by_type("IfcWall")) == len(truth.walls)
    assert len(model.by_type("IfcSpace")) == len(truth.spaces)
    areas = sorted(space.area_m2 for space in truth.spaces)
    report = json.loads(files["report.json"])
    assert report["unknown_settings"] == ["surprise"]
    assert sum(areas) == pytest.approx(sum(_net_areas(model)), rel=0.02)
    mapping = json.loads(files["point_mapping.json"])
    assert mapping["total_points"] == small_scan.points
    indices = np.concatenate([element["point_indices"] for element in mapping["elements"]])
    assert len(indices) == len(np.unique(indices)) == mapping["mapped_points"] > 0.5 * small_scan.points
    assert indices.min() >= 0
    assert indices.max() < small_scan.points
    assert all(element["point_count"] == len(element["point_indices"]) for element in mapping["elements"])
    scene = trimesh.load_scene(io.BytesIO(files["model.glb"]), file_type="glb")
    assert len(scene.geometry) >= len(truth.walls)
    with Image.open(io.BytesIO(files["plan_0.png"])) as plan:
        assert plan.width > 1000


def _net_areas(model: ifcopenshell.file) -> list[float]:
    return [
        quantity.AreaValue
        for space in model.by_type("IfcSpace")
        for relation in space.IsDefinedBy
        if relation.is_a("IfcRelDefinesByProperties") and relation.RelatingPropertyDefinition.is_a("IfcElementQuantity")
        for quantity in relation.RelatingPropertyDefinition.Quantities
        if quantity.is_a("IfcQuantityArea") and quantity.Name == "NetFloorArea"
    ]


def test_what_is_no_cloud_is_refused_at_once(system: System) -> None:
    with httpx.Client(base_url=system.url, timeout=60) as client:
        answer = submit(client, b"\x89PNG\r\n\x1a\n" + bytes(5000), "scan.ply")
    assert answer.status_code in {400, 422}
    assert "PNG" in answer.json()["detail"]


def test_a_cloud_that_is_a_plane_fails_with_what_was_found(system: System) -> None:
    xy = np.random.default_rng(3).uniform(0, 8, (20_000, 2))
    text = "\n".join(f"{x:.3f} {y:.3f} 1.250" for x, y in xy)
    with httpx.Client(base_url=system.url, timeout=60) as client:
        job_id = submit(client, text.encode(), "plane.xyz").json()["job_id"]
        name, data = last_event(client, job_id)
        assert name == "error"
        assert "plane" in str(data["error"]) or "flat" in str(data["error"])
        status = client.get(f"/status/{job_id}").json()
    assert status["status"] == "failed"
    assert status["message"] == data["error"]
