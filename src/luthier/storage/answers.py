"""The answers of a running batch on disk, so that no kill loses one or makes one twice.

Each answer is appended to the file of answers or to that of refusals, then a record to the journal. The journal is the
truth: what lies in the files beyond its last record was being written when the process died, and is cut off.
"""

import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Self

from luthier.config import Settings

# line number, answered or refused, where its file then ended, tokens read, tokens generated
_RECORD = struct.Struct("<I?QII")


class AnswerLog:
    """The two files and the journal of one batch, open for appending.

    Args:
        journal, output, errors: their paths; made if they are not there.

    Attributes:
        done: numbers of the lines that have their answer.
        completed, failed: how many were answered, and how many refused.
        input_tokens, output_tokens: of all answers.
    """

    def __init__(self, journal: Path, output: Path, errors: Path) -> None:
        self.done: set[int] = set()
        self.completed = self.failed = self.input_tokens = self.output_tokens = 0
        self._files: dict[bool, BinaryIO] = {}
        try:
            self._files = {True: output.open("ab"), False: errors.open("ab")}
            self._journal = journal.open("ab")
        except OSError:
            self._close_files()
            raise
        self._ends = {True: 0, False: 0}
        self._recover(journal)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._close_files()
        self._journal.close()

    def add(self, line: int, answer: bytes, *, ok: bool, input_tokens: int = 0, output_tokens: int = 0) -> None:
        """Keep one answer. Once this returns, a kill of the process does not lose it.

        Args:
            line: number of the request's line.
            answer: one line of JSON with its end of line.
            ok: it is an answer, not a refusal.

        Raises:
            OSError: the disk is full or gone. Nothing more can be added: open a new log, which mends the files.
        """
        file = self._files[ok]
        file.write(answer)
        file.flush()
        end = self._ends[ok] + len(answer)
        self._journal.write(_RECORD.pack(line, ok, end, input_tokens, output_tokens))
        self._journal.flush()
        self._count(line, ok, end, input_tokens, output_tokens)

    def note(self, line: bytes) -> None:
        """Write a refusal that is none for ever: it stands in the file, and the next log cuts it off as not done.

        Args:
            line: one line of JSON with its end of line.
        """
        self._files[False].write(line)

    def sync(self) -> None:
        """What was added survives a power cut too. From any thread."""
        for file in (*self._files.values(), self._journal):
            file.flush()
            os.fsync(file.fileno())

    def _recover(self, journal: Path) -> None:
        """Read the journal as far as it is whole and the files hold what it says; cut off what lies beyond."""
        sizes = {ok: os.fstat(file.fileno()).st_size for ok, file in self._files.items()}
        good = 0
        for line, ok, end, input_tokens, output_tokens in _records(journal):
            if line == 0 or not self._ends[ok] < end <= sizes[ok]:  # zeros, or bytes that a power cut took
                break
            self._count(line, ok, end, input_tokens, output_tokens)
            good += 1
        self._journal.truncate(good * _RECORD.size)
        for ok, file in self._files.items():
            file.truncate(self._ends[ok])

    def _count(self, line: int, ok: bool, end: int, input_tokens: int, output_tokens: int) -> None:
        self.done.add(line)
        self._ends[ok] = end
        if ok:
            self.completed += 1
        else:
            self.failed += 1
        self.input_tokens += input_tokens
        self.output_tokens += output_tokens

    def _close_files(self) -> None:
        for file in self._files.values():
            file.close()


def journal_of(settings: Settings, batch_id: str) -> Path:
    """Where a batch's journal lies."""
    return settings.batches_dir / f"{batch_id}.journal"


def refusals_in(journal: Path) -> int:
    """How many requests were refused, as a journal says that nobody writes now."""
    return sum(not ok for _, ok, *_ in _records(journal))


def _records(journal: Path) -> Iterator[tuple[int, bool, int, int, int]]:
    with journal.open("rb") as file:
        while len(raw := file.read(_RECORD.size)) == _RECORD.size:
            yield _RECORD.unpack(raw)
