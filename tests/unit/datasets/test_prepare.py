"""Mending, splitting and writing: nothing is lost that no remedy names, and prepared data stays as it is."""

import json
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from luthier.datasets import estimate
from luthier.datasets.checks.context import LengthLimit, TokenCounter
from luthier.datasets.findings import Finding, Force, Remedy
from luthier.datasets.formats import Source, read_source, read_table
from luthier.datasets.jsonl import write_lines
from luthier.datasets.prepare import Mended, advise, mend, positive_class, write_prepared
from luthier.datasets.split import split_table
from luthier.datasets.validate import check_training_file
from luthier.domain.hyperparameters import Method
from luthier.errors import ConfigError
from luthier.testing import ByteTokenizer


class Answers:
    """Says the same to every question."""

    def __init__(self, answer: bool | None = None) -> None:
        self.answer = answer
        self.shown: list[Finding] = []

    def show(self, findings: Sequence[Finding]) -> None:
        self.shown += findings

    def announce(self, remedy: Remedy) -> None:
        assert remedy.force is Force.NECESSARY

    def confirm(self, remedy: Remedy) -> bool:
        return remedy.force is Force.RECOMMENDED if self.answer is None else self.answer


def table(pairs: Sequence[tuple[str, str]]) -> pd.DataFrame:
    frame = pd.DataFrame(pairs, columns=["prompt", "completion"], dtype=object)
    frame.index = pd.RangeIndex(1, len(frame) + 1)
    return frame


def mended(frame: pd.DataFrame, answer: bool | None = None, limit: LengthLimit | None = None) -> Mended:
    return mend(Source(frame, "JSONL", ()), ByteTokenizer(), Answers(answer), limit=limit)


def dropped(result: Mended) -> set[int]:
    return {row for remedy in result.applied if remedy.name == "drop_rows" for row in remedy.arguments["rows"]}


alphabet = st.sampled_from("abAB1 .\n?->#")
texts = st.text(alphabet, max_size=8) | st.sampled_from(
    ["Answer: a", "Answer: b", "a ->", "İ", "\N{MATHEMATICAL BOLD CAPITAL A}", "ß"]
)
labels = st.sampled_from(["a", "A", " a", "a ", "b", "10", "1", "class 1", "class 2", ""])
tables = st.lists(st.tuples(texts, texts | labels), min_size=1, max_size=12) | st.lists(
    st.tuples(texts, labels), min_size=1, max_size=30
)


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(tables)
def test_prepared_data_stays_as_it_is(pairs: list[tuple[str, str]]) -> None:
    once = mended(table(pairs), limit=LengthLimit(40, None))
    if once.error is None:
        assert mended(once.frame, limit=LengthLimit(40, None)).applied == ()


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(tables, st.sampled_from([None, True, False]))
def test_no_row_is_lost_that_no_remedy_names(pairs: list[tuple[str, str]], answer: bool | None) -> None:
    frame = table(pairs)
    before = frame.copy()
    result = mended(frame, answer, LengthLimit(12, None))
    assert frame.equals(before)
    assert set(frame.index) - set(result.frame.index) == dropped(result)
    assert result.frame.index.is_monotonic_increasing


@settings(max_examples=80, deadline=None)
@given(st.lists(st.tuples(texts, labels), min_size=4, max_size=40))
def test_split_loses_nothing_and_keeps_labels_in_training(pairs: list[tuple[str, str]]) -> None:
    frame = table([(f"{number} {prompt}", label) for number, (prompt, label) in enumerate(pairs)])
    train, valid = split_table(frame)
    assert len(train) == int(len(frame) * 0.8)
    assert sorted([*train.index, *valid.index]) == frame.index.tolist()
    if frame["completion"].nunique() <= len(train) // 2:
        assert set(train["completion"]) == set(frame["completion"])


def test_split_is_seeded_and_capped() -> None:
    frame = table([(f"{number}", f" {number % 2}") for number in range(6000)])
    train, valid = split_table(frame)
    assert (len(train), len(valid)) == (5000, 1000)
    assert split_table(frame)[0].equals(train)
    assert len(split_table(frame.head(297))[0]) == 237
    assert split_table(frame.head(297))[0].index[:5].tolist() == [168, 212, 64, 155, 6]


def test_split_keeps_a_prompt_on_one_side() -> None:
    frame = table([(f"{number}", " a") for number in range(80)] + [("same", f" {number % 2}") for number in range(10)])
    train, valid = split_table(frame)
    assert not set(train["prompt"]) & set(valid["prompt"])


def test_a_remedy_may_bring_up_the_next() -> None:
    result = mended(table([("LOUD ->", " x."), ("loud ->", " x."), ("VERY LOUD ->", " y.")]))
    assert [remedy.name for remedy in result.applied] == ["lower_case", "drop_rows"]
    assert result.frame["prompt"].tolist() == ["loud ->", "very loud ->"]


def test_what_is_declined_is_not_asked_again() -> None:
    dialogue = Answers(False)
    frame = table([("a", "x"), ("b", "y"), ("b", "y"), ("c", "")])
    result = mend(Source(frame, "JSONL", ()), ByteTokenizer(), dialogue)
    assert [remedy.name for remedy in result.applied] == ["drop_rows"]
    assert len({finding.code for finding in dialogue.shown}) == len(dialogue.shown)
    assert len(result.declined) == 4
    assert result.frame.index.tolist() == [1, 2, 3]


