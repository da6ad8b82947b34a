"""The weights that learn: an adapter on a frozen base, or the base's own."""

import shutil
import sys
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors import SafetensorError
from torch import nn

from luthier.domain.hyperparameters import Method, ResolvedHyperparameters
from luthier.errors import TrainingError
from luthier.modeling.loader import BaseModel, quiet
from luthier.modeling.lora import PEFT_CONFIG, LoraConfig, LoraModel, Route
from luthier.training import defaults
from luthier.training.forward import decoder

ADAPTER = "tuned"
_TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "generation_config.json",
    "chat_template.jinja",
)


class TunedWeights(Protocol):
    """What a run changes.

    `masters` are float32 and belong to the optimizer; their `.grad` adds up over the passes of a step. `small` says
    that they are few beside the base's weights, and that a loss can be differentiated by the masters themselves.
    """

    masters: dict[str, nn.Parameter]
    small: bool

    def publish(self) -> None:
        """Let the model compute with the masters as they are now."""
        ...

    def save(self, folder: Path) -> None:
        """Write the model as it is served: a PEFT adapter, or whole weights with their tokenizer."""
        ...


def tuned_weights(base: BaseModel, hp: ResolvedHyperparameters, parent: Path | None) -> TunedWeights:
    """Make ready what a run trains. Changes `base.model` in place.

    Args:
        parent: folder of an adapter to start from.

    Raises:
        TrainingError: the base is of a kind that is not trained here, or the parent no adapter of this rank on it.
    """
    if not hasattr(decoder(base), "layers"):
        raise TrainingError(
            f"A {type(base.model).__name__} keeps its layers otherwise than Luthier can train them. "
            "Take a base of another family.",
            param="model",
        )
    if hp.method is Method.FULL:
        return FullWeights(base, parent)
    return AdapterWeights(base, hp, parent)


class AdapterWeights:
    """A low-rank adapter."""

    small = True

    def __init__(self, base: BaseModel, hp: ResolvedHyperparameters, parent: Path | None) -> None:
        self._base = base
        self._lora = LoraModel(base.model)
        if parent is None:
            config = LoraConfig(hp.lora_rank, defaults.LORA_SCALE * hp.lora_rank, defaults.LORA_DROPOUT)
            self._lora.add(ADAPTER, config, hp.seed)
        elif (rank := _load_adapter(self._lora, parent)) != hp.lora_rank:
            raise TrainingError(f"The adapter to start from has rank {rank}, the run asks for {hp.lora_rank}.")
        base.model.to(base.device)
        self.masters = self._lora.parameters(ADAPTER)
        self._lora.route([Route(ADAPTER, 0, sys.maxsize)])
        self.publish()

    def publish(self) -> None:
        self._lora.publish(ADAPTER)

    def save(self, folder: Path) -> None:
        self._lora.save(ADAPTER, folder, self._base.name)


class FullWeights:
    """All weights of the decoder but the token embeddings, which stay as they are, as does the head.

    A model in a narrower dtype computes with rounded copies of the masters; gradients add up in float32.
    """

    small = False

    def __init__(self, base: BaseModel, parent: Path | None) -> None:
        self._base = base
        exact = {} if parent is None else _merge_adapter(base, parent)
        model: Any = base.model
        frozen = {model.get_input_embeddings().weight, model.get_output_embeddings().weight}
        learning = {*decoder(base).parameters()} - frozen
        self._live = {name: weight for name, weight in model.named_parameters() if weight in learning}
        self.masters = {name: self._master(weight, exact.get(weight)) for name, weight in self._live.items()}

    @torch.no_grad()
    def publish(self) -> None:
        for name, weight in self._live.items():
            if weight is not self.masters[name]:
                weight.copy_(self.masters[name])

    def save(self, folder: Path) -> None:
        model: Any = self._base.model
        with quiet():
            model.save_pretrained(folder)
        for name in _TOKENIZER_FILES:
            source = Path(model.name_or_path) / name
            if source.is_file():
                shutil.copyfile(source, folder / name)

    @staticmethod
    def _master(weight: nn.Parameter, exact: torch.Tensor | None) -> nn.Parameter:
        """
        Args:
            exact: what the weight is rounded from, float32.
        """
        weight.requires_grad_(True)
        if weight.dtype == torch.float32:
            return weight
        master = nn.Parameter(weight.detach().float() if exact is None else exact)

        def collect(weight: torch.Tensor) -> None:
            if weight.grad is not None:
                if master.grad is None:
                    master.grad = torch.zeros_like(master)
                master.grad += weight.grad
                weight.grad = None

        weight.register_post_accumulate_grad_hook(collect)  # type: ignore[no-untyped-call]
        return master


def _load_adapter(lora: LoraModel, folder: Path) -> int:
    """Load an adapter under the name `ADAPTER`; its rank."""
    try:
        return lora.load(ADAPTER, folder).rank
    except (OSError, KeyError, ValueError, SafetensorError) as error:
        raise TrainingError(f"The model to start from cannot be loaded from {folder}: {error}") from error


@torch.no_grad()
def _merge_adapter(base: BaseModel, folder: Path) -> dict[nn.Parameter, torch.Tensor]:
    """Add an adapter to the base's own weights, so that all of them can go on learning.

    Returns:
        The sums that narrower weights are rounded from, float32.
    """
    if not (folder / PEFT_CONFIG).is_file():
        raise TrainingError(f"{folder} holds no adapter: load whole weights as the base to start from.")
    model: Any = base.model
    lora = LoraModel(model)
    _load_adapter(lora, folder)
    exact = {}
    for path, layer in lora.layers.items():
        if ADAPTER in layer.configs:
            _part_from_head(model, layer.base)
            weight = layer.base.weight
            exact[weight] = weight.float() + layer.delta(ADAPTER).to(weight.device)
            weight.copy_(exact[weight])
        parent, _, last = path.rpartition(".")
        setattr(model.get_submodule(parent), last, layer.base)
    return exact


def _part_from_head(model: Any, layer: Any) -> None:
    """Give the head a matrix of its own where it shares that of an embedding, which is about to change."""
    head = model.get_output_embeddings()
    if head.weight is layer.weight:
        head.weight = nn.Parameter(head.weight.detach().clone(), requires_grad=False)
        model.config.tie_word_embeddings = False
