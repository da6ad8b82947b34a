"""Each finding, from the smallest table that shows it."""

import json
import re
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import pytest

from luthier.datasets.checks.context import LengthLimit, Task, infer_task
from luthier.datasets.findings import Finding, Force, Severity
from luthier.datasets.remedies import apply
from luthier.datasets.validate import analyse
from luthier.modeling.tokenizer import HFTokenizer
from luthier.testing import ByteTokenizer


class WordTokenizer:
    """A word with the space before it is one token, but ` inedible` is three and digits stand alone, as in `ada`."""

    eos_id: int | None = None
    start_ids: tuple[int, ...] = ()
    vocab_size = 1 << 20

    def __init__(self) -> None:
        self._ids: dict[str, int] = {}

    def encode(self, text: str) -> list[int]:
        pieces = re.findall(r" in(?=edible)|ed(?=ible)|(?<=ined)ible| ?[A-Za-z]+|.", text, re.DOTALL)
        return [self._ids.setdefault(piece, len(self._ids)) for piece in pieces]

    def decode(self, ids: Sequence[int]) -> str:
        return b"".join(map(self.token_bytes, ids)).decode()

    def token_bytes(self, token_id: int) -> bytes:
        return list(self._ids)[token_id].encode()


def table(*pairs: tuple[str, str]) -> pd.DataFrame:
    frame = pd.DataFrame(pairs, columns=["prompt", "completion"], dtype=object)
    frame.index = pd.RangeIndex(1, len(frame) + 1)
    return frame


def classes(*labels: str, each: int = 12) -> pd.DataFrame:
    """A flawless classification: prompts differ and end in a separator."""
    return table(*((f"{chr(97 + i % 26)} item {i} ->", label) for i, label in enumerate(labels * each)))


def find(frame: pd.DataFrame, code: str, **options: object) -> Finding:
    found = {finding.code: finding for finding in analyse(frame, WordTokenizer(), **options)}  # type: ignore[arg-type]
    assert code in found, sorted(found)
    json.dumps(found[code].to_dict())
    return found[code]


def codes(frame: pd.DataFrame, **options: object) -> set[str]:
    return {finding.code for finding in analyse(frame, WordTokenizer(), **options)}  # type: ignore[arg-type]


def test_flawless_classification_has_nothing_to_mend() -> None:
    findings = analyse(classes(" red", " blue", each=60), WordTokenizer())
    assert {finding.code for finding in findings} == {"examples", "task", "separator"}
    assert all(finding.severity is Severity.INFO and finding.remedy is None for finding in findings)


def test_number_of_examples() -> None:
    assert find(classes(" a", " b", each=49), "examples").severity is Severity.WARNING
    assert find(classes(" a", " b", each=50), "examples").severity is Severity.INFO


def test_columns_are_renamed_and_others_removed() -> None:
    frame = (
        classes(" a", " b").rename(columns={"prompt": "PROMPT", "completion": " Completion"}).assign(id="1", note="")
    )
    renamed, extra = find(frame, "column_names"), find(frame, "extra_columns")
    assert renamed.remedy is not None
    assert extra.remedy is not None
    assert {renamed.remedy.force, extra.remedy.force} == {Force.NECESSARY}
    assert extra.data == {"columns": ["id", "note"]}
    assert apply(apply(frame, renamed.remedy), extra.remedy).equals(classes(" a", " b"))


@pytest.mark.parametrize(
    ("columns", "code", "message"),
    [
        (["text", "completion"], "missing_column", "`prompt` is missing; there are `text`, `completion`"),
        (["prompt"], "missing_column", "`completion` is missing; there is `prompt`"),
        (["messages"], "no_examples", "no example that can be used"),
    ],
)
def test_missing_columns_end_the_examination(columns: list[str], code: str, message: str) -> None:
    findings = analyse(pd.DataFrame([["x"] * len(columns)], columns=columns), None)
    assert (findings[-1].code, findings[-1].severity) == (code, Severity.ERROR)
    assert message in findings[-1].message


def test_empty_completions_go() -> None:
    frame = table(("a", " x"), ("b", ""), ("c", " \n"), ("d", " y"))
    finding = find(frame, "empty_completions")
    assert finding.rows == (2, 3)
    assert finding.remedy is not None
    assert apply(frame, finding.remedy).index.tolist() == [1, 4]


def test_nothing_but_empty_completions() -> None:
    assert analyse(table(("a", "")), None)[-1].code == "no_examples"


def test_some_empty_prompts() -> None:
    assert find(table(("a", " x"), ("", " y")), "empty_prompts").rows == (2,)
    assert "empty_prompts" not in codes(table(("", " x"), ("", " y")))


@pytest.mark.parametrize(
    ("frame", "task"),
    [
        (table(("", "a"), ("", "a"), ("", "a"), ("", "a")), Task.OPEN_ENDED),
        (table(("p", "a"), ("q", "a"), ("r", "a"), ("s", "a")), Task.CLASSIFICATION),
        (table(("p", "a"), ("q", "a"), ("r", "a")), Task.GENERATION),
    ],
)
def test_task(frame: pd.DataFrame, task: Task) -> None:
    assert infer_task(frame) is task


