"""Fine-tunes: creating jobs, looking at them, stopping them."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from luthier.config import Settings
from luthier.domain.file import File
from luthier.domain.hyperparameters import Hyperparameters
from luthier.domain.job import DEFAULT_ORGANIZATION, Dialect, Event, Job, Status, WandbRun
from luthier.domain.model import TunedModel
from luthier.domain.names import JOB_PREFIX, new_id
from luthier.domain.page import Page
from luthier.errors import NotFoundError
from luthier.executors.finish import clean, forget
from luthier.modeling.bases import BaseStore
from luthier.reports import result_csv
from luthier.services.job_checks import JobChecks
from luthier.storage.blobs import Blobs
from luthier.storage.files import FileStore
from luthier.storage.jobs import JobStore, event
from luthier.storage.models import TunedModelStore


class Executor(Protocol):
    """What runs the jobs; it only has to hear of new ones."""

    def wake(self) -> None: ...


@dataclass(frozen=True)
class CreateFineTune:
    """What a client asks for. Fields as in `domain.job.Job`."""

    training_file: str
    model: str
    dialect: Dialect
    validation_file: str | None = None
    hyperparameters: Hyperparameters = field(default_factory=Hyperparameters)
    suffix: str | None = None
    organization: str | None = None
    project: str | None = None
    wandb: WandbRun | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class JobFiles:
    """The files of a job: a tuple of one or none for each role. Deleted ones have status `deleted`."""

    training: tuple[File, ...]
    validation: tuple[File, ...]
    results: tuple[File, ...]


@dataclass(frozen=True)
class Checkpoint:
    """A model that a job left at the end of an epoch; the last is the tuned model itself.

    Args:
        id: `ftckpt-…`.
        step: the last step of its epoch.
        metrics: that step's row of compiled_results.csv.
    """

    id: str
    job_id: str
    model: TunedModel
    step: int
    metrics: dict[str, float]


class FineTuneService:
    """What `/v1/fine-tunes` and `/v1/fine_tuning/jobs` do."""

    def __init__(
        self,
        settings: Settings,
        jobs: JobStore,
        files: FileStore,
        models: TunedModelStore,
        executor: Executor,
        bases: BaseStore,
    ) -> None:
        self._settings = settings
        self._jobs = jobs
        self._files = files
        self._models = models
        self._executor = executor
        self._blobs = Blobs(settings)
        self._checks = JobChecks(settings, files, self._blobs, models, bases)

    def create(self, request: CreateFineTune) -> Job:
        """Check everything that can be known before training, and put the job into the queue.

        Raises:
            InvalidRequestError: something is wrong; `param` names the field.
        """
        now = int(time.time())
        job = Job(
            id=new_id(JOB_PREFIX[request.dialect]),
            dialect=request.dialect,
            status=Status.QUEUED,
            model=request.model,
            hyperparameters=request.hyperparameters,
            training_file=request.training_file,
            validation_file=request.validation_file,
            suffix=request.suffix or None,
            organization=request.organization or DEFAULT_ORGANIZATION,
            project=request.project or None,
            wandb=request.wandb,
            metadata=dict(request.metadata),
            created_at=now,
            updated_at=now,
        )
        checked = self._checks.check(job)
        job = job.evolve(resolved=checked.resolved)
        warnings = [event(warning, level="warn") for warning in checked.warnings]
        self._jobs.create(job, [event(f"Created fine-tune: {job.id}"), *warnings])
        self._executor.wake()
        return job

    def list(
        self,
        *,
        dialect: Dialect | None = None,
        after: str | None = None,
        limit: int | None = None,
        newest_first: bool = False,
        metadata: Mapping[str, str] | None = None,
    ) -> Page[Job]:
        """Jobs, oldest first unless told otherwise.

        Raises:
            InvalidRequestError: `after` names no job.
        """
        return self._jobs.list(dialect=dialect, after=after, limit=limit, newest_first=newest_first, metadata=metadata)

    def get(self, job_id: str) -> Job:
        """
        Raises:
            NotFoundError: there is no such job.
        """
        return self._jobs.get(job_id)

    def estimated_finish(self, job: Job) -> int | None:
        """When a running job will be over by its last word on its progress, Unix seconds; None before there is one."""
        if job.status is not Status.RUNNING:
            return None
        told = self._jobs.last_progress(job.id)
        if told is None or "seconds_left" not in told.data:
            return None
        seconds: float = told.data["seconds_left"]
        return max(told.created_at + round(seconds), int(time.time()))

    def cancel(self, job_id: str) -> Job:
        """Stop a job for good: at once if it waits or is paused, within seconds if it runs.

        Raises:
            NotFoundError: there is no such job.
            InvalidRequestError: it is over.
        """
        job = self._jobs.request_cancel(job_id)
        if job.status.is_final:  # it waited or was paused, maybe with checkpoints
            clean(job, self._settings)
        return job

    def pause(self, job_id: str) -> Job:
        """Stop a job so that it can go on: at once if it waits, at a checkpoint within seconds if it runs.

        Others in the queue go on meanwhile.

        Raises:
            NotFoundError: there is no such job.
            InvalidRequestError: it is over, paused already, or about to be cancelled.
        """
        return self._jobs.request_pause(job_id)

    def resume(self, job_id: str) -> Job:
        """Put a paused job back into the queue; it goes on where it was.

        Raises:
            NotFoundError: there is no such job.
            InvalidRequestError: it is not paused.
        """
        job = self._jobs.resume(job_id)
        self._executor.wake()
        return job

    def delete(self, job_id: str) -> None:
        """Forget a job that is over. Its model and files stay.

        Raises:
            NotFoundError: there is no such job.
            InvalidRequestError: it waits, runs or is paused.
        """
        self._jobs.delete(job_id)
        forget(job_id, self._settings)

    def events(
        self, job_id: str, *, after: str | None = None, limit: int | None = None, newest_first: bool = False
    ) -> Page[Event]:
        """A job's events, oldest first unless told otherwise.

        Raises:
            NotFoundError: there is no such job.
            InvalidRequestError: `after` names no event.
        """
        return self._jobs.events(job_id, after=after, limit=limit, newest_first=newest_first)

    def files_of(self, job: Job) -> JobFiles:
        """The files that a job reads and writes."""

        def find(file_id: str | None) -> tuple[File, ...]:
            return () if file_id is None else (self._files.get(file_id, deleted=True),)

        return JobFiles(find(job.training_file), find(job.validation_file), find(job.result_file))

    def checkpoints(self, job_id: str) -> tuple[Checkpoint, ...]:
        """The models of a job's epochs that are still there, newest first.

        Raises:
            NotFoundError: there is no such job.
        """
        job = self._jobs.get(job_id)
        rows = self._results(job)
        found = []
        for model in self._models.list(job_id=job.id):
            step = model.step if model.step is not None else max(rows, default=job.checkpoint_step or 0)
            checkpoint_id = f"ftckpt-{job.id.partition('-')[2]}-{step}"
            found.append(Checkpoint(checkpoint_id, job.id, model, step, rows.get(step, {})))
        return tuple(sorted(found, key=lambda checkpoint: checkpoint.step, reverse=True))

    def _results(self, job: Job) -> dict[int, dict[str, float]]:
        if job.result_file is None:
            return {}
        try:
            path = self._blobs.path(job.result_file)
        except NotFoundError:  # deleted by its owner
            return {}
        return {int(row["step"]): row for row in result_csv.read(path)}
