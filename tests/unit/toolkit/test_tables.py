"""Tables: cells come out as they stand in the file."""

from pathlib import Path

import pyarrow as pa
import pytest

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
