"""What a run minimises: the part of training that differs from one kind of examples to another.

The loop knows steps, checkpoints and epochs; an objective knows what one step does with its examples. There are
`training.supervised` and `training.preference`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeVar

E = TypeVar("E", contravariant=True)


@dataclass(frozen=True)
class Measured:
    """What a model made of some examples. Accuracies are shares, from 0 to 1; None where the objective has none.

    Args:
        loss: the objective's mean.
        sequence_accuracy: completions of which every token was the most likely one.
        token_accuracy: completion tokens that were the most likely one.
        classification: metric name → value, where the examples are classes.
        rewards: the same for preferences: `reward_accuracy` and others.
    """

    loss: float
    sequence_accuracy: float | None = None
    token_accuracy: float | None = None
    classification: dict[str, float] = field(default_factory=dict)
    rewards: dict[str, float] = field(default_factory=dict)


class Objective(Protocol[E]):
    """What a run minimises, over examples of type E."""

    def tokens(self, example: E) -> int:
        """Tokens that go through the model for an example."""
        ...

    def identity(self, example: E) -> Any:
        """All of an example that decides the result of a run, as JSON can write it."""
        ...

    def prepare(self, run_dir: Path, fingerprint: str) -> None:
        """What has to be computed before the first step, with the weights as they are at the start.

        It is kept in `run_dir`; a resumed run finds it there.

        Args:
            fingerprint: names the run.

        Raises:
            StopRequestedError: the owner wants the run to stop.
        """
        ...

    def step(self, examples: Sequence[E]) -> Measured:
        """Add the gradient of these examples' mean loss to the masters. Sets the model to training.

        Raises:
            StopRequestedError: the owner wants the run to stop; the gradients are then of no use.
        """
        ...

    def evaluate(self, examples: Sequence[E]) -> Measured:
        """Look at examples, at least one, with the weights as they are served.

        Raises:
            StopRequestedError: the owner wants the run to stop.
        """
        ...
