"""The index of a repository's code: one Parquet file, which is also a frame that the other commands read.

It is written whole beside the old one and then takes its place. While embeddings are made, they are kept in small files
of their own, so that indexing that was interrupted goes on where it stopped.
"""

import hashlib
import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Self

import numpy as np
from filelock import FileLock, Timeout

from luthier.errors import ConflictError, DataError, NotFoundError
from luthier.toolkit.code_definitions import Definition, extract
from luthier.toolkit.code_files import Skipped, list_files, read_source
from luthier.toolkit.code_languages import LANGUAGES
from luthier.types import Embed, Floats

FILE = "index.parquet"
VECTOR = "embedding"
_KEY = "key"  # column of what identifies an embedded text
_PARTS = "parts"
_LOCK = "lock"
_VERSION = 1
_ABOUT = b"luthier.code"  # metadata of the Parquet file
_AT_ONCE = 256  # texts that are embedded between two files of _PARTS
Progress = Callable[[int, int], None]  # embeddings made, and wanted
MAX_EMBEDDED = 6_000  # characters of a definition that its embedding sees


@dataclass(frozen=True)
class FileState:
    """What a file was when it was indexed.

    Args:
        sha256: of its content.
        size: bytes.
        mtime_ns: of its last change, nanoseconds.
    """

    sha256: str
    size: int
    mtime_ns: int


@dataclass(frozen=True)
class CodeIndex:
    """What is known of a repository's code.

    Args:
        root: the repository's folder.
        model: that made the embeddings.
        exclude: patterns of files that were left out.
        files: by path.
        definitions: by path and line.
        vectors: (N, D), one a definition.
    """

    root: Path
    model: str
    exclude: tuple[str, ...]
    files: dict[str, FileState]
    definitions: tuple[Definition, ...]
    vectors: Floats

    @classmethod
    def read(cls, folder: Path) -> Self:
        """
        Raises:
            NotFoundError: there is none.
            DataError: it was made by another version, or is damaged.
        """
        import pyarrow as pa  # type: ignore[import-untyped]
        import pyarrow.parquet as pq  # type: ignore[import-untyped]

        file = folder / FILE
        if not file.is_file():
            raise NotFoundError(f"There is no index of code in {folder}. Make it: luthier code index REPO")
        try:
            table = pq.read_table(file)
            about = json.loads(table.schema.metadata[_ABOUT])
            if about["version"] != _VERSION:
                raise DataError(f"{file} was made by another version of Luthier. Delete it and index again.")
            names = [each.name for each in fields(Definition)]
            rows = table.select(names).to_pylist()
            return cls(
                Path(about["root"]),
                about["model"],
                tuple(about["exclude"]),
                {path: FileState(*state) for path, state in about["files"].items()},
                tuple(Definition(**row) for row in rows),
                _vectors_of(table),
            )
        except (pa.ArrowException, KeyError, TypeError, ValueError, OSError) as error:
            raise DataError(f"{file} cannot be read ({error}). Delete it and index again.") from None

    def write(self, folder: Path) -> None:
        """Put the index into `folder`, whole or not at all."""
        import pyarrow as pa

        columns: dict[str, Any] = {
            each.name: [getattr(definition, each.name) for definition in self.definitions]
            for each in fields(Definition)
        }
        columns[_KEY] = [_key(embedded_text(definition)) for definition in self.definitions]
        columns[VECTOR] = _arrow(self.vectors)
        states = {path: [state.sha256, state.size, state.mtime_ns] for path, state in self.files.items()}
        about: dict[str, Any] = {
            "version": _VERSION,
            "root": str(self.root),
            "model": self.model,
            "exclude": self.exclude,
        }
        about["files"] = states
        types = {str: pa.string(), int: pa.int32()}
        schema = pa.schema(
            [pa.field(each.name, types[each.type]) for each in fields(Definition)]  # type: ignore[index]
            + [pa.field(_KEY, pa.string()), pa.field(VECTOR, columns[VECTOR].type)],
            metadata={_ABOUT: json.dumps(about)},
        )
        _write(folder / FILE, pa.table(columns, schema=schema))

    def stale(self) -> list[str]:
        """Paths of files that have changed, come or gone since; a file is read only where its size or time differ."""
        paths = list_files(self.root, self.exclude)
        changed = list(self.files.keys() - set(paths))
        for path in paths:
            state = self.files.get(path)
            if state is None:
                changed += [path] if not isinstance(read_source(self.root, path), Skipped) else []
                continue
            now = (self.root / path).stat()
            if (now.st_size, now.st_mtime_ns) != (state.size, state.mtime_ns):
                changed += [path] if _digest((self.root / path).read_bytes()) != state.sha256 else []
        return sorted(changed)


