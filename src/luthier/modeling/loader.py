"""A base model in memory: weights, tokenizer, and what the rest of the house must know of them."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn.functional import linear
from transformers import AutoModelForCausalLM
from transformers.utils import logging as transformers_logging

from luthier.errors import WeightsError
from luthier.modeling import attention
from luthier.modeling.tokenizer import HFTokenizer
from luthier.types import Tokenizer

MAX_CONTEXT = 32_768  # tokens; long-context models claim millions, which no default memory budget here could hold


@dataclass(frozen=True)
class BaseModel:
    """A resident base model.

    Args:
        model: a transformers causal language model in evaluation mode, all parameters frozen. Its attention asks the
            `layout` passed with each call (`modeling.attention`).
        tokenizer: its tokenizer.
        context_length: most tokens of a sequence, prompt and completion together.
        dtype: of the weights and of the computation.
        name: its folder's name.
        device: where the weights lie.
    """

    model: nn.Module
    tokenizer: Tokenizer
    context_length: int
    dtype: torch.dtype
    name: str
    device: torch.device


def compute_dtype() -> torch.dtype:
    """bfloat16 where the hardware multiplies it (a GPU, or a CPU with AMX or AVX-512 BF16), float32 elsewhere.

    A CPU without these instructions emulates bfloat16, slower than float32.
    """
    if torch.cuda.is_available():
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float32
    cpu = torch.cpu.get_capabilities()
    return torch.bfloat16 if cpu.get("amx_bf16") or cpu.get("avx512_bf16") else torch.float32


def load_base(path: Path, dtype: torch.dtype) -> BaseModel:
    """Load a folder of config.json, safetensors and tokenizer.json, on the GPU when there is one.

    No code of the folder is run and no pickle is read.

    Raises:
        WeightsError: something is missing, damaged, or of a kind that transformers does not know.
    """
    if not (path / "config.json").is_file():
        raise WeightsError(f"{path} is no base model: it has no config.json.")
    tokenizer = HFTokenizer(path)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        with quiet():
            loaded: Any = AutoModelForCausalLM.from_pretrained(
                path,
                dtype=dtype,
                attn_implementation=attention.IMPLEMENTATION,
                local_files_only=True,
                trust_remote_code=False,
                use_safetensors=True,
                output_loading_info=True,
            )
    except Exception as error:  # transformers raises many kinds; all mean that these weights cannot be loaded
        raise WeightsError(f"The weights in {path} cannot be loaded: {error}") from error
    model, report = loaded
    absent = sorted(map(str, {*report["missing_keys"], *report["mismatched_keys"]}))
    if absent:
        raise WeightsError(f"The weights in {path} lack {len(absent)} tensors of the model, {absent[0]} among them.")
    model.eval().requires_grad_(False).to(device)
    _check_computable(model, device, path)
    length = model.config.get_text_config().max_position_embeddings
    return BaseModel(model, tokenizer, min(length, MAX_CONTEXT), dtype, path.name, device)


def context_length(folder: Path) -> int:
    """Most tokens of a sequence of the base in a folder."""
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    text = config.get("text_config", config)
    length: int = text.get("max_position_embeddings") or text.get("n_positions") or MAX_CONTEXT
    return min(length, MAX_CONTEXT)


@torch.inference_mode()
def _check_computable(model: Any, device: torch.device, path: Path) -> None:
    """Refuse what training and serving would compute wrongly: they apply the head's matrix to the decoder's output.

    Raises:
        WeightsError: the model's own logits are something else.
    """
    layout = attention.PackedCausal([3])
    inputs = {"input_ids": torch.arange(3, device=device)[None], "position_ids": layout.position_ids().to(device)}
    expected = model(**inputs, layout=layout, use_cache=False).logits
    hidden = model.get_decoder()(**inputs, layout=layout, use_cache=False).last_hidden_state
    if not torch.allclose(linear(hidden, model.get_output_embeddings().weight), expected):
        raise WeightsError(
            f"The model in {path} scales, caps or shifts its logits, which Luthier does not compute. Take another base."
        )


@contextmanager
def quiet() -> Iterator[None]:
    """Keep transformers from drawing progress bars and from warnings about what is checked here anyway."""
    logging: Any = transformers_logging
    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        (logging.enable_progress_bar if bars else logging.disable_progress_bar)()
