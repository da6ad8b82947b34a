"""A sentence encoder in memory: weights, tokenizer, pooling, projections, all as its own folder says.

texts ─ PieceReader ─► pieces ─ Core ─► a vector for each token ─ pooling, Dense, Normalize ─► one for each piece
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn
from torch.nn.functional import linear, normalize
from transformers import AutoModel, MPNetModel

from luthier.catalogue.sources import folder as folder_source
from luthier.errors import WeightsError
from luthier.modeling.encoder_card import EncoderCard, Pooling, read_config
from luthier.modeling.loader import compute_dtype, quiet
from luthier.modeling.packed_encoder import PackedEncoder
from luthier.modeling.pieces import Piece, PieceReader

Vectors = NDArray[np.float32]

_PADDED_ROW = 1.25  # a padded row is at most this many times as long as its shortest sequence
_ACTIVATIONS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "torch.nn.modules.linear.Identity": lambda x: x,
    "torch.nn.modules.activation.Tanh": torch.tanh,
    "torch.nn.modules.activation.ReLU": torch.relu,
    "torch.nn.modules.activation.GELU": nn.GELU(),
    "torch.nn.modules.activation.Sigmoid": torch.sigmoid,
}


class _MPNet(MPNetModel):  # type: ignore[no-untyped-call]
    """Its bias on the attention's scores is loaded in float32: in bfloat16, one of 11.2 is off by up to 0.03."""

    _keep_in_fp32_modules_strict = {"relative_attention_bias"}  # noqa: RUF012 - as the base class has it


class Core(Protocol):
    """The transformer: last hidden states, (T, D), of sequences laid end to end."""

    def __call__(self, sequences: Sequence[Sequence[int]]) -> torch.Tensor: ...


class PaddedEncoder:
    """Any other encoder of transformers: sequences of like length in one batch, the shorter filled up and masked."""

    def __init__(self, model: Any, pad_id: int) -> None:
        self._model = model
        self._pad_id = pad_id

    def __call__(self, sequences: Sequence[Sequence[int]]) -> torch.Tensor:
        """As `Core`; callers do well to order the sequences by length."""
        states, batch = [], [sequences[0]]
        for sequence in sequences[1:]:
            lengths = [len(sequence), *map(len, batch)]
            if max(lengths) > _PADDED_ROW * min(lengths):
                states.append(self._run(batch))
                batch = []
            batch.append(sequence)
        return torch.cat([*states, self._run(batch)])

    def _run(self, batch: Sequence[Sequence[int]]) -> torch.Tensor:
        width = max(map(len, batch))
        ids = torch.tensor([[*ids, *[self._pad_id] * (width - len(ids))] for ids in batch], device=self._model.device)
        lengths = torch.tensor([len(ids) for ids in batch], device=ids.device)
        mask = torch.arange(width, device=ids.device) < lengths[:, None]  # (B, L)
        hidden: torch.Tensor = self._model(input_ids=ids, attention_mask=mask.long()).last_hidden_state  # (B, L, D)
        return hidden[mask]


@dataclass(frozen=True)
class _Dense:
    """A projection after pooling: activation(W·x + b)."""

    weight: torch.Tensor  # (out, in), float32
    bias: torch.Tensor | None  # (out,)
    activation: Callable[[torch.Tensor], torch.Tensor]

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        return self.activation(linear(x, self.weight, self.bias))


