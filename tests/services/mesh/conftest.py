"""One small object, taken by six cameras: what most tests of the mesh service start from."""

import json
from dataclasses import dataclass
from pathlib import Path

import pytest

from contracts.object_settings import GivenCameras
from contracts.progress import Silence
from samples.objects import SampleObject, make_object
from samples.objects_files import write_upload
from samples.objects_views import exact_spec
from services.mesh.sighting import Sighting, sight
from services.mesh.views import read_views

SIZE_PX = 192
SEED = 3


@dataclass(frozen=True)
class Taken:
    """An object and its upload on disk."""

    sample: SampleObject
    folder: Path
    cameras: GivenCameras

    def sighting(self) -> Sighting:
        return sight(read_views(self.folder), self.cameras, Silence())


def take(name: str, folder: Path) -> Taken:
    sample = make_object(name, SEED)
    write_upload(sample, exact_spec(SIZE_PX), folder)
    told = json.loads((folder / "cameras.json").read_text())
    return Taken(sample, folder, GivenCameras.model_validate(told))


@pytest.fixture(scope="session")
def bracket(tmp_path_factory: pytest.TempPathFactory) -> Taken:
    return take("bracket", tmp_path_factory.mktemp("bracket"))


@pytest.fixture(scope="session")
def mug(tmp_path_factory: pytest.TempPathFactory) -> Taken:
    return take("mug", tmp_path_factory.mktemp("mug"))
