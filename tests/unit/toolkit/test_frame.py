"""Frames: rows with embeddings out of files of each kind, and what is said of files that do not fit."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from luthier.errors import DataError
from luthier.toolkit.frame import Frame, read_frame, read_rows, texts_of

VECTORS = [[0.1, -2.0], [1e-5, 3.0]]


def write(path: Path, column: str = "embedding", vectors: list[list[float]] | None = None) -> Path:
    """Two rows, in the kind that the path's ending says."""
    rows = {"Score": [5, None], "Text": ["good, very", None], column: vectors or VECTORS}
    if path.suffix == ".parquet":
        pq.write_table(pa.table(rows), path)
    elif path.suffix == ".jsonl":
        lines = (dict(zip(rows, cells, strict=True)) for cells in zip(*rows.values(), strict=True))
        path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    else:
        frame = pd.DataFrame({**rows, column: [json.dumps(vector) for vector in rows[column]]})
        frame["Score"] = frame["Score"].astype("Int64")
        frame.to_csv(path, sep="\t" if path.suffix == ".tsv" else ",")  # with its index, as the document's
    return path


@pytest.mark.parametrize("kind", ["parquet", "csv", "tsv", "jsonl"])
@pytest.mark.parametrize("column", ["embedding", "ada_embedding"])
def test_vectors_are_found_in_each_kind_of_file(tmp_path: Path, kind: str, column: str) -> None:
    frame = read_frame(write(tmp_path / f"r.{kind}", column))
    assert frame.vectors.dtype == np.float32
    np.testing.assert_allclose(frame.vectors, VECTORS, rtol=1e-6)
    assert list(frame.rows.columns) == ["Score", "Text"]
    assert frame.rows["Score"][0] == 5
    assert frame.rows.isna().sum().tolist() == [1, 1]
    assert texts_of(frame.rows, "{Score}/{Text}") == ["5/good, very", "/"]
    assert (len(frame), frame.model) == (2, None)


def test_the_usual_name_goes_before_others_and_several_others_are_asked_about(tmp_path: Path) -> None:
    both = pa.table({"a_embedding": [[1.0]], "embedding": [[2.0]]})
    pq.write_table(both, tmp_path / "both.parquet")
    assert read_frame(tmp_path / "both.parquet").vectors.tolist() == [[2]]
    assert read_frame(tmp_path / "both.parquet", "a_embedding").vectors.tolist() == [[1]]
    pq.write_table(both.rename_columns(["one", "two"]), tmp_path / "two.parquet")
    with pytest.raises(DataError, match=r"two.parquet has several columns of embeddings: 'one', 'two'.*--column"):
        read_frame(tmp_path / "two.parquet")


def test_the_model_is_told_by_the_file(tmp_path: Path) -> None:
    table = pa.table({"embedding": VECTORS}).replace_schema_metadata({"luthier": '{"model": "ada"}'})
    pq.write_table(table, tmp_path / "r.parquet")
    assert read_frame(tmp_path / "r.parquet").model == "ada"


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("r.csv", "", "r.csv is empty"),
        ("r.csv", "a,embedding\n", "r.csv has no rows"),
        ("r.csv", "a,b\n1,2\n", "has no column of embeddings. The columns are a, b.*--text COLUMN"),
        ("r.csv", "a,b\n1,2\n3\n", "r.csv cannot be read: .*Expected 2 columns, got 1"),
        ("r.csv", "a,a\n1,2\n", "has the column 'a' twice"),
        (
            "r.csv",
            'embedding\n"[1, 2]"\n"[1]"\n',
            "Row 2 has 1 numbers in column 'embedding' of r.csv.* row 1 has 2",
        ),
        ("r.csv", 'embedding\n"[1, 2]"\n"[1, NaN]"\n', "Row 2 has something .* that is no finite number"),
        ("r.csv", 'embedding\n"[1, 2]"\n"__import__(1)"\n', "Row 2 has something .* no list of numbers"),
        ("r.csv", 'embedding\n"[1, 2]"\n"[[1, 2]]"\n', "Row 2 has 0 numbers"),
        ("r.csv", 'a,embedding\n1,"[1, 2]"\n2,\n', "Row 2 has nothing in column 'embedding'"),
        (
            "r.csv",
            'v\n"[0.5, 2"\n"[0.5, 2]"\n',
            "Row 1 has something in column 'v' of r.csv that is no list of numbers",
        ),
        (
            "r.csv",
            'v\n"[0.5, nan]"\n"[0.5, 2]"\n',
            "Row 1 has something in column 'v' of r.csv that is no list of numbers",
        ),
        ("r.csv", 'v\n"[0.5, ""x""]"\n"[0.5, 2]"\n', "Row 1 has something in column 'v' of r.csv that is no list"),
        ("r.csv", "embedding\n[1 2]\n[3 4]\n", "Row 1 has something in column 'embedding' of r.csv that is no list"),
        ("r.csv", 'embedding\nx\n"[3, 4]"\n', "Row 1 has something in column 'embedding' of r.csv that is no list"),
        ("r.csv", 'v\n"[""a""]"\n[1]\n', "has no column of embeddings. The columns are v"),
        ("r.csv", "v\n[note]\ntext\n", "has no column of embeddings. The columns are v"),
        ("r.csv", b"a\n\xff\n", "r.csv, line 2: byte 0xFF is not UTF-8"),
        ("r.jsonl", '{"v": [0.5, null]}\n{"v": [0.5, 2]}\n', "Row 1 has something in column 'v' of r.jsonl that is no"),
        ("r.jsonl", "{}\n[1]\n", "r.jsonl, line 2 is no object"),
        ("r.jsonl", '{"a": 1}\n{"a": \n', "r.jsonl, line 2 is not JSON"),
        ("r.jsonl", '{"embedding": [1, 2]}\n{"embedding": [1]}\n', "Row 2 has 1 numbers"),
        ("r.parquet", "PAR1", "r.parquet cannot be read"),
        ("r.xls", "", "r.xls is no kind of table that is read here. Name a .parquet, .csv, .tsv, .jsonl file"),
    ],
)
def test_files_that_do_not_fit_are_told_in_words(tmp_path: Path, name: str, content: str | bytes, words: str) -> None:
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(DataError, match=words):
        read_frame(path)


