"""The look at an upload: every wrong line is named, nothing is read whole."""

import json
import tracemalloc
from pathlib import Path

import pytest

from luthier.datasets.encode import EncodedExample
from luthier.datasets.training_file import read_examples
from luthier.datasets.validate import TrainingFileReport, check_training_file
from luthier.errors import DataError
from luthier.testing import ByteTokenizer

GOOD = b'{"prompt": "p", "completion": " c"}\n'


def check(tmp_path: Path, content: bytes, **limits: int) -> TrainingFileReport:
    path = tmp_path / "file.jsonl"
    path.write_bytes(content)
    return check_training_file(path, **{"max_line_bytes": 1 << 20, **limits})


@pytest.mark.parametrize(
    "content",
    [
        GOOD,
        b"\xef\xbb\xbf" + GOOD,
        GOOD.replace(b"\n", b"\r\n"),
        GOOD.rstrip(b"\n"),
        GOOD + b"\n\n  \n",
        b'{"prompt": "", "completion": "c"}\n',
        '{"prompt": "야구", "completion": " 하키"}\n'.encode(),
        b'{"prompt": "\\ud83d\\ude00", "completion": " c"}\n',
        GOOD[:-1].ljust((1 << 20) - 1) + b"\n",  # exactly as long as allowed
    ],
)
def test_good_files_pass(tmp_path: Path, content: bytes) -> None:
    report = check(tmp_path, content)
    assert (report.ok, report.n_examples, report.summary()) == (True, 1, "")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b"{not json}", "is not JSON: Expecting property name"),
        (b"prompt,completion", "is not JSON"),
        (b'["p", "c"]', "is a list; each line must be an object"),
        (b'"text"', "is a string"),
        (b"null", "is null"),
        (b"7", "is a number"),
        (b'{"completion": "c"}', "the key `prompt` is missing."),
        (b'{"prompt": "p"}', "the key `completion` is missing."),
        (b'{"Prompt": "p", "completion": "c"}', "there is `Prompt`: rename it"),
        (b'{"prompt": "p", "completion": ""}', "`completion` is empty"),
        (b'{"prompt": "p", "completion": " \\n"}', "`completion` is empty"),
        (b'{"prompt": "p", "completion": 4}', "`completion` is a number; it must be a string"),
        (b'{"prompt": null, "completion": "c"}', "`prompt` is null"),
        (b'{"prompt": ["p"], "completion": "c"}', "`prompt` is a list"),
        (b'{"prompt": {}, "completion": "c"}', "`prompt` is an object"),
        (b'{"prompt": "p", "completion": true}', "`completion` is true or false"),
        (b'{"prompt": "caf\xe9", "completion": "c"}', "byte 16 (0xE9) is not UTF-8"),
        (b'{"prompt": "\\ud83d", "completion": "c"}', "half a character, \\ud83d"),
        (b'{"messages": []}', "it is a chat example, but the file's first, line 1, is a prompt with its completion"),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"prompt": "p", "completion": ' + b"9" * 5000 + b"}", "too many digits"),
    ],
)
def test_wrong_line_is_named(tmp_path: Path, line: bytes, message: str) -> None:
    report = check(tmp_path, GOOD + line + b"\n" + GOOD)
    assert [error.line for error in report.errors] == [2]
    assert message in report.errors[0].message
    assert not report.ok
    assert report.n_examples == 2
    assert report.summary().startswith("Line 2: ")


def test_long_line_is_skipped_and_named(tmp_path: Path) -> None:
    report = check(tmp_path, b'{"prompt": "' + b"x" * 5_000_000 + b'"}\n' + GOOD, max_line_bytes=1_000_000)
    assert report.summary() == "Line 1: it is longer than 1,000,000 bytes. Shorten or split it."
    assert report.n_examples == 1


def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    path = tmp_path / "file.jsonl"
    path.write_bytes(GOOD * 20_000 + b"x" * 20_000_000)
    tracemalloc.start()
    report = check_training_file(path, max_line_bytes=100_000)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert report.n_examples == 20_000
    assert peak < 1_000_000


