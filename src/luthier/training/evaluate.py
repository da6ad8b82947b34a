"""What a model makes of the validation set: loss, accuracies, and the probability of each class.

A row's prompt goes through the model once. Where classes are scored, the labels follow it as a tree of their
prefixes, each token seeing the prompt and its own prefix alone, so that labels that begin alike share tokens and
labels of one token need none.
"""

from collections.abc import Sequence
from dataclasses import astuple, dataclass
from functools import cached_property
from typing import Any, Self, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import scaled_dot_product_attention

from luthier.datasets.encode import EncodedExample
from luthier.modeling.attention import PackedCausal, causal_attention
from luthier.training.batches import PackedBatch, pack
from luthier.training.forward import head_weight, last_hidden
from luthier.training.loss import CHUNK, TokenLosses, token_losses
from luthier.training.metrics import Classes, classification_metrics
from luthier.training.objective import Measured
from luthier.training.passes import Passes

D = TypeVar("D", bound=Any)


@dataclass
class Tally:
    """Sums over examples, from which the loss and the accuracies come."""

    loss: float = 0.0
    weight: float = 0.0
    tokens: int = 0
    correct_tokens: int = 0
    sequences: int = 0
    correct_sequences: int = 0

    def add(self, losses: torch.Tensor, weights: torch.Tensor) -> None:
        """Count weighted cross entropies, both (N,)."""
        self.loss += float((losses.double() * weights.double()).sum())
        self.weight += float(weights.double().sum())

    def add_answers(self, correct: Sequence[torch.Tensor]) -> None:
        """Count, for each example, which of its completion tokens were the most likely ones."""
        for answers in correct:
            self.tokens += len(answers)
            self.correct_tokens += int(answers.sum())
            self.sequences += 1
            self.correct_sequences += bool(answers.all())

    @classmethod
    def of_completions(cls, batch: PackedBatch, found: TokenLosses) -> Self:
        """What was found of a packed row."""
        tally = cls()
        tally.add(found.losses.cpu(), batch.weights)
        tally.add_answers(answers_by_example(batch, found.correct))
        return tally

    def measured(self, classification: dict[str, float] | None = None) -> Measured:
        return Measured(
            self.loss / self.weight,
            self.correct_sequences / self.sequences,
            self.correct_tokens / self.tokens,
            classification or {},
        )


def total(tallies: Sequence[D]) -> D:
    """Sums over examples, of a dataclass of numbers, all together."""
    together: D = type(tallies[0])(*(sum(column) for column in zip(*map(astuple, tallies), strict=True)))
    return together


def answers_by_example(batch: PackedBatch, correct: torch.Tensor) -> list[torch.Tensor]:
    """Take the answers of a packed row, (N,), apart by example and keep those of completions."""
    pairs = zip(*(torch.split(x, batch.counts) for x in (correct.cpu(), batch.completion)), strict=True)
    return [right[completion] for right, completion in pairs]


def evaluate(
    passes: Passes, examples: Sequence[EncodedExample], classes: Classes | None, prompt_weight: float
) -> Measured:
    """Evaluate with the weights as they are served.

    Args:
        examples: the validation set, not empty.
        prompt_weight: weight of a prompt's tokens in the loss.

    Raises:
        StopRequestedError: the owner wants the run to stop.
    """
    base = passes.base
    training = base.model.training
    base.model.eval()
    head = head_weight(base).float()
    scores = np.zeros((len(examples), len(classes.labels) if classes else 0))

    def compute(part: list[int]) -> Tally:
        rows = [examples[i] for i in part]
        if classes is None:
            return _score_completions(passes, rows, prompt_weight, head)
        scores[part], tally = _score_labels(passes, rows, classes, prompt_weight, head)
        return tally

    extra = len(LabelTree(classes).ids) if classes else 0
    tally = total(passes.look([len(example.input_ids) + extra for example in examples], compute))
    base.model.train(training)
    return tally.measured(classification_metrics(scores, classes.truth(examples), classes) if classes else None)


def _score_completions(
    passes: Passes, rows: Sequence[EncodedExample], prompt_weight: float, head: torch.Tensor
) -> Tally:
    batch = pack(rows, prompt_weight)
    with passes.forward(batch) as chosen:  # (N, hidden)
        return Tally.of_completions(batch, token_losses(chosen.float(), head, batch.targets.to(chosen.device)))


