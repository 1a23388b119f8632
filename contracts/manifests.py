"""What a stage or a step has stored: written after the last of its files, so its presence means complete."""

from typing import Literal

from pydantic import AwareDatetime, Field

from contracts.model import Message


class StoredFile(Message):
    """One file of an output. `path` is relative to the output's folder."""

    path: str
    size_bytes: int


class StepManifest(Message):
    """`manifest.json` of a step's output: the pointer to the one complete copy of it."""

    version: Literal[1] = 1
    step: str
    recipe: str
    """Hash of inputs, parameters and the step's revision."""
    prefix: str
    """Key prefix of the files. Two workers that compute the same step write to different ones, and never mix."""
    files: tuple[StoredFile, ...]
    seconds: float
    """How long the step took when it was computed."""
    lines: tuple[str, ...] = ()
    """What the step wrote to the job's log, to be said again when its output is reused."""
    warnings: tuple[str, ...] = ()
    created_at: AwareDatetime


class StageManifest(Message):
    """`jobs/<job_id>/<stage>/manifest.json`: which step outputs make up the stage's output."""

    version: Literal[1] = 1
    job_id: str
    stage: str
    steps: dict[str, str]
    """Step name to the key of its manifest."""
    recipes: dict[str, str] = Field(default_factory=dict)
    """What later stages build their own recipes on: name to hash."""
    created_at: AwareDatetime