def test_duplicates() -> None:
    finding = find(table(("p", " a"), ("p", " b"), ("p", " a"), ("p", " a")), "duplicates")
    assert finding.rows == (3, 4)


def test_long_examples_by_tokens_and_by_characters() -> None:
    frame = table(("p", " a"), ("one two three", " b"), ("a" * 50, " c"))
    assert find(frame, "long_examples", limit=LengthLimit(3, None)).rows == (2,)
    assert find(frame, "long_examples", limit=LengthLimit(100, 40)).rows == (3,)
    assert "long_examples" not in codes(frame, limit=LengthLimit(4, 52))
    estimated = {finding.code: finding for finding in analyse(frame, None, limit=LengthLimit(5, None))}
    assert estimated["long_examples"].rows == (3,)
    assert "tokens_estimated" in estimated


def test_upper_case() -> None:
    frame = classes(" RED", " BLUE")
    finding = find(frame, "upper_case_completions")
    assert finding.remedy is not None
    assert apply(frame, finding.remedy).equals(classes(" red", " blue"))
    assert "upper_case_prompts" not in codes(frame)
    assert "upper_case_prompts" in codes(table(("LOUD", " a"), ("VOICE", " b")))


@pytest.mark.parametrize(
    ("prompts", "separator"),
    [
        (["a", "b"], " ->"),
        (["a\n", "b"], "\n\n###\n\n"),
        (["a -> b", "c"], "\n\n###\n\n"),
        (["x\n\n###\n\ny", "z"], "\n\n===\n\n"),
    ],
)
def test_missing_separator_offers_one_that_does_not_occur(prompts: list[str], separator: str) -> None:
    finding = find(table(*((prompt, f" {prompt[0]}") for prompt in prompts)), "no_separator")
    assert finding.remedy is not None
    assert finding.remedy.arguments == {"column": "prompt", "text": separator}


def test_separator_that_also_occurs_inside() -> None:
    finding = find(table(("a -> b ->", " x"), ("c ->", " y")), "separator_inside")
    assert finding.rows == (1,)
    assert finding.remedy is not None
    assert finding.remedy.force is Force.OPTIONAL


def test_same_prompts_and_same_completions_are_errors() -> None:
    assert find(table(("p", " a"), ("p", " b")), "same_prompts").severity is Severity.ERROR
    assert find(table(("p", " a"), ("q", " a")), "same_completions").severity is Severity.ERROR
    assert find(classes(" a"), "same_completions").severity is Severity.ERROR


def test_prefixes() -> None:
    frame = table(("Translate this: a ->", " Answer: x."), ("Translate this: b ->", " Answer: y."))
    prompt, completion = find(frame, "prompt_prefix"), find(frame, "completion_prefix")
    assert prompt.remedy is not None
    assert completion.remedy is not None
    assert apply(apply(frame, prompt.remedy), completion.remedy).equals(table(("a ->", " x."), ("b ->", " y.")))
    short = find(table(("Q: a ->", " x."), ("Q: b ->", " y.")), "prompt_prefix")
    assert short.remedy is None
    assert "completion_prefix" not in codes(table(("a", "Answer"), ("b", "Answer: yes")))  # one would be left empty


def test_words_and_numbers_are_left_whole() -> None:
    prices = table(("Price of this: 3.15 ->", " x."), ("Price of this: 3.17 ->", " y."))
    assert find(prices, "prompt_prefix").data["prefix"] == "Price of this: "
    words = table(("What is this, unhappy ->", " x."), ("What is this, untidy ->", " y."))
    assert find(words, "prompt_prefix").data["prefix"] == "What is this, "
    assert "prompt_prefix" not in codes(table(("unhappy ->", " x."), ("untidy ->", " y.")))
    assert "completion_prefix" not in codes(table(("a ->", " untidily."), ("b ->", " untidier.")))
    assert "separator" not in codes(table(("walking", " x."), ("talking", " y.")))
    empty = find(table(("Tell me of this ->", " x."), ("Tell me of this thing ->", " y.")), "prompt_prefix")
    assert empty.remedy is None  # one prompt would be left empty


def test_completions_without_a_common_end() -> None:
    finding = find(table(("a ->", " x\ny"), ("b ->", " z")), "no_ending")
    assert finding.remedy is not None
    assert finding.remedy.arguments["text"] == "."
    assert find(table(("a ->", " x. y."), ("b ->", " z.")), "ending_inside").rows == (1,)
    assert "no_ending" not in codes(table(("", " x"), ("", " y")))


def test_leading_space() -> None:
    frame = table(("a", " x"), ("b", "y"), ("c", "\tz"))
    finding = find(frame, "no_leading_space")
    assert finding.rows == (2, 3)
    assert finding.remedy is not None
    assert apply(frame, finding.remedy)["completion"].tolist() == [" x", " y", " \tz"]


