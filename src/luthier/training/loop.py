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
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from luthier.datasets.encode import EncodedExample
from luthier.domain.hyperparameters import ResolvedHyperparameters
from luthier.errors import DataError, TrainingError
from luthier.modeling.loader import BaseModel
from luthier.training import defaults
from luthier.training.batches import batches_of, epoch_order, loss_weights, micro_batches, pack, step_seed
from luthier.training.checkpoint import Checkpoints, RunState
from luthier.training.evaluate import Tally, answers_by_example, evaluate
from luthier.training.forward import decoder, head_weight, last_hidden, recomputed_layers
from luthier.training.loss import weighted_cross_entropy
from luthier.training.memory import trim_heap
from luthier.training.metrics import Classes, find_classes
from luthier.training.norm import quick_norms
from luthier.training.optim import Optimizer
from luthier.training.progress import CheckpointSaved, EpochDone, Progress, ResultRow, StepDone, TrainingResult
from luthier.training.weights import TunedWeights, tuned_weights

_POLL_SECONDS = 0.2
_EVALUATION_COST = 0.4  # of a token, against a trained one, until it has been measured


class _StopRequestedError(Exception):
    """The owner wants the run to stop; raised wherever it is noticed."""


def train(
    base: BaseModel,
    train: Sequence[EncodedExample],
    valid: Sequence[EncodedExample],
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
    """Train, or go on from the newest whole checkpoint in `run_dir`.

    Args:
        base: changed in place: it gets an adapter, or its weights learn.
        train, valid: examples; `valid` may be empty.
        run_dir: folder of this run alone; two processes must not share it.
        base_rate: the base's learning rate; the multiplier scales it.
        emit: is told of each step, checkpoint and epoch. Finished epochs are told again when a run is resumed.
        should_stop: asked a few times a second; True stops the run, which stays resumable.
        micro_batch_tokens: most tokens of one pass, the bound on memory; a longer example passes alone.
        checkpoint_seconds: time between checkpoints within an epoch.
        parent: folder of an adapter to start from.

    Raises:
        DataError: the data has nothing to learn from, or does not fit the classification's settings.
        TrainingError: the loss is no number any more, or the folder holds another run.
    """
    _check(train, "training")
    _check(valid, "validation")
    classes = find_classes(train, valid, hp)
    if not train:
        raise DataError("The training file has no examples.", param="training_file")
    weights = tuned_weights(base, hp, parent)
    run = _Run(base, weights, train, valid, classes, hp, run_dir, base_rate, emit, should_stop, micro_batch_tokens)
    run.resume()
    with quick_norms(base.model), _polled_layers(decoder(base), run.poll):
        return run.go(checkpoint_seconds)


class _Run:
    def __init__(
        self,
        base: BaseModel,
        weights: TunedWeights,
        train: Sequence[EncodedExample],
        valid: Sequence[EncodedExample],
        classes: Classes | None,
        hp: ResolvedHyperparameters,
        run_dir: Path,
        base_rate: float,
        emit: Callable[[Progress], None],
        should_stop: Callable[[], bool],
        micro_batch_tokens: int,
    ) -> None:
        self._base, self._weights, self._hp, self._classes = base, weights, hp, classes
        self._train, self._valid = train, valid
        self._emit, self._should_stop, self._budget = emit, should_stop, micro_batch_tokens
        self._steps_per_epoch = math.ceil(len(train) / hp.batch_size)
        self._n_steps = hp.n_epochs * self._steps_per_epoch
        self._optimizer = Optimizer(weights.masters, base_rate * hp.learning_rate_multiplier, self._n_steps)
        self._checkpoints = Checkpoints(run_dir)
        self._state = RunState(_fingerprint(base, train, valid, hp, base_rate))
        self._saved_step = 0
        self._between_steps = True  # the weights are those of the state
        self._polled_at = 0.0
        self._clock = _Clock()

    def resume(self) -> None:
        """Take up the newest checkpoint, if there is one, and tell which epochs it has finished."""
        found = self._checkpoints.newest(self._state.fingerprint)
        if found is None:
            return
        self._state, tensors = found
        self._saved_step = self._state.step
        with torch.no_grad():
            for name, master in self._weights.masters.items():
                master.copy_(tensors[f"master.{name}"])
        self._weights.publish()
        self._optimizer.load_state(tensors)
        for epoch in range(1, self._epochs_done + 1):
            self._emit(EpochDone(epoch, self._hp.n_epochs))

    def go(self, checkpoint_seconds: float) -> TrainingResult:
        """Train to the end, or until told to stop."""
        saved_at = time.monotonic()
        try:
            for batch in self._batches_left():
                row = self._step(batch)
                epoch_ends = (self._state.step + 1) % self._steps_per_epoch == 0
                if epoch_ends and self._valid:
                    row = self._evaluated(row)
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
        except _StopRequestedError:
            if self._between_steps and self._state.step > self._saved_step:
                self._save()
            return self._result(finished=False)
        return self._result(finished=True)

    def poll(self) -> None:
        """Raise when the owner wants the run to stop. Cheap: asks at most a few times a second."""
        now = time.monotonic()
        if now - self._polled_at >= _POLL_SECONDS:
            self._polled_at = now
            if self._should_stop():
                raise _StopRequestedError

    @property
    def _epochs_done(self) -> int:
        return self._state.step // self._steps_per_epoch

    @property
    def _epoch(self) -> int:
        """Of the last step done, from 1."""
        return math.ceil(self._state.step / self._steps_per_epoch)

    def _batches_left(self) -> Iterator[list[EncodedExample]]:
        for epoch in range(self._epochs_done, self._hp.n_epochs):
            order = epoch_order(len(self._train), self._hp.seed, epoch)
            done = self._state.step - epoch * self._steps_per_epoch
            for batch in list(batches_of(order, self._hp.batch_size))[done:]:
                yield [self._train[i] for i in batch]

    def _step(self, examples: list[EncodedExample]) -> ResultRow:
        """One change of the weights; its row, without validation.

        The state changes only when the step is complete, so that a stop within it leaves the step before.
        """
        step, hp = self._state.step, self._hp
        torch.manual_seed(step_seed(hp.seed, step))
        self._base.model.train()
        window = sum(sum(loss_weights(example, hp.prompt_loss_weight)) for example in examples)
        tally = Tally()
        tokens = sum(len(example.input_ids) for example in examples)
        with self._clock.training(tokens):
            for part in micro_batches([len(example.input_ids) for example in examples], self._budget):
                self._pass([examples[i] for i in part], window, tally)
            if not math.isfinite(tally.loss):
                raise TrainingError(
                    f"The loss of step {step + 1} is {tally.loss}: training has diverged. "
                    f"Try a learning_rate_multiplier below {hp.learning_rate_multiplier}.",
                    param="learning_rate_multiplier",
                )
            self._between_steps = False
            self._optimizer.step(step)
            self._weights.publish()
        return ResultRow(
            step=step + 1,
            elapsed_tokens=self._state.elapsed_tokens + tokens,
            elapsed_examples=self._state.elapsed_examples + len(examples),
            training_loss=tally.mean_loss,
            training_sequence_accuracy=tally.sequence_accuracy,
            training_token_accuracy=tally.token_accuracy,
        )

    def _pass(self, examples: list[EncodedExample], window: float, tally: Tally) -> None:
        """Forward and backward of one micro-batch. `window` is the sum of all weights of the step."""
        self.poll()
        device = self._base.device
        batch = pack(examples, self._hp.prompt_loss_weight)
        n_tokens = batch.input_ids.shape[1]
        if n_tokens > self._budget:
            trim_heap()  # its blocks are larger than any hole that is left
        self._weights.prepare_pass(n_tokens)
        with recomputed_layers(self._base) if n_tokens > self._budget else nullcontext():
            hidden = last_hidden(self._base, batch.input_ids, batch.layout)  # (T, hidden)
            loss, found = weighted_cross_entropy(
                hidden.index_select(0, batch.positions.to(device)),
                head_weight(self._base),
                batch.targets.to(device),
                (batch.weights.double() / window).float().to(device),
            )
            loss.backward()  # type: ignore[no-untyped-call]
        tally.add(found.losses.cpu(), batch.weights)
        tally.add_answers(answers_by_example(batch, found.correct))

    def _evaluated(self, row: ResultRow) -> ResultRow:
        with self._clock.evaluation(_tokens(self._valid)):
            found = evaluate(
                self._base,
                self._weights,
                self._valid,
                self._classes,
                prompt_loss_weight=self._hp.prompt_loss_weight,
                micro_batch_tokens=self._budget,
                poll=self.poll,
            )
        return replace(
            row,
            validation_loss=found.loss,
            validation_sequence_accuracy=found.sequence_accuracy,
            validation_token_accuracy=found.token_accuracy,
            classification=found.classification,
        )

    def _save(self) -> None:
        masters = {f"master.{name}": master for name, master in self._weights.masters.items()}
        path = self._checkpoints.save(self._state, masters | self._optimizer.state())
        self._saved_step = self._state.step
        trim_heap()
        self._emit(CheckpointSaved(self._state.step, path))

    def _seconds_left(self) -> float:
        tokens = self._hp.n_epochs * _tokens(self._train) - self._state.elapsed_tokens
        evaluations = (self._hp.n_epochs - self._epochs_done) * _tokens(self._valid)
        return self._clock.seconds_left(tokens, evaluations)

    def _result(self, *, finished: bool) -> TrainingResult:
        models = self._checkpoints.epoch_models(self._epochs_done, self._steps_per_epoch)
        folder = models[-1].folder if finished else None
        return TrainingResult(finished, folder, list(self._state.rows), self._state.elapsed_tokens, models)


class _Clock:
    """How fast this process trains and evaluates, from all it has done so far."""

    def __init__(self) -> None:
        self._trained = self._evaluated = 0
        self._training_seconds = self._evaluation_seconds = 0.0

    @contextmanager
    def training(self, tokens: int) -> Iterator[None]:
        start = time.monotonic()
        yield
        self._trained += tokens
        self._training_seconds += time.monotonic() - start

    @contextmanager
    def evaluation(self, tokens: int) -> Iterator[None]:
        start = time.monotonic()
        yield
        self._evaluated += tokens
        self._evaluation_seconds += time.monotonic() - start

    def seconds_left(self, training_tokens: int, evaluation_tokens: int) -> float:
        """Needs at least one training step done."""
        per_trained = self._training_seconds / self._trained
        per_evaluated = (
            self._evaluation_seconds / self._evaluated if self._evaluated else _EVALUATION_COST * per_trained
        )
        return training_tokens * per_trained + evaluation_tokens * per_evaluated


@contextmanager
def _polled_layers(model: nn.Module, poll: Callable[[], None]) -> Iterator[None]:
    """Poll before each layer, forward and backward: a micro-batch may take longer than a cancel may."""

    def before(_layer: nn.Module, inputs: tuple[Any, ...]) -> None:
        poll()
        if inputs and isinstance(inputs[0], torch.Tensor) and inputs[0].requires_grad:
            inputs[0].register_hook(lambda _gradient: poll())  # type: ignore[no-untyped-call]

    layers: Any = model.layers
    handles = [layer.register_forward_pre_hook(before) for layer in layers]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _check(examples: Sequence[EncodedExample], which: str) -> None:
    for number, example in enumerate(examples, start=1):
        if not any(example.completion_mask[1:]):
            raise DataError(
                f"Example {number} of the {which} file is a single token, which nothing predicts. Give it a prompt; "
                "a separator alone will do.",
                param=f"{which}_file",
            )


def _tokens(examples: Sequence[EncodedExample]) -> int:
    return sum(len(example.input_ids) for example in examples)


def _fingerprint(
    base: BaseModel,
    train: Sequence[EncodedExample],
    valid: Sequence[EncodedExample],
    hp: ResolvedHyperparameters,
    base_rate: float,
) -> str:
    """Names a run by all that decides its result: checkpoints of another cannot be taken for its own."""
    digest = hashlib.sha256()
    constants = {name: getattr(defaults, name) for name in defaults.OF_EVERY_RUN}
    digest.update(json.dumps([base.name, str(base.dtype), asdict(hp), base_rate, constants]).encode())
    for examples in (train, valid):
        digest.update(str(len(examples)).encode())
        for example in examples:
            digest.update(json.dumps([example.input_ids, example.completion_mask]).encode())
    return digest.hexdigest()
