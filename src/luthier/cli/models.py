"""`luthier pull` and `luthier models`: base weights on this machine, and what was tuned from them."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.filesize import decimal
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)
from rich.table import Table
from rich.text import Text

from luthier.cli import render

if TYPE_CHECKING:
    from luthier.catalogue.entry import Entry
    from luthier.catalogue.pull import PullProgress
    from luthier.catalogue.registry import Registry
    from luthier.config import Settings
    from luthier.domain.model import TunedModel
    from luthier.modeling.bases import LocalBase

PULL_WORDS = {
    "wait": "Waiting for another pull of",
    "download": "Downloading",
    "verify": "Checking",
    "convert": "Converting",
}


def pull(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="ada, another name of `luthier models`, or hf:owner/name[@revision].")
    ],
    accept_license: Annotated[
        bool, typer.Option("--accept-license", help="I have read the terms of these weights and accept them.")
    ] = False,
) -> None:
    """Bring the weights of a base model to this machine. From then on they work with no network."""
    from luthier.config import load_settings
    from luthier.modeling.bases import BaseStore

    store = BaseStore(load_settings())
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), _Amount(), TimeElapsedColumn())
    with Progress(*columns, console=render.console(stderr=True)) as progress:
        bars = _Bars(progress)
        base = store.pull(_absolute(name), bars, accept_license=accept_license)
        bars.finish()
    render.say(f"{base.entry.title} is here: {decimal(base.size_bytes)}, {base.license or 'licence unknown'}")
    render.say(f"  {base.path}")


def models(as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")] = False) -> None:
    """List the base weights: names, size, licence, origin, folder; and the models tuned on this machine."""
    from luthier.config import load_settings
    from luthier.modeling.bases import BaseStore

    settings = load_settings()
    store = BaseStore(settings)
    bases, tuned = store.list(), _tuned(settings)
    damaged = {base.path: base.reason for base in store.damaged()}
    known = {base.key for base in bases}
    others = [entry for entry in store.registry.entries() if entry.key not in known]
    absent = [entry for entry in others if store.registry.folder(entry) not in damaged]
    cards = [_base_card(base, store.registry) for base in bases] + [_absent_card(entry) for entry in absent]
    if as_json:
        broken = [{"path": str(path), "reason": reason} for path, reason in damaged.items()]
        render.show_json(
            {"bases": cards, "damaged": broken, "tuned": [_tuned_card(model, settings) for model in tuned]}
        )
        return
    console = render.console()
    for card in cards:
        console.print(_block(card))
    for path, reason in damaged.items():
        render.say(f"{path} cannot be used:\n  {reason}\n", style="red")
    if tuned:
        rows = [(model.id, model.parent, model.method, render.moment(model.created_at)) for model in tuned]
        console.print(render.table(("Tuned model", "Base", "Method", "Created"), rows))


def _absolute(name: str) -> str:
    """A folder that is named from here, by its whole path."""
    path = Path(name)
    return path.resolve().as_posix() if name.startswith((".", "~")) or path.is_dir() else name


def _tuned(settings: "Settings") -> list["TunedModel"]:
    """Finished fine-tunes; none where there has been no server yet."""
    if settings.database_url is None and not (settings.home / "luthier.db").is_file():
        return []
    from luthier.storage.db import Database
    from luthier.storage.models import TunedModelStore

    return TunedModelStore(Database.open(settings)).list()


def _base_card(base: "LocalBase", registry: "Registry") -> dict[str, Any]:
    origin = str(base.entry.source) if base.record is None else base.record.origin
    return {
        "key": base.key,
        "title": base.entry.title,
        "names": registry.names_of(base.key),
        "pulled": True,
        "size_bytes": base.size_bytes,
        "context_length": base.entry.context_length,
        "license": base.license,
        "license_url": base.entry.license_url,
        "accept_license": base.entry.accept_license,
        "origin": origin,
        "revision": base.record.revision if base.record else None,
        "pulled_at": base.record.pulled_at if base.record else None,
        "path": str(base.path),
    }


def _absent_card(entry: "Entry") -> dict[str, Any]:
    return {
        "key": entry.key,
        "title": entry.title,
        "names": [],
        "pulled": False,
        "size_bytes": entry.size_bytes,
        "context_length": entry.context_length,
        "license": entry.license,
        "license_url": entry.license_url,
        "accept_license": entry.accept_license,
        "origin": str(entry.source),
        "revision": None,
        "pulled_at": None,
        "path": None,
    }


def _tuned_card(model: "TunedModel", settings: "Settings") -> dict[str, Any]:
    return {
        "id": model.id,
        "root": model.root,
        "parent": model.parent,
        "method": model.method,
        "job_id": model.job_id,
        "created_at": model.created_at,
        "path": str(settings.tuned_dir / model.folder),
    }


def _block(card: dict[str, Any]) -> Table:
    """One set of weights as a few lines."""
    pull_it = f"luthier pull {card['key']}" + (" --accept-license" if card["accept_license"] else "")
    rows = [
        ("answers to", ", ".join(card["names"]) or None),
        ("size", None if card["size_bytes"] is None else decimal(card["size_bytes"])),
        ("context", None if card["context_length"] is None else f"{card['context_length']:,} tokens"),
        ("licence", " ".join(filter(None, (card["license"], card["license_url"]))) or "unknown"),
        ("origin", card["origin"]),
        ("revision", card["revision"]),
        ("folder", card["path"] or f"not here yet: {pull_it}"),
    ]
    made = Table.grid(padding=(0, 2))
    made.add_column(no_wrap=True)
    made.add_column(overflow="fold")
    made.add_row(Text(card["title"], style="bold"), Text("" if card["title"] == card["key"] else card["key"]))
    for name, value in rows:
        if value is not None:
            made.add_row(Text(f"  {name}"), Text(value))
    made.add_row()
    return made


class _Amount(ProgressColumn):
    """`41.2/92.9 MB, 31.0 MB/s`, and nothing where nothing is counted."""

    def render(self, task: Task) -> Text:
        if not task.total or task.total == 1:
            return Text("")
        speed = f", {decimal(int(task.speed))}/s" if task.speed else ""
        return Text(f"{decimal(int(task.completed))} of {decimal(int(task.total))}{speed}", style="progress.download")


class _Bars:
    """Shows what `BaseStore.pull` reports, one line a stage."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._tasks: dict[str, TaskID] = {}

    def __call__(self, news: "PullProgress") -> None:
        words = f"{PULL_WORDS[news.stage]} {news.what}"
        if words not in self._tasks:
            self.finish()
            self._tasks[words] = self._progress.add_task(words, total=None)
        if news.total:
            self._progress.update(self._tasks[words], completed=news.done, total=news.total)

    def finish(self) -> None:
        """Stop the spinner and the clock of the stage that is over."""
        for task in self._progress.tasks:
            self._progress.update(task.id, total=task.total or 1, completed=task.total or 1)
