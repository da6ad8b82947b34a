"""Names of the API, and which base weights stand behind them."""

import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from luthier.catalogue.entry import Entry, FolderSource, HubSource
from luthier.catalogue.tables import UNTRIED_RATES, AliasFile, read_alias_file
from luthier.config import Settings
from luthier.errors import ConfigError, NotFoundError, nearest

_OURS = Path(__file__).with_name("aliases.toml")
_HUB_NAME = re.compile(r"hf:(?P<repo>[\w.-]{1,96}/[\w.-]{1,96})(@(?P<revision>[\w./-]{1,96}))?")
RECORD = "luthier.json"  # written last into the folder of pulled weights, so a folder that has it is whole


@dataclass(frozen=True)
class Resolution:
    """What a name means now.

    Args:
        name: as it was asked for.
        entry: the weights that answer to it.
        note: words for the user when they are not the name's own, and what to do about it.
    """

    name: str
    entry: Entry
    note: str | None = None


class Registry:
    """The catalogue: our aliases and weights, extended and overridden by the user's.

    Args:
        entries: weights by key.
        aliases: for each name its choices, best first: keys, `hf:` names or folders.
        stand_ins: names among the aliases that have no weights of their own.
        models_dir: where pulled weights lie; decides which choice is at hand.
    """

    def __init__(
        self,
        entries: Mapping[str, Entry],
        aliases: Mapping[str, list[str]],
        stand_ins: frozenset[str],
        models_dir: Path,
    ) -> None:
        self._entries = entries
        self._aliases = aliases
        self._stand_ins = stand_ins
        self._models_dir = models_dir

    @classmethod
    def load(cls, settings: Settings) -> Self:
        """Read our alias file, and the user's when there is one.

        Raises:
            ConfigError: a file that makes no sense, or an alias of weights that nobody describes.
        """
        theirs_path = settings.aliases_path
        if settings.aliases is not None and not theirs_path.is_file():
            raise ConfigError(f"LUTHIER_ALIASES names {theirs_path}, which is no file.")
        ours = read_alias_file(_OURS)
        theirs = read_alias_file(theirs_path) if theirs_path.is_file() else AliasFile()
        entries = {**ours.entries(), **theirs.entries()}
        written = {**ours.aliases, **ours.stand_ins, **theirs.stand_ins, **theirs.aliases}
        aliases = {name: _keys(name, written, ()) for name in written}
        stand_ins = (ours.stand_ins.keys() - theirs.aliases.keys()) | (theirs.stand_ins.keys() - theirs.aliases.keys())
        registry = cls(entries, aliases, frozenset(stand_ins), settings.models_dir)
        for alias, choices in aliases.items():
            for choice in choices:
                if registry._described(choice) is None:
                    near = nearest(choice, [*entries, *aliases])
                    raise ConfigError(
                        f"{theirs_path}: the alias {alias} stands for {choice}, which is neither weights described in "
                        "the file, nor another alias, nor hf:owner/name, nor an absolute path."
                        + (f" Did you mean {near}?" if near else "")
                    )
        return registry

    def names(self) -> list[str]:
        """All aliases, in the files' order."""
        return list(self._aliases)

    def entries(self) -> list[Entry]:
        """All weights that the files describe."""
        return list(self._entries.values())

    def names_of(self, key: str) -> list[str]:
        """The aliases that mean these weights now."""
        return [name for name in self._aliases if self.resolve(name).entry.key == key]

    def entry(self, name: str) -> Entry:
        """The weights of a name: an alias's first choice, a key, `hf:owner/name[@revision]`, or a folder's path.

        Raises:
            NotFoundError: nobody knows the name.
        """
        entry = self._described(self._aliases.get(name, [name])[0])
        if entry is None:
            near = nearest(name, [*self._aliases, *self._entries])
            raise NotFoundError(
                f"The model '{name}' does not exist."
                + (f" Did you mean '{near}'?" if near else " `luthier models` lists the names that do."),
                param="model",
                code="model_not_found",
            )
        return entry

    def resolve(self, name: str) -> Resolution:
        """What a name means now: of an alias's choices the first that is at hand, or else the last.

        Raises:
            NotFoundError: nobody knows the name.
        """
        first = self.entry(name)
        choices = [entry for choice in self._aliases.get(name, [name]) if (entry := self._described(choice))]
        entry = next(filter(self.is_at_hand, choices), choices[-1])
        if name in self._stand_ins:
            note = f"{name} has no weights of its own here: {entry.title}, the best base at hand, stands in for it."
            return Resolution(name, entry, f"{note} To choose another base, name it in the alias file.")
        if entry.key == first.key:
            return Resolution(name, entry)
        accept = " --accept-license" if first.accept_license else ""
        note = f"{first.title}, the base of {name}, has not been pulled: {entry.title} stands in for it."
        return Resolution(name, entry, f"{note} `luthier pull {name}{accept}` brings it.")

    def folder(self, entry: Entry) -> Path:
        """Where the weights lie, or will lie once pulled."""
        if isinstance(entry.source, FolderSource):
            return entry.source.path
        return self._models_dir / entry.folder_name

    def is_at_hand(self, entry: Entry) -> bool:
        """Whether the weights need no pulling."""
        folder = self.folder(entry)
        return folder.is_dir() if isinstance(entry.source, FolderSource) else (folder / RECORD).is_file()

    def _described(self, choice: str) -> Entry | None:
        """The entry of a key, an `hf:` name or a folder's path; None when it is none of these."""
        if choice in self._entries:
            return self._entries[choice]
        if hub := _HUB_NAME.fullmatch(choice):
            return Entry(choice, hub["repo"], HubSource(hub["repo"], hub["revision"]), UNTRIED_RATES)
        try:
            path = Path(choice).expanduser()
            with suppress(FileNotFoundError, NotADirectoryError):
                path.stat()
        except (OSError, RuntimeError, ValueError):  # a user that nobody knows, a name too long for a file, a null byte
            return None
        if path.is_absolute():
            return Entry(path.as_posix(), path.name, FolderSource(path), UNTRIED_RATES)
        return None


def _keys(choice: str, aliases: Mapping[str, list[str]], above: tuple[str, ...]) -> list[str]:
    """The choices behind a choice, which may itself be an alias."""
    if choice not in aliases:
        return [choice]
    if choice in above:
        raise ConfigError(f"The aliases {' → '.join((*above, choice))} go in a circle.")
    return [key for inner in aliases[choice] for key in _keys(inner, aliases, (*above, choice))]
