"""`luthier prepare` as people and programs use it."""

import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

from luthier.cli.prepare import prepare, prepare_data
from luthier.datasets import estimate
from luthier.domain.hyperparameters import Method
from luthier.errors import DataError, NotFoundError

PETS = "Prompt,Completion,id\n" + "".join(
    f"{animal} number {number},{label},{number}\n"
    for number in range(12)
    for animal, label in (("barks", "dog"), ("purrs", "cat"))
)


@pytest.fixture
def pets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LUTHIER_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    path = Path("pets.csv")
    path.write_text(PETS + "barks number 0,dog,0\nsays nothing,,1\n")
    return path


def call(*words: str, answers: str = "", command: object = prepare) -> Result:
    app = typer.Typer()
    app.command()(command)  # type: ignore[type-var]
    return CliRunner().invoke(app, words, input=answers)


def lines(path: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_quiet_takes_what_is_recommended(pets: Path) -> None:
    result = call("pets.csv", "-q")
    assert result.exit_code == 0, result.output
    assert "- [Recommended] Remove 1 duplicate row [Y/n]: Y" in result.output
    assert (
        "> luthier fine_tunes.create -t pets_prepared_train.jsonl -v pets_prepared_valid.jsonl -m ada "
        '--compute_classification_metrics --classification_positive_class " dog"' in result.output
    )
    assert "no fine-tune of `ada` has been timed yet" in result.output
    train, valid = lines(Path("pets_prepared_train.jsonl")), lines(Path("pets_prepared_valid.jsonl"))
    assert (len(train), len(valid)) == (19, 5)
    assert {row["completion"] for row in train} == {" dog", " cat"}
    assert all(row.keys() == {"prompt", "completion"} and row["prompt"].endswith(" ->") for row in train + valid)
    assert pets.read_text().startswith(PETS)


@pytest.mark.usefixtures("pets")
def test_every_recommendation_can_be_declined() -> None:
    result = call("pets.csv", answers="n\nn\nn\nn\ny\n")
    assert result.exit_code == 0, result.output
    assert result.output.count("[Recommended]") == 4
    assert result.output.count("[Necessary]") == 4
    rows = lines(Path("pets_prepared.jsonl"))
    assert len(rows) == 25
    assert rows[0] == {"prompt": "barks number 0", "completion": "dog"}


@pytest.mark.usefixtures("pets")
def test_nothing_is_written_without_consent() -> None:
    result = call("pets.csv", answers="y\ny\ny\ny\nn\n")
    assert (result.exit_code, "Nothing was written." in result.output) == (0, True)
    assert call("pets.csv").exit_code == 1  # nobody there to answer
    assert not list(Path().glob("*.jsonl"))


@pytest.mark.usefixtures("pets")
def test_data_that_needs_nothing_is_not_written_again() -> None:
    call("pets.csv", "-q")
    result = call("pets_prepared_train.jsonl", answers="n\n")
    assert "Nothing was changed." in result.output
    assert "-t pets_prepared_train.jsonl -m ada" in result.output
    assert len(list(Path().glob("*.jsonl"))) == 2


@pytest.mark.usefixtures("pets")
def test_json_for_programs() -> None:
    report = json.loads(call("pets.csv", "--json").stdout)
    assert [finding["code"] for finding in report["findings"]][:5] == [
        "examples",
        "format",
        "column_names",
        "extra_columns",
        "empty_completions",
    ]
    assert report["files"] == [
        {"path": "pets_prepared_train.jsonl", "n_examples": 19, "role": "train"},
        {"path": "pets_prepared_valid.jsonl", "n_examples": 5, "role": "valid"},
    ]
    assert report["advice"]["separator"] == " ->"
    assert report["estimate"]["seconds"] is None
    again = json.loads(call("pets.csv", "--json").stdout)
    assert again["files"][0]["path"] == "pets_prepared_train (1).jsonl"


@pytest.mark.parametrize(
    ("content", "code"), [("text,completion\na,b\n", "missing_column"), ("prompt,completion\na,b,c\n", None)]
)
def test_json_of_data_that_cannot_be_used(pets: Path, content: str, code: str | None) -> None:
    pets.write_text(content)
    result = call("pets.csv", "--json")
    assert result.exit_code == 1
    assert json.loads(result.stdout)["error"]["code"] == code
    with pytest.raises(DataError):
        raise call("pets.csv", "-q").exception  # type: ignore[misc]


@pytest.mark.usefixtures("pets")
def test_a_tokenizer_at_hand_counts(tiny_base: Path) -> None:
    report = json.loads(call("pets.csv", "--json", "-m", str(tiny_base), "--max-tokens", "21").stdout)
    findings = {finding["code"]: finding for finding in report["findings"]}
    assert findings["long_examples"]["rows"] == [21, 22, 23, 24]
    assert findings["shared_first_token"]["data"]["tokens"][" dog"] == [" ", "d", "o", "g"]
    assert report["advice"]["max_tokens"] == 4


@pytest.mark.usefixtures("pets")
def test_an_unknown_base_is_named() -> None:
    error = call("pets.csv", "-q", "-m", "adda").exception
    assert isinstance(error, NotFoundError)
    assert "adda" in error.message


@pytest.mark.usefixtures("pets")
def test_leaks_into_a_validation_set() -> None:
    Path("valid.csv").write_text("prompt,completion\nbarks number 3,dog\npurrs at night,cat\n")
    result = call("pets.csv", "-q", "-v", "valid.csv")
    assert "Remove 1 row that leaks into validation" in result.output
    assert "-v valid_prepared.jsonl" in result.output
    alike = [(line["prompt"], line["completion"]) for line in lines(Path("valid_prepared.jsonl"))]
    assert alike == [("barks number 3 ->", " dog"), ("purrs at night ->", " cat")]
    assert "Prepare both files alike" not in result.output
    assert len(lines(Path("pets_prepared.jsonl"))) == 23
    Path("valid.csv").write_text("question,completion\na,b\n")
    error = call("pets.csv", "-q", "-v", "valid.csv").exception
    assert isinstance(error, DataError)
    assert "valid.csv has no column `prompt`" in error.message


@pytest.mark.usefixtures("pets")
def test_a_validation_set_of_another_shape() -> None:
    """One that is prepared already is left alone; one that the remedies do not reach is told of."""
    Path("valid.jsonl").write_text('{"prompt": "purrs at night ->", "completion": " cat"}\n')
    result = call("pets.csv", "-q", "-v", "valid.jsonl")
    assert "-v valid.jsonl" in result.output
    assert not Path("valid_prepared.jsonl").exists()
    Path("raw.csv").write_text("prompt,completion\npurrs at night,horse\n")
    result = call("pets_prepared.jsonl", "-q", "-v", "raw.csv")
    assert "Prepare both files alike" in result.output
    assert "1 validation row has labels that no training row has, `horse`" in result.output


@pytest.mark.usefixtures("pets")
def test_what_no_upload_takes_is_written_anew() -> None:
    """A file that PowerShell's `>` made, and a validation set that is no JSONL."""
    call("pets.csv", "-q")
    good = Path("pets_prepared_train.jsonl").read_text(encoding="utf-8")
    Path("good.jsonl").write_text(good, encoding="utf-16")
    Path("valid.csv").write_text("prompt,completion\nmeows ->, cat\n", encoding="utf-8")
    output = call("good.jsonl", "-q").output
    assert "Write the file as UTF-8" in output
    parts = [Path(f"good_prepared_{part}.jsonl").read_text(encoding="utf-8") for part in ("train", "valid")]
    assert sorted("".join(parts).splitlines()) == sorted(good.splitlines())
    Path("good.jsonl").write_text(good, encoding="utf-8")
    report = json.loads(call("good.jsonl", "--json", "-v", "valid.csv").stdout)
    assert [(file["path"], file["role"]) for file in report["files"]] == [("valid_prepared.jsonl", "valid")]
    assert "-t good.jsonl -v valid_prepared.jsonl" in report["advice"]["command"]


@pytest.mark.usefixtures("pets")
def test_time_and_cost(tmp_path: Path) -> None:
    estimate.record_rate(tmp_path / "home" / estimate.RATES_FILE, "smollm2-135m-instruct", Method.LORA, 2.0)
    Path("prices.toml").write_text("[per_1k_tokens]\nada = 1\n")
    report = json.loads(call("pets.csv", "--json", "--prices", "prices.toml", "--n-epochs", "2").stdout)
    n_tokens = report["advice"]["n_tokens"] * 2
    assert report["estimate"] == {
        "n_epochs": 2,
        "n_tokens": n_tokens,
        "seconds": n_tokens / 2,
        "cost": n_tokens / 1000,
        "currency": "USD",
    }
    result = call("pets.csv", "-q", "--prices", "prices.toml", "--tokens-per-second", "100")
    assert "seconds at" in result.output
    assert "Cost by your price file" in result.output


@pytest.mark.usefixtures("pets")
def test_the_old_clients_words() -> None:
    result = call("-f", "pets.csv", "-q", command=prepare_data)
    assert result.exit_code == 0, result.output
    assert Path("pets_prepared_valid.jsonl").exists()
