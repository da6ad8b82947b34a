"""Training with the real weights: what a run leaves is what PEFT computes from it in float32."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from training_helpers import PLAIN, Trainer
from transformers import AutoModelForCausalLM

from luthier.datasets.encode import encode_example
from luthier.datasets.jsonl import Example
from luthier.modeling.tokenizer import HFTokenizer

THINGS = {" edible": ("bread", "an apple", "cheese"), " inedible": ("a brick", "sand", "a key")}


@pytest.mark.weights
def test_the_last_rows_metrics_are_those_of_the_saved_adapter(ada_folder: Path, tmp_path: Path) -> None:
    tokenizer = HFTokenizer(ada_folder)
    examples = [
        encode_example(Example(prompt=f"{thing} ->", completion=label), tokenizer)
        for label, things in THINGS.items()
        for thing in things
    ]
    hp = replace(
        PLAIN,
        batch_size=3,
        prompt_loss_weight=0.0,
        compute_classification_metrics=True,
        classification_positive_class=" edible",
    )
    result = Trainer(ada_folder, tmp_path)(examples, examples, hp, base_rate=1e-3, micro_batch_tokens=2048)
    last = result.rows[-1]
    plain = AutoModelForCausalLM.from_pretrained(ada_folder, dtype=torch.float32)
    served = PeftModel.from_pretrained(plain, result.folder).eval()
    counts = [sum(example.completion_mask) for example in examples]
    total = sum(logprob(served, example.input_ids, n) for example, n in zip(examples, counts, strict=True))
    assert last.validation_loss == pytest.approx(-total / sum(counts), rel=1e-3)
    labels = {label: tuple(tokenizer.encode(label)) for label in THINGS}
    right = 0
    for example in examples:
        prompt = example.input_ids[: example.completion_mask.index(True)]
        scores = {label: logprob(served, (*prompt, *ids), len(ids)) for label, ids in labels.items()}
        right += max(scores, key=lambda label: scores[label]) == example.completion
    assert last.classification["accuracy"] == pytest.approx(right / len(examples))
    assert len(labels[" inedible"]) > len(labels[" edible"]) == 1


def logprob(model: PeftModel, ids: Sequence[int], n: int) -> float:
    """Summed log probability of the last n of `ids`."""
    with torch.no_grad():
        table = model(input_ids=torch.tensor([list(ids)])).logits[0].log_softmax(-1)  # (T, V)
    return float(sum(table[at - 1, ids[at]] for at in range(len(ids) - n, len(ids))))
