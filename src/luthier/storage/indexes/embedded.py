"""The embedded index: a folder on this machine, without a server.

Three files hold it: `rows.db` (SQLite) says which records there are and in which slot the vector of each lies,
`vectors-N.f32` holds the vectors slot after slot, and `lists-N.faiss`, from 20,000 vectors on, a quantised index of the
first slots. A question reads the quantised index, and the candidates are compared again with their exact vectors; slots
that came later are compared one by one. SQLite is the truth, the number N with it: what the other files hold beyond it
does not count, so a process may die at any moment.
"""

import json
import os
import shutil
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray

from luthier.domain.filters import Filter
from luthier.errors import NotFoundError
from luthier.storage.indexes.base import (
    IndexHit,
    IndexSpec,
    Record,
    attributes_json,
    check_spec,
    checked,
    is_name,
    taken,
    unit,
)
from luthier.storage.indexes.conditions import sql_of
from luthier.storage.indexes.quantised import Quantised, check_installed
from luthier.types import Floats

EXACT_BELOW = 20_000
"""Vectors up to which every one is compared; also where a condition holds for so few of more."""
_FEW = 1_000  # slots that are not worth tidying
_GROWTH = 4  # times as many vectors as the quantised index was made for, and it is made anew
_TAIL_SHARE = 0.1  # of the vectors may lie outside the quantised index before they are taken into it
_OVERFETCH = 4  # candidates of the quantised index for each hit, to be compared exactly
_BLOCK = 1 << 16  # vectors compared at once
_SCHEMA = """
CREATE TABLE IF NOT EXISTS rows (
    slot INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, text TEXT NOT NULL, attributes TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS state (
    one INTEGER PRIMARY KEY CHECK (one = 1), next_slot INTEGER, changes INTEGER, files INTEGER
);
INSERT OR IGNORE INTO state VALUES (1, 0, 0, 0);
"""

Slots = NDArray[np.int64]


