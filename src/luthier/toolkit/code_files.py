"""The source files of a repository: what git would track, or what a walk finds that .gitignore does not name."""

import os
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from luthier.errors import DataError
from luthier.toolkit.code_languages import Language, language_of

MAX_BYTES = 1 << 20  # of a source file; larger ones are data or made by programs
MAX_LINE = 20_000  # bytes of a line; longer ones are minified

VENDORED = frozenset(
    {"node_modules", "bower_components", "vendor", "third_party", "site-packages", "venv", "__pycache__", "dist"}
)


@dataclass(frozen=True)
class SourceFile:
    """A source file that was read.

    Args:
        path: from the repository's root, with slashes.
        source: UTF-8, without NUL.
    """

    path: str
    language: Language
    source: bytes


@dataclass(frozen=True)
class Skipped:
    """A file of a known language that was not read, and why."""

    path: str
    reason: str


def list_files(root: Path, exclude: Sequence[str] = ()) -> list[str]:
    """Paths of a repository's files in a known language, from its root, with slashes, sorted.

    In a git checkout these are the files that git tracks or would track. Elsewhere a walk, without hidden and vendored
    folders (`VENDORED`) and without what a .gitignore on the way names. Symbolic links are not followed,
    and names with characters that cannot be printed are passed over.

    Args:
        exclude: patterns as in .gitignore, of files to leave out.

    Raises:
        DataError: `root` is no folder.
    """
    from pathspec import GitIgnoreSpec

    if not root.is_dir():
        raise DataError(f"{root} is no folder. Name the folder of a repository.")
    try:
        unwanted = GitIgnoreSpec.from_lines(exclude)
    except ValueError as error:
        raise DataError(f"--exclude: {error}. A pattern looks like one of .gitignore: tests/, *.min.js.") from None
    listed = _git_files(root)
    found = _walked(root) if listed is None else listed
    return sorted(
        path for path in found if language_of(path) is not None and path.isprintable() and not unwanted.match_file(path)
    )


def read_source(root: Path, path: str) -> SourceFile | Skipped:
    """A file of `list_files`, or why it cannot be used."""
    file = root / path
    try:
        if (size := file.stat().st_size) > MAX_BYTES:
            return Skipped(path, f"has {size:,} bytes, more than {MAX_BYTES:,}")
        source = file.read_bytes()
    except OSError as error:
        return Skipped(path, f"cannot be read: {error.strerror}")
    if b"\0" in source:
        return Skipped(path, "is binary")
    try:
        source.decode("utf-8")
    except UnicodeDecodeError as error:
        return Skipped(path, f"is not UTF-8 (byte {error.start:,})")
    if (longest := max(map(len, source.split(b"\n")))) > MAX_LINE:
        return Skipped(path, f"has a line of {longest:,} bytes, as minified files do")
    language = language_of(path, source)
    if language is None:
        return Skipped(path, "is in no language that code search reads")
    return SourceFile(path, language, source)


def _git_files(root: Path) -> list[str] | None:
    """What git tracks or would track below `root`; None where no checkout is, or one that ignores `root`, or no git."""
    try:
        done = _git(root, "ls-files", "-z", "--cached", "--others", "--exclude-standard")
        paths = {os.fsdecode(name) for name in done.stdout.split(b"\0") if name}
        if done.returncode or (not paths and _git(root, "check-ignore", "-q", ".").returncode == 0):
            return None
    except FileNotFoundError:
        return None
    return [path for path in paths if (root / path).is_file() and not (root / path).is_symlink()]


def _git(root: Path, *words: str) -> "subprocess.CompletedProcess[bytes]":
    return subprocess.run(["git", "-C", str(root), *words], capture_output=True, check=False)


def _walked(root: Path) -> Iterator[str]:
    """Files below a folder that is no git checkout."""
    from pathspec import GitIgnoreSpec

    ignores: dict[str, GitIgnoreSpec] = {}  # by folder, from the root, with a slash at its end

    def ignored(path: str) -> bool:
        return any(path.startswith(folder) and spec.match_file(path[len(folder) :]) for folder, spec in ignores.items())

    for top, folders, files in os.walk(root):
        here = Path(top).relative_to(root).as_posix()
        prefix = "" if here == "." else f"{here}/"
        if ".gitignore" in files:
            lines = Path(top, ".gitignore").read_text(encoding="utf-8", errors="replace").splitlines()
            ignores[prefix] = GitIgnoreSpec.from_lines(line for line in lines if _is_pattern(line))
        folders[:] = [
            name
            for name in sorted(folders)
            if not name.startswith(".")
            and name not in VENDORED
            and not Path(top, name, "pyvenv.cfg").exists()
            and not ignored(f"{prefix}{name}/")
        ]
        for name in files:
            path = prefix + name
            if not name.startswith(".") and not Path(top, name).is_symlink() and not ignored(path):
                yield path


def _is_pattern(line: str) -> bool:
    """Whether a line of a .gitignore can be read; git passes over the others."""
    from pathspec import GitIgnoreSpec

    try:
        GitIgnoreSpec.from_lines([line])
    except ValueError:
        return False
    return True