class SentenceEncoder:
    """What a folder of sentence-transformers computes.

    Args:
        card: of its folder.
        core: the transformer.
        dense: projections after pooling.
        reader: its tokenizer.
    """

    def __init__(self, card: EncoderCard, core: Core, dense: Sequence[_Dense], reader: PieceReader) -> None:
        self.card = card
        self.reader = reader
        self._core = core
        self._dense = dense

    @torch.inference_mode()
    def embed(self, pieces: Sequence[Piece]) -> Vectors:
        """One vector for each piece, (P, D) in float32; of length 1 if the encoder normalises.

        All pieces go through the weights in one pass: their number of tokens bounds its memory.

        Raises:
            WeightsError: the folder's files do not belong together.
        """
        order = sorted(range(len(pieces)), key=lambda at: len(pieces[at]))
        row = [pieces[at] for at in order]
        pooled = self._pool(self._core([piece.ids for piece in row]).float(), row)  # (P, D)
        for dense in self._dense:
            pooled = dense(pooled)
        if self.card.normalizes:
            pooled = normalize(pooled)
        if pooled.shape[1] != self.card.dimensions:
            raise WeightsError(
                f"These weights make embeddings of {pooled.shape[1]} numbers, and their folder says "
                f"{self.card.dimensions}: its files do not belong together. Fetch the encoder again."
            )
        vectors = np.empty(pooled.shape, dtype=np.float32)
        vectors[order] = pooled.cpu().numpy()
        return vectors

    def _pool(self, states: torch.Tensor, row: Sequence[Piece]) -> torch.Tensor:
        """
        Args:
            states: (T, D), of the pieces laid end to end.

        Returns:
            (P, D), D times the number of ways.
        """
        lengths = torch.tensor([len(piece) for piece in row], device=states.device)
        ends = lengths.cumsum(0)
        # A piece that is all prompt is pooled as a whole.
        skipped = [piece.skipped if piece.skipped < len(piece) else 0 for piece in row]
        starts = ends - lengths + torch.tensor(skipped, device=states.device)
        counts = ends - starts  # (P,)
        owner = torch.repeat_interleave(torch.arange(len(row), device=states.device), counts)
        if any(skipped):
            at = torch.arange(len(owner), device=states.device)
            states_of = states[at + (starts - (counts.cumsum(0) - counts))[owner]]
        else:
            states_of = states  # (N, D), the tokens that are pooled

        def total(x: torch.Tensor) -> torch.Tensor:
            return x.new_zeros(len(row), x.shape[1]).index_add_(0, owner, x)

        def pool(mode: Pooling) -> torch.Tensor:
            match mode:
                case Pooling.CLS:
                    return states[starts]
                case Pooling.LAST_TOKEN:
                    return states[ends - 1]
                case Pooling.MAX:
                    lowest = states.new_full((len(row), states.shape[1]), -torch.inf)
                    return lowest.scatter_reduce_(0, owner[:, None].expand_as(states_of), states_of, "amax")
                case Pooling.MEAN:
                    return total(states_of) / counts[:, None]
                case Pooling.MEAN_SQRT_LEN:
                    return total(states_of) / counts[:, None].sqrt()
                case Pooling.WEIGHTED_MEAN:  # the first token of the piece weighs 1, the second 2, …
                    ordinal = torch.arange(len(owner), device=states.device) - (counts.cumsum(0) - counts)[owner]
                    weights = (ordinal + 1 + (starts - (ends - lengths))[owner])[:, None].float()
                    return total(states_of * weights) / total(weights)

        return torch.cat([pool(mode) for mode in self.card.pooling], dim=1)


def load_encoder(path: Path, dtype: torch.dtype | None = None) -> SentenceEncoder:
    """Load a folder of sentence-transformers, on the GPU when there is one. No code of it is run, no pickle is read.

    Args:
        dtype: of the weights and the computation, by default the hardware's best; pooling is always float32.

    Raises:
        WeightsError: something is missing, damaged, or of a kind that Luthier does not compute.
    """
    folder_source.check(path)
    card = EncoderCard.read(path)
    reader = PieceReader(card)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model = _load_transformer(card.transformer, dtype or compute_dtype()).to(device)
    core: Core
    if model.config.model_type in PackedEncoder.FAMILIES and not getattr(model.config, "is_decoder", False):
        core = PackedEncoder(model, card.max_tokens)
    else:
        core = PaddedEncoder(model, reader.pad_id)
    return SentenceEncoder(card, core, [_load_dense(folder, device) for folder in card.dense], reader)


def _load_transformer(path: Path, dtype: torch.dtype) -> Any:
    kind: Any = _MPNet if read_config(path / "config.json").get("model_type") == "mpnet" else AutoModel
    try:
        with quiet():
            loaded: Any = kind.from_pretrained(
                path,
                dtype=dtype,
                local_files_only=True,
                trust_remote_code=False,
                use_safetensors=True,
                output_loading_info=True,
            )
    except Exception as error:  # transformers raises many kinds; all mean that these weights cannot be loaded
        raise WeightsError(f"The weights in {path} cannot be loaded: {error}") from error
    model, report = loaded
    # Sentence encoders are often saved without the pooler that BERT has for classification; it is not used here.
    lacking = {*report["missing_keys"], *report["mismatched_keys"]}
    absent = sorted(key for key in map(str, lacking) if not key.startswith("pooler."))
    if absent:
        raise WeightsError(f"The weights in {path} lack {len(absent)} tensors of the model, {absent[0]} among them.")
    return model.eval().requires_grad_(False)


def _load_dense(folder: Path, device: torch.device) -> _Dense:
    config = read_config(folder / "config.json")
    name = config.get("activation_function", "torch.nn.modules.activation.Tanh")
    if name not in _ACTIVATIONS:
        raise WeightsError(f"{folder} has the activation {name}, which Luthier does not compute. Take another encoder.")
    if config.get("use_residual"):
        raise WeightsError(f"{folder} adds its input to its output, which Luthier does not compute. Take another one.")
    path = folder / "model.safetensors"
    try:
        tensors = load_file(path, device=str(device))
        bias = tensors.get("linear.bias")
        return _Dense(tensors["linear.weight"].float(), None if bias is None else bias.float(), _ACTIVATIONS[name])
    except (SafetensorError, OSError, KeyError) as error:
        raise WeightsError(f"{path} cannot be read as the weights of a projection: {error}") from None
