"""The training loop: examples in, a tuned model out, resumable at any step.

Each step takes a batch of examples, cuts it into micro-batches that fit in memory, adds up their gradients and
changes the weights once. The order of the examples and the dropout depend on the seed and the step alone, and all
else that a step depends on stands in the checkpoint: a run that was interrupted ends as an undisturbed one does.
"""

import hashlib
import json
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from luthier.datasets.encode import EncodedExample, EncodedPair
from luthier.domain.hyperparameters import Objective as Kind
from luthier.domain.hyperparameters import ResolvedHyperparameters
from luthier.errors import DataError, TrainingError
from luthier.modeling.heap import trim_heap
from luthier.modeling.loader import BaseModel
from luthier.training import defaults
from luthier.training.batches import batches_of, epoch_order, step_seed
from luthier.training.checkpoint import Checkpoints, RunState
from luthier.training.clock import Clock
from luthier.training.forward import decoder
from luthier.training.interrupt import Poll, StopRequestedError, polled_layers
from luthier.training.mean import Mean
from luthier.training.norm import quick_norms
from luthier.training.objective import Objective
from luthier.training.optim import Optimizer
from luthier.training.passes import Passes
from luthier.training.preference import Preference
from luthier.training.progress import (
    CheckpointSaved,
    EpochDone,
    Progress,
    ResultRow,
    StartedAgain,
    StepDone,
    TrainingResult,
)
from luthier.training.supervised import Supervised
from luthier.training.weights import TunedWeights, tuned_weights

_LEARNABLE = 1e-3  # a larger loss has a gradient
_SAMPLED = 256  # numbers of each weight that tell one base from another


def train(
    base: BaseModel,
    train: Sequence[EncodedExample] | Sequence[EncodedPair],
    valid: Sequence[EncodedExample] | Sequence[EncodedPair],
    hp: ResolvedHyperparameters,
    *,
    run_dir: Path,
    base_rate: float,
    emit: Callable[[Progress], None],
    should_stop: Callable[[], bool],
    micro_batch_tokens: int,
    checkpoint_seconds: float,
    parent: Path | None = None,
) -> TrainingResult:
    """Train, or go on from the newest whole checkpoint in `run_dir`; from the beginning where it is of another run.

    Args:
        base: changed in place: it gets an adapter, or its weights learn.
        train, valid: what the objective of `hp` learns from: examples, or pairs for DPO. `valid` may be empty.
        run_dir: folder of this run alone; two processes must not share it.
        base_rate: the base's learning rate; the multiplier scales it.
        emit: is told of each step, checkpoint and epoch. Finished epochs are told again when a run is resumed.
        should_stop: asked a few times a second; True stops the run, which stays resumable.
        micro_batch_tokens: most tokens of the passes that are computed at a time, the bound on memory; a longer example
            passes alone.
        checkpoint_seconds: time between checkpoints within an epoch.
        parent: folder of an adapter to start from.

    Raises:
        DataError: the data has nothing to learn from, or does not fit the classification's settings.
        TrainingError: the loss is no number any more.
    """
    if not train:
        raise DataError("The training file has no examples.", param="training_file")
    poll = Poll(should_stop)
    weights = tuned_weights(base, hp, parent)
    passes = Passes(base, weights, micro_batch_tokens, poll)
    kinds: dict[Kind, Callable[..., Objective[Any]]] = {Kind.SUPERVISED: Supervised, Kind.DPO: Preference}
    objective = kinds[hp.objective](passes, train, valid, hp)
    run = _Run(base, weights, objective, train, valid, hp, run_dir, base_rate, emit)
    with quick_norms(base.model), polled_layers(decoder(base), poll):
        return run.go(checkpoint_seconds)


