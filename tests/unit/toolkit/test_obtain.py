"""Embedding a table into a file: which rows, what is written, and going on where a run was stopped."""

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from filelock import FileLock

from luthier.errors import DataError, LuthierError
from luthier.toolkit.frame import read_frame
from luthier.toolkit.obtain import PIECE, Obtained, obtain
from luthier.toolkit.selection import Wish
from luthier.types import Floats

WIDTH = 8


class Fake:
    """Embeds a text as numbers that tell its characters, and remembers what it was asked."""

    def __init__(self, stop_after: int | None = None) -> None:
        self.asked: list[list[str]] = []
        self.stop_after = stop_after

    def __call__(self, texts: Sequence[str]) -> Floats:
        if len(self.asked) == self.stop_after:
            raise RuntimeError("the power is gone")
        self.asked.append(list(texts))
        return np.array([vector(text) for text in texts], dtype=np.float32)

    @property
    def n_asked(self) -> int:
        return sum(map(len, self.asked))


def vector(text: str) -> list[float]:
    codes = [ord(letter) / 7 for letter in text[:WIDTH]]
    return codes + [0.0] * (WIDTH - len(codes))


def write(path: Path, n: int) -> Path:
    rows = [{"Time": at % 10, "Text": f"text {at}" if at % 5 else "", "Score": at % 3} for at in range(n)]
    if path.suffix == ".csv":
        lines = ["Time,Text,Score", *(f"{row['Time']},{row['Text']},{row['Score']}" for row in rows)]
    else:
        lines = [json.dumps(row) for row in rows]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def run(source: Path, output: Path, embed: Any = None, **options: Any) -> Obtained:
    options = {"text": "{Text}!", "model": "fake", "made_by": {"revision": "1"}} | options
    return obtain(source, output, embed=embed or Fake(), **options)


@pytest.mark.parametrize("kind", ["parquet", "csv", "tsv", "jsonl"])
@pytest.mark.parametrize("source", ["csv", "jsonl"])
def test_each_kind_of_file_gives_the_same_frame(tmp_path: Path, source: str, kind: str) -> None:
    output = tmp_path / f"out.{kind}"
    result = run(write(tmp_path / f"r.{source}", 20), output, text="{Score}: {Text}")
    frame = read_frame(output)
    assert (
        frame.vectors.tolist()
        == np.array([vector(f"{at % 3}: " + (f"text {at}" if at % 5 else "")) for at in range(20)], np.float32).tolist()
    )
    assert list(frame.rows.columns) == ["Time", "Text", "Score"]
    assert frame.rows["Score"].tolist() == [at % 3 for at in range(20)]
    assert (frame.model, frame.text) == (("fake", "{Score}: {Text}") if kind == "parquet" else (None, None))
    assert (result.n_rows, result.n_embedded, result.n_resumed, result.dimensions) == (20, 20, 0, WIDTH)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([f"r.{source}", f"out.{kind}"])
    run(output, tmp_path / "again.parquet", column="second")  # what was written is read again
    assert read_frame(tmp_path / "again.parquet", "second").vectors.shape == (20, WIDTH)


def test_rows_are_dropped_for_their_text_their_length_and_their_age(tmp_path: Path) -> None:
    wish = Wish(max_tokens=7, drop_empty=True, newest=3)
    result = run(
        write(tmp_path / "r.csv", 20), tmp_path / "o.parquet", wish=wish, count=lambda texts: [*map(len, texts)]
    )
    # Of rows 1 to 9 ("text 1!" has 7 characters, "text 11!" has 8) 5 is empty; 7, 8 and 9 are the newest.
    assert read_frame(tmp_path / "o.parquet").rows["Text"].tolist() == ["text 7", "text 8", "text 9"]
    assert result.dropped == {"empty": 4, "long": 8, "old": 5}
    assert json.loads(json.dumps(result.as_dict()))["n_embedded"] == 3


def test_of_rows_of_one_age_the_later_are_newer(tmp_path: Path) -> None:
    run(write(tmp_path / "r.csv", 40), tmp_path / "o.parquet", wish=Wish(newest=5))
    assert read_frame(tmp_path / "o.parquet").rows["Text"].tolist() == [
        "text 9",
        "text 19",
        "text 29",
        "text 38",
        "text 39",
    ]


def test_a_time_that_is_no_number_is_refused(tmp_path: Path) -> None:
    (tmp_path / "r.jsonl").write_text('{"Text": "a", "Time": 1}\n{"Text": "b", "Time": NaN}\n', encoding="utf-8")
    with pytest.raises(DataError, match="Row 2 is empty in column 'Time'"):
        run(tmp_path / "r.jsonl", tmp_path / "o.parquet", wish=Wish(newest=1))


