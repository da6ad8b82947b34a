"""`luthier customize`, with a tiny random encoder behind it."""

import csv
import json
import random
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner, Result

from luthier.cli.main import app
from luthier.errors import LuthierError
from luthier.services.embedder import Embedder
from luthier.testing import make_byte_vocabulary
from luthier.types import Floats

FAST = ["--batch-size", "16", "--rate", "0.001", "--dropout", "0", "--max-epochs", "2", "--folds", "3"]
WORDS = ("cat", "toaster", "bean", "horse", "ladder", "lamp", "river", "stone")


@pytest.fixture
def home(tmp_path: Path, tiny_encoder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    home = tmp_path / "home"
    home.mkdir()
    lines = "".join(f'"{name}" = "{tiny_encoder.as_posix()}"\n' for name in ("text-embedding-ada-002", "other"))
    (home / "aliases.toml").write_text("[aliases]\n" + lines, encoding="utf-8")
    make_byte_vocabulary(home / "models")
    monkeypatch.setenv("LUTHIER_HOME", str(home))
    monkeypatch.delenv("LUTHIER_MODELS", raising=False)
    monkeypatch.chdir(tmp_path)
    return home


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """80 pairs of short texts about one thing each, with a word for their label and the thing."""
    rng = random.Random(0)
    rows = [("premise", "hypothesis", "gold", "thing")]
    for at in range(80):
        word = rng.choice(WORDS)
        rows.append((f"{word} {at}", f"a {word} {at + 100}", "entailment", word))
    path = tmp_path / "pairs.csv"
    with path.open("w", newline="", encoding="utf-8") as out:
        csv.writer(out).writerows(rows)
    return path


def run(*words: object) -> Result:
    return CliRunner().invoke(app, ["customize", *map(str, words)])


def customize(*words: object) -> Result:
    result = run(*words)
    assert result.exit_code == 0, (result.output, result.exception)
    return result


PAIRS = ("--text-1", "premise", "--text-2", "hypothesis", "--label", "gold", "--positive", "entailment")


def test_pairs_become_a_model_that_embeds(home: Path, table: Path, tmp_path: Path) -> None:
    out = [tmp_path / "m.npy", tmp_path / "runs", tmp_path / "page.html"]
    files = [f for pair in zip(("--matrix", "--results", "--report"), out, strict=True) for f in pair]
    result = customize(table, *PAIRS, *FAST, "--name", "things", "--json", *files)
    told = json.loads(result.stdout)
    assert told["model"] == "text-embedding-ada-002:custom-things"
    assert (told["n_train"], told["n_test"]) == (40, 80)
    assert Path(told["folder"]).is_relative_to(home)

    matrix = np.load(out[0])
    assert matrix.shape == (32, told["dimensions"]["to"])
    tables = sorted(out[1].iterdir())
    assert [path.name for path in tables] == [f"{at}_optimization_results.csv" for at in range(6)]
    with tables[-1].open(encoding="utf-8") as lines:
        rows = list(csv.DictReader(lines))
    assert {row["type"] for row in rows} == {"train", "validation"}
    assert (rows[0]["batch_size"], rows[0]["learning_rate"]) == ("16", "0.001")
    page = out[2].read_text(encoding="utf-8")
    assert "Held-out training rows" in page
    assert "pairs.csv" in page

    from luthier.cli.frames import embedder

    with embedder() as plain, embedder(told["model"]) as custom:
        expected = plain(["cat", "a stone"]) @ matrix
        made = custom(["cat", "a stone"])
    assert made == pytest.approx(expected / np.linalg.norm(expected, axis=1, keepdims=True), abs=2e-3)


@pytest.mark.usefixtures("home")
def test_what_a_person_reads(table: Path) -> None:
    words = customize(table, *PAIRS, *FAST, "--name", "things").stdout
    assert "40 rows to learn from; 80 pairs to test on." in words
    assert "before" in words
    assert "±" in words
    assert "Kept as text-embedding-ada-002:custom-things" in words
    taken = run(table, *PAIRS, *FAST, "--name", "things")
    assert isinstance(taken.exception, LuthierError)
    assert "--replace" in taken.exception.message
    customize(table, *PAIRS, *FAST, "--name", "things", "--replace")


@pytest.mark.usefixtures("home")
def test_classes_and_clusters_of_texts(table: Path) -> None:
    told = json.loads(customize(table, "--text", "premise", "--class", "thing", *FAST, "--json").stdout)
    assert (told["n_train"], "model" in told) == (40, False)
    told = json.loads(customize(table, "--text", "{premise}", "--clusters", 4, *FAST, "--json").stdout)
    assert told["n_train"] == 40


@pytest.mark.usefixtures("home")
@pytest.mark.parametrize("made", [("--class", "thing"), ("--clusters", 4)])
def test_a_text_in_two_rows_is_not_learnt_from_and_tested_on(
    table: Path, made: tuple[object, ...], tmp_path: Path
) -> None:
    rows = pd.read_csv(table)
    twice = tmp_path / "twice.csv"
    pd.concat([rows, rows]).to_csv(twice, index=False)
    once, again = (
        json.loads(customize(file, "--text", "premise", *made, *FAST, "--json").stdout) for file in (table, twice)
    )
    assert (again["n_train"], again["n_test"]) == (once["n_train"], once["n_test"])


@pytest.mark.usefixtures("home")
def test_limit_and_negatives(table: Path) -> None:
    options = ("--limit", 60, "--negatives", 3, "--test-fraction", 0.4, "--json")
    told = json.loads(customize(table, *PAIRS, *FAST, *options).stdout)
    assert (told["n_train"], told["n_test"]) == (36, 24 * 4)


@pytest.mark.usefixtures("home")
@pytest.mark.parametrize("made", [("--class", "thing"), ("--clusters", 4)])
def test_rows_beyond_the_limit_are_not_embedded(
    table: Path, made: tuple[object, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    embedded: list[str] = []
    plain = Embedder.__call__

    def counted(self: Embedder, texts: Sequence[str]) -> Floats:
        embedded.extend(texts)
        return plain(self, texts)

    monkeypatch.setattr(Embedder, "__call__", counted)
    told = json.loads(customize(table, "--text", "premise", *made, "--limit", 60, *FAST, "--json").stdout)
    assert (told["n_train"], len(embedded)) == (30, 60)


@pytest.mark.usefixtures("home")
@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--text-1", "nothing"), "no column 'nothing'"),
        (("--class", "thing", "--clusters", "3", "--text", "premise"), "not both"),
        (("--class", "thing", "--label", "gold", "--text", "premise"), "no labels of pairs"),
        (("--class", "nothing", "--text", "premise"), "no column 'nothing'"),
        (("--class", "thing"), "no column of embeddings"),
        (("--text", "premise"), "--text goes with"),
        (("--negative", "x"), "Give --positive too"),
        ((*PAIRS, "--url", "http://x", "--name", "a"), "Leave one of them out"),
        ((*PAIRS, "--name", "a b"), "cannot name"),
        ((*PAIRS, "--name", "a", "-m", "text-embedding-ada-002:custom-b"), "customized already"),
        ((*PAIRS, "--batch-size", "many"), "whole numbers, such as 32,128"),
        ((*PAIRS, "--dropout", "2"), "dropout of 2.0 cannot be"),
        ((*PAIRS, "--limit", "5"), "5 positive pairs: at least 20"),
        ((*PAIRS, "--positive", "neutral"), "No pair is left"),
        ((*PAIRS, "-m", "nobody"), "does not exist"),
        (("--clusters", "0", "--text", "premise"), "0 clusters"),
        (("--clusters", "99", "--text", "premise"), "99 clusters"),
    ],
)
def test_what_cannot_be_is_refused_in_words(table: Path, options: tuple[str, ...], words: str) -> None:
    refused = run(table, *options, "--folds", "3")
    assert isinstance(refused.exception, LuthierError), refused.output
    assert words in refused.exception.message


@pytest.mark.usefixtures("home")
def test_embeddings_of_another_model_make_no_model_of_this_one(
    table: Path, tmp_path: Path, write_frame: Callable[..., Path]
) -> None:
    path = write_frame(tmp_path / "f.parquet", table)
    refused = run(path, "--class", "thing", "--name", "a", *FAST)
    assert isinstance(refused.exception, LuthierError)
    assert "they are another model's" in refused.exception.message


@pytest.fixture
def write_frame() -> Callable[..., Path]:
    """Writes a table with vectors of 5 numbers as Parquet."""
    import pandas as pd

    def write(path: Path, table: Path) -> Path:
        rows = pd.read_csv(table)
        rows["embedding"] = list(np.random.default_rng(0).normal(size=(len(rows), 5)).astype(np.float32))
        rows.to_parquet(path)
        return path

    return write
