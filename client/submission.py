"""One submission from the command line, whatever its kind."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import JsonValue

from client.api import Alidade
from client.errors import FileUnusable
from client.settings_flags import ObjectFlags, SceneFlags
from client.uploading import Progress
from contracts.jobs import JobKind


@dataclass(frozen=True)
class Submission:
    """What to send, and what is asked of it."""

    kind: JobKind
    path: Path
    settings: Mapping[str, JsonValue]
    configuration: Path | None = None
    cameras: Path | None = None

    def __post_init__(self) -> None:
        """Raises FileUnusable for a folder where a file is wanted."""
        if self.path.is_dir() and self.kind is not JobKind.OBJECT:
            raise FileUnusable(f"{self.path} is a folder: make a ZIP of it.")

    def send(self, alidade: Alidade, on_progress: Progress, on_uploaded: Callable[[str, int], None]) -> str:
        """Returns the job's id. `on_uploaded` hears of data sets that exist apart from jobs. Raises ClientError."""
        match self.kind:
            case JobKind.CAPTURE:
                dataset = alidade.upload(self.path, on_progress)
                on_uploaded(dataset.dataset_id, len(dataset.files))
                return alidade.process(dataset.dataset_id, self.settings).job_id
            case JobKind.BUILDING:
                return alidade.submit_cloud(self.path, self.configuration, on_progress).job_id
            case JobKind.OBJECT:
                asked = ObjectFlags.model_validate(self.settings)
                return alidade.submit_views(self.path, asked.model_type, self.cameras, on_progress).job_id
            case JobKind.SCENE:
                named = SceneFlags.model_validate(self.settings)
                return alidade.submit_photos(self.path, named.dataset_name, named.scene_name, on_progress).job_id
