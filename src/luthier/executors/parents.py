"""What a job starts from: a base of the catalogue, or a tuned model on one."""

import json
from dataclasses import dataclass
from pathlib import Path

from luthier.config import Settings
from luthier.domain.hyperparameters import Method
from luthier.modeling.bases import BaseStore
from luthier.modeling.lora import PEFT_CONFIG
from luthier.storage.models import TunedModelStore


@dataclass(frozen=True)
class Parent:
    """Where a job starts.

    Args:
        base: name of the base, as the catalogue knows it.
        weights: folder of whole tuned weights to load in place of the base's.
        adapter: folder of the tuned model's adapter, if it is one.
        rank: of that adapter.
    """

    base: str
    weights: Path | None = None
    adapter: Path | None = None
    rank: int | None = None


def find_parent(name: str, settings: Settings, models: TunedModelStore, bases: BaseStore) -> Parent:
    """What `name` stands for.

    Raises:
        NotFoundError: it is neither a tuned model nor known to the catalogue.
    """
    tuned = models.find(name)
    if tuned is None:
        bases.registry.resolve(name)
        return Parent(name)
    folder = settings.tuned_dir / tuned.folder
    if tuned.method is Method.FULL:
        return Parent(tuned.root, weights=folder)
    weights = None if tuned.base_folder is None else settings.tuned_dir / tuned.base_folder
    card = folder / PEFT_CONFIG
    rank = json.loads(card.read_text(encoding="utf-8"))["r"] if card.is_file() else None
    return Parent(tuned.root, weights, folder, rank)