def test_numbers_that_are_written_as_texts_are_compared_as_numbers(tmp_path: Path) -> None:
    (tmp_path / "r.jsonl").write_text('{"Text": "a", "Time": "10"}\n{"Text": "b", "Time": "9"}\n', encoding="utf-8")
    run(tmp_path / "r.jsonl", tmp_path / "o.parquet", wish=Wish(newest=1))
    assert read_frame(tmp_path / "o.parquet").rows["Text"].tolist() == ["a"]
    (tmp_path / "r.csv").write_text("Text,Time\na,10\nb,9\nc,soon\n", encoding="utf-8")
    with pytest.raises(
        DataError, match=r"Row 3 has 'soon' in column 'Time', which cannot be compared with 10\.0 in row 1"
    ):
        run(tmp_path / "r.csv", tmp_path / "o.parquet", wish=Wish(newest=1))


def test_a_stopped_run_goes_on_to_the_same_result(tmp_path: Path) -> None:
    source = write(tmp_path / "r.jsonl", 4 * PIECE + 100)
    run(source, tmp_path / "whole.parquet")
    with pytest.raises(RuntimeError, match="power"):
        run(source, tmp_path / "o.parquet", Fake(stop_after=3))
    assert not (tmp_path / "o.parquet").exists()
    rest, seen = Fake(), []
    result = run(source, tmp_path / "o.parquet", rest, report=lambda *news: seen.append(news))
    assert result.n_resumed == 3 * PIECE
    assert rest.n_asked == PIECE + 100
    total = 4 * PIECE + 100
    assert seen == [(3 * PIECE, total), (4 * PIECE, total), (total, total)]
    assert (tmp_path / "o.parquet").read_bytes() == (tmp_path / "whole.parquet").read_bytes()


def test_a_run_stopped_while_writing_embeds_nothing_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = write(tmp_path / "r.jsonl", PIECE + 1)
    with monkeypatch.context() as patch:
        patch.setattr("pyarrow.parquet.ParquetWriter.write_table", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            run(source, tmp_path / "o.parquet")
    second = Fake()
    assert run(source, tmp_path / "o.parquet", second).n_resumed == PIECE + 1
    assert second.asked == []


def test_a_piece_that_was_half_written_is_made_again(tmp_path: Path) -> None:
    source = write(tmp_path / "r.jsonl", 3 * PIECE)
    with pytest.raises(RuntimeError, match="power"):
        run(source, tmp_path / "o.parquet", Fake(stop_after=2))
    vectors = tmp_path / ".o.parquet.partial" / "vectors.f32"
    with vectors.open("ab") as file:
        file.write(b"torn")
    vectors_before = vectors.stat().st_size
    assert run(source, tmp_path / "o.parquet").n_resumed == 2 * PIECE
    assert vectors_before == 2 * PIECE * WIDTH * 4 + 4
    assert (
        read_frame(tmp_path / "o.parquet").vectors[-1].tolist() == np.float32(vector(f"text {3 * PIECE - 1}!")).tolist()
    )


@pytest.mark.parametrize("torn", ["", '{"request": {"mod'])
def test_a_torn_note_of_what_was_asked_begins_anew(tmp_path: Path, torn: str) -> None:
    source = write(tmp_path / "r.jsonl", 2 * PIECE)
    with pytest.raises(RuntimeError, match="power"):
        run(source, tmp_path / "o.parquet", Fake(stop_after=1))
    (tmp_path / ".o.parquet.partial" / "request.json").write_text(torn)
    assert run(source, tmp_path / "o.parquet").n_resumed == 0
    assert len(read_frame(tmp_path / "o.parquet")) == 2 * PIECE


@pytest.mark.parametrize(
    "change",
    [
        {"text": "Text"},
        {"model": "other"},
        {"made_by": {"revision": "2"}},
        {"wish": Wish(newest=2 * PIECE)},
        {"piece": PIECE // 2},
        {"rewrite": True},
    ],
)
def test_a_run_of_something_else_begins_anew(tmp_path: Path, change: dict[str, Any]) -> None:
    source = write(tmp_path / "r.jsonl", 2 * PIECE + 5)
    with pytest.raises(RuntimeError, match="power"):
        run(source, tmp_path / "o.parquet", Fake(stop_after=2), text="Score")
    if change.pop("rewrite", False):
        source.write_text(source.read_text().replace('"Score": 1', '"Score": 7'))
    result = run(source, tmp_path / "o.parquet", **{"text": "Score", **change})
    assert result.n_resumed == 0
    assert len(read_frame(tmp_path / "o.parquet")) == result.n_embedded


def test_two_runs_do_not_write_one_output(tmp_path: Path) -> None:
    (tmp_path / ".o.parquet.partial").mkdir()
    with FileLock(tmp_path / ".o.parquet.partial" / "lock"), pytest.raises(DataError, match="Another run is writing"):
        run(write(tmp_path / "r.csv", 3), tmp_path / "o.parquet")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"text": "Title"}, "There is no column 'Title'. The columns are Time, Text, Score"),
        ({"column": "Text"}, "has a column 'Text' already. Name another for the embeddings with --column"),
        ({"wish": Wish(newest=1, by="Date")}, "no column 'Date' to tell the newest rows by"),
        ({"wish": Wish(newest=1, by="Text")}, "Row 1 is empty in column 'Text'"),
        ({"wish": Wish(max_tokens=1), "count": lambda texts: [9] * len(texts)}, "No row .* left .*20 are too long"),
        ({"wish": Wish(max_tokens=1)}, "`max_tokens` needs `count`"),
        ({"output": "o.xls"}, r"o.xls is no kind of table that is written here. Name a .parquet, .csv, .tsv, .jsonl"),
        ({"column": " "}, "The column of the embeddings needs a name"),
        ({"output": "none/o.csv"}, "There is no folder .*none to write o.csv into"),
    ],
)
def test_what_does_not_fit_is_told_before_any_work(tmp_path: Path, options: dict[str, Any], words: str) -> None:
    output, fake = tmp_path / options.pop("output", "o.csv"), Fake()
    with pytest.raises(LuthierError, match=words):
        run(write(tmp_path / "r.csv", 20), output, fake, **options)
    assert fake.asked == []
    assert not output.exists()