def test_a_damaged_piece_of_a_parquet_is_told_with_its_file(tmp_path: Path) -> None:
    path = write(tmp_path / "r.parquet")
    content = bytearray(path.read_bytes())
    content[4:200] = bytes(196)
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"r.parquet cannot be read: .* may be damaged"):
        read_frame(path)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nowhere.csv is no file"):
        read_frame(tmp_path / "nowhere.csv")
    with pytest.raises(DataError, match=r"has no column 'x'\. The columns are Score, Text, embedding"):
        read_frame(write(tmp_path / "r.parquet"), "x")


def test_columns_and_numbers_name_what_is_wrong() -> None:
    rows = pd.DataFrame({"n": ["1", " 2.5", "-3e2"], "odd": [1.0, None, 2.0], "mixed": ["1", "2", "three"]})
    frame = Frame(rows, np.zeros((3, 2), np.float32))
    assert frame.numbers("n").tolist() == [1, 2.5, -300]
    with pytest.raises(DataError, match="Row 2 is empty in column 'odd'"):
        frame.numbers("odd")
    with pytest.raises(DataError, match="Row 3 has 'three' in column 'mixed'"):
        frame.numbers("mixed")
    with pytest.raises(DataError, match=r"There is no column 'x'\. The columns are n, odd, mixed"):
        frame.column("x")


def test_texts_from_templates() -> None:
    rows = pd.DataFrame({"a": ["x", None], "b.c:d": [1, 2], "{odd}": ["o", "p"]})
    assert texts_of(rows, "a") == ["x", ""]
    assert texts_of(rows, "{{{a}}} = {b.c:d}") == ["{x} = 1", "{} = 2"]
    assert texts_of(rows, "{odd}") == ["o", "p"]  # a column's own name goes before its reading as a template


def test_long_lists_in_templates_are_whole() -> None:
    rows = pd.DataFrame({"tags": [np.arange(2000), ["\u00fc", 1]]})
    whole, other = texts_of(rows, "tags")
    assert json.loads(whole) == list(range(2000))
    assert other == '["\u00fc", 1]'


@pytest.mark.parametrize("kind", ["jsonl", "csv"])
def test_lists_of_whole_numbers_are_no_embeddings(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"r.{kind}"
    if kind == "jsonl":
        path.write_text('{"ids": [1, 2], "v": [0.5, 1]}\n{"ids": [3], "v": [1, 0]}\n', encoding="utf-8")
    else:
        path.write_text('ids,v\n"[1, 2]","[0, 1]"\n[3],"[1, 0.5]"\n', encoding="utf-8")
    frame = read_frame(path)
    assert frame.vectors.shape == (2, 2)
    assert list(frame.rows.columns) == list(read_rows(path).columns) == ["ids"]


@pytest.mark.parametrize(
    ("template", "words"),
    [
        ("c", "There is no column 'c'. The columns are a, b. Name one, or several in braces"),
        ("{c}", "'{c}' asks for the column 'c'. The columns are a, b"),
        ("{a", "cannot be read: .*a brace itself is written twice"),
        ("a}", "cannot be read"),
        ("", "There is no column ''"),
    ],
)
def test_templates_that_do_not_fit(template: str, words: str) -> None:
    with pytest.raises(DataError, match=words):
        texts_of(pd.DataFrame({"a": ["x"], "b": ["y"]}), template)


def test_rows_alone_come_without_vectors(tmp_path: Path) -> None:
    assert list(read_rows(write(tmp_path / "r.csv", "v")).columns) == ["Score", "Text"]


def test_a_number_with_zeros_before_it_is_a_text(tmp_path: Path) -> None:
    (tmp_path / "r.csv").write_text("zip,n,x\n01234,1,1\n5,2,1.5\n", encoding="utf-8")
    rows = read_rows(tmp_path / "r.csv")
    assert rows["zip"].tolist() == ["01234", "5"]
    assert rows["n"].dtype == np.int64
    assert rows["x"].tolist() == [1, 1.5]


def test_a_csv_as_spreadsheets_write_it(tmp_path: Path) -> None:
    text = '\ufeffTitle,Text\r\n"a ""word""","one\nline, and another"\r\nNA,\u00fcber\r\n,null\r\n'
    (tmp_path / "r.csv").write_bytes(text.encode())
    rows = read_rows(tmp_path / "r.csv")
    assert texts_of(rows, "{Title}|{Text}") == ['a "word"|one\nline, and another', "NA|\u00fcber", "|null"]


def test_jsonl_of_several_kinds_in_a_column(tmp_path: Path) -> None:
    lines = ['{"a": 1, "b": {"c": [1]}}', '{"a": 2.5, "d": true}', '{"b": "x", "a": null}', ""]
    (tmp_path / "r.jsonl").write_text("\n".join(lines), encoding="utf-8")
    rows = read_rows(tmp_path / "r.jsonl")
    assert texts_of(rows, "{a}/{b}/{d}") == ['1.0/{"c": [1]}/', "2.5//True", "/x/"]