class _Run:
    def __init__(
        self,
        base: BaseModel,
        weights: TunedWeights,
        objective: Objective[Any],
        train: Sequence[Any],
        valid: Sequence[Any],
        hp: ResolvedHyperparameters,
        run_dir: Path,
        base_rate: float,
        emit: Callable[[Progress], None],
    ) -> None:
        self._weights, self._objective, self._hp, self._emit = weights, objective, hp, emit
        self._train, self._valid, self._run_dir = train, valid, run_dir
        self._steps_per_epoch = math.ceil(len(train) / hp.batch_size)
        self._n_steps = hp.n_epochs * self._steps_per_epoch
        rate = base_rate * hp.learning_rate_multiplier
        self._optimizer = Optimizer(weights.masters, rate, self._n_steps)
        self._mean = Mean(weights.masters)
        self._averaged = self._averaged_steps()
        self._checkpoints = Checkpoints(run_dir)
        self._state = RunState(_fingerprint(base, objective, train, valid, hp, base_rate))
        self._saved_step = 0
        self._between_steps = True  # the weights are those of the state
        self._clock = Clock()

    def _resume(self) -> None:
        """Take up the newest checkpoint, if there is one, and tell which epochs it has finished.

        One that another version or other settings made is not gone on with: the result would be of neither.
        """
        found = self._checkpoints.newest()
        if found is None:
            return
        state, tensors = found
        if state.fingerprint != self._state.fingerprint:
            self._emit(StartedAgain(state.step))
            self._checkpoints.clear()
            return
        self._state = state
        self._saved_step = self._state.step
        with torch.no_grad():
            for name, master in self._weights.masters.items():
                master.copy_(tensors[f"master.{name}"])
        self._weights.publish()
        self._optimizer.load_state(tensors)
        self._mean.load_state(tensors)
        for epoch in range(1, self._epochs_done + 1):
            self._emit(EpochDone(epoch, self._hp.n_epochs))

    def go(self, checkpoint_seconds: float) -> TrainingResult:
        """Train to the end, or until told to stop."""
        saved_at = time.monotonic()
        try:
            self._objective.prepare(self._run_dir, self._state.fingerprint)
            self._resume()
            for batch in self._batches_left():
                row = self._step(batch)
                epoch_ends = (self._state.step + 1) % self._steps_per_epoch == 0
                if epoch_ends:
                    row = self._ended(row)
                self._state.rows.append(row)
                self._between_steps = True
                self._emit(StepDone(row, self._epoch, self._n_steps, self._seconds_left()))
                if epoch_ends:
                    self._checkpoints.save_epoch(self._epochs_done, self._weights.save)
                if epoch_ends or time.monotonic() - saved_at >= checkpoint_seconds:
                    self._save()
                    saved_at = time.monotonic()
                if epoch_ends:
                    self._emit(EpochDone(self._epochs_done, self._hp.n_epochs))
        except StopRequestedError:
            if self._between_steps and self._state.step > self._saved_step:
                self._save()
            return self._result(finished=False)
        return self._result(finished=True)

    @property
    def _epochs_done(self) -> int:
        return self._state.step // self._steps_per_epoch

    @property
    def _epoch(self) -> int:
        """Of the last step done, from 1."""
        return math.ceil(self._state.step / self._steps_per_epoch)

    def _averaged_steps(self) -> list[int]:
        """The epochs' last steps, from 1, whose weights are averaged; the run's last one is always among them.

        Where no validation can tell whether their mean is any good, early ones do not count.
        """
        least = max((1 - defaults.AVERAGED_SHARE) * self._n_steps, 0 if self._valid else defaults.AVERAGED_FROM)
        ends = range(self._steps_per_epoch, self._n_steps + 1, self._steps_per_epoch)
        return [end for end in ends if end >= least or end == self._n_steps]

    def _batches_left(self) -> Iterator[list[Any]]:
        for epoch in range(self._epochs_done, self._hp.n_epochs):
            order = epoch_order(len(self._train), self._hp.seed, epoch)
            done = self._state.step - epoch * self._steps_per_epoch
            for batch in list(batches_of(order, self._hp.batch_size))[done:]:
                yield [self._train[i] for i in batch]

    def _step(self, examples: Sequence[Any]) -> ResultRow:
        """One change of the weights; its row, without validation.

        The state changes only when the step is complete, so that a stop within it leaves the step before.
        """
        step, hp = self._state.step, self._hp
        torch.manual_seed(step_seed(hp.seed, step))
        tokens = self._tokens(examples)
        with self._clock.training(tokens):
            found = self._objective.step(examples)
            self._between_steps = False
            norm = self._optimizer.step(step)
            # Activations that overflow are normalised to zero: then the loss is finite, and nothing learns any more.
            dead = norm == 0 and found.loss > _LEARNABLE
            if dead or not math.isfinite(found.loss) or not math.isfinite(norm):
                raise TrainingError(
                    f"The loss of step {step + 1} is {found.loss}, the norm of its gradients {norm}: training has "
                    f"diverged. Try a learning_rate_multiplier below {hp.learning_rate_multiplier}.",
                    param="learning_rate_multiplier",
                )
            self._weights.publish()
        return ResultRow(
            step=step + 1,
            elapsed_tokens=self._state.elapsed_tokens + tokens,
            elapsed_examples=self._state.elapsed_examples + len(examples),
            training_loss=found.loss,
            training_sequence_accuracy=found.sequence_accuracy,
            training_token_accuracy=found.token_accuracy,
            rewards={f"training_{name}": value for name, value in found.rewards.items()},
        )

    def _ended(self, row: ResultRow) -> ResultRow:
        """An epoch's last row with its validation; the run's last row has that of the result.

        The result is the mean of the averaged ends or the last end itself, whichever has the smaller validation loss.
        Without validation it is the mean, in which the first end counts once, the second twice, and so on.
        """
        if self._valid:
            row = self._evaluated(row)
        if row.step in self._averaged:
            self._mean.add(1 if self._valid else self._averaged.index(row.step) + 1)
        if row.step < self._n_steps or len(self._averaged) == 1:
            return row
        self._swap()
        if not self._valid:
            return row
        mean = self._evaluated(row)
        assert row.validation_loss is not None
        assert mean.validation_loss is not None
        if mean.validation_loss <= row.validation_loss:
            return mean
        self._swap()
        return row

    def _swap(self) -> None:
        self._mean.swap()
        self._weights.publish()

    def _evaluated(self, row: ResultRow) -> ResultRow:
        with self._clock.evaluation(self._tokens(self._valid)):
            found = self._objective.evaluate(self._valid)
        return replace(
            row,
            validation_loss=found.loss,
            validation_sequence_accuracy=found.sequence_accuracy,
            validation_token_accuracy=found.token_accuracy,
            classification=found.classification,
            rewards=row.rewards | {f"validation_{name}": value for name, value in found.rewards.items()},
        )

    def _tokens(self, examples: Sequence[Any]) -> int:
        return sum(map(self._objective.tokens, examples))

    def _save(self) -> None:
        masters = {f"master.{name}": master for name, master in self._weights.masters.items()}
        path = self._checkpoints.save(self._state, masters | self._optimizer.state() | self._mean.state())
        self._saved_step = self._state.step
        trim_heap()
        self._emit(CheckpointSaved(self._state.step, path))

    def _seconds_left(self) -> float:
        tokens = self._hp.n_epochs * self._tokens(self._train) - self._state.elapsed_tokens
        evaluations = self._hp.n_epochs - self._epochs_done
        if evaluations and len(self._averaged) > 1:
            evaluations += 1  # the mean's own
        return self._clock.seconds_left(tokens, evaluations * self._tokens(self._valid))

    def _result(self, *, finished: bool) -> TrainingResult:
        models = self._checkpoints.epoch_models(self._epochs_done, self._steps_per_epoch)
        folder = models[-1].folder if finished else None
        return TrainingResult(finished, folder, list(self._state.rows), self._state.elapsed_tokens, models)


def _fingerprint(
    base: BaseModel,
    objective: Objective[Any],
    train: Sequence[Any],
    valid: Sequence[Any],
    hp: ResolvedHyperparameters,
    base_rate: float,
) -> str:
    """Names a run by all that decides its result: checkpoints of another cannot be taken for its own."""
    digest = hashlib.sha256()
    constants = {name: getattr(defaults, name) for name in defaults.OF_EVERY_RUN}
    digest.update(json.dumps([base.name, str(base.dtype), asdict(hp), base_rate, constants]).encode())
    for weight in base.model.parameters():  # as the run begins with them, a parent's among them
        digest.update(weight.detach().flatten()[:_SAMPLED].float().cpu().numpy().tobytes())
    for examples in (train, valid):
        digest.update(str(len(examples)).encode())
        for example in examples:
            digest.update(json.dumps(objective.identity(example)).encode())
    return digest.hexdigest()
