"""Every key of the object store. Nowhere else is one spelt out.

uploads/<dataset_id>/upload                what was uploaded, as it came
datasets/<dataset_id>.json                 `Dataset`, written last
steps/<dataset_id>/<step>/<recipe>/…       a step's output, shared by every job on the data set
jobs/<job_id>/<stage>/manifest.json        `StageManifest`, written last
results/<job_id>/<attempt>/<name>          what a completed job delivers
baselines/<owner>/<name>/<number>.json     `Baseline`: what drift of a dataset name is measured against
"""

import hashlib
import re
import unicodedata

UPLOADS = "uploads/"
DATASETS = "datasets/"
STEPS = "steps/"
JOBS = "jobs/"
RESULTS = "results/"
BASELINES = "baselines/"
MANIFEST = "manifest.json"
STEP_MANIFEST_DEPTH = 4
"""Slashes in the key of a step's manifest."""


def upload(dataset_id: str) -> str:
    return f"{UPLOADS}{dataset_id}/upload"


def dataset(dataset_id: str) -> str:
    return f"{DATASETS}{dataset_id}.json"


def dataset_steps(dataset_id: str) -> str:
    """Prefix of every step output that was computed on a data set."""
    return f"{STEPS}{dataset_id}/"


def step_manifest(dataset_id: str, step_name: str, recipe: str) -> str:
    return f"{STEPS}{dataset_id}/{step_name}/{recipe}/{MANIFEST}"


def step_copy(dataset_id: str, step_name: str, recipe: str, copy: str) -> str:
    """Prefix of one copy of a step's output; `copy` is random."""
    return f"{STEPS}{dataset_id}/{step_name}/{recipe}/{copy}/"


def stage_manifest(job_id: str, stage: str) -> str:
    return f"{JOBS}{job_id}/{stage}/{MANIFEST}"


def job(job_id: str) -> str:
    """Prefix of everything a job keeps for itself, its results excepted."""
    return f"{JOBS}{job_id}/"


def result(job_id: str, attempt: int, name: str) -> str:
    """A delivered file. The attempt is in the key, so that a superseded worker cannot overwrite it."""
    return f"{RESULTS}{job_id}/{attempt}/{name}"


def results(job_id: str) -> str:
    """Prefix of everything a job delivers."""
    return f"{RESULTS}{job_id}/"


def baselines(owner: str, dataset_name: str) -> str:
    """Prefix of every version of the baseline that an owner has under a name."""
    return f"{BASELINES}{_segment(owner)}/{_segment(dataset_name)}/"


def baseline(owner: str, dataset_name: str, number: int) -> str:
    """One version of a baseline. Keys sort as their numbers do."""
    return f"{baselines(owner, dataset_name)}{number:010d}.json"


def baseline_number(key: str) -> int:
    """The number of the version under `key`. Raises ValueError if it is no version's key."""
    return int(key.rpartition("/")[2].removesuffix(".json"))


def _segment(text: str) -> str:
    """What people wrote, as a part of a key: readable, and told apart by its hash from whatever looks like it.

    Stores that lie on file systems trip over `..`, over long names, and over characters of other alphabets.
    """
    name = unicodedata.normalize("NFC", text)
    readable = re.sub(r"[^0-9A-Za-z]+", "-", name)[:40].strip("-")
    digest = hashlib.sha256(name.encode(errors="surrogatepass")).hexdigest()[:32]
    return f"{readable}-{digest}" if readable else digest