class EmbeddedIndexes:
    """The indexes in one folder, a folder each."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def create(self, spec: IndexSpec) -> "EmbeddedIndex":
        check_spec(spec)
        folder = self._folder / spec.name
        self._folder.mkdir(parents=True, exist_ok=True)
        with self._changing():
            if (folder / "index.json").exists():
                raise taken(spec.name)
            if folder.exists():  # it was being dropped when the process ended
                shutil.rmtree(folder)
            folder.mkdir()
            told = {"name": spec.name, "dimensions": spec.dimensions, "model": spec.model}
            (folder / "index.json.new").write_text(json.dumps(told), encoding="utf-8")
            (folder / "index.json.new").replace(folder / "index.json")
        return EmbeddedIndex(folder, spec)

    def open(self, name: str) -> "EmbeddedIndex":
        return EmbeddedIndex(self._folder / name, self._spec(name))

    def specs(self) -> list[IndexSpec]:
        return [self._spec(path.parent.name) for path in sorted(self._folder.glob("*/index.json"))]

    def drop(self, name: str) -> None:
        self._spec(name)
        with self._changing():
            (self._folder / name / "index.json").unlink(missing_ok=True)
            shutil.rmtree(self._folder / name, ignore_errors=True)

    def close(self) -> None:
        """Nothing is held open here."""

    def _changing(self) -> FileLock:
        """Held by who makes or removes an index."""
        return FileLock(self._folder / "indexes.lock")

    def _spec(self, name: str) -> IndexSpec:
        try:
            if not is_name(name):  # which might lead to another folder
                raise FileNotFoundError
            told = json.loads((self._folder / name / "index.json").read_text(encoding="utf-8"))
        except OSError:
            there = ", ".join(path.parent.name for path in sorted(self._folder.glob("*/index.json"))) or "none"
            raise NotFoundError(f"There is no index '{name}'. There are: {there}.", param="name") from None
        return IndexSpec(told["name"], told["dimensions"], told["model"])


class EmbeddedIndex:
    """One index. Safe for several threads and processes; one at a time writes."""

    def __init__(self, folder: Path, spec: IndexSpec) -> None:
        self.spec = spec
        self._folder = folder
        self._lock = threading.RLock()
        self._writing = FileLock(folder / "writing.lock")
        self._rows = sqlite3.connect(folder / "rows.db", check_same_thread=False, isolation_level=None, timeout=30)
        self._rows.execute("PRAGMA journal_mode = WAL")
        if not self._rows.execute("SELECT name FROM sqlite_master WHERE name = 'state'").fetchone():
            with self._writing:
                self._rows.executescript(_SCHEMA)
        self._changes, self._files = -1, -1
        self._lists: Quantised | None = None
        self._held: tuple[str, Slots] | None = None  # the last condition, and the slots for which it holds
        self._selected: tuple[Slots, Any] | None = None  # the last selection of slots, as the quantised index takes it
        with self._snapshot():  # nobody has to wait here for one who writes
            pass

    def __len__(self) -> int:
        with self._lock:
            return int(self._rows.execute("SELECT count(*) FROM rows").fetchone()[0])

    def close(self) -> None:
        with self._lock:
            self._rows.close()

    def add(self, records: Sequence[Record], vectors: Floats) -> None:
        vectors = checked(self.spec, records, vectors)
        if not records:
            return
        with self._write() as start:
            with self._vectors_path.open("r+b" if self._vectors_path.exists() else "w+b") as file:
                file.seek(start * vectors[0].nbytes)
                file.write(np.ascontiguousarray(vectors).data)
                _sync(file)
            self._rows.executemany("DELETE FROM rows WHERE id = ?", [(record.id,) for record in records])
            self._rows.executemany(
                "INSERT INTO rows VALUES (?, ?, ?, ?)",
                [(slot, one.id, one.text, attributes_json(one)) for slot, one in enumerate(records, start=start)],
            )
            self._rows.execute("UPDATE state SET next_slot = ?", (start + len(records),))
            if self._lists is None and len(self) > EXACT_BELOW:
                check_installed()  # before anything is kept
        self._tidy()

    def delete(self, ids: Sequence[str]) -> int:
        with self._write():
            removed = self._rows.executemany("DELETE FROM rows WHERE id = ?", [(one,) for one in ids]).rowcount
        self._tidy()
        return removed

    def get(self, ids: Sequence[str]) -> list[Record]:
        with self._lock:
            found = [self._rows.execute("SELECT id, text, attributes FROM rows WHERE id = ?", (one,)) for one in ids]
            return [_record(row) for cursor in found for row in cursor]

    def search(self, vector: Floats, k: int, where: Filter | None = None) -> list[IndexHit]:
        asked = unit(self.spec, vector)
        with self._snapshot():
            slots, scores = self._nearest(asked, k, self._slots(where))
            of_slot = "SELECT id, text, attributes FROM rows WHERE slot = ?"
            rows = [self._rows.execute(of_slot, (slot,)).fetchone() for slot in slots.tolist()]
        return [IndexHit(_record(row), float(score)) for row, score in zip(rows, scores, strict=True)]

    @property
    def _vectors_path(self) -> Path:
        return self._folder / f"vectors-{self._files}.f32"

    @property
    def _lists_path(self) -> Path:
        return self._folder / f"lists-{self._files}.faiss"

    @contextmanager
    def _write(self) -> Iterator[int]:
        """A transaction; gives the first free slot."""
        with self._lock, self._writing:
            self._rows.execute("BEGIN IMMEDIATE")
            try:
                self._refresh()  # another process may have put other files in the place of those known here
                yield int(self._rows.execute("SELECT next_slot FROM state").fetchone()[0])
                self._rows.execute("UPDATE state SET changes = changes + 1")
                self._rows.execute("COMMIT")
            except BaseException:
                self._rows.execute("ROLLBACK")
                raise

    @contextmanager
    def _snapshot(self) -> Iterator[None]:
        """See one state of the index, the newest, while the block runs."""
        with self._lock:
            while not self._begun():
                pass
            try:
                yield
            finally:
                self._rows.execute("COMMIT")

    def _begun(self) -> bool:
        """Begin to read; False where another process has put newer files in the place of those it names."""
        self._rows.execute("BEGIN")
        try:
            self._refresh()
        except Exception:
            self._rows.execute("COMMIT")
            if self._rows.execute("SELECT files FROM state").fetchone()[0] != self._files:
                return False
            raise
        return True

    def _refresh(self) -> None:
        """See what has been written since, by anybody."""
        n_slots, changes, files = self._rows.execute("SELECT next_slot, changes, files FROM state").fetchone()
        if changes == self._changes:
            return
        if files != self._files:
            self._files, self._lists = files, None
        self._live: Slots = np.fromiter((row[0] for row in self._rows.execute("SELECT slot FROM rows")), np.int64)
        self._live.sort()
        shape = (n_slots, self.spec.dimensions)
        self._matrix: Floats = (
            np.memmap(self._vectors_path, np.float32, "r", shape=shape) if n_slots else np.empty(shape, np.float32)
        )
        if self._lists is None or self._tail() > _TAIL_SHARE:
            self._lists = Quantised.read(self._lists_path)
        self._held = self._selected = None
        self._changes = changes

    def _tail(self) -> float:
        """Share of the slots that the quantised index does not know."""
        covered = self._lists.covered if self._lists is not None else 0
        return 1 - covered / max(len(self._matrix), 1)

    def _tidy(self) -> None:
        """Bring the files of vectors in order when too much of them is unused or unknown to the quantised index."""
        with self._lock, self._writing:  # nobody else writes meanwhile
            self._refresh()
            live, lists = len(self._live), self._lists
            if len(self._matrix) > max(2 * live, _FEW) or (
                live > EXACT_BELOW and (lists is None or live > _GROWTH * lists.trained_on)
            ):
                self._rebuild()
            elif lists is not None and self._tail() > _TAIL_SHARE:
                lists.extend(self._matrix)
                lists.write(self._lists_path)

    def _rebuild(self) -> None:
        """Write the files of vectors anew, without the slots that are no longer used."""
        old, live, matrix = self._files, self._live, self._matrix
        vectors, lists = self._folder / f"vectors-{old + 1}.f32", self._folder / f"lists-{old + 1}.faiss"
        with vectors.open("wb") as file:
            for at in range(0, len(live), _BLOCK):
                file.write(matrix[live[at : at + _BLOCK]].data)
            _sync(file)
        if len(live) > EXACT_BELOW:
            Quantised.train(np.memmap(vectors, np.float32, "r", shape=(len(live), matrix.shape[1]))).write(lists)
        with self._write():
            moved = [(new, slot) for new, slot in enumerate(live.tolist()) if new != slot]
            self._rows.executemany("UPDATE rows SET slot = ? WHERE slot = ?", moved)  # always to a free, lower one
            self._rows.execute("UPDATE state SET next_slot = ?, files = ?", (len(live), old + 1))
        self._refresh()
        for path in (*self._folder.glob("vectors-*"), *self._folder.glob("lists-*")):
            if path not in (vectors, lists):  # also what was left by who was killed here
                path.unlink(missing_ok=True)

    def _slots(self, where: Filter | None) -> Slots:
        """The slots in use for which a condition holds."""
        if where is None:
            return self._live
        condition, values = sql_of(where)
        key = json.dumps([condition, values])
        if self._held is None or self._held[0] != key:
            found = self._rows.execute(f"SELECT slot FROM rows WHERE {condition} ORDER BY slot", values)
            self._held = (key, np.fromiter((row[0] for row in found), np.int64))
        return self._held[1]

    def _nearest(self, asked: Floats, k: int, slots: Slots) -> tuple[Slots, Floats]:
        """Slots and cosines of the nearest among `slots`, nearest first."""
        lists = self._lists
        if lists is None or len(slots) <= EXACT_BELOW:
            return self._compare(asked, k, slots)
        inside = slots[: int(np.searchsorted(slots, lists.covered))]
        if len(inside) == lists.covered:
            near = lists.search(asked, _OVERFETCH * k)
        else:
            if self._selected is None or self._selected[0] is not slots:
                self._selected = slots, lists.select(inside)
            near = lists.search(asked, _OVERFETCH * k, self._selected[1], len(inside) / lists.covered)
        return self._compare(asked, k, np.concatenate([np.sort(near), slots[len(inside) :]]))

    def _compare(self, asked: Floats, k: int, slots: Slots) -> tuple[Slots, Floats]:
        scores = np.empty(len(slots), np.float32)
        for at in range(0, len(slots), _BLOCK):
            block = slots[at : at + _BLOCK]
            run = block[-1] - block[0] + 1 == len(block)  # no gaps: no copy is needed
            vectors = self._matrix[block[0] : block[-1] + 1] if run else self._matrix[block]
            scores[at : at + _BLOCK] = vectors @ asked
        k = min(k, len(slots))
        top = np.argpartition(-scores, k - 1)[:k] if k else np.empty(0, np.int64)
        top = top[np.argsort(-scores[top], kind="stable")]
        return slots[top], scores[top]


def _record(row: tuple[str, str, str]) -> Record:
    return Record(row[0], row[1], json.loads(row[2]))


def _sync(file: BinaryIO) -> None:
    """Bring what was written to the disk, before the rows that name it."""
    file.flush()
    os.fsync(file.fileno())
