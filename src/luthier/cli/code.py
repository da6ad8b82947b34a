"""`luthier code`: search a repository's functions and classes with questions in plain words."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from luthier.cli import render
from luthier.cli.frames import DEFAULT_MODEL, EngineUrl, Model
from luthier.cli.outputs import AsJson

if TYPE_CHECKING:
    from luthier.toolkit.code_index import Indexing, Progress
    from luthier.toolkit.code_search import CodeSearch

_SHOWN_SKIPPED = 5

code = typer.Typer(no_args_is_help=True, help="Search the functions and classes of a repository.")

Repo = Annotated[
    Path | None,
    typer.Option(
        "--repo",
        help="Folder of the repository; by default that of this folder, or the nearest above it that has an index.",
        show_default=False,
    ),
]


@code.command("index")
def index(
    repo: Annotated[Path, typer.Argument(metavar="REPO", help="Folder of the repository.")] = Path(),
    exclude: Annotated[
        list[str] | None,
        typer.Option("--exclude", metavar="PATTERN", help="Leave out files, as .gitignore would; may be given often."),
    ] = None,
    model: Model = DEFAULT_MODEL,
    url: EngineUrl = None,
    as_json: AsJson = False,
) -> None:
    """Index the functions, methods and classes of a repository, or bring its index up to date.

    Only what is new or has changed is embedded. The index lies in LUTHIER_HOME; the repository stays as it is.
    """
    from luthier.cli.frames import embedder
    from luthier.toolkit.code_index import folder_of, update_index

    folder = folder_of(repo, _home())
    with embedder(model, url) as embed, _progress() as progress:
        done = update_index(repo, folder, embed, model, exclude=exclude or (), progress=progress)
    if as_json:
        render.show_json(done.as_dict() | {"index": str(folder)})
    else:
        _show_indexing(done)


@code.command("search")
def search(
    query: Annotated[str, typer.Argument(help="What the code does, such as 'retry after a timeout'.")],
    repo: Repo = None,
    k: Annotated[int, typer.Option("-k", "-n", help="Most hits.")] = 5,
    lang: Annotated[
        list[str] | None, typer.Option("--lang", help="Only this language, such as python; may be given often.")
    ] = None,
    path: Annotated[
        list[str] | None,
        typer.Option("--path", metavar="PATTERN", help="Only such files: src/, *.go; may be given often."),
    ] = None,
    kind: Annotated[
        list[str] | None, typer.Option("--kind", help="Only function, method, class, …; may be given often.")
    ] = None,
    lines: Annotated[int, typer.Option("--lines", min=0, help="Lines of code to show of each hit.")] = 7,
    words: Annotated[
        bool, typer.Option("--words/--no-words", help="Let the question's words count beside its meaning.")
    ] = True,
    url: EngineUrl = None,
    as_json: AsJson = False,
) -> None:
    """Find code by what it does. The question is embedded by the model that made the index."""
    from luthier.cli.frames import embedder
    from luthier.toolkit.code_index import CodeIndex
    from luthier.toolkit.code_search import query_model, search_code

    read = CodeIndex.read(_index_folder(repo))
    with embedder(query_model(read.model), url) as embed:
        found = search_code(
            read, query, embed, k=k, words=words, languages=lang or (), paths=path or (), kinds=kind or ()
        )
    stale = read.stale() if read.root.is_dir() else []
    if as_json:
        render.show_json(found.as_dict(lines) | {"root": str(read.root), "model": read.model, "stale": stale})
        return
    _show_hits(found, lines)
    if stale:
        files = "1 file has" if len(stale) == 1 else f"{len(stale):,} files have"
        render.say(f"{files} changed since the index was made: luthier code index {read.root}", stderr=True)


@code.command("drop")
def drop(repo: Repo = None) -> None:
    """Delete the index of a repository. The repository stays as it is."""
    import shutil

    folder = _index_folder(repo)
    shutil.rmtree(folder)
    render.say(f"Deleted the index in {folder}")


def _home() -> Path:
    from luthier.config import load_settings

    return load_settings().code_dir


def _index_folder(repo: Path | None) -> Path:
    """
    Raises:
        NotFoundError: neither the repository nor, when it was not named, a folder above has an index.
    """
    from luthier.errors import NotFoundError
    from luthier.toolkit.code_index import FILE, folder_of

    here = (repo or Path()).resolve()
    home = _home()
    for root in [here] if repo else [here, *here.parents]:
        if (folder_of(root, home) / FILE).is_file():
            return folder_of(root, home)
    where = f"{here} has no index of its code" if repo else f"Neither {here} nor a folder above it has an index of code"
    raise NotFoundError(f"{where}. Make one: luthier code index {repo or '.'}")


@contextmanager
def _progress() -> "Iterator[Progress]":
    """A bar on standard error, from the first embedding that has to be made."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("Embedding definitions"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    bar = Progress(*columns, console=render.console(stderr=True), transient=True)
    task = bar.add_task("")

    def show(done: int, total: int) -> None:
        if total:
            bar.start()
            bar.update(task, completed=done, total=total)

    try:
        yield show
    finally:
        bar.stop()


def _show_indexing(done: "Indexing") -> None:
    by_language = ", ".join(f"{count:,} {name}" for name, count in sorted(done.languages.items(), key=lambda x: -x[1]))
    render.say(f"{done.definitions:,} definitions in {done.files:,} files ({by_language})", style="bold")
    render.say(
        f"files: {done.new:,} new, {done.changed:,} changed, {done.deleted:,} deleted, {done.unchanged:,} as before; "
        f"{done.embedded:,} definitions embedded"
    )
    for item in done.skipped[:_SHOWN_SKIPPED]:
        render.say(f"skipped: {item.path} {item.reason}")
    if len(done.skipped) > _SHOWN_SKIPPED:
        render.say(f"skipped: {len(done.skipped) - _SHOWN_SKIPPED:,} more; --json names them all")
    render.say(f"\nNow ask: luthier code search 'what the code does' --repo {done.root}")


def _show_hits(found: "CodeSearch", n_lines: int) -> None:
    for hit in found.hits:
        it = hit.definition
        render.say(f"{it.path}:{it.line}  {it.kind} {it.name}  (similarity {hit.similarity:.3f})", style="bold cyan")
        if n_lines:
            render.say("\n".join(f"    {line}".rstrip() for line in hit.snippet(n_lines).splitlines()) + "\n")
