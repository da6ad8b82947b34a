"""Tables: cells come out as they stand in the file."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from luthier.toolkit.frame import read_frame
from luthier.toolkit.tables import open_table


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
