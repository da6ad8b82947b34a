"""A fine-tune: one record that both dialects of the API show."""

from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, Self

from luthier.domain.hyperparameters import Hyperparameters, ResolvedHyperparameters
from luthier.errors import ConflictError

DEFAULT_ORGANIZATION = "personal"


class Status(StrEnum):
    QUEUED = "queued"
    RUNNING = "running"
    PAUSED = "paused"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def is_final(self) -> bool:
        return not TRANSITIONS[self]


TRANSITIONS: dict[Status, frozenset[Status]] = {
    Status.QUEUED: frozenset({Status.RUNNING, Status.PAUSED, Status.CANCELLED, Status.FAILED}),
    Status.RUNNING: frozenset({Status.QUEUED, Status.PAUSED, Status.SUCCEEDED, Status.FAILED, Status.CANCELLED}),
    Status.PAUSED: frozenset({Status.QUEUED, Status.CANCELLED}),
    Status.SUCCEEDED: frozenset(),
    Status.FAILED: frozenset(),
    Status.CANCELLED: frozenset(),
}


class Dialect(StrEnum):
    """Through which API a job came; decides the form of its id and of its model's name."""

    LEGACY = "legacy"  # /v1/fine-tunes: ft-…, ada:ft-personal-2023-03-14-18-36-10
    JOBS = "jobs"  # /v1/fine_tuning/jobs: ftjob-…, ft:ada:personal:suffix:id


@dataclass(frozen=True)
class Event:
    """One line of a job's story.

    Args:
        level: `info`, `warn` or `error`.
        type: `message`, or `metrics` for progress with `data`.
        data: numbers of a metrics event: step, loss, seconds left.
        id: `ftevent-…`, given by the store.
    """

    created_at: int
    level: str
    message: str
    type: str = "message"
    data: dict[str, Any] = field(default_factory=dict)
    id: str = ""


@dataclass(frozen=True)
class WandbRun:
    """A run at Weights & Biases that a job's metrics go to.

    Args:
        name: shown there; None shows the job's id.
        entity: the user or team that owns the run; None leaves it to the key.
        tags: beside those that every run gets.
    """

    project: str
    name: str | None = None
    entity: str | None = None
    tags: tuple[str, ...] = ()


@dataclass(frozen=True)
class Job:
    """A fine-tune. Changed only through `evolve`.

    Args:
        model: name of the base as the user gave it: an alias, a tuned model, `hf:owner/name` or a folder.
        hyperparameters: as asked for.
        resolved: as used, every choice made when the job was created; None only before that.
        training_file, validation_file: file ids.
        organization: whose job it is, as the request's OpenAI-Organization header says it; part of the model's name.
        project: what the OpenAI-Project header said.
        wandb: where the metrics go besides the results file.
        base: key of the base's weights; None until the run has found them. A resumed run keeps to them.
        checkpoint_step: step of the newest checkpoint, from which the run can go on.
        result_file: id of compiled_results.csv, once there.
        fine_tuned_model: name of the tuned model, once there.
        trained_tokens: tokens seen by training, all epochs.
        error: why it failed, in words for the user.
        cancel_requested, pause_requested: the owner wants it to stop; the worker looks at these.
        metadata: the owner's own key-value pairs.
        created_at, updated_at, started_at, finished_at: Unix seconds.
    """

    id: str
    dialect: Dialect
    status: Status
    model: str
    hyperparameters: Hyperparameters
    training_file: str
    created_at: int
    updated_at: int
    validation_file: str | None = None
    suffix: str | None = None
    organization: str = DEFAULT_ORGANIZATION
    project: str | None = None
    wandb: WandbRun | None = None
    resolved: ResolvedHyperparameters | None = None
    base: str | None = None
    checkpoint_step: int | None = None
    result_file: str | None = None
    fine_tuned_model: str | None = None
    trained_tokens: int | None = None
    error: str | None = None
    cancel_requested: bool = False
    pause_requested: bool = False
    metadata: dict[str, str] = field(default_factory=dict)
    started_at: int | None = None
    finished_at: int | None = None

    def evolve(self, **changes: Any) -> Self:
        """A copy with these changes.

        Raises:
            ConflictError: the new status cannot follow the old one (`TRANSITIONS`).
        """
        status = changes.get("status", self.status)
        if status != self.status and status not in TRANSITIONS[self.status]:
            raise ConflictError(f"Job {self.id} is {self.status} and cannot become {status}.")
        return replace(self, **changes)
