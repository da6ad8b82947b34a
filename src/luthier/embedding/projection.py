"""Customized embedding models: a base's embeddings times a matrix, kept under LUTHIER_HOME.

    custom/NAME-1a2b3c4d/matrix.safetensors      (D, P) float32, the tensor `matrix`
    custom/NAME-1a2b3c4d/model.json              what it is, and of which base's embeddings

A folder that has its `model.json` is whole: it is moved into place in one step.
"""

import hashlib
import json
import logging
import re
import shutil
import tempfile
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from luthier.config import Settings
from luthier.errors import ConflictError, InvalidRequestError, NotFoundError, WeightsError
from luthier.modeling.bases import LocalBase
from luthier.types import Floats

MARK = ":custom-"  # between the base's name and the model's own
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_log = logging.getLogger(__name__)
_MATRIX, _CARD = "matrix.safetensors", "model.json"


@dataclass(frozen=True)
class CustomModel:
    """What is written down beside a matrix.

    Args:
        id: `BASE:custom-NAME`.
        base: name of the base, as its user named it.
        key: of the base's weights.
        revision: of the base's weights, see `revision_of`.
        width: numbers of the base's embeddings, D.
        dimensions: numbers of an embedding of this model, P.
        threshold: cosines above it mean that two texts are alike.
        created_at: Unix seconds.
        figures: accuracies and the like, as the toolkit gives them.
    """

    id: str
    base: str
    key: str
    revision: str
    width: int
    dimensions: int
    threshold: float
    created_at: int
    figures: Mapping[str, Any] = field(default_factory=dict)

    def check(self, base: LocalBase, width: int) -> None:
        """Whether the matrix was made of these weights' embeddings.

        Raises:
            InvalidRequestError: they are others.
        """
        if width != self.width or base.key != self.key or revision_of(base) != self.revision:
            raise InvalidRequestError(
                f"'{self.id}' was made of the embeddings of {self.key} ({self.width} numbers, revision "
                f"{self.revision[:12]}), and '{self.base}' now means {base.key} ({width} numbers, revision "
                f"{revision_of(base)[:12]}). Bring those weights back, or customize again.",
                param="model",
                code="model_not_available",
            )


