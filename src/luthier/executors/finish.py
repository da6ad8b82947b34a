"""The end of a run: its model, its results, and the one transaction that makes them known.

Whatever is written before that transaction bears a name that follows from the job's id and is written whole or not at
all. A worker that dies in between leaves nothing that its successor could trip over.
"""

import shutil
import time
from collections.abc import Collection, Iterator
from dataclasses import replace
from pathlib import Path

from luthier.config import Settings
from luthier.domain.file import File, FileStatus, Purpose
from luthier.domain.hyperparameters import Method
from luthier.domain.job import Job, Status
from luthier.domain.model import TunedModel
from luthier.domain.names import JOB_PREFIX, checkpoint_name, model_name, result_file_id, root_of
from luthier.durable import whole_folder
from luthier.errors import TrainingError
from luthier.reports import result_csv
from luthier.storage.blobs import Blobs
from luthier.storage.jobs import JobStore, event
from luthier.storage.models import TunedModelStore
from luthier.training.progress import TrainingResult, columns

LOG_NAME = "worker.log"
_CHUNK_BYTES = 1 << 20


def finish(
    job: Job,
    result: TrainingResult,
    root: str,
    weights: Path | None,
    settings: Settings,
    jobs: JobStore,
    models: TunedModelStore,
) -> Job:
    """Keep what a finished run made and mark its job as succeeded.

    Args:
        root: key of the base's weights.
        weights: folder of the tuned weights that were loaded in place of the base's.

    Raises:
        ConflictError: the job has come to another end meanwhile.
        TrainingError: the run left no model.
    """
    if result.folder is None:
        raise TrainingError("The run ended without a model.")
    file = _save_results(job, result, settings)
    tuned = _save_models(job, result, root, weights, settings, models)
    final = tuned[-1].id
    return jobs.finish(
        job.id,
        [
            event(f"Uploaded model: {final}"),
            event(f"Uploaded result file: {file.id}"),
            event("Fine-tune succeeded"),
        ],
        files=[file],
        models=tuned,
        status=Status.SUCCEEDED,
        fine_tuned_model=final,
        result_file=file.id,
        trained_tokens=result.trained_tokens,
    )


def clean(job: Job, settings: Settings) -> None:
    """Remove what a job that is over needs no more: its checkpoints, and models that never became known.

    The log of its worker stays until the job is deleted (`forget`).
    """
    run_dir = settings.runs_dir / job.id
    if run_dir.is_dir():
        for path in run_dir.iterdir():
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            elif path.name != LOG_NAME:
                path.unlink(missing_ok=True)
    if job.status is not Status.SUCCEEDED:
        drop_models(job.id, settings)


def drop_models(job_id: str, settings: Settings) -> None:
    """Remove what a worker kept of a job's models before it died: they never became known."""
    for pattern in (job_id, f"{job_id}-step-*", f".{job_id}.unfinished", f".{job_id}-step-*"):
        for folder in settings.tuned_dir.glob(pattern):
            shutil.rmtree(folder, ignore_errors=True)


def forget(job_id: str, settings: Settings) -> None:
    """Remove all that the run of a deleted job left, the log of its worker too. The models it made stay."""
    shutil.rmtree(settings.runs_dir / job_id, ignore_errors=True)


def sweep(jobs: Collection[Job], models: Collection[str], settings: Settings) -> None:
    """Remove what runs, deleted models and uploads left that a kill or a power cut ended.

    Args:
        jobs: all jobs.
        models: folders of all tuned models, read after the jobs: one that is finished meanwhile counts as unfinished.
    """
    known = {job.id for job in jobs}
    if settings.runs_dir.is_dir():
        for folder in settings.runs_dir.iterdir():
            if folder.is_dir() and folder.name not in known:
                forget(folder.name, settings)
    unfinished = {job.id for job in jobs if not job.status.is_final}
    for prefix in JOB_PREFIX.values():
        for folder in [*settings.tuned_dir.glob(f"{prefix}*"), *settings.tuned_dir.glob(f".{prefix}*.unfinished")]:
            job_id = folder.name.removeprefix(".").removesuffix(".unfinished").partition("-step-")[0]
            if job_id not in unfinished and folder.name not in models:
                shutil.rmtree(folder, ignore_errors=True)
    Blobs(settings).sweep()


def _save_results(job: Job, result: TrainingResult, settings: Settings) -> File:
    table = settings.runs_dir / job.id / result_csv.FILENAME
    result_csv.write(table, columns(result.rows), [row.record() for row in result.rows])
    file_id = result_file_id(job.id)
    size = Blobs(settings).save(file_id, _chunks(table), max_bytes=table.stat().st_size)
    return File(file_id, result_csv.FILENAME, Purpose.RESULTS, size, int(time.time()), FileStatus.PROCESSED)


def _save_models(
    job: Job, result: TrainingResult, root: str, weights: Path | None, settings: Settings, models: TunedModelStore
) -> list[TunedModel]:
    """Copy the models of the epochs and the final one, which comes last in the list, into `tuned_dir`."""
    assert result.folder is not None
    now = int(time.time())
    method = job.hyperparameters.method
    below = weights.name if weights is not None and method is Method.LORA else None
    name = _free_name(job, now, models)
    org = job.organization
    final = TunedModel(name, root, job.model, method, job.id, job.id, now, organization=org, base_folder=below)
    found = []
    for epoch in result.epochs[:-1]:
        folder = _keep(epoch.folder, settings.tuned_dir / f"{job.id}-step-{epoch.step}")
        found.append(replace(final, id=checkpoint_name(name, epoch.step), folder=folder, step=epoch.step))
    _keep(result.folder, settings.tuned_dir / final.folder)
    return [*found, final]


def _free_name(job: Job, now: int, models: TunedModelStore) -> str:
    """The job's name for its model; the second in it is the next one that no other model has."""
    while models.find(name := model_name(job, root_of(job.model), now)) is not None:
        now += 1
    return name


def _keep(source: Path, target: Path) -> str:
    """Copy a folder so that `target` is on the disk whole or not at all; returns its name."""
    if not target.is_dir():  # else a worker before us came this far
        with whole_folder(target) as folder:
            shutil.copytree(source, folder, dirs_exist_ok=True)
    return target.name


def _chunks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK_BYTES):
            yield chunk