@dataclass(frozen=True)
class Indexing:
    """What an indexing did.

    Args:
        files: of source that were read.
        definitions: that the index holds now.
        new, changed, deleted, unchanged: files, against the index before.
        embedded: definitions whose embedding was made now.
        skipped: files of a known language that were not read.
        languages: definitions by language.
    """

    root: str
    model: str
    files: int
    definitions: int
    new: int
    changed: int
    deleted: int
    unchanged: int
    embedded: int
    skipped: tuple[Skipped, ...]
    languages: dict[str, int]

    def as_dict(self) -> dict[str, Any]:
        """Plain types, for JSON."""
        return asdict(self) | {"skipped": [asdict(item) for item in self.skipped]}


def folder_of(root: Path, home: Path) -> Path:
    """Where a repository's index lies: a folder of its own below `home`, so that the repository stays untouched."""
    resolved = root.resolve()
    return home / f"{resolved.name or 'root'}-{_digest(str(resolved).encode())[:12]}"


def embedded_text(definition: Definition) -> str:
    """What is embedded of a definition: where it stands and what it is called, in words, then its source."""
    head = f"{definition.path} {definition.kind} {definition.name}"
    doc = "" if definition.language == "python" else definition.doc
    return "\n".join(part for part in (head, doc, definition.text) if part)[:MAX_EMBEDDED]


def update_index(
    root: Path,
    folder: Path,
    embed: Embed,
    model: str,
    *,
    exclude: Sequence[str] = (),
    progress: Progress | None = None,
) -> Indexing:
    """Make the index of a repository, or bring it up to date. Files are read; only what changed is embedded.

    Args:
        root: the repository's folder.
        folder: of the index; made if needed.
        model: that `embed` asks. With another than before, everything is embedded again.
        exclude: patterns as in .gitignore, of files to leave out.
        progress: told how many of the definitions that need an embedding have one.

    Raises:
        DataError: nothing to index, or embeddings that make no sense.
        ConflictError: another process is indexing this repository.
        ConfigError: a grammar is not installed.
    """
    root = root.resolve()
    paths = list_files(root, exclude)
    if not paths:
        raise _nothing(root, "there is no file of source in it")
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(folder / _LOCK, timeout=0):
            return _update(root, paths, folder, embed, model, exclude, progress)
    except Timeout:
        raise ConflictError(f"Another process is indexing {root} now. Wait until it has finished.") from None


def _update(
    root: Path,
    paths: list[str],
    folder: Path,
    embed: Embed,
    model: str,
    exclude: Sequence[str],
    progress: Progress | None,
) -> Indexing:
    before = _index_before(folder, model)
    old = before.files if before else {}
    old_definitions: dict[str, list[Definition]] = {}
    for definition in before.definitions if before else ():
        old_definitions.setdefault(definition.path, []).append(definition)

    states: dict[str, FileState] = {}
    definitions: list[Definition] = []
    skipped = []
    for path in paths:
        read = read_source(root, path)
        if isinstance(read, Skipped):
            skipped.append(read)
            continue
        states[path] = _state(root, path, read.source)
        if path in old and old[path].sha256 == states[path].sha256:
            definitions += old_definitions.get(path, [])
        else:
            definitions += extract(path, read.source, read.language)
    if not definitions:
        raise _nothing(root, f"its {len(states)} files of source define nothing")
    texts = [embedded_text(definition) for definition in definitions]
    vectors, embedded = _embed(texts, _known(before, folder, model), folder, embed, model, progress)
    CodeIndex(root, model, tuple(exclude), states, tuple(definitions), vectors).write(folder)
    shutil.rmtree(folder / _PARTS, ignore_errors=True)
    languages: dict[str, int] = {}
    for definition in definitions:
        languages[definition.language] = languages.get(definition.language, 0) + 1
    same = sum(path in old and old[path].sha256 == state.sha256 for path, state in states.items())
    new = sum(path not in old for path in states)
    return Indexing(
        root=str(root),
        model=model,
        files=len(states),
        definitions=len(definitions),
        new=new,
        changed=len(states) - same - new,
        deleted=sum(path not in states for path in old),
        unchanged=same,
        embedded=embedded,
        skipped=tuple(skipped),
        languages=languages,
    )