def test_the_sample_needs_preparing_and_then_passes(tmp_path: Path) -> None:
    sample = tmp_path / "edible.csv"
    sample.write_bytes(files("luthier").joinpath("samples/edible.csv").read_bytes())
    result = mend(read_source(sample), ByteTokenizer(), Answers())
    assert result.error is None
    assert [remedy.name for remedy in result.applied] == [
        "write_jsonl",
        "rename_columns",
        "drop_rows",
        "drop_rows",
        "append",
        "start_with_space",
    ]
    assert result.frame["completion"].value_counts().to_dict() == {" edible": 151, " inedible": 150}
    written = write_prepared(sample, result.frame, split=True)
    assert [(file.path.name, file.n_examples) for file in written] == [
        ("edible_prepared_train.jsonl", 240),
        ("edible_prepared_valid.jsonl", 61),
    ]
    for file in written:
        report = check_training_file(file.path, max_line_bytes=1000)
        assert (report.ok, report.n_examples) == (True, file.n_examples)


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    frame = table([("야구 ->", ' "x"\n'), ("b ->", " y")])
    (tmp_path / "a_prepared_valid.jsonl").write_text("mine")
    names = [[file.path.name for file in write_prepared(tmp_path / "a.csv", frame, split=True)] for _ in range(2)]
    assert names == [[f"a_prepared_train ({number}).jsonl", f"a_prepared_valid ({number}).jsonl"] for number in (1, 2)]
    assert (tmp_path / "a_prepared_valid.jsonl").read_text() == "mine"
    [whole] = write_prepared(tmp_path / "a.csv", frame, split=False)
    assert whole.path.name == "a_prepared.jsonl"
    assert read_table(whole.path).equals(frame.rename_axis("row"))
    with pytest.raises(FileExistsError):
        write_lines(whole.path, [])
    assert whole.path.stat().st_size > 0


def advice_for(pairs: Sequence[tuple[str, str]], valid: Path | None = Path("v.jsonl")):  # type: ignore[no-untyped-def]
    return advise(
        table(pairs),
        train_path=Path("my train.jsonl"),
        valid_path=valid,
        model="ada",
        counter=TokenCounter(ByteTokenizer()),
    )


def test_advice_for_classes() -> None:
    two = advice_for([(f"{number} ->", " yes" if number % 3 else " no") for number in range(20)])
    assert two.command == (
        'luthier fine_tunes.create -t "my train.jsonl" -v v.jsonl -m ada --compute_classification_metrics '
        '--classification_positive_class " yes"'
    )
    assert (two.separator, two.stop, two.max_tokens) == (" ->", "", 4)
    three = advice_for([(f"{number} ->", f"{number % 3}\n") for number in range(20)])
    assert three.command.endswith("--compute_classification_metrics --classification_n_classes 3")
    assert (three.stop, three.max_tokens) == ("\n", 2)
    assert advice_for([(f"{number} ->", f"{number % 2}") for number in range(20)]).max_tokens == 1


def test_advice_for_generation() -> None:
    advice = advice_for([("a ->", " x."), ("b ->", " y.")], valid=None)
    assert advice.command == 'luthier fine_tunes.create -t "my train.jsonl" -m ada'
    assert (advice.separator, advice.stop, advice.max_tokens, advice.n_tokens) == (" ->", ".", None, 14)


def test_positive_class_is_the_commonest_then_the_first() -> None:
    assert positive_class(pd.Series([" b", " a", " a", " b"])) == " b"
    assert positive_class(pd.Series([" b", " a", " a"])) == " a"


def test_rates_are_remembered_by_model_and_method(tmp_path: Path) -> None:
    path = tmp_path / "home" / estimate.RATES_FILE
    assert estimate.read_rate(path, "ada", Method.LORA) is None
    estimate.record_rate(path, "ada", Method.LORA, 640.04)
    estimate.record_rate(path, "babbage", Method.LORA, 100)
    estimate.record_rate(path, "ada", Method.FULL, 90)
    kinds = [("ada", Method.LORA), ("babbage", Method.LORA), ("ada", Method.FULL)]
    assert [estimate.read_rate(path, *kind) for kind in kinds] == [640.0, 100.0, 90.0]
    assert estimate.read_rate(path, "babbage", Method.FULL) is None
    path.write_text("{")
    with pytest.raises(ConfigError, match="is not JSON"):
        estimate.read_rate(path, "ada", Method.LORA)


def test_prices(tmp_path: Path) -> None:
    path = tmp_path / "prices.toml"
    path.write_text('currency = "EUR"\n[per_1k_tokens]\nada = 0.0004\n')
    prices = estimate.read_prices(path)
    assert prices.currency == "EUR"
    assert prices.cost("ada", 500_000) == pytest.approx(0.2)
    assert prices.cost("davinci", 1) is None


@pytest.mark.parametrize(
    "text", ["ada = 1", "[per_1k_tokens", "[per_1k_tokens]\nada = '1'", "[per_1k_tokens]\nada = -1"]
)
def test_price_files_that_make_no_sense(tmp_path: Path, text: str) -> None:
    (tmp_path / "prices.toml").write_text(text)
    with pytest.raises(ConfigError, match="The price file"):
        estimate.read_prices(tmp_path / "prices.toml")


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.2, "1 seconds"), (90, "90 seconds"), (150, "2.5 minutes"), (36000, "10 hours")]
)
def test_durations(seconds: float, words: str) -> None:
    assert estimate.format_duration(seconds) == words


def test_findings_are_json() -> None:
    result = mended(table([("a", "x"), ("b", "y")]))
    json.dumps([finding.to_dict() for finding in result.findings])