class CustomModels:
    """The customized models of a home. Any number of processes may use one home."""

    def __init__(self, settings: Settings) -> None:
        self._folder = settings.custom_dir

    def list(self) -> list[CustomModel]:
        """All that are whole, oldest first."""
        cards = []
        for path in self._folder.glob(f"[!.]*/{_CARD}"):
            try:
                cards.append(self._read(path.parent))
            except WeightsError as error:  # one damaged model shall not hide the others
                _log.warning("%s", error.message)
        return sorted(cards, key=lambda card: (card.created_at, card.id))

    def __contains__(self, name: str) -> bool:
        """Whether there are files of a model of that name, be they damaged."""
        return MARK in name and (self.folder(name) / _CARD).is_file()

    def find(self, name: str) -> CustomModel | None:
        """The model of that name, None when there is none.

        Raises:
            WeightsError: its files are damaged.
        """
        return self._read(self.folder(name)) if name in self else None

    def matrix(self, card: CustomModel) -> Floats:
        """(D, P). Kept in memory while it is used again and again.

        Raises:
            WeightsError: the file is damaged.
        """
        path = self.folder(card.id) / _MATRIX
        try:
            matrix = _load(path, path.stat().st_mtime_ns)
        except (OSError, SafetensorError, KeyError) as error:
            raise WeightsError(f"{path} is damaged: {error}. Delete the model and customize again.") from None
        if matrix.shape != (card.width, card.dimensions):
            raise WeightsError(f"{path} holds {matrix.shape}, not {(card.width, card.dimensions)}. Customize again.")
        return matrix

    def save(self, card: CustomModel, matrix: Floats, *, replaces: bool = False) -> Path:
        """Keep a model.

        Args:
            card: `created_at` 0 for now.
            replaces: put it in the place of one of that name.

        Returns:
            Its folder.

        Raises:
            ConflictError: there is one of that name.
        """
        final = self.folder(card.id)
        if not replaces:
            self.refuse_taken(card.id)
        card = replace(card, created_at=card.created_at or int(time.time()))
        self._folder.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(prefix=".", dir=self._folder))
        try:
            save_file({"matrix": np.ascontiguousarray(matrix, dtype=np.float32)}, work / _MATRIX)
            (work / _CARD).write_text(json.dumps(asdict(card), indent=2, ensure_ascii=False), encoding="utf-8")
            work.chmod(0o755)
            if final.exists():
                shutil.rmtree(final)
            work.rename(final)
        finally:
            shutil.rmtree(work, ignore_errors=True)
        return final

    def refuse_taken(self, name: str) -> None:
        """
        Raises:
            ConflictError: there is a model of that name.
        """
        if self.folder(name).exists():
            raise ConflictError(
                f"There is a model '{name}' already. Take another name, or put the new one in its place (--replace).",
                param="name",
            )

    def delete(self, name: str) -> None:
        """
        Raises:
            NotFoundError: there is no customized model of that name.
        """
        if name not in self:
            raise NotFoundError(f"The model '{name}' does not exist.", param="model", code="model_not_found")
        shutil.rmtree(self.folder(name))

    def folder(self, name: str) -> Path:
        """Where a model of that name lies. Bases may be named alike, or by a path: the digits are of the whole name."""
        own = re.sub(r"[^A-Za-z0-9._-]", "_", name.rpartition(MARK)[2])[:64]
        return self._folder / f"{own}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"

    def _read(self, folder: Path) -> CustomModel:
        path = folder / _CARD
        try:
            return CustomModel(**json.loads(path.read_text(encoding="utf-8")))
        except (ValueError, TypeError) as error:
            raise WeightsError(f"{path} is damaged: {error}. Remove its folder and customize again.") from None


def custom_name(base: str, name: str) -> str:
    """`BASE:custom-NAME`.

    Raises:
        InvalidRequestError: it cannot name a model.
    """
    if not _NAME.fullmatch(name):
        raise InvalidRequestError(
            f"'{name}' cannot name a customized model. A name has 1 to 64 letters, digits, '.', '_' and '-', and "
            "begins with a letter or digit.",
            param="name",
        )
    return f"{base}{MARK}{name}"


def projected(vectors: Floats, matrix: Floats) -> Floats:
    """Embeddings times the matrix, brought to length 1.

    Args:
        vectors: (N, D).
        matrix: (D, P).

    Returns:
        (N, P).
    """
    made = vectors @ matrix
    lengths = np.linalg.norm(made.astype(np.float64), axis=1, keepdims=True)
    scaled: Floats = (made / np.maximum(lengths, np.finfo(np.float32).tiny)).astype(np.float32)
    return scaled


def revision_of(base: LocalBase) -> str:
    """What tells these weights from others: the pull's revision, or the SHA-256 of a folder's weights."""
    if base.record is not None:
        return base.record.revision
    files = sorted(base.path.rglob("*.safetensors"))
    return _sha256(tuple((path, path.stat().st_size, path.stat().st_mtime_ns) for path in files))


@lru_cache(maxsize=8)
def _sha256(files: tuple[tuple[Path, int, int], ...]) -> str:
    """Of files' contents; sizes and times are there so that a changed file is read again."""
    digest = hashlib.sha256()
    for path, _, _ in files:
        with path.open("rb") as content:
            digest.update(hashlib.file_digest(content, "sha256").digest())
    return digest.hexdigest()


@lru_cache(maxsize=16)
def _load(path: Path, _changed: int) -> Floats:
    matrix: Floats = load_file(path)["matrix"]
    matrix.setflags(write=False)
    return matrix
