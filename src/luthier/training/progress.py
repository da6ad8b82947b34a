"""What a run tells while it goes on, and what it leaves."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

_CLASSIFICATION = "classification/"
_PLAIN_COLUMNS = (
    "step",
    "elapsed_tokens",
    "elapsed_examples",
    "training_loss",
    "training_sequence_accuracy",
    "training_token_accuracy",
    "validation_loss",
    "validation_sequence_accuracy",
    "validation_token_accuracy",
)


@dataclass(frozen=True)
class ResultRow:
    """One optimizer step, a row of compiled_results.csv. Accuracies are shares, from 0 to 1, of the completions.

    Args:
        step: from 1.
        elapsed_tokens, elapsed_examples: trained on so far, this step included; prompts count too.
        training_loss: weighted mean over the step's batch, before its update.
        training_sequence_accuracy: completions of which every token was the most likely one.
        training_token_accuracy: completion tokens that were the most likely one.
        validation_loss, validation_sequence_accuracy, validation_token_accuracy: the same over the whole validation
            set after the step; None where it was not evaluated.
        classification: metric name → value where the validation set was evaluated as classes, such as `accuracy`.
        rewards: column → value of a run on preferences, such as `training_reward_accuracy`.
    """

    step: int
    elapsed_tokens: int
    elapsed_examples: int
    training_loss: float
    training_sequence_accuracy: float | None
    training_token_accuracy: float | None
    validation_loss: float | None = None
    validation_sequence_accuracy: float | None = None
    validation_token_accuracy: float | None = None
    classification: dict[str, float] = field(default_factory=dict)
    rewards: dict[str, float] = field(default_factory=dict)

    def record(self) -> dict[str, float | int | None]:
        """Column name → value, in the order of `columns`."""
        plain = {name: getattr(self, name) for name in _PLAIN_COLUMNS}
        return plain | self.rewards | {_CLASSIFICATION + name: value for name, value in self.classification.items()}


def columns(rows: Sequence[ResultRow]) -> list[str]:
    """The columns of a results table: the plain ones, then each other metric that any row has."""
    return list(dict.fromkeys([*_PLAIN_COLUMNS, *(name for row in rows for name in row.record())]))


@dataclass(frozen=True)
class StepDone:
    """An optimizer step is done.

    Args:
        epoch: the epoch it belongs to, from 1.
        n_steps: of the whole run.
        seconds_left: to the end of the run, evaluation included, at the rate measured so far.
    """

    row: ResultRow
    epoch: int
    n_steps: int
    seconds_left: float


@dataclass(frozen=True)
class EpochDone:
    """An epoch (from 1) is trained, evaluated, and its checkpoint is on the disk."""

    epoch: int
    n_epochs: int


@dataclass(frozen=True)
class CheckpointSaved:
    """The run can go on from this step, whatever happens to the process."""

    step: int
    path: Path


@dataclass(frozen=True)
class StartedAgain:
    """The checkpoint after this step is of a run that would end otherwise; this one starts from its beginning."""

    step: int


Progress = StepDone | EpochDone | CheckpointSaved | StartedAgain


@dataclass(frozen=True)
class EpochModel:
    """The model as an epoch left it, ready to be served.

    Args:
        epoch: from 1.
        step: the epoch's last.
        folder: a PEFT adapter or whole weights.
    """

    epoch: int
    step: int
    folder: Path


@dataclass(frozen=True)
class TrainingResult:
    """What a run left.

    Args:
        finished: False when it was stopped; then it can be resumed from its last checkpoint.
        folder: the final model, a PEFT adapter or whole weights; None when not finished.
        rows: one for each step so far.
        trained_tokens: tokens trained on, all epochs, prompts included.
        epochs: the model of each epoch's end, oldest first; the last one of a finished run is the final model.
    """

    finished: bool
    folder: Path | None
    rows: list[ResultRow]
    trained_tokens: int
    epochs: list[EpochModel]
