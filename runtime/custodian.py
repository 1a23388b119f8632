"""Keeps house: removes what has expired, and queues again what was stranded.

Everything here may run in several replicas at once and may be cut off at any moment: each action is repeatable.
"""

import asyncio
from datetime import datetime, timedelta

from pydantic import ValidationError

from contracts import keys
from contracts.errors import DependencyUnavailable
from contracts.manifests import StepManifest
from contracts.uploads import Dataset
from runtime.clock import now
from runtime.job_log import JobLog
from runtime.job_view import JobView
from runtime.logs import get_logger
from runtime.object_store import ObjectNotFound, ObjectStore
from runtime.settings import RetentionSettings

log = get_logger(__name__)

_RECORD_LIMIT_BYTES = 16 << 20
_ABANDONED = timedelta(days=1)
"""An upload may take hours, and so may a step: what is younger than this may still be in the making."""


class Custodian:
    """`run` sweeps until cancelled."""

    def __init__(self, store: ObjectStore, view: JobView, job_log: JobLog, settings: RetentionSettings) -> None:
        self._store = store
        self._view = view
        self._job_log = job_log
        self._settings = settings

    async def run(self) -> None:
        """Sweep, rest, and sweep again."""
        while True:
            try:
                await self.sweep()
            except DependencyUnavailable as error:
                log.warning("sweep_put_off", reason=error.message)
            await asyncio.sleep(self._settings.sweep_s)

    async def sweep(self) -> None:
        """One round of everything. Raises DependencyUnavailable."""
        moment = now()
        await self.queue_stranded_jobs(moment)
        await self.remove_expired_results(moment)
        await self.remove_expired_datasets(moment)
        await self.remove_abandoned(moment)

    async def queue_stranded_jobs(self, moment: datetime) -> int:
        """Queue the work of every unfinished job that has been silent and is not in the queue.

        A job is stranded when its gateway or worker died between writing the event and queueing the work. The stream
        refuses work that it holds, so a job that merely waits is left alone. Returns how many were queued.
        """
        queued = 0
        for recorded in self._view.all_jobs():
            job = recorded.job
            silent_s = (moment - job.updated_at).total_seconds()
            if job.status.is_final or silent_s < self._settings.stranded_s:
                continue
            if await self._job_log.queue(job):
                queued += 1
                log.info("stranded_job_queued", job_id=job.job_id, stage=job.stage)
        return queued

    async def remove_expired_results(self, moment: datetime) -> int:
        """Remove what finished jobs delivered longer ago than `retention.results_s`. Returns how many jobs."""
        removed = 0
        for recorded in self._view.all_jobs():
            job = recorded.job
            if job.finished_at is None or (moment - job.finished_at).total_seconds() < self._settings.results_s:
                continue
            count = await self._store.delete_prefix(keys.results(job.job_id))
            count += await self._store.delete_prefix(keys.job(job.job_id))
            removed += bool(count)
        return removed

    async def remove_expired_datasets(self, moment: datetime) -> int:
        """Remove data sets, with all that was computed on them, that no job has used for `retention.uploads_s`."""
        last_use: dict[str, datetime] = {}
        in_use: set[str] = set()
        for recorded in self._view.all_jobs():
            dataset_id = recorded.job.request.dataset_id
            last_use[dataset_id] = max(recorded.job.updated_at, last_use.get(dataset_id, recorded.job.updated_at))
            if not recorded.job.status.is_final:
                in_use.add(dataset_id)
        removed = 0
        async for info in self._store.list(keys.DATASETS):
            dataset_id = info.key.removeprefix(keys.DATASETS).removesuffix(".json")
            used_at = max(info.modified_at, last_use.get(dataset_id, info.modified_at))
            if dataset_id in in_use or (moment - used_at).total_seconds() < self._settings.uploads_s:
                continue
            # The record goes first: without it the data set is gone, whatever is left of it.
            await self._store.delete(info.key)
            await self._store.delete_prefix(keys.dataset_steps(dataset_id))
            await self._store.delete(keys.upload(dataset_id))
            removed += 1
            log.info("dataset_expired", dataset_id=dataset_id)
        return removed

    async def remove_abandoned(self, moment: datetime) -> int:
        """Remove uploads that never became a data set, and copies of step outputs that no manifest names."""
        await self._store.sweep_dangling_uploads(_ABANDONED.total_seconds())
        removed = 0
        async for info in self._store.list(keys.UPLOADS):
            dataset_id = info.key.removeprefix(keys.UPLOADS).split("/", 1)[0]
            if moment - info.modified_at > _ABANDONED and await self._dataset(dataset_id) is None:
                await self._store.delete(info.key)
                removed += 1
        for prefix in await self._abandoned_copies(moment):
            await self._store.delete_prefix(prefix)
            removed += 1
        return removed

    async def _abandoned_copies(self, moment: datetime) -> set[str]:
        old: set[str] = set()
        named: set[str] = set()
        async for info in self._store.list(keys.STEPS):
            if info.key.endswith(f"/{keys.MANIFEST}") and info.key.count("/") == keys.STEP_MANIFEST_DEPTH:
                text = await self._store.get_bytes(info.key, _RECORD_LIMIT_BYTES)
                named.add(StepManifest.model_validate_json(text).prefix)
            elif moment - info.modified_at > _ABANDONED:
                old.add("/".join(info.key.split("/")[: keys.STEP_MANIFEST_DEPTH + 1]) + "/")
        return old - named

    async def _dataset(self, dataset_id: str) -> Dataset | None:
        try:
            text = await self._store.get_bytes(keys.dataset(dataset_id), _RECORD_LIMIT_BYTES)
            return Dataset.model_validate_json(text)
        except (ObjectNotFound, ValidationError):
            return None