def _score_labels(
    passes: Passes, rows: Sequence[EncodedExample], classes: Classes, prompt_weight: float, head: torch.Tensor
) -> tuple[NDArray[np.float64], Tally]:
    """Log probability of each label after each prompt, (rows, labels), and what was found of the rows' own labels."""
    tree = LabelTree(classes)
    prompts = [_prompt(example) for example in rows]
    layout = PromptsWithTree([len(prompt) for prompt in prompts], tree)
    ids = torch.tensor([[token for prompt in prompts for token in (*prompt, *tree.ids)]])
    sizes = [len(prompt) + len(tree.ids) for prompt in prompts]
    passes.poll()
    hidden = torch.split(last_hidden(passes.base, ids, layout), sizes)
    truth = classes.truth(rows)
    tally = Tally()
    scores = np.zeros((len(rows), len(classes.labels)))
    for i, (prompt, outputs) in enumerate(zip(prompts, hidden, strict=True)):
        nodes = outputs[len(prompt) - 1 :].float()  # (1 + nodes, hidden): the prompt's last position is the root
        edges, best = [], []
        for chunk in torch.split(nodes, CHUNK):
            logits = torch.nn.functional.linear(chunk, head)  # (n, V)
            edges.append(logits.log_softmax(-1)[:, tree.alphabet])
            best.append(logits.argmax(-1))
        table, most_likely = torch.cat(edges).double().cpu(), torch.cat(best).cpu()  # (1 + nodes, alphabet)
        for label, path in enumerate(tree.paths):
            scores[i, label] = float(sum(table[node, letter] for node, letter in path))
        own = tree.paths[truth[i]]
        tally.add(-torch.stack([table[node, letter] for node, letter in own]), torch.ones(len(own)))
        tally.add_answers([torch.stack([most_likely[node] == tree.alphabet[letter] for node, letter in own])])
        if prompt_weight > 0 and len(prompt) > 1:
            targets = torch.tensor(prompt[1:], device=outputs.device)
            losses, _ = token_losses(outputs[: len(prompt) - 1].float(), head, targets)
            tally.add(losses.cpu(), torch.full((len(targets),), prompt_weight))
    return scores, tally


class LabelTree:
    """The proper prefixes of all labels, each a node that holds its last token; the root is the end of the prompt.

    `alphabet` are the tokens that some label goes on with. `paths` gives for each label its steps: the node whose
    output predicts the next token (0 is the root, i + 1 the i-th of `ids`), and that token's place in the alphabet.
    """

    def __init__(self, classes: Classes) -> None:
        prefixes = sorted({label[:n] for label in classes.tokens for n in range(1, len(label))})
        node = {(): 0} | {prefix: i + 1 for i, prefix in enumerate(prefixes)}
        self.ids = [prefix[-1] for prefix in prefixes]
        self.depths = torch.tensor([len(prefix) for prefix in prefixes], dtype=torch.long)
        self.sees = torch.tensor(
            [[mine[: len(other)] == other for other in prefixes] for mine in prefixes], dtype=torch.bool
        ).reshape(len(prefixes), len(prefixes))  # (M, M)
        self.alphabet = torch.tensor(sorted({token for label in classes.tokens for token in label}))
        letters = {int(token): i for i, token in enumerate(self.alphabet)}
        self.paths = [[(node[label[:n]], letters[label[n]]) for n in range(len(label))] for label in classes.tokens]


@dataclass(frozen=True)
class PromptsWithTree:
    """Attention of several prompts laid end to end, each followed by the nodes of a label tree.

    Args:
        lengths: tokens of each prompt.
    """

    lengths: list[int]
    tree: LabelTree

    def position_ids(self) -> torch.Tensor:
        """(1, T). A node stands as far behind its prompt as its depth in the tree."""
        parts = [torch.cat([torch.arange(n), n - 1 + self.tree.depths]) for n in self.lengths]
        return torch.cat(parts)[None]  # (1, T)

    @cached_property
    def _prompts_alone(self) -> PackedCausal:
        return PackedCausal(self.lengths)

    def attend(
        self,
        layer: int,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        scaling: float,
        sliding_window: int | None,
    ) -> torch.Tensor:
        """As `AttentionLayout.attend`."""
        if not self.tree.ids:
            return self._prompts_alone.attend(layer, query, key, value, scaling, sliding_window)
        sizes = [n + len(self.tree.ids) for n in self.lengths]
        outputs = []
        for n, q, k, v in zip(self.lengths, *(torch.split(x, sizes, dim=2) for x in (query, key, value)), strict=True):
            outputs.append(causal_attention(q[:, :, :n], k[:, :, :n], v[:, :, :n], scaling, sliding_window))
            mask = self._mask(n, sliding_window).to(q.device)
            groups = q.shape[1] // k.shape[1]
            k, v = (x.repeat_interleave(groups, dim=1) for x in (k, v))
            outputs.append(scaled_dot_product_attention(q[:, :, n:], k, v, attn_mask=mask, scale=scaling))
        return torch.cat(outputs, dim=2).transpose(1, 2)  # (1, T, H, D)

    def _mask(self, n: int, sliding_window: int | None) -> torch.Tensor:
        """Which of the prompt's n tokens and of the tree's M nodes each node sees, (M, n + M)."""
        mask = torch.cat([torch.ones(len(self.tree.ids), n, dtype=torch.bool), self.tree.sees], dim=1)
        if sliding_window is None:
            return mask
        places = torch.cat([torch.arange(n), n - 1 + self.tree.depths])
        return mask & (places[n:, None] - places < sliding_window)


def _prompt(example: EncodedExample) -> tuple[int, ...]:
    return tuple(t for t, completion in zip(example.input_ids, example.completion_mask, strict=True) if not completion)
