"""Weights from a Hugging Face hub: safetensors, configuration and tokenizer, at one commit. No pickle, no code.

The hub's own client downloads, so HF_ENDPOINT (a mirror), HF_TOKEN (gated models) and proxies hold here too.
"""

import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi, ModelInfo, hf_hub_download
from huggingface_hub.errors import (
    GatedRepoError,
    HFValidationError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.utils import httpx  # type: ignore[attr-defined]  # exported for us, though not in their stubs
from tqdm import tqdm

from luthier.catalogue.entry import HubSource
from luthier.catalogue.pull import PullProgress, Report, Stage, verify
from luthier.catalogue.sources.folder import MODULES, no_safetensors
from luthier.errors import WeightsError

_WANTED = {"config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja"}
# Of a sentence encoder: what it says about itself, and the folders of its modules, such as 1_Pooling and 2_Dense.
_ENCODER = re.compile(r"modules\.json|config_sentence_transformers\.json|sentence_[\w-]+_config\.json")
_MODULE = re.compile(r"\d+_\w+/(config\.json|model\.safetensors)")
_WEIGHTS = (".safetensors", ".safetensors.index.json")
_NOTICES = ("LICENSE", "NOTICE", "USE_POLICY")


@dataclass(frozen=True)
class Snapshot:
    """What a repository was when it was pulled.

    Args:
        commit: its Git commit.
        license: as its card names it.
        sha256: of each weights file.
    """

    commit: str
    license: str | None
    sha256: dict[str, str]


def fetch(source: HubSource, folder: Path, report: Report, endpoint: str | None = None) -> Snapshot:
    """Download a repository's weights into `folder` and check them against the hub's own SHA-256.

    Args:
        folder: an empty one of our own; when this fails, what lies in it is worth nothing.
        endpoint: hub to ask instead of the configured one.

    Raises:
        WeightsError: no such repository or revision, no access, no safetensors, no network, or a damaged file.
    """
    with _hub_errors(source):
        info = HfApi(endpoint=endpoint).model_info(source.repo, revision=source.revision, files_metadata=True)
        sizes = _wanted(source, info)
        commit = str(info.sha)
        total, before = sum(sizes.values()), 0
        for name, size in sizes.items():
            hf_hub_download(
                source.repo,
                name,
                revision=commit,
                local_dir=folder,
                endpoint=endpoint,
                tqdm_class=_bar(report, source.repo, before, total),
            )
            before += size
    checksums = {s.rfilename: s.lfs.sha256 for s in info.siblings or [] if s.lfs and s.rfilename in sizes}
    for name, checksum in checksums.items():
        verify(folder / name, checksum, report)
    shutil.rmtree(folder / ".cache", ignore_errors=True)  # the client's notes on the download
    return Snapshot(commit, getattr(info.card_data, "license", None), checksums)


def _wanted(source: HubSource, info: ModelInfo) -> dict[str, int]:
    """Names and sizes (bytes) of the files to download: from the top folder, and a sentence encoder's modules."""
    files = {s.rfilename: s.size or 0 for s in info.siblings or []}
    sizes = {name: size for name, size in files.items() if "/" not in name}
    if not any(name.endswith(".safetensors") for name in sizes):
        raise WeightsError(no_safetensors(str(source), list(sizes)))
    absent = {"config.json", "tokenizer.json"} - set(sizes)
    if absent:
        raise WeightsError(f"{source} has no {' and no '.join(sorted(absent))}, without which it cannot be loaded.")
    wanted = {
        name: size
        for name, size in sizes.items()
        if name in _WANTED or name.endswith(_WEIGHTS) or name.startswith(_NOTICES)
    }
    if MODULES in sizes:
        wanted |= {name: size for name, size in files.items() if _ENCODER.fullmatch(name) or _MODULE.fullmatch(name)}
    return wanted


def _bar(report: Report, what: str, before: int, total: int) -> "type[tqdm[Any]]":
    """A progress bar that draws nothing and reports the bytes of all files together."""

    class Bar(tqdm):  # type: ignore[type-arg]  # generic in the stubs alone
        done = 0

        def update(self, n: float | None = 1) -> bool | None:
            self.done += int(n or 0)
            report(PullProgress(Stage.DOWNLOAD, what, before + self.done, total))
            return None

        def display(self, *_: object, **__: object) -> None:
            """Nothing to draw."""

    return Bar


@contextmanager
def _hub_errors(source: HubSource) -> Iterator[None]:
    """Turn the client's errors into words that say what to do."""
    try:
        yield
    except GatedRepoError:
        raise WeightsError(
            f"{source} asks for consent: accept its terms on the hub's page and set HF_TOKEN to a token of yours."
        ) from None
    except (RepositoryNotFoundError, HFValidationError):
        raise WeightsError(
            f"The hub knows no {source.repo}, or it is private: then set HF_TOKEN to a token that may read it."
        ) from None
    except RevisionNotFoundError:
        raise WeightsError(f"{source.repo} has no revision {source.revision}.") from None
    except (httpx.HTTPError, OfflineModeIsEnabled, LocalEntryNotFoundError, OSError) as error:
        raise WeightsError(
            f"{source} could not be downloaded: {error} Where the hub cannot be reached, set HF_ENDPOINT to a mirror, "
            "or copy the model here and give its folder in place of the name."
        ) from error
