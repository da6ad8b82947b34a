"""Tables: cells come out as they stand in the file."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from luthier.cli.predicting import write_rows
from luthier.errors import DataError
from luthier.toolkit.frame import read_frame
from luthier.toolkit.tables import open_table
from luthier.toolkit.writing import writer_for


@pytest.mark.parametrize(
    ("cells", "kind"),
    [
        (["1234567890123456789", "-9223372036854775808"], pa.int64()),
        (["1", "9223372036854775808"], pa.string()),
        (["1.5", "12345678901234567890"], pa.string()),
        (["1.5", "7"], pa.float64()),
    ],
)
def test_wide_whole_numbers_of_a_csv_are_not_rounded(tmp_path: Path, cells: list[str], kind: pa.DataType) -> None:
    (tmp_path / "t.csv").write_text("Id,Text\n" + "".join(f"{cell},a\n" for cell in [*cells, ""]))
    column = open_table(tmp_path / "t.csv").read()["Id"]
    assert column.type == kind
    assert column.drop_null().to_pylist() == pa.array(cells).cast(kind).to_pylist()


@pytest.mark.parametrize(
    ("cells", "kind", "read"),
    [
        (["[1, 16777217]", "[9007199254740993]"], pa.list_(pa.int64()), [[1, 16777217], [9007199254740993]]),
        (["[1, 0]", "[0.1, 16777217]"], pa.list_(pa.float64()), [[1.0, 0.0], [0.1, 16777217.0]]),
        (["[0.5]", "[9007199254740993, 1.5]"], pa.list_(pa.float64()), [[0.5], [9007199254740992.0, 1.5]]),
        (["[9223372036854775808]"], pa.string(), ["[9223372036854775808]"]),
        (["9223372036854775808", "1"], pa.string(), ["9223372036854775808", "1"]),
        (["0.5", "9007199254740993"], pa.float64(), [0.5, 9007199254740992.0]),
        (["[true]"], pa.string(), ["[true]"]),
    ],
)
def test_wide_whole_numbers_of_jsonl(tmp_path: Path, cells: list[str], kind: pa.DataType, read: list[Any]) -> None:
    (tmp_path / "t.jsonl").write_text("".join(f'{{"Id": {cell}}}\n' for cell in [*cells, "null"]))
    column = open_table(tmp_path / "t.jsonl").read()["Id"]
    assert column.type == kind
    assert column.drop_null().to_pylist() == read
    assert column.null_count == 1


@pytest.mark.parametrize("name", ["embedding", "ada_embedding"])
def test_vectors_of_whole_numbers_are_found(tmp_path: Path, name: str) -> None:
    (tmp_path / "t.jsonl").write_text(f'{{"{name}": [1, 0, 0]}}\n{{"{name}": [0, 1, 0]}}\n')
    vectors = read_frame(tmp_path / "t.jsonl").vectors
    assert (vectors.dtype, vectors.tolist()) == (np.float32, [[1, 0, 0], [0, 1, 0]])


def test_letters_of_lists_and_objects_are_not_escaped(tmp_path: Path) -> None:
    (tmp_path / "t.jsonl").write_text(json.dumps({"a": ["über"], "b": {"c": "日本"}}))
    table = open_table(tmp_path / "t.jsonl").read()
    assert table.to_pylist() == [{"a": '["über"]', "b": '{"c": "日本"}'}]


def test_lists_are_written_with_their_letters(tmp_path: Path) -> None:
    rows = pa.table({"a": [["über"]]})
    with writer_for(tmp_path / "o.csv")(tmp_path / "o.csv", rows.schema, "v", 1, {}) as put:
        put(rows, np.ones((1, 1), np.float32))
    assert '[""über""]' in (tmp_path / "o.csv").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (rb'{"a": 1, "b": "x\ud83d"}', "'b': .*half a character.*ud83d"),
        (rb'{"b": ["x", {"c": "\uDE00"}]}', "'b': .*half a character.*ude00"),
        (b'{"b": "\xed\xa0\xbd"}', "'b': .*half a character.*ud83d"),
        (rb'{"\ud83d": 1}', ".*half a character.*ud83d"),
    ],
)
def test_half_a_character_is_told_by_its_place(tmp_path: Path, line: bytes, said: str) -> None:
    (tmp_path / "t.jsonl").write_bytes(b'{"b": "\xf0\x9f\x98\x80 \\ud83d\\ude00"}\n' + line + b"\n")
    with pytest.raises(DataError, match=rf"t\.jsonl, line 2, column {said}"):
        open_table(tmp_path / "t.jsonl")


@pytest.mark.parametrize("name", ["o.csv", "o.tsv"])
def test_a_carriage_return_in_a_cell_comes_back(tmp_path: Path, name: str) -> None:
    rows = pa.table({"a": ["one\rtwo", "plain", "three\r\nfour"], "n": [1, 2, 3]})
    with writer_for(tmp_path / name)(tmp_path / name, rows.schema, "v", 1, {}) as put:
        put(rows, np.ones((3, 1), np.float32))
    assert open_table(tmp_path / name).read()["a"].to_pylist() == rows["a"].to_pylist()
    predicted = tmp_path / "predicted.csv"
    write_rows(rows.to_pandas(), predicted)
    assert open_table(predicted).read()["a"].to_pylist() == rows["a"].to_pylist()