def test_labels_that_share_their_first_token() -> None:
    finding = find(classes(" 1", " 2"), "shared_first_token")
    assert finding.data["tokens"] == {" 1": [" ", "1"], " 2": [" ", "2"]}
    assert finding.data["shared"] == {" ": [" 1", " 2"]}
    assert finding.data["max_tokens"] == 2
    assert finding.remedy is not None
    assert finding.remedy.force is Force.OPTIONAL
    assert set(apply(classes(" 1", "2"), finding.remedy)["completion"]) == {" one", " two"}


def test_labels_of_several_tokens() -> None:
    finding = find(classes(" edible", " inedible"), "long_labels")
    assert finding.data["tokens"] == {" edible": [" edible"], " inedible": [" in", "ed", "ible"]}
    assert "` inedible` is ` in` + `ed` + `ible`" in finding.message
    assert finding.remedy is not None
    assert finding.remedy.arguments == {"labels": {"edible": " A", "inedible": " B"}}


def test_relabelling_keeps_the_end() -> None:
    frame = classes(" 1\n", " 2\n")
    finding = find(frame, "shared_first_token")
    assert finding.remedy is not None
    assert set(apply(frame, finding.remedy)["completion"]) == {" one\n", " two\n"}


def test_label_that_begins_another_needs_an_end() -> None:
    finding = find(classes(" 1", " 10"), "labels_without_end")
    assert finding.severity is Severity.WARNING
    assert finding.remedy is not None
    assert finding.remedy.force is Force.RECOMMENDED
    assert "labels_without_end" not in codes(apply(classes(" 1", " 10"), finding.remedy))
    unlike = find(classes(" edible", " inedible"), "labels_without_end")
    assert unlike.remedy is not None
    assert unlike.remedy.force is Force.OPTIONAL


def test_same_prompt_with_two_labels() -> None:
    frame = pd.concat([classes(" a", " b"), table(("twice ->", " a"), ("twice ->", " b"))], ignore_index=True)
    assert find(frame, "contradictions").rows == (24, 25)


def test_one_label_in_several_spellings() -> None:
    frame = pd.concat([classes(" a", " b"), table(("x ->", " A"), ("y ->", "a "))], ignore_index=True)
    finding = find(frame, "spellings")
    assert finding.rows == (24, 25)
    assert finding.remedy is not None
    assert set(apply(frame, finding.remedy)["completion"]) == {" a", " b"}


def test_imbalance_and_rare_labels() -> None:
    frame = classes(*[" a"] * 5, " b", each=9)
    assert find(frame, "imbalance").data["sizes"] == {" a": 45, " b": 9}
    assert find(frame, "rare_labels").data["labels"] == [" b"]
    assert not {"imbalance", "rare_labels"} & codes(classes(*[" a"] * 4, " b"))


def test_leaks_into_validation_are_seen_through_the_separator() -> None:
    train = classes(" a", " b")
    valid = table(("elsewhere", "a"), (train["prompt"][3].removesuffix(" ->"), "b"))
    finding = find(train, "leaks", validation=valid)
    assert (finding.rows, finding.data["validation_rows"]) == ((3,), [2])
    assert finding.remedy is not None
    assert finding.remedy.force is Force.RECOMMENDED
    assert "do not" in find(train, "validation_format", validation=valid).message
    assert not {"leaks", "validation_format"} & codes(train, validation=table(("other ->", " a")))


def test_without_a_tokenizer_labels_are_left_alone() -> None:
    assert "shared_first_token" not in {finding.code for finding in analyse(classes(" 1", " 2"), None)}
    assert "shared_first_token" in {finding.code for finding in analyse(classes(" 1", " 2"), ByteTokenizer())}


@pytest.mark.weights
def test_labels_in_the_tokens_of_ada(ada_folder: Path) -> None:
    tokenizer = HFTokenizer(ada_folder)
    numbers = {finding.code: finding for finding in analyse(classes(" 1", " 4"), tokenizer)}["shared_first_token"]
    assert numbers.data["tokens"] == {" 1": [" ", "1"], " 4": [" ", "4"]}
    assert numbers.remedy is not None
    assert numbers.remedy.arguments["labels"] == {"1": " one", "4": " four"}
    words = {finding.code: finding for finding in analyse(classes(" edible", " inedible"), tokenizer)}["long_labels"]
    assert words.data["tokens"] == {" edible": [" edible"], " inedible": [" in", "ed", "ible"]}


def test_every_code_is_documented() -> None:
    root = Path(__file__).parents[3]
    source = "".join(path.read_text(encoding="utf-8") for path in (root / "src/luthier/datasets").rglob("*.py"))
    written = set(re.findall(r'(?:Finding|_note)\(\s*f?"([a-z_{}]+)"', source))
    known = {code.replace("{column}", column) for code in written for column in ("prompt", "completion")}
    page = (root / "docs/preparing.md").read_text(encoding="utf-8")
    assert len(known) > 30
    assert [code for code in sorted(known) if f"`{code}`" not in page] == []
