"""Outputs of steps, stored by recipe: computed once per data set, used by every job that asks for the same.

A recipe is a hash of everything the output depends on: the recipes of its inputs, the parameters that matter to it,
and the revision of the code. The manifest is written after the last file and is replaced whole, so whoever finds one
finds a complete output of one single computation.
"""

import asyncio
import hashlib
import json
import secrets
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import JsonValue, ValidationError

from contracts import keys
from contracts.manifests import StageManifest, StepManifest, StoredFile
from runtime import metrics
from runtime.clock import now
from runtime.logs import get_logger
from runtime.object_store import ObjectNotFound, ObjectStore

log = get_logger(__name__)

_MANIFEST_LIMIT_BYTES = 16 << 20
_LINES_KEPT = 1000
_WARNINGS_KEPT = 50


def recipe_of(step: str, revision: int, parameters: Mapping[str, JsonValue], inputs: Mapping[str, str]) -> str:
    """The name of a step's output: 32 hex digits over step, revision, parameters and the recipes of its inputs."""
    text = json.dumps([step, revision, dict(parameters), dict(inputs)], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:32]


@dataclass
class StepRecord:
    """What is kept about a step besides its files while it runs."""

    began: float = field(default_factory=time.monotonic)
    lines: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def log(self, line: str) -> None:
        """Keep a line, as long as there are not too many to be said again."""
        if len(self.lines) < _LINES_KEPT:
            self.lines.append(line)

    def warn(self, line: str) -> None:
        """The same for a warning."""
        if len(self.warnings) < _WARNINGS_KEPT:
            self.warnings.append(line)


class StepOutputs:
    """Step outputs of one data set in the object store."""

    def __init__(self, store: ObjectStore, service: str, dataset_id: str) -> None:
        self._store = store
        self._service = service
        self._dataset_id = dataset_id

    async def find(self, step: str, recipe: str) -> StepManifest | None:
        """The manifest of a complete output, or None."""
        key = keys.step_manifest(self._dataset_id, step, recipe)
        try:
            return StepManifest.model_validate_json(await self._store.get_bytes(key, _MANIFEST_LIMIT_BYTES))
        except ObjectNotFound:
            return None
        except ValidationError:
            log.warning("step_manifest_unreadable", key=key)
            return None

    async def load(self, key: str) -> StepManifest:
        """The manifest at `key`. Raises ObjectNotFound."""
        return StepManifest.model_validate_json(await self._store.get_bytes(key, _MANIFEST_LIMIT_BYTES))

    async def restore(self, manifest: StepManifest, folder: Path) -> None:
        """Bring the files of an output into `folder`.

        Raises ObjectNotFound if one of them has expired; then the folder is not left behind.
        """
        folder.mkdir(parents=True, exist_ok=True)
        try:
            await self._fetch(manifest, folder)
        except ObjectNotFound:
            await asyncio.to_thread(shutil.rmtree, folder)
            raise
        metrics.STEPS_REUSED.labels(self._service, manifest.step).inc()

    async def _fetch(self, manifest: StepManifest, folder: Path) -> None:
        received = await self._store.get_many(manifest.prefix, folder)
        missing = [file.path for file in manifest.files if file.path not in received.sizes_bytes]
        if missing:
            raise ObjectNotFound(manifest.prefix + missing[0])

    async def keep(self, step: str, recipe: str, folder: Path, record: StepRecord) -> StepManifest:
        """Store the files of `folder` as the output of a step, then its manifest.

        The next step may be at work already: what it leaves in the folder for a while is not part of the output.
        """
        prefix = keys.step_copy(self._dataset_id, step, recipe, secrets.token_hex(4))
        seconds = time.monotonic() - record.began
        stored = await self._store.put_many(folder, prefix)
        manifest = StepManifest(
            step=step,
            recipe=recipe,
            prefix=prefix,
            files=tuple(StoredFile(path=path, size_bytes=size) for path, size in sorted(stored.sizes_bytes.items())),
            seconds=round(seconds, 3),
            lines=tuple(record.lines),
            warnings=tuple(record.warnings),
            created_at=now(),
        )
        key = keys.step_manifest(self._dataset_id, step, recipe)
        await self._store.put_bytes(key, manifest.model_dump_json().encode(), "application/json")
        return manifest


async def write_stage_manifest(
    store: ObjectStore, job_id: str, stage: str, steps: dict[str, str], recipes: dict[str, str]
) -> None:
    """Say what makes up a stage's output, for the stages that follow."""
    manifest = StageManifest(job_id=job_id, stage=stage, steps=steps, recipes=recipes, created_at=now())
    await store.put_bytes(keys.stage_manifest(job_id, stage), manifest.model_dump_json().encode(), "application/json")


async def read_stage_manifest(store: ObjectStore, job_id: str, stage: str) -> StageManifest:
    """Raises ObjectNotFound."""
    key = keys.stage_manifest(job_id, stage)
    return StageManifest.model_validate_json(await store.get_bytes(key, _MANIFEST_LIMIT_BYTES))
