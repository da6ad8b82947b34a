"""Direct preference optimization: preferred outputs become more likely than those not preferred.

    loss = -log sigmoid(r⁺ - r⁻),    r = β · (log π(y|x) - log π₀(y|x))

x is the input, y an output, π the model that learns and π₀ the one that training starts from (Rafailov et al.,
"Direct Preference Optimization: Your Language Model is Secretly a Reward Model", 2023). The r are called rewards.
π₀ never changes, so its log probabilities are computed once, before the first step.

The gradient of log π(y|x) is minus that of the cross entropy of y's tokens. So the loss has the gradient of a weighted
cross entropy, the weights being β sigmoid(r⁻ - r⁺) in the preferred output and minus as much in the other.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch.nn.functional import softplus

from luthier.datasets.encode import EncodedPair
from luthier.domain.hyperparameters import ResolvedHyperparameters
from luthier.durable import whole_folder
from luthier.training import defaults
from luthier.training.batches import PackedBatch, pack
from luthier.training.evaluate import answers_by_example, total
from luthier.training.forward import head_weight
from luthier.training.loss import TokenLosses, token_losses, weighted_cross_entropy
from luthier.training.objective import Measured
from luthier.training.passes import Backward, Passes

_FOLDER, _FILE, _KEY = "reference", "log_probabilities.safetensors", "fingerprint"


class Preference:
    """The loss of pairs of outputs; implements `Objective`.

    Log probabilities are computed in float32, whatever the base's dtype: a reward is the small difference of two large
    sums.

    Args:
        train, valid: all pairs of the run; `valid` may be empty.
    """

    def __init__(
        self, passes: Passes, train: Sequence[EncodedPair], valid: Sequence[EncodedPair], hp: ResolvedHyperparameters
    ) -> None:
        self._passes, self._base = passes, passes.base
        self._beta = defaults.DPO_BETA if hp.beta is None else hp.beta
        self._pairs = list(dict.fromkeys([*train, *valid]))
        self._reference: dict[EncodedPair, torch.Tensor] = {}  # log π₀ of both outputs, (2,), float64
        self._head = head_weight(self._base).float()

    def tokens(self, example: EncodedPair) -> int:
        return example.n_tokens

    def identity(self, example: EncodedPair) -> Any:
        return [[side.input_ids, side.completion_mask] for side in (example.preferred, example.other)]

    def prepare(self, run_dir: Path, fingerprint: str) -> None:
        """Find the reference's log probabilities, on the disk or by computing them."""
        folder = run_dir / _FOLDER
        kept = _read(folder / _FILE, fingerprint)
        if kept is None:
            kept = self._log_probabilities(self._pairs)
            with whole_folder(folder) as unfinished:
                save_file({"outputs": kept}, unfinished / _FILE, metadata={_KEY: fingerprint})
        self._reference = dict(zip(self._pairs, kept, strict=True))

    def step(self, examples: Sequence[EncodedPair]) -> Measured:
        self._base.model.train()

        def compute(part: list[int], backward: Backward) -> _Tally:
            return self._pass([examples[i] for i in part], len(examples), backward)

        return total(self._passes.learn(_lengths(examples), compute)).measured()

    def evaluate(self, examples: Sequence[EncodedPair]) -> Measured:
        training = self._base.model.training
        self._base.model.eval()

        def compute(part: list[int]) -> _Tally:
            pairs = [examples[i] for i in part]
            batch = _pack(pairs)
            with self._passes.forward(batch) as chosen:  # (N, hidden)
                found = self._found(chosen, batch)
            return _Tally.of_pass(self._rewards(pairs, batch, found), batch, found)

        tally = total(self._passes.look(_lengths(examples), compute))
        self._base.model.train(training)
        return tally.measured()

    def _log_probabilities(self, pairs: Sequence[EncodedPair]) -> torch.Tensor:
        """Of both outputs of each pair, by the weights as they are, (P, 2), float64."""
        self._base.model.eval()
        sums = torch.empty(len(pairs), 2, dtype=torch.float64)

        def compute(part: list[int]) -> None:
            batch = _pack([pairs[i] for i in part])
            with self._passes.forward(batch) as chosen:  # (N, hidden)
                sums[part] = _sums(batch, self._found(chosen, batch))

        self._passes.look(_lengths(pairs), compute)
        return sums

    def _pass(self, pairs: Sequence[EncodedPair], n_pairs: int, backward: Backward) -> "_Tally":
        """Forward and backward of one micro-batch of a step of `n_pairs`."""
        batch = _pack(pairs)
        device = self._base.device
        with self._passes.forward(batch) as chosen:  # (N, hidden)
            found = self._found(chosen, batch)
            rewards = self._rewards(pairs, batch, found)  # (P, 2)
            pull = self._beta * torch.sigmoid(rewards[:, 1] - rewards[:, 0]) / n_pairs  # (P,)
            weights = torch.stack([pull, -pull], dim=1).flatten()  # (2P,), in the order of the row
            weights = weights.repeat_interleave(torch.tensor(batch.counts)).float()  # (N,)
            loss, _ = weighted_cross_entropy(
                chosen, head_weight(self._base), batch.targets.to(device), weights.to(device)
            )
            backward(loss)
        return _Tally.of_pass(rewards, batch, found)

    def _found(self, chosen: torch.Tensor, batch: PackedBatch) -> TokenLosses:
        return token_losses(chosen.detach().float(), self._head, batch.targets.to(chosen.device))

    def _rewards(self, pairs: Sequence[EncodedPair], batch: PackedBatch, found: TokenLosses) -> torch.Tensor:
        """Of the preferred outputs and the others, (P, 2), float64."""
        reference = torch.stack([self._reference[pair] for pair in pairs])
        return self._beta * (_sums(batch, found) - reference)


