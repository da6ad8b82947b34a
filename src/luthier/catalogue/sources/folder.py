"""Weights in a folder: what are they, and can they be loaded?"""

import json
from pathlib import Path, PurePosixPath
from typing import Any

from safetensors import SafetensorError, safe_open

from luthier.catalogue.entry import Kind
from luthier.errors import WeightsError

MODULES = "modules.json"  # the list of its parts that a sentence encoder has
PICKLES = {".bin", ".pt", ".pth", ".ckpt", ".pkl"}


def check(folder: Path) -> None:
    """Look whether a folder holds config.json, tokenizer.json and whole safetensors files, without loading them.

    Raises:
        WeightsError: something is missing or damaged; the message says what and what to do.
    """
    if not folder.is_dir():
        raise WeightsError(f"There is no folder {folder}.")
    folder = transformer(folder)
    _object(folder / "config.json", "The model's configuration")
    weights = sorted(folder.glob("*.safetensors"))
    if not weights:
        raise WeightsError(no_safetensors(str(folder), [path.name for path in folder.iterdir()]))
    index = folder / "model.safetensors.index.json"
    if index.exists():
        named = set(_object(index, "The index of the weights").get("weight_map", {}).values())
        absent = sorted(named - {path.name for path in weights})
        if absent:
            raise WeightsError(f"{folder} lacks {', '.join(absent)}, which {index.name} names.")
    for path in weights:
        try:
            with safe_open(path, framework="numpy"):
                pass
        except (SafetensorError, OSError) as error:
            raise WeightsError(f"{path} is damaged or cut short: {error}") from None
    _object(folder / "tokenizer.json", "The tokenizer")


def kind(folder: Path) -> Kind:
    """What the weights in a folder do: sentence encoders have a list of their modules."""
    return Kind.EMBEDDING if (folder / MODULES).is_file() else Kind.COMPLETION


def modules(folder: Path) -> list[dict[str, Any]]:
    """A sentence encoder's parts in their order, each with `type` and `path`; none for other weights.

    Raises:
        WeightsError: the list is damaged.
    """
    path = folder / MODULES
    if not path.is_file():
        return []
    try:
        parts = json.loads(path.read_text(encoding="utf-8"))
        valid = all(isinstance(part["type"], str) and _is_inside(part["path"]) for part in parts)
    except (ValueError, TypeError, KeyError):
        valid = False
    if not valid or not parts:
        raise WeightsError(f"{path} does not list modules, each with a type and a path.")
    return sorted(parts, key=lambda part: part.get("idx", 0))


def transformer(folder: Path) -> Path:
    """Where config.json, weights and tokenizer lie: the folder itself, or that of a sentence encoder's first module."""
    return folder / modules(folder)[0]["path"] if kind(folder) is Kind.EMBEDDING else folder


def no_safetensors(where: str, names: list[str]) -> str:
    """Words for a place without safetensors that name the pickles it has."""
    pickles = [name for name in sorted(names) if Path(name).suffix in PICKLES]
    if pickles:
        return (
            f"{where} has its weights as pickles only ({', '.join(pickles)}). Opening one can run any program it "
            "contains, so Luthier reads safetensors alone. Convert them once with a tool and a source you trust."
        )
    return f"{where} has no *.safetensors file."


def _is_inside(path: str) -> bool:
    return not PurePosixPath(path).is_absolute() and ".." not in PurePosixPath(path).parts


def _object(path: Path, what: str) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise WeightsError(f"{path.parent} has no {path.name}. {what} is needed in that form.") from None
    except ValueError as error:
        raise WeightsError(f"{path} is not JSON: {error}") from None
    if not isinstance(content, dict):
        raise WeightsError(f"{path} does not hold a JSON object.")
    return content
