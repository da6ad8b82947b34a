"""Low-rank adapters (LoRA) on linear layers and on the token embedding, many on one base at a time.

For a frozen weight W (out, in) an adapter of rank r adds two small matrices, A (r, in) and B (out, r):

    y = x Wᵀ + (alpha / r) · (x Aᵀ) Bᵀ

(Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models", 2021). A token embedding is such a layer whose x is
one-hot, so that A has a column for each token. One of the two matrices starts at zero, so that a fresh adapter changes
nothing. The masters are float32; each pass computes in the base's dtype.
"""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn.functional import dropout, embedding, linear

from luthier.modeling.attention import PackedCausal

PEFT_CONFIG, PEFT_WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
_PREFIX = "base_model.model."


@dataclass(frozen=True)
class LoraConfig:
    """Shape of an adapter.

    Args:
        rank: inner width r of the two matrices.
        alpha: the adapter's output is scaled by alpha / rank.
        dropout: probability with which an input of a linear layer's A is zeroed while training.
        targets: last names of the layers that get an adapter; None for all.
    """

    rank: int
    alpha: float
    dropout: float = 0.0
    targets: tuple[str, ...] | None = None

    @property
    def scale(self) -> float:
        return self.alpha / self.rank


@dataclass(frozen=True)
class Route:
    """The tokens `start:stop` of a packed row, and the adapter that answers them (None: the base alone).

    As with a slice, a `stop` behind the row's end means its end.
    """

    adapter: str | None
    start: int
    stop: int