@dataclass
class _Tally:
    """Sums over pairs."""

    pairs: int = 0
    loss: float = 0.0
    right: float = 0.0
    preferred: float = 0.0
    other: float = 0.0
    tokens: int = 0
    correct_tokens: int = 0

    @classmethod
    def of_pass(cls, rewards: torch.Tensor, batch: PackedBatch, found: TokenLosses) -> Self:
        """Pairs by their rewards, (P, 2), and the tokens of the preferred outputs."""
        margins = rewards[:, 0] - rewards[:, 1]
        answers = answers_by_example(batch, found.correct)[::2]
        return cls(
            pairs=len(rewards),
            loss=float(softplus(-margins).sum()),
            right=float((margins > 0).sum()),
            preferred=float(rewards[:, 0].sum()),
            other=float(rewards[:, 1].sum()),
            tokens=sum(map(len, answers)),
            correct_tokens=sum(int(one.sum()) for one in answers),
        )

    def measured(self) -> Measured:
        return Measured(
            self.loss / self.pairs,
            token_accuracy=self.correct_tokens / self.tokens,
            rewards={
                "reward_accuracy": self.right / self.pairs,
                "reward_margin": (self.preferred - self.other) / self.pairs,
                "preferred_reward": self.preferred / self.pairs,
                "non_preferred_reward": self.other / self.pairs,
            },
        )


def _lengths(pairs: Sequence[EncodedPair]) -> list[int]:
    return [pair.n_tokens for pair in pairs]


def _pack(pairs: Sequence[EncodedPair]) -> PackedBatch:
    """Both outputs of each pair, each behind its own copy of the input. Only outputs are predicted."""
    return pack([side for pair in pairs for side in (pair.preferred, pair.other)], 0.0)


def _sums(batch: PackedBatch, found: TokenLosses) -> torch.Tensor:
    """Log probability of each output, (P, 2), float64."""
    losses = torch.split(found.losses.double().cpu(), batch.counts)
    return -torch.stack([part.sum() for part in losses]).reshape(-1, 2)


def _read(path: Path, fingerprint: str) -> torch.Tensor | None:
    """What `prepare` wrote for this very run, None when there is nothing of it."""
    try:
        with safe_open(path, framework="pt") as file:
            if file.metadata().get(_KEY) == fingerprint:
                kept: torch.Tensor = file.get_tensor("outputs")
                return kept
    except (OSError, SafetensorError):
        return None
    return None
