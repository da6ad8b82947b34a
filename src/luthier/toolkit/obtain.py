"""Embed a table into a file: any number of rows in the memory of a few, and going on where a run was stopped.

While it works, a folder `.OUT.partial` beside the output holds the vectors made so far and what they were made of. At
the end the rows are read once more and written with their vectors, and the output appears under its name in one step.
"""

import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa  # type: ignore[import-untyped]
from filelock import FileLock, Timeout

from luthier.durable import whole_file
from luthier.errors import DataError
from luthier.toolkit.frame import to_rows
from luthier.toolkit.selection import Check, Count, Wish, check_wish, select
from luthier.toolkit.tables import Table
from luthier.toolkit.template import Template, open_texts
from luthier.toolkit.writing import writer_for
from luthier.types import Embed, Floats

PIECE = 256  # rows that are embedded, and kept, at a time
_WRITTEN = 8192  # rows of one group of the Parquet file
_FLOAT = 4  # bytes

Report = Callable[[int, int], None]  # rows that are embedded, and rows in all


@dataclass(frozen=True)
class Obtained:
    """What came of embedding a file.

    Args:
        n_rows: of the input.
        n_embedded: rows of the output.
        n_resumed: of these, those that an earlier run had made.
        dropped: rows left out, by reason: `empty`, `long`, `old`.
        seconds: of this run.
    """

    output: Path
    model: str
    dimensions: int
    n_rows: int
    n_embedded: int
    n_resumed: int
    dropped: dict[str, int]
    seconds: float

    def as_dict(self) -> dict[str, Any]:
        return {**asdict(self), "output": str(self.output), "seconds": round(self.seconds, 3)}


def open_source(source: Path, output: Path, text: str, *, wish: Wish | None = None, column: str = "embedding") -> Table:
    """The table of a file, if it can be embedded as it is asked: known before there is anything to embed it with.

    Arguments as of `obtain`.

    Raises:
        DataError: the files, the template or the wish do not fit.
    """
    writer_for(output)
    table, _ = open_texts(source, text)
    if not column.strip():
        raise DataError("The column of the embeddings needs a name. Leave --column out, or name one.")
    if column in table.schema.names:
        raise DataError(
            f"{source.name} has a column '{column}' already. Name another for the embeddings with --column."
        )
    check_wish(table, wish or Wish())
    return table


def obtain(
    source: Path | Table,
    output: Path,
    text: str,
    embed: Embed,
    *,
    model: str,
    made_by: dict[str, Any],
    wish: Wish | None = None,
    column: str = "embedding",
    piece: int = PIECE,
    count: Count | None = None,
    check: Check = lambda _texts, _rows: None,
    report: Report = lambda _done, _total: None,
) -> Obtained:
    """Write the rows of a table with the embedding of each.

    Args:
        source: Parquet, CSV, TSV or JSONL, or what `open_source` made of it.
        output: the same kinds; what is there is replaced at the end.
        text: template of the text that is embedded, as of `frame.texts_of`.
        model: name that the output bears.
        made_by: what else the vectors depend on, as plain JSON; a stopped run with another one is not gone on with.
        wish: which rows.
        column: name of the vectors in the output.
        piece: rows that `embed` gets at a time; what is made of them is safe at once.
        count: tokens of texts, for `wish.max_tokens`.
        check: raises for texts that cannot be embedded, before anything is.

    Raises:
        DataError: the files or the template do not fit, no row is left, or another run writes this output.
    """
    began = time.monotonic()
    table = open_source(source, output, text, wish=wish, column=column) if isinstance(source, Path) else source
    template = Template.parse(text, table.schema.names)
    write = writer_for(output)
    selection = select(table, template, wish or Wish(), count=count, check=check)
    request = {
        "source": _digest(table.path),
        "text": text,
        "model": model,
        "made_by": made_by,
        "piece": piece,
        "kept": hashlib.sha256(selection.kept.tobytes()).hexdigest(),
    }
    work = output.with_name(f".{output.name}.partial")
    with _alone(work, output):
        partial = _Partial(work, request, piece, len(selection))
        n_resumed = partial.n_rows
        _embed_rest(selection.pieces(table, piece), len(selection), template, embed, partial, report)
        fresh = work / f"output{output.suffix}"
        told = {"model": model, "text": text, **made_by}
        with partial.open() as vectors, write(fresh, table.schema, column, partial.width, told) as put:
            for rows in selection.pieces(table, _WRITTEN):
                put(rows, partial.read(vectors, len(rows)))
        fresh.replace(output)
        shutil.rmtree(work, ignore_errors=True)
    seconds = time.monotonic() - began
    return Obtained(output, model, partial.width, table.n_rows, len(selection), n_resumed, selection.dropped, seconds)


def _embed_rest(
    pieces: Iterator[pa.Table], total: int, template: Template, embed: Embed, partial: "_Partial", report: Report
) -> None:
    """Embed the rows that the partial output lacks."""
    done = 0
    report(partial.n_rows, total)
    for rows in pieces:
        done += len(rows)
        if done > partial.n_rows:
            partial.add(embed(template.texts(to_rows(rows.select(template.columns)))))
            report(done, total)


class _Partial:
    """The vectors of a run that is not over, in a folder: float32, one after another, of whole pieces of rows.

    Args:
        request: what they are made of; vectors of another one are thrown away.
        piece: rows of one; those of a piece that is not whole are thrown away too.
        total: rows in all.

    Attributes:
        width: numbers of a vector, 0 as long as there is none.
        n_rows: that are there.
    """

    def __init__(self, folder: Path, request: dict[str, Any], piece: int, total: int) -> None:
        self._vectors, self._request = folder / "vectors.f32", folder / "request.json"
        self._asked = request
        self.width = self.n_rows = 0
        if self._request.is_file() and self._vectors.is_file():
            try:
                known = json.loads(self._request.read_text(encoding="utf-8"))
            except ValueError:  # a power cut left a name without its bytes
                known = {"request": None}
            if known["request"] == request:
                self.width = known["width"]
                there = self._vectors.stat().st_size // (_FLOAT * self.width)
                self.n_rows = there if there == total else there - there % piece
        with self._vectors.open("ab") as file:
            file.truncate(self.n_rows * _FLOAT * self.width)

    def add(self, vectors: Floats) -> None:
        """Keep the vectors of the next rows, (N, D); they survive whatever happens to the process."""
        if not self.width:
            self.width = vectors.shape[1]
            with whole_file(self._request) as fresh:
                fresh.write_text(json.dumps({"request": self._asked, "width": self.width}), encoding="utf-8")
        if vectors.shape[1] != self.width:
            raise DataError(
                f"The model gave vectors of {vectors.shape[1]} numbers after some of {self.width}. Embed the file anew."
            )
        with self._vectors.open("ab") as file:
            file.write(vectors.astype("<f4").tobytes())
            file.flush()
            os.fsync(file.fileno())
        self.n_rows += len(vectors)

    def open(self) -> BinaryIO:
        return self._vectors.open("rb")

    def read(self, file: BinaryIO, n: int) -> Floats:
        """The next `n` vectors, (n, D)."""
        return np.frombuffer(file.read(n * _FLOAT * self.width), dtype="<f4").reshape(n, self.width)


@contextmanager
def _alone(work: Path, output: Path) -> Iterator[None]:
    """Keep other runs off an output.

    Raises:
        DataError: one is at work on it.
    """
    work.mkdir(exist_ok=True)
    lock = FileLock(work / "lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise DataError(f"Another run is writing {output}. Wait for its end, or name another output.") from None
    try:
        yield
    finally:
        lock.release()


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
