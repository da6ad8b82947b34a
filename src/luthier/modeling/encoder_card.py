"""What the folder of a sentence encoder says about itself: limits, pooling, projections, prompts. No tensor here."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Self

from luthier.catalogue.sources.folder import modules, transformer
from luthier.domain.embedding import Side
from luthier.errors import WeightsError
from luthier.modeling.bases import LocalBase

MAX_TOKENS = 8192  # of one piece; encoders that claim more would need too much memory for a single text
# These families begin to count positions after the padding's: two of their positions are never used.
_COUNT_FROM_TWO = {"mpnet", "roberta", "xlm-roberta", "camembert"}
# Names of the prompts for each side of a search, in sentence-transformers' order.
_PROMPTS: dict[Side | None, tuple[str, ...]] = {
    None: (),
    Side.QUERY: ("query",),
    Side.DOCUMENT: ("document", "passage", "corpus"),
}
_LEGACY_POOLING = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}


class Pooling(StrEnum):
    """How the vectors of a text's tokens become one."""

    CLS = "cls"
    MAX = "max"
    MEAN = "mean"
    MEAN_SQRT_LEN = "mean_sqrt_len_tokens"
    WEIGHTED_MEAN = "weightedmean"
    LAST_TOKEN = "lasttoken"


@dataclass(frozen=True)
class EncoderWeights:
    """A sentence encoder's weights, as they are loaded.

    Args:
        revision: tells one state of the folder from another, each of which is loaded for itself.
    """

    folder: Path
    revision: str = ""

    @classmethod
    def of(cls, base: LocalBase) -> Self:
        """The weights as they are now: pulled ones have a revision, a folder that of its files."""
        if base.record is not None and base.record.revision:
            return cls(base.path, base.record.revision)
        seen = hashlib.sha256()
        for file in sorted(filter(Path.is_file, base.path.rglob("*"))):
            state = file.stat()
            seen.update(f"{file.relative_to(base.path)} {state.st_size} {state.st_mtime_ns}\n".encode())
        return cls(base.path, seen.hexdigest())


@dataclass(frozen=True)
class EncoderCard:
    """A sentence encoder, as its folder describes it.

    Args:
        transformer: the folder of config.json, weights and tokenizer.
        dimensions: numbers of an embedding.
        max_tokens: most tokens that the weights read at once, special ones included.
        lowercase: texts are put in lower case before anything else.
        pooling: several are laid one after the other.
        pools_prompt: the prompt's tokens take part in pooling.
        dense: folders of the projections after pooling, in order.
        normalizes: embeddings get length 1 at the end.
        prompts: by name, texts to be put before the input.
        default_prompt: name of the one that holds when none is asked for.
    """

    transformer: Path
    dimensions: int
    max_tokens: int
    lowercase: bool
    pooling: tuple[Pooling, ...]
    pools_prompt: bool
    dense: tuple[Path, ...]
    normalizes: bool
    prompts: Mapping[str, str]
    default_prompt: str | None

    @classmethod
    def read(cls, folder: Path) -> "EncoderCard":
        """Read modules.json and the configurations that it names.

        Raises:
            WeightsError: it is no sentence encoder, or has a module that Luthier does not compute.
        """
        parts = modules(folder)
        if not parts:
            raise WeightsError(f"{folder} has no modules.json, so it is no sentence encoder that can embed texts.")
        kinds = [part["type"].rsplit(".", 1)[-1] for part in parts]
        paths = [folder / part["path"] for part in parts]
        _check_order(kinds, folder)
        core = transformer(folder)
        config, options = read_config(core / "config.json"), _sentence_config(core)
        pooling = read_config(paths[1] / "config.json")
        modes = _pooling_modes(pooling, paths[1])
        dense = tuple(path for kind, path in zip(kinds, paths, strict=True) if kind == "Dense")
        pooled = int(pooling.get("embedding_dimension") or pooling["word_embedding_dimension"]) * len(modes)
        told = read_config(folder / "config_sentence_transformers.json")
        return cls(
            transformer=core,
            dimensions=int(read_config(dense[-1] / "config.json")["out_features"]) if dense else pooled,
            max_tokens=_max_tokens(core, config, options),
            lowercase=bool(options.get("do_lower_case", False)),
            pooling=modes,
            pools_prompt=bool(pooling.get("include_prompt", True)),
            dense=dense,
            normalizes=kinds[-1] == "Normalize",
            prompts={name: text for name, text in (told.get("prompts") or {}).items() if text},
            default_prompt=told.get("default_prompt_name"),
        )

    def prompt(self, side: Side | None) -> str:
        """What is put before a text of this side of a search, empty where the weights know no such thing."""
        for name in (*_PROMPTS[side], self.default_prompt):
            if name is not None and name in self.prompts:
                return self.prompts[name]
        return ""


def _check_order(kinds: list[str], folder: Path) -> None:
    known = {"Transformer", "Pooling", "Dense", "Normalize"}
    other = [kind for kind in kinds if kind not in known]
    if other:
        raise WeightsError(f"{folder} has a module '{other[0]}', which Luthier does not compute. Take another encoder.")
    middle = kinds[2:-1] if kinds[-1] == "Normalize" else kinds[2:]
    if kinds[:2] != ["Transformer", "Pooling"] or any(kind != "Dense" for kind in middle):
        raise WeightsError(
            f"{folder} lists the modules {', '.join(kinds)}. Luthier computes a Transformer, a Pooling, "
            "then any number of Dense and at the end a Normalize, in this order."
        )


def _pooling_modes(config: Mapping[str, Any], folder: Path) -> tuple[Pooling, ...]:
    named = config.get("pooling_mode")
    if named is None:
        named = [mode for key, mode in _LEGACY_POOLING.items() if config.get(key)] or ["mean"]
    try:
        return tuple(Pooling(mode) for mode in ([named] if isinstance(named, str) else named))
    except ValueError as error:
        raise WeightsError(
            f"{folder / 'config.json'} asks for a pooling that Luthier does not compute: {error}"
        ) from None


def _max_tokens(folder: Path, config: Mapping[str, Any], options: Mapping[str, Any]) -> int:
    positions = config.get("max_position_embeddings") or MAX_TOKENS
    if config.get("model_type") in _COUNT_FROM_TWO:
        positions -= 2
    told = options.get("max_seq_length") or read_config(folder / "tokenizer_config.json").get("model_max_length")
    return min(positions, int(told or positions), MAX_TOKENS)


def _sentence_config(folder: Path) -> dict[str, Any]:
    """Options of the first module. Older releases put the family's name into the file's: sentence_roberta_config."""
    found = sorted(folder.glob("sentence_*_config.json"))
    return read_config(found[0]) if found else {}


def read_config(path: Path) -> dict[str, Any]:
    """The object in a JSON file, empty when there is no such file."""
    if not path.is_file():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise WeightsError(f"{path} is not JSON: {error}") from None
    if not isinstance(content, dict):
        raise WeightsError(f"{path} does not hold a JSON object.")
    return content
