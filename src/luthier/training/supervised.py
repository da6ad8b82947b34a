"""Supervised training: completions, or the assistant's turns of a conversation, become more likely.

loss = Σ wᵢ · crossentropyᵢ / Σ wᵢ,    w = 1 in completions, prompt_loss_weight in prompts
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from luthier.datasets.encode import EncodedExample
from luthier.domain.hyperparameters import ResolvedHyperparameters
from luthier.errors import DataError
from luthier.training.batches import loss_weights, pack
from luthier.training.evaluate import Tally, evaluate, total
from luthier.training.forward import head_weight
from luthier.training.loss import weighted_cross_entropy
from luthier.training.metrics import find_classes
from luthier.training.objective import Measured
from luthier.training.passes import Backward, Passes


class Supervised:
    """Weighted cross entropy; implements `Objective`.

    Args:
        train, valid: all examples of the run; `valid` may be empty.

    Raises:
        DataError: an example in which nothing can be learnt, or labels that do not fit the classification's settings.
    """

    def __init__(
        self,
        passes: Passes,
        train: Sequence[EncodedExample],
        valid: Sequence[EncodedExample],
        hp: ResolvedHyperparameters,
    ) -> None:
        _check(train, "training")
        _check(valid, "validation")
        self._passes, self._base = passes, passes.base
        self._prompt_weight = hp.prompt_loss_weight
        self._classes = find_classes(train, valid, hp)

    def tokens(self, example: EncodedExample) -> int:
        return len(example.input_ids)

    def identity(self, example: EncodedExample) -> Any:
        return [example.input_ids, example.completion_mask]

    def prepare(self, run_dir: Path, fingerprint: str) -> None:
        pass

    def step(self, examples: Sequence[EncodedExample]) -> Measured:
        self._base.model.train()
        window = sum(sum(loss_weights(example, self._prompt_weight)) for example in examples)
        lengths = [len(example.input_ids) for example in examples]

        def compute(part: list[int], backward: Backward) -> Tally:
            return self._pass([examples[i] for i in part], window, backward)

        return total(self._passes.learn(lengths, compute)).measured()

    def evaluate(self, examples: Sequence[EncodedExample]) -> Measured:
        return evaluate(self._passes, examples, self._classes, self._prompt_weight)

    def _pass(self, examples: Sequence[EncodedExample], window: float, backward: Backward) -> Tally:
        """Forward and backward of one micro-batch. `window` is the sum of all weights of the step."""
        batch = pack(examples, self._prompt_weight)
        device = self._base.device
        with self._passes.forward(batch) as chosen:  # (N, hidden)
            loss, found = weighted_cross_entropy(
                chosen,
                head_weight(self._base),
                batch.targets.to(device),
                (batch.weights.double() / window).float().to(device),
            )
            backward(loss)
        return Tally.of_completions(batch, found)


def _check(examples: Sequence[EncodedExample], which: str) -> None:
    for number, example in enumerate(examples, start=1):
        if not any(example.completion_mask[1:]):
            raise DataError(
                f"Example {number} of the {which} file is a single token, which nothing predicts. Give it a prompt; "
                "a separator alone will do.",
                param=f"{which}_file",
            )