def _nothing(root: Path, what: str) -> DataError:
    known = ", ".join(language.name for language in LANGUAGES)
    return DataError(f"{root}: {what} that code search knows. Name another folder; it reads {known}.")


def _index_before(folder: Path, model: str) -> CodeIndex | None:
    """The index that can be built upon; none of another model, and none that cannot be read."""
    try:
        index = CodeIndex.read(folder)
    except (NotFoundError, DataError):
        return None
    return index if index.model == model else None


def _known(before: CodeIndex | None, folder: Path, model: str) -> dict[str, Floats]:
    """Embeddings that are there already, by key: of the index, and of an indexing that did not come to its end."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    known: dict[str, Floats] = {}
    if before is not None:
        keys = (_key(embedded_text(definition)) for definition in before.definitions)
        known |= dict(zip(keys, before.vectors, strict=True))
    for part in sorted((folder / _PARTS).glob("*.parquet")):
        try:
            table = pq.read_table(part)
            if (table.schema.metadata or {}).get(_ABOUT) == model.encode():
                known |= dict(zip(table[_KEY].to_pylist(), _vectors_of(table), strict=True))
        except (pa.ArrowException, KeyError, OSError):  # half a file of a machine that lost power
            part.unlink(missing_ok=True)
    return known


def _embed(
    texts: list[str],
    known: dict[str, Floats],
    folder: Path,
    embed: Embed,
    model: str,
    progress: Progress | None,
) -> tuple[Floats, int]:
    """The embeddings of texts, (N, D), and how many of them were made now."""
    import pyarrow as pa

    keys = [_key(text) for text in texts]
    missing = {key: text for key, text in zip(keys, texts, strict=True) if key not in known}
    made = 0
    wanted = list(missing.items())
    for at in range(0, len(wanted), _AT_ONCE):
        if progress:
            progress(made, len(wanted))
        chunk = wanted[at : at + _AT_ONCE]
        vectors = np.asarray(embed([text for _, text in chunk]), dtype=np.float32)
        _check(vectors, len(chunk))
        width = next((len(vector) for vector in known.values()), vectors.shape[1])
        if width != vectors.shape[1]:  # another model goes by this name now
            shutil.rmtree(folder / _PARTS, ignore_errors=True)
            return _embed(texts, {}, folder, embed, model, progress)
        known |= dict(zip((key for key, _ in chunk), vectors, strict=True))
        made += len(chunk)
        table = pa.table({_KEY: [key for key, _ in chunk], VECTOR: _arrow(vectors)})
        number = len(list((folder / _PARTS).glob("*.parquet")))
        _write(folder / _PARTS / f"{number:06}.parquet", table.replace_schema_metadata({_ABOUT: model}))
    if progress:
        progress(made, len(wanted))
    return np.stack([known[key] for key in keys]), made


def _check(vectors: Floats, count: int) -> None:
    if vectors.ndim != 2 or len(vectors) != count or not np.isfinite(vectors).all():
        raise DataError(
            f"The embedding model gave an array of shape {vectors.shape} for {count} texts"
            + ("." if vectors.ndim != 2 or len(vectors) != count else ", with numbers that are not finite.")
            + " Ask another model with --model."
        )


def _state(root: Path, path: str, source: bytes) -> FileState:
    about = (root / path).stat()
    return FileState(_digest(source), about.st_size, about.st_mtime_ns)


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _key(text: str) -> str:
    return _digest(text.encode())


def _arrow(vectors: Floats) -> Any:
    """(N, D) as a column of lists."""
    import pyarrow as pa

    flat = pa.array(np.ascontiguousarray(vectors, dtype=np.float32).reshape(-1))
    return pa.FixedSizeListArray.from_arrays(flat, vectors.shape[1])


def _vectors_of(table: Any) -> Floats:
    column = table[VECTOR].combine_chunks()
    flat: Floats = column.flatten().to_numpy(zero_copy_only=False)
    return flat.reshape(len(column), column.type.list_size)


def _write(file: Path, table: Any) -> None:
    """A Parquet file, whole or not at all."""
    import pyarrow.parquet as pq

    file.parent.mkdir(parents=True, exist_ok=True)
    fresh = file.with_suffix(".new")
    pq.write_table(table, fresh, compression="zstd")
    fresh.replace(file)
