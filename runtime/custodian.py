"""Keeps house: removes what has expired, and queues again what was stranded.

Everything here may run in several replicas at once and may be cut off at any moment: each action is repeatable.
"""

import asyncio
from datetime import datetime, timedelta

from pydantic import ValidationError

from contracts import keys
from contracts.errors import DependencyUnavailable
from contracts.jobs import Job, JobKind, JobStatus
from contracts.manifests import StepManifest
from runtime.clock import now
from runtime.job_log import JobLog
from runtime.job_view import JobView
from runtime.logs import get_logger
from runtime.object_store import ObjectNotFound, ObjectStore, ObjectTooLarge
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
            except Exception:
                # Without housekeeping stranded jobs would wait for ever: whatever it is, the next sweep tries again.
                log.exception("sweep_broke")
            await asyncio.sleep(self._settings.sweep_s)

    async def sweep(self) -> None:
        """One round of everything. Raises DependencyUnavailable; also while the job log is not followed."""
        if not self._view.is_current:
            # A job that is not known here may be using what looks expired.
            raise DependencyUnavailable("The job log is not followed.")
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
        """Remove what finished jobs delivered longer ago than their kind's results are kept. Returns how many jobs.

        Jobs whose log has expired are known by their objects only; those count from when they were written.
        """
        jobs = {recorded.job.job_id: recorded.job for recorded in self._view.all_jobs()}
        removed: set[str] = set()
        for prefix in (keys.RESULTS, keys.JOBS):
            async for info in self._store.list(prefix):
                job_id = info.key.removeprefix(prefix).split("/", 1)[0]
                ended_at = jobs[job_id].finished_at if job_id in jobs else info.modified_at
                keep_s = self._keep_results_s(jobs.get(job_id))
                if ended_at is None or (moment - ended_at).total_seconds() < keep_s:
                    continue
                await self._store.delete(info.key)
                removed.add(job_id)
        return len(removed)

    def _keep_results_s(self, job: Job | None) -> float:
        if job is None or job.kind is not JobKind.OBJECT:
            return self._settings.results_s
        # Its worker removes what a cancelled job has stored; nobody else does if the worker died.
        return 0.0 if job.status is JobStatus.CANCELLED else self._settings.object_results_s

    async def remove_expired_datasets(self, moment: datetime) -> int:
        """Remove data sets, with all that was computed on them, that no job has used for `retention.uploads_s`.

        The views of an object job are its own: they go as soon as it is cancelled.
        """
        last_use: dict[str, datetime] = {}
        for recorded in self._view.all_jobs():
            dataset_id = recorded.job.request.dataset_id
            last_use[dataset_id] = max(recorded.job.updated_at, last_use.get(dataset_id, recorded.job.updated_at))
        in_use, cancelled = self._in_use(), self._of_cancelled_objects()
        removed = 0
        async for info in self._store.list(keys.DATASETS):
            dataset_id = info.key.removeprefix(keys.DATASETS).removesuffix(".json")
            used_at = max(info.modified_at, last_use.get(dataset_id, info.modified_at))
            keep_s = 0.0 if dataset_id in cancelled else self._settings.uploads_s
            if dataset_id in in_use or (moment - used_at).total_seconds() < keep_s:
                continue
            # The record goes first: without it the data set is gone, whatever is left of it.
            await self._store.delete(info.key)
            await self._store.delete_prefix(keys.dataset_steps(dataset_id))
            await self._store.delete(keys.upload(dataset_id))
            removed += 1
            log.info("dataset_expired", dataset_id=dataset_id)
        return removed

    async def remove_abandoned(self, moment: datetime) -> int:
        """Remove uploads that never became a data set, and step outputs that no manifest or no data set names.

        Returns how many of them.
        """
        await self._store.sweep_dangling_uploads(_ABANDONED.total_seconds())
        kept = self._in_use()
        async for info in self._store.list(keys.DATASETS):
            kept.add(info.key.removeprefix(keys.DATASETS).removesuffix(".json"))
        removed = 0
        async for info in self._store.list(keys.UPLOADS):
            dataset_id = info.key.removeprefix(keys.UPLOADS).split("/", 1)[0]
            if moment - info.modified_at > _ABANDONED and dataset_id not in kept:
                await self._store.delete(info.key)
                removed += 1
        for prefix in await self._abandoned_steps(moment, kept):
            await self._store.delete_prefix(prefix)
            removed += 1
        return removed

    async def _abandoned_steps(self, moment: datetime, kept: set[str]) -> set[str]:
        """Prefixes of old copies that no manifest names, and of all that is left of data sets not in `kept`."""
        old: set[str] = set()
        spared: set[str] = set()
        async for info in self._store.list(keys.STEPS):
            dataset_id = info.key.removeprefix(keys.STEPS).split("/", 1)[0]
            is_old = moment - info.modified_at > _ABANDONED
            if dataset_id not in kept:
                (old if is_old else spared).add(keys.dataset_steps(dataset_id))
            elif info.key.endswith(f"/{keys.MANIFEST}") and info.key.count("/") == keys.STEP_MANIFEST_DEPTH:
                spared.add(await self._named_by(info.key))
            elif is_old:
                old.add("/".join(info.key.split("/")[: keys.STEP_MANIFEST_DEPTH + 1]) + "/")
        return {prefix for prefix in old if spared.isdisjoint(_folders_of(prefix))}

    async def _named_by(self, manifest_key: str) -> str:
        """The prefix that a manifest names; that of all its copies if it cannot be read."""
        try:
            text = await self._store.get_bytes(manifest_key, _RECORD_LIMIT_BYTES)
            return StepManifest.model_validate_json(text).prefix
        except (ObjectNotFound, ObjectTooLarge, ValidationError) as error:
            log.warning("step_manifest_unreadable", key=manifest_key, reason=type(error).__name__)
            return manifest_key.removesuffix(keys.MANIFEST)

    def _of_cancelled_objects(self) -> set[str]:
        """Data sets of object jobs that were cancelled."""
        jobs = [recorded.job for recorded in self._view.all_jobs()]
        return {
            job.request.dataset_id for job in jobs if job.kind is JobKind.OBJECT and job.status is JobStatus.CANCELLED
        }

    def _in_use(self) -> set[str]:
        """Data sets of jobs that have not ended."""
        return {r.job.request.dataset_id for r in self._view.all_jobs() if not r.job.status.is_final}


def _folders_of(prefix: str) -> list[str]:
    """`a/b/c/` as `a/`, `a/b/` and `a/b/c/`."""
    parts = prefix.rstrip("/").split("/")
    return ["/".join(parts[:count]) + "/" for count in range(1, len(parts) + 1)]
