"""A stage's child: what it computed counts, whatever becomes of the next one."""

import resource
from pathlib import Path

import psutil
import pytest

from runtime.child import ChildProgram, SpareChild
from runtime.settings import WorkerSettings
from runtime.stage_child import StageChildren
from runtime.stage_work import StageWork
from runtime.step_outputs import StepRecord
from tests.runtime.scripted_worker import Stage


@pytest.fixture(autouse=True)
def cases_are_importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))


async def test_a_result_counts_although_no_further_child_can_be_started(stage: Stage, make_job, tmp_path: Path) -> None:
    children = StageChildren(WorkerSettings(), ())
    children._spare = SpareChild(ChildProgram(allowed=("child_cases",)))
    claimed = await stage.job_log.create(make_job(stage="sfm"))
    work = StageWork(stage.job_log, claimed, tmp_path)
    work.step = lambda name: None  # type: ignore[method-assign]
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)

    async def use_up_all_files(step: str, _: StepRecord) -> None:
        assert step == "adding"
        resource.setrlimit(resource.RLIMIT_NOFILE, (psutil.Process().num_fds(), hard))

    try:
        result = await children.run(work, "child_cases:add", {"a": 2, "b": 3}, use_up_all_files)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        await children.close()
    assert result["sum"] == 5
