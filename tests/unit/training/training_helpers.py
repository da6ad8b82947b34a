"""Short made-up examples, and what trains a tiny base on them."""

import itertools
import random
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, Gemma3Config, GPT2Config, GPTNeoXConfig, PreTrainedConfig

from luthier.datasets.encode import EncodedExample, EncodedPair
from luthier.domain.hyperparameters import Method, ResolvedHyperparameters
from luthier.modeling.loader import load_base
from luthier.training.loop import train
from luthier.training.optim import Optimizer
from luthier.training.progress import Progress, TrainingResult

PLAIN = ResolvedHyperparameters(
    n_epochs=2,
    batch_size=4,
    learning_rate_multiplier=1.0,
    prompt_loss_weight=0.1,
    method=Method.LORA,
    lora_rank=4,
    seed=3,
)
BINARY = replace(PLAIN, compute_classification_metrics=True, classification_positive_class=" yes")


def example(prompt: str, completion: str) -> EncodedExample:
    """One token a byte, as in the tiny base."""
    ids = tuple((prompt + completion).encode())
    n = len(prompt.encode())
    return EncodedExample(ids, (False,) * n + (True,) * (len(ids) - n), completion)


def another_family(kind: str, tiny: Path, folder: Path) -> Path:
    """A random base of another family, with the tiny base's tokenizer."""
    vocabulary = AutoModelForCausalLM.from_pretrained(tiny).config.vocab_size
    sizes = {"vocab_size": vocabulary, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
             "num_attention_heads": 4, "max_position_embeddings": 512}  # fmt: skip
    configs: dict[str, Callable[[], PreTrainedConfig]] = {
        "gpt2": lambda: GPT2Config(vocab_size=vocabulary, n_embd=32, n_layer=2, n_head=4),
        "gpt_neox": lambda: GPTNeoXConfig(**sizes, use_parallel_residual=True),
        "gemma3, which sees": lambda: Gemma3Config(
            text_config=sizes | {"num_key_value_heads": 2, "head_dim": 8},
            vision_config={"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2,
                           "image_size": 28, "patch_size": 14},
            mm_tokens_per_image=4,
        ),
    }  # fmt: skip
    shutil.copytree(tiny, folder)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        AutoModelForCausalLM.from_config(configs[kind]()).save_pretrained(folder)
    return folder


def kept_gradients(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, torch.Tensor]]:
    """The gradients of each step from now on; the steps change nothing."""
    kept: list[dict[str, torch.Tensor]] = []

    def step(optimizer: Any, _step: int) -> float:
        kept.append({name: master.grad.clone() for name, master in optimizer._masters.items()})
        return 1.0

    monkeypatch.setattr(Optimizer, "step", step)
    return kept


def yes_or_no(count: int, seed: int = 0, longest: int = 30) -> list[EncodedExample]:
    """Prompts of random letters whose last one tells the answer."""
    rng = random.Random(seed)
    made = []
    for _ in range(count):
        letters = "".join(rng.choices("abc", k=rng.randint(1, longest)))
        answer = rng.choice([" yes", " no"])
        made.append(example(f"{letters}{'x' if answer == ' yes' else 'z'}>", answer))
    return made


def pairs(count: int, seed: int = 0) -> list[EncodedPair]:
    """The polite answer is preferred to the rude one, whatever is asked."""
    rng = random.Random(seed)
    made = []
    for _ in range(count):
        asked = "".join(rng.choices("abc", k=rng.randint(1, 20))) + ">"
        made.append(EncodedPair(example(asked, " please"), example(asked, " no" + "!" * rng.randint(0, 5))))
    return made


def stop_after(polls: int) -> Callable[[], bool]:
    count = itertools.count()
    return lambda: next(count) >= polls


@dataclass
class Trainer:
    """Trains the tiny base in a folder of its own and keeps what was told."""

    base: Path
    folder: Path
    told: list[Progress] = field(default_factory=list)

    def __call__(
        self,
        examples: Sequence[EncodedExample],
        valid: Sequence[EncodedExample] = (),
        hp: ResolvedHyperparameters = PLAIN,
        *,
        name: str = "run",
        dtype: torch.dtype = torch.float32,
        should_stop: Callable[[], bool] = lambda: False,
        **options: Any,
    ) -> TrainingResult:
        settings: dict[str, Any] = {"micro_batch_tokens": 64, "checkpoint_seconds": 1e9, "base_rate": 1e-2} | options
        return train(
            load_base(self.base, dtype),
            examples,
            valid,
            hp,
            run_dir=self.folder / name,
            emit=self.told.append,
            should_stop=should_stop,
            **settings,
        )