def test_only_the_first_errors_are_told(tmp_path: Path) -> None:
    report = check(tmp_path, GOOD + b"x\n" * 9, max_reported=3)
    assert ([error.line for error in report.errors], report.n_errors) == ([2, 3, 4], 9)
    assert report.summary().endswith("6 more lines are wrong too.")


@pytest.mark.parametrize("content", [b"", b"\n\n", b"\xef\xbb\xbf"])
def test_empty_file(tmp_path: Path, content: bytes) -> None:
    report = check(tmp_path, content)
    assert not report.ok
    assert report.summary() == "The file is empty. It should hold one example a line."


def test_utf16_is_named_once_for_what_it_is(tmp_path: Path) -> None:
    report = check(tmp_path, GOOD.decode().encode("utf-16"))
    assert "the file is UTF-16" in report.summary()


def test_other_formats_are_sent_to_prepare(tmp_path: Path) -> None:
    assert "luthier prepare" in check(tmp_path, b"prompt,completion\na,b\n").summary()


def test_extra_keys_do_no_harm_and_are_told(tmp_path: Path) -> None:
    report = check(tmp_path, b'{"prompt": "p", "completion": "c", "id": 1}\n')
    assert report.ok
    assert report.summary() == "Training does not read `id`."


def write_lines(path: Path, *pairs: tuple[str, str]) -> Path:
    path.write_text("".join(json.dumps({"prompt": p, "completion": c}) + "\n" for p, c in pairs))
    return path


def test_prompt_and_completion_are_tokenized_apart(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "a.jsonl", ("ab", " c"))
    assert read_examples(path, ByteTokenizer(), 100) == [
        EncodedExample((97, 98, 32, 99), (False, False, True, True), " c")
    ]


def test_empty_prompt_is_the_end_of_text(tmp_path: Path) -> None:
    [example] = read_examples(write_lines(tmp_path / "a.jsonl", ("", "c")), ByteTokenizer(), 100)
    assert (example.input_ids, example.completion_mask) == ((256, 99), (False, True))


def test_examples_that_are_too_long_are_told_together_by_their_lines(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "a.jsonl", ("a", " b"), ("a" * 9, " b"), ("a", " b"), ("a" * 2000, " b"))
    with pytest.raises(DataError) as told:
        read_examples(path, ByteTokenizer(), 10, name="mine.jsonl")
    assert told.value.message == (
        "mine.jsonl has examples longer than the 10 tokens that the model takes: line 2 (11 tokens), line 4 (2,002 "
        "tokens). Shorten or remove them (`luthier prepare` offers to remove them), then create the job with the new "
        "file."
    )
    write_lines(path, *[("a" * 9, " b")] * 6)
    with pytest.raises(DataError, match=r"line 5 \(11 tokens\) and others\. Shorten"):
        read_examples(path, ByteTokenizer(), 10)


def test_a_token_that_the_model_lacks_names_its_line(tmp_path: Path) -> None:
    class Lacking(ByteTokenizer):
        vocab_size = 256

    path = write_lines(tmp_path / "a.jsonl", ("a", " b"), ("a", " b<|end|>"))
    with pytest.raises(
        DataError, match=r"a\.jsonl, line 2: it holds '<\|end\|>', a token of the model's tokenizer that"
    ):
        read_examples(path, Lacking(), 100)


def test_encoding_refuses_what_upload_refuses(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(GOOD + b"{}\n")
    with pytest.raises(DataError, match=r"a\.jsonl, line 2: the key `prompt` is missing"):
        read_examples(tmp_path / "a.jsonl", ByteTokenizer(), 10)
    (tmp_path / "b.jsonl").write_bytes(b"\n")
    with pytest.raises(DataError, match="holds no examples"):
        read_examples(tmp_path / "b.jsonl", ByteTokenizer(), 10)