def test_a_text_that_cannot_be_embedded_is_told_by_its_row(tmp_path: Path) -> None:
    def check(texts: Sequence[str], rows: Sequence[int]) -> None:
        for text, row in zip(texts, rows, strict=True):
            if text == f"text {PIECE + 7}!":
                raise DataError(f"row {row}")

    fake = Fake()
    source = write(tmp_path / "r.csv", 2 * PIECE)
    with pytest.raises(DataError, match=f"row {PIECE + 7}"):
        run(source, tmp_path / "o.csv", fake, check=check, wish=Wish(drop_empty=True))
    assert fake.asked == []


def test_a_file_without_rows_and_one_row(tmp_path: Path) -> None:
    (tmp_path / "r.csv").write_text("Text\n")
    with pytest.raises(DataError, match=r"r\.csv has no rows"):
        run(tmp_path / "r.csv", tmp_path / "o.csv")
    run(write(tmp_path / "one.csv", 1), tmp_path / "o.csv")
    assert read_frame(tmp_path / "o.csv").vectors.shape == (1, WIDTH)


_SCRIPT = """
import os, resource, sys
from pathlib import Path
import numpy as np
from luthier.toolkit.obtain import obtain
from luthier.toolkit.selection import Wish

source, output = Path(sys.argv[1]), Path(sys.argv[2])
width, killed_at, piece = map(int, sys.argv[3:])
n = 0

def embed(texts):
    global n
    n += len(texts)
    if killed_at and n > killed_at:
        os.kill(os.getpid(), 9)
    return np.array([[len(text)] * width for text in texts], dtype=np.float32)

before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
result = obtain(source, output, "{Text}", embed, model="fake", made_by={}, wish=Wish(drop_empty=True), piece=piece)
after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(result.n_resumed, n, after - before)
"""


@pytest.fixture
def in_a_process() -> Callable[..., "subprocess.CompletedProcess[str]"]:
    def start(
        source: Path, output: Path, width: int, killed_at: int = 0, piece: int = PIECE
    ) -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, "-c", _SCRIPT, *map(str, (source, output, width, killed_at, piece))]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    return start


def test_a_killed_run_goes_on(tmp_path: Path, in_a_process: Callable[..., Any]) -> None:
    source = write(tmp_path / "r.csv", 5 * PIECE)
    kept = 4 * PIECE  # a fifth of the texts is empty
    killed = in_a_process(source, tmp_path / "o.parquet", 4, killed_at=2 * PIECE + 1)
    assert killed.returncode == -9
    assert not (tmp_path / "o.parquet").exists()
    rest = in_a_process(source, tmp_path / "o.parquet", 4)
    resumed, asked, _ = map(int, rest.stdout.split())
    assert (resumed, asked) == (2 * PIECE, kept - 2 * PIECE)
    whole = in_a_process(source, tmp_path / "whole.parquet", 4)
    assert whole.stdout.split()[:2] == ["0", str(kept)]
    assert (tmp_path / "o.parquet").read_bytes() == (tmp_path / "whole.parquet").read_bytes()


@pytest.mark.skipif(sys.platform != "linux", reason="resource counts memory in other units elsewhere")
def test_memory_does_not_grow_with_the_rows(tmp_path: Path, in_a_process: Callable[..., Any]) -> None:
    width = 384  # 200,000 vectors of it take 300 MB
    grown = {}
    for n in (20_000, 200_000):
        done = in_a_process(write(tmp_path / f"r{n}.csv", n), tmp_path / f"o{n}.parquet", width, piece=2048)
        assert done.returncode == 0, done.stderr
        grown[n] = int(done.stdout.split()[2]) / 1024  # MiB
    assert grown[200_000] < 150
    assert grown[200_000] < grown[20_000] + 40
