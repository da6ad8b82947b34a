"""Tables in every format: the same examples come out, and what cannot be read says where and why."""

from pathlib import Path

import pandas as pd
import pytest

from luthier.datasets.formats import read_source, read_table
from luthier.errors import DataError

PAIRS = [("a, b", " yes"), ('say "hi"\nnow', " no"), ("야구", " 하키")]


def pairs(frame: pd.DataFrame) -> list[tuple[str, str]]:
    return list(zip(frame["prompt"], frame["completion"], strict=True))


def table() -> pd.DataFrame:
    return pd.DataFrame(PAIRS, columns=["prompt", "completion"])


def write(folder: Path, name: str, encoding: str = "utf-8", crlf: bool = False) -> Path:
    path = folder / name
    if path.suffix == ".xlsx":
        table().to_excel(path, index=False)
        return path
    text = {
        "rows.jsonl": table().to_json(orient="records", lines=True, force_ascii=False),
        "rows.json": table().to_json(orient="records", force_ascii=False, indent=1),
        "columns.json": table().to_json(force_ascii=False),
        "lists.json": pd.Series(table().to_dict("list")).to_json(force_ascii=False),
        "rows.csv": table().to_csv(index=False),
        "rows.tsv": table().to_csv(index=False, sep="\t"),
        "semicolons.csv": table().to_csv(index=False, sep=";"),
    }[name]
    path.write_bytes((text.replace("\n", "\r\n") if crlf else text).encode(encoding))
    return path


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize(
    "name", ["rows.jsonl", "rows.json", "columns.json", "lists.json", "rows.csv", "rows.tsv", "semicolons.csv"]
)
@pytest.mark.parametrize("crlf", [False, True])
def test_every_format_gives_the_same_examples(tmp_path: Path, name: str, encoding: str, crlf: bool) -> None:
    frame = read_table(write(tmp_path, name, encoding, crlf))
    assert pairs(frame) == PAIRS
    assert frame.index.tolist() == [1, 2, 3]


def test_xlsx(tmp_path: Path) -> None:
    assert pairs(read_table(write(tmp_path, "rows.xlsx"))) == PAIRS


def test_only_the_first_sheet_is_read_and_that_is_told(tmp_path: Path) -> None:
    with pd.ExcelWriter(tmp_path / "a.xlsx") as book:
        table().to_excel(book, sheet_name="one", index=False)
        table().to_excel(book, sheet_name="two", index=False)
    source = read_source(tmp_path / "a.xlsx")
    assert pairs(source.frame) == PAIRS
    assert [note.code for note in source.notes] == ["format", "several_sheets"]


def test_txt_lines_are_completions(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"first\r\n\r\nthird\r\n")
    assert pairs(read_table(tmp_path / "a.txt")) == [("", "first"), ("", ""), ("", "third")]


def test_csv_keeps_texts_that_look_like_nothing(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("prompt,completion\nNA,null\n\n007,None\nshort\n")
    assert pairs(read_table(tmp_path / "a.csv")) == [("NA", "null"), ("007", "None"), ("short", "")]


def test_columns_without_or_with_the_same_name_hide_nothing(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("prompt,completion,,prompt\n1,2,3,4\n")
    assert read_table(tmp_path / "a.csv").iloc[0].to_dict() == {
        "prompt": "1",
        "completion": "2",
        "column 3": "3",
        "prompt (4)": "4",
    }


def test_numbers_become_text_and_that_is_told(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(
        '{"prompt": "a", "completion": 1, "x": [1]}\n{"prompt": "b", "completion": "2"}\n'
        '{"prompt": null, "completion": 2.5}\n'
    )
    source = read_source(tmp_path / "a.jsonl")
    assert pairs(source.frame) == [("a", "1"), ("b", "2"), ("", "2.5")]
    assert source.frame["x"].tolist() == ["[1]", "", ""]
    [note] = source.notes
    assert (note.code, note.rows) == ("numbers_as_text", (1, 3))


@pytest.mark.parametrize(
    ("name", "content", "held"),
    [
        ("a.jsonl", '[{"prompt": "p",\n "completion": "c"}]', "JSON"),
        ("a.json", '{"prompt": "p", "completion": "c"}\n{"prompt": "q", "completion": "c"}\n', "JSONL"),
    ],
)
def test_json_and_jsonl_are_told_apart_by_content(tmp_path: Path, name: str, content: str, held: str) -> None:
    (tmp_path / name).write_text(content)
    source = read_source(tmp_path / name)
    assert source.format == held
    assert "format_differs" in [note.code for note in source.notes]
    assert pairs(source.frame)[0] == ("p", "c")


def test_one_line_of_jsonl_is_one_example(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"prompt": "p", "completion": "c"}\n')
    source = read_source(tmp_path / "a.jsonl")
    assert (source.format, pairs(source.frame), source.notes) == ("JSONL", [("p", "c")], ())


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.jsonl", b"", r"a\.jsonl is empty"),
        ("a.csv", b" \r\n", r"a\.csv is empty"),
        ("a.csv", b"prompt,completion\n", "has a header and no rows"),
        ("a.csv", b"prompt,completion\na,b\nc,d,e\n", r"a\.csv, line 3: 3 fields, but the header names 2"),
        ("a.csv", b'prompt,completion\n"a,b\nc,d\n', r"a\.csv, line 2: unexpected end of data.*double quotes"),
        ("a.csv", b"prompt,completion\nok,yes\ncaf\xe9,b\n", r"a\.csv, line 3: byte 0xE9 is not UTF-8"),
        (
            "a.jsonl",
            b'{"prompt": "p"\n{"prompt": "q"}\n7\n',
            r"a\.jsonl, line 1: .*not JSON(.|\n)*line 3: it is a number",
        ),
        (
            "a.jsonl",
            b'{"prompt": {"a": 1}, "completion": "c"}\n{"prompt": ""}',
            "line 1: `prompt` is an object; write it as text",
        ),
        ("a.jsonl", b'{"prompt": "\\ud83d", "completion": "c"}\n', "line 1: `prompt` holds half a character"),
        ("a.jsonl", b'[{"prompt": "p"},\n7]', "item 2 is a number"),
        ("a.json", b'[{"prompt": "p"},\n', r"a\.json, line 2: Expecting value"),
        ("a.json", b"[]", "is a list without examples"),
        ("a.json", b'{"prompt": ["a"], "completion": []}', "do not have the same rows"),
        ("a.xlsx", b"PK no workbook", "cannot be read as XLSX"),
        ("a.parquet", b"x", r"a\.parquet ends in \.parquet\. The formats read are \.jsonl"),
        ("a", b"x", "has no ending"),
    ],
)
def test_what_cannot_be_read_says_where_and_why(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=message):
        read_table(tmp_path / name)


def test_a_missing_file_and_a_folder(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is not there"):
        read_table(tmp_path / "none.csv")
    with pytest.raises(DataError, match="is a folder"):
        read_table(tmp_path)