class LoraLayer(nn.Module):
    """A frozen layer with any number of named adapters on it.

    `routes` says which tokens of the packed row go through which adapter; `LoraModel` sets it for all layers.

    Args:
        base: has a weight.
        inputs, outputs: widths of the layer.
    """

    names = ("lora_A.weight", "lora_B.weight")  # of the two matrices, as PEFT has them

    def __init__(self, base: nn.Module, inputs: int, outputs: int, routes: list[Route]) -> None:
        super().__init__()
        self.base: Any = base
        self.inputs, self.outputs = inputs, outputs
        self.routes = routes
        self.lora_A = nn.ParameterDict()
        self.lora_B = nn.ParameterDict()
        self.configs: dict[str, LoraConfig] = {}
        self.published: dict[str, tuple[torch.Tensor, torch.Tensor]] = {}  # what `narrow` gave

    def fresh(self, rank: int, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        """A (r, in) and B (out, r) of an adapter that changes nothing yet."""
        raise NotImplementedError

    def inner(self, x: torch.Tensor, a: torch.Tensor, name: str) -> torch.Tensor:
        """What goes into B, (n, r), for some tokens of the row."""
        raise NotImplementedError

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x: (1, T, …) → (1, T, out)."""
        out: torch.Tensor = self.base(x)
        parts, at = [], 0
        for route in self.taken():
            name = str(route.adapter)
            a, b = (not torch.is_grad_enabled() and self.published.get(name)) or self.narrow(name)
            inner = self.inner(x[0, route.start : route.stop], a, name)
            parts += [out[0, at : route.start], torch.addmm(out[0, route.start : route.stop], inner, b.t())]
            at = route.stop
        return torch.cat([*parts, out[0, at:]])[None] if parts else out

    def taken(self) -> list[Route]:
        """The routes whose adapter is on this layer."""
        return [route for route in self.routes if route.adapter in self.configs]

    def narrow(self, name: str) -> tuple[torch.Tensor, torch.Tensor]:
        """An adapter's A (r, in), and its B (out, r) with the scale in it, in the base's dtype."""
        dtype = self.base.weight.dtype
        return self.lora_A[name].to(dtype), self.lora_B[name].to(dtype) * self.configs[name].scale

    def delta(self, name: str) -> torch.Tensor:
        """What an adapter adds to the layer's weight, (out, in)."""
        delta: torch.Tensor = (self.lora_B[name] * self.configs[name].scale) @ self.lora_A[name]
        return delta


class LoraLinear(LoraLayer):
    """A linear layer with adapters."""

    def __init__(self, base: nn.Linear, routes: list[Route]) -> None:
        super().__init__(base, base.in_features, base.out_features, routes)

    def fresh(self, rank: int, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        """A uniform as Kaiming has it, B zero, as PEFT has them."""
        a = torch.empty(rank, self.inputs)
        nn.init.kaiming_uniform_(a, a=math.sqrt(5), generator=generator)
        return a, torch.zeros(self.outputs, rank)

    def inner(self, x: torch.Tensor, a: torch.Tensor, name: str) -> torch.Tensor:
        """x: (n, in) → (n, r)."""
        return dropout(x, self.configs[name].dropout, self.training) @ a.t()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x: (1, T, in) → (1, T, out)."""
        routes = self.taken()
        if len(routes) == 1 and routes[0].start == 0 and routes[0].stop >= x.shape[1]:
            name = str(routes[0].adapter)
            if not (self.configs[name].dropout and self.training):
                masters = self.lora_A[name], self.lora_B[name]
                a, b = self.published.get(name) or self.narrow(name)
                whole: torch.Tensor = _LowRankLinear.apply(  # type: ignore[no-untyped-call]
                    x, self.base.weight, self.base.bias, *masters, a, b, self.configs[name].scale
                )
                return whole
        return super().forward(x)


class LoraEmbedding(LoraLayer):
    """A token embedding with adapters: each token has numbers of its own that learn, a column of A.

    What tells texts apart is often a word that few of them have. The matrices of linear layers serve all tokens and
    hardly change for its sake; its own column does. Where a base scales what its embedding gives (`embed_scale`), the
    adapter's part is scaled alike.
    """

    names = ("lora_embedding_A", "lora_embedding_B")

    def __init__(self, base: nn.Embedding, routes: list[Route]) -> None:
        super().__init__(base, base.num_embeddings, base.embedding_dim, routes)

    @property
    def weight(self) -> torch.Tensor:
        """The base's, (tokens, hidden), at which some models look."""
        weight: torch.Tensor = self.base.weight
        return weight

    def fresh(self, rank: int, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        """A zero, B from the standard normal distribution, as PEFT has them."""
        return torch.zeros(rank, self.inputs), torch.randn(self.outputs, rank, generator=generator)

    def inner(self, x: torch.Tensor, a: torch.Tensor, _name: str) -> torch.Tensor:
        """x: token ids, (n,) → (n, r)."""
        found = embedding(x, a.t()).to(self.weight.dtype)
        return found * torch.as_tensor(getattr(self.base, "embed_scale", 1.0)).to(found)

    def narrow(self, name: str) -> tuple[torch.Tensor, torch.Tensor]:
        """As for every layer, but A stays as it is where it learns.

        So the gradients of a token that occurs often are added up in float32.
        """
        a, b = super().narrow(name)
        return (self.lora_A[name] if torch.is_grad_enabled() else a), b

    def delta(self, name: str) -> torch.Tensor:
        """What an adapter adds to the layer's weight, which has tokens as rows, (in, out)."""
        return super().delta(name).t()


class _LowRankLinear(torch.autograd.Function):
    """x Wᵀ + bias + (x Aᵀ) Bᵀ for a frozen W, adding the second product into the first, forward and backward.

    Args:
        x: (1, T, in).
        master_a, master_b: get the gradients; float32.
        a, b: what is computed with, `LoraLinear.narrow` of the masters.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        master_a: torch.Tensor,
        master_b: torch.Tensor,
        a: torch.Tensor,
        b: torch.Tensor,
        scale: float,
    ) -> torch.Tensor:
        """(1, T, out)."""
        inner = x[0] @ a.t()  # (T, r)
        ctx.save_for_backward(x, weight, a, b, inner)
        ctx.scale, ctx.dtypes = scale, (master_a.dtype, master_b.dtype)
        return linear(x[0], weight, bias).addmm_(inner, b.t())[None]

    @staticmethod
    def backward(
        ctx: Any, *gradients: torch.Tensor
    ) -> tuple[torch.Tensor | None, None, None, torch.Tensor, torch.Tensor, None, None, None]:
        x, weight, a, b, inner = ctx.saved_tensors
        dy = gradients[0][0]  # (T, out)
        di = dy @ b  # (T, r)
        dx = (dy @ weight).addmm_(di, a)[None] if ctx.needs_input_grad[0] else None
        da = (di.t() @ x[0]).to(ctx.dtypes[0])
        db = (inner.t() @ dy).t().to(ctx.dtypes[1]).mul_(ctx.scale)  # the wide matrix second: a third quicker
        return dx, None, None, da, db, None, None, None


class LoraModel:
    """The adapters of one resident base model.

    Wraps the model's layers in place, once; adapters then come and go while the base stays.

    Args:
        model: a transformers causal language model. Its linear layers, but for the head, and its token embedding are
            replaced.
    """

    def __init__(self, model: Any) -> None:
        self.model: nn.Module = model
        self.routes: list[Route] = []
        self.layers: dict[str, LoraLayer] = {}
        linears, tokens = _linears(model.get_decoder()), model.get_input_embeddings()
        for name, module in list(model.named_modules()):
            if module in linears:
                self.layers[name] = LoraLinear(module, self.routes)
            elif module is tokens and (type(module) is nn.Embedding or hasattr(module, "embed_scale")):
                self.layers[name] = LoraEmbedding(module, self.routes)
            else:
                continue
            parent, _, last = name.rpartition(".")
            setattr(model.get_submodule(parent), last, self.layers[name])

    def route(self, routes: Sequence[Route]) -> None:
        """Send the tokens of the next passes through these adapters. Ranges ascend and do not overlap."""
        self.routes[:] = routes

    def add(self, name: str, config: LoraConfig, seed: int = 0) -> None:
        """A fresh adapter that changes nothing yet."""
        generator = torch.Generator().manual_seed(seed)
        for layer in self._targeted(config).values():
            self._put(layer, name, config, *layer.fresh(config.rank, generator))

    def remove(self, name: str) -> None:
        for layer in self.layers.values():
            if layer.configs.pop(name, None):
                del layer.lora_A[name], layer.lora_B[name]
                layer.published.pop(name, None)

    @torch.no_grad()
    def publish(self, name: str) -> None:
        """Keep an adapter as passes compute with it, until it is published again, put anew or removed.

        Without, it is narrowed at each pass anew.
        """
        for layer in self.layers.values():
            if name in layer.configs:
                layer.published[name] = layer.narrow(name)

    def parameters(self, name: str) -> dict[str, nn.Parameter]:
        """The float32 masters of one adapter, by the names that PEFT gives them."""
        return dict(self._named(name))

    def save(self, name: str, folder: Path, base_name: str) -> None:
        """Write the adapter as PEFT does, so that PEFT opens it."""
        config = next(layer.configs[name] for layer in self.layers.values() if name in layer.configs)
        folder.mkdir(parents=True, exist_ok=True)
        weights = {key: value.detach().contiguous() for key, value in self._named(name)}
        save_file(weights, folder / PEFT_WEIGHTS, metadata={"format": "pt"})
        card = {
            "peft_type": "LORA",
            "task_type": "CAUSAL_LM",
            "base_model_name_or_path": base_name,
            "r": config.rank,
            "lora_alpha": config.alpha,
            "lora_dropout": config.dropout,
            "target_modules": sorted({path.rpartition(".")[2] for path in self._targeted(config)}),
            "bias": "none",
            "fan_in_fan_out": False,
            "inference_mode": True,
        }
        (folder / PEFT_CONFIG).write_text(json.dumps(card, indent=2), encoding="utf-8")

    def load(self, name: str, folder: Path) -> LoraConfig:
        """Add an adapter that `save` or PEFT wrote.

        Raises:
            KeyError: the file lacks a weight of a targeted layer.
            ValueError: it was made for another base, or has weights for layers that get no adapter here.
        """
        card = json.loads((folder / PEFT_CONFIG).read_text(encoding="utf-8"))
        config = LoraConfig(card["r"], card["lora_alpha"], card["lora_dropout"], tuple(card["target_modules"]))
        self.put(name, config, load_file(folder / PEFT_WEIGHTS))
        return config

    def put(self, name: str, config: LoraConfig, weights: Mapping[str, torch.Tensor]) -> None:
        """Add an adapter from weights under PEFT's names.

        Raises:
            KeyError: see `load`.
            ValueError: see `load`.
        """
        left = {key for key in weights if ".lora_" in key}
        for path, layer in self._targeted(config).items():
            keys = [f"{_PREFIX}{path}.{matrix}" for matrix in layer.names]
            a, b = (weights[key].float() for key in keys)
            if (a.shape[1], b.shape[0]) != (layer.inputs, layer.outputs):
                raise ValueError(f"it was made for another base, whose {path} is {a.shape[1]} by {b.shape[0]}.")
            self._put(layer, name, config, a, b)
            left -= set(keys)
        if left:
            raise ValueError(f"it has {min(left)}, a layer that gets no adapter here.")

    def _put(self, layer: LoraLayer, name: str, config: LoraConfig, a: torch.Tensor, b: torch.Tensor) -> None:
        layer.lora_A[name], layer.lora_B[name] = nn.Parameter(a), nn.Parameter(b)
        layer.configs[name] = config
        layer.published.pop(name, None)

    def _targeted(self, config: LoraConfig) -> dict[str, LoraLayer]:
        if config.targets is None:
            return self.layers
        return {path: layer for path, layer in self.layers.items() if path.rpartition(".")[2] in config.targets}

    def _named(self, name: str) -> Iterator[tuple[str, nn.Parameter]]:
        for path, layer in self.layers.items():
            if name in layer.configs:
                for matrix, values in zip(layer.names, (layer.lora_A[name], layer.lora_B[name]), strict=True):
                    yield f"{_PREFIX}{path}.{matrix}", values


@torch.no_grad()
def _linears(decoder: nn.Module) -> set[nn.Module]:
    """The linear layers of a decoder that take a row as it is, a token after the other.

    An encoder of images beside it takes none, an expert takes a part of the tokens.
    """
    device, layout, found = next(decoder.parameters()).device, PackedCausal([3]), set()

    def look(layer: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        if inputs[0].shape[:-1] == (1, 3):
            found.add(layer)

    linears = [module for module in decoder.modules() if isinstance(module, nn.Linear)]
    handles = [module.register_forward_pre_hook(look) for module in linears]
    try:
        ids, at = torch.arange(3, device=device)[None], layout.position_ids().to(device)
        decoder(input_ids=ids, position_ids=at, layout=layout, use_cache=False)
    finally:
        for handle in handles:
            handle.remove()
    return found
