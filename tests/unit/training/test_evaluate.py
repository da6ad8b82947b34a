"""Evaluation against transformers' own forward passes, one whole sequence at a time."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from training_helpers import PLAIN, example
from transformers import AutoModelForCausalLM

from luthier.datasets.encode import EncodedExample
from luthier.modeling.loader import BaseModel, load_base
from luthier.training.evaluate import LabelTree, PromptsWithTree, evaluate
from luthier.training.interrupt import Poll
from luthier.training.metrics import Classes, classification_metrics, find_classes
from luthier.training.objective import Measured
from luthier.training.passes import Passes
from luthier.training.weights import tuned_weights

LABELS = (" 1", " 12", " 2", " no", " none", "x")  # some begin alike, one is the beginning of another
PROMPTS = ("how many? ->", "a much longer question, of many more letters than the others have ->", "q>", "?")


def rows() -> list[EncodedExample]:
    return [example(prompt, LABELS[i % len(LABELS)]) for i, prompt in enumerate(PROMPTS * 3)]


def run(
    folder: Path, examples: Sequence[EncodedExample], classes: Classes | None, prompt_weight: float = 0.0
) -> Measured:
    base = load_base(folder, torch.float32)
    return evaluate(passes_of(base), examples, classes, prompt_weight)


def passes_of(base: BaseModel) -> Passes:
    return Passes(base, tuned_weights(base, PLAIN, None), 100, Poll(lambda: False))


def classes_of(examples: Sequence[EncodedExample]) -> Classes:
    hp = replace(PLAIN, compute_classification_metrics=True, classification_n_classes=len(LABELS))
    classes = find_classes(examples, examples, hp)
    assert classes is not None
    return classes


@pytest.fixture(scope="module")
def reference(tiny_base: Path) -> AutoModelForCausalLM:
    return AutoModelForCausalLM.from_pretrained(tiny_base, dtype=torch.float64)


def logprobs(model: AutoModelForCausalLM, ids: Sequence[int]) -> torch.Tensor:
    """Log probabilities of the next token after each of `ids`, (T, V)."""
    with torch.no_grad():
        return model(torch.tensor([list(ids)])).logits[0].log_softmax(-1)


def test_each_label_is_scored_as_a_whole_sequence(tiny_base: Path, reference: AutoModelForCausalLM) -> None:
    examples = rows()
    classes = classes_of(examples)
    scores = np.zeros((len(examples), len(LABELS)))
    for i, row in enumerate(examples):
        prompt = row.input_ids[: row.completion_mask.index(True)]
        for j, label in enumerate(classes.tokens):
            table = logprobs(reference, [*prompt, *label])
            scores[i, j] = sum(float(table[len(prompt) - 1 + n, token]) for n, token in enumerate(label))
    expected = classification_metrics(scores, classes.truth(examples), classes)
    assert run(tiny_base, examples, classes).classification == expected
    weights = np.linspace(0, 1, len(LABELS))  # metrics alone would hide small differences
    assert run_scores(tiny_base, examples, classes) @ weights == pytest.approx(scores @ weights, rel=1e-4)


def run_scores(folder: Path, examples: Sequence[EncodedExample], classes: Classes) -> np.ndarray:
    """What `evaluate` gives to the metrics."""
    seen = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "luthier.training.evaluate.classification_metrics", lambda scores, *_: seen.append(scores.copy()) or {}
        )
        run(folder, examples, classes)
    return seen[0]


@pytest.mark.parametrize("prompt_weight", [0.0, 0.3])
@pytest.mark.parametrize("scored", [False, True])
def test_loss_and_accuracies_are_those_of_the_completions(
    tiny_base: Path, reference: AutoModelForCausalLM, prompt_weight: float, scored: bool
) -> None:
    examples = rows()
    loss = weight = 0.0
    answers = []
    for row in examples:
        table = logprobs(reference, row.input_ids[:-1])
        for at, token in enumerate(row.input_ids[1:]):
            w = 1.0 if row.completion_mask[at + 1] else prompt_weight
            loss, weight = loss - w * float(table[at, token]), weight + w
        best = table.argmax(-1).tolist()
        answers.append([best[at - 1] == row.input_ids[at] for at, own in enumerate(row.completion_mask) if own])
    found = run(tiny_base, examples, classes_of(examples) if scored else None, prompt_weight)
    assert found.loss == pytest.approx(loss / weight, rel=1e-5)
    assert found.token_accuracy == pytest.approx(np.mean([answer for row in answers for answer in row]))
    assert found.sequence_accuracy == pytest.approx(np.mean([all(row) for row in answers]))


def test_labels_that_begin_alike_share_tokens_and_single_tokens_need_none() -> None:
    def tree(*labels: str) -> bytes:
        return bytes(LabelTree(Classes(labels, tuple(tuple(label.encode()) for label in labels))).ids)

    assert tree("a", "b") == b""
    assert tree(*(f" {digit}" for digit in range(10))) == b" "
    assert tree(" in", " out") == b" io" + b"u"


def test_nodes_stand_behind_their_prompt_and_see_their_own_prefix() -> None:
    tree = LabelTree(Classes(("abc", "abd", "x"), (tuple(b"abc"), tuple(b"abd"), tuple(b"x"))))
    layout = PromptsWithTree([3, 2], tree)
    assert layout.position_ids()[0].tolist() == [0, 1, 2, 3, 4, 0, 1, 2, 3]
    assert tree.sees.tolist() == [[True, False], [True, True]]


def test_evaluation_leaves_the_mode_of_the_model_as_it_was(tiny_base: Path) -> None:
    base = load_base(tiny_base, torch.float32)
    passes = passes_of(base)
    for training in (True, False):
        base.model.train(training)
        evaluate(passes, rows(), None, 0.0)
        assert base.model.training is training
