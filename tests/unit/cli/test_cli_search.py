"""`luthier search` and `luthier index`, with made-up embeddings and a fake that embeds questions."""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from luthier.cli import search as command
from luthier.cli.main import app
from luthier.errors import LuthierError
from luthier.types import Floats

N, WIDTH = 40, 6


def vector_of(text: str) -> Floats:
    made = np.random.default_rng(sum(text.encode())).normal(size=WIDTH).astype(np.float32)
    return made / np.linalg.norm(made)


@pytest.fixture
def models(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """The models that were asked to embed; a text's vector is drawn from its bytes."""
    asked: list[str] = []

    @contextmanager
    def embedder(model: str, _url: str | None = None) -> Iterator[Callable[[Sequence[str]], Floats]]:
        asked.append(model)
        yield lambda texts: np.stack([vector_of(text) for text in texts])

    monkeypatch.setattr("luthier.cli.frames.embedder", embedder)
    monkeypatch.setenv("LUTHIER_HOME", str(tmp_path / "home"))
    return asked


@pytest.fixture
def frame(tmp_path: Path) -> Path:
    texts = [f"{'beans' if at % 4 == 0 else 'soup'} number {at}" for at in range(N)]
    rows = pd.DataFrame(
        {
            "Text": texts,
            "Score": [at % 5 + 1 for at in range(N)],
            "Id": [f"p{at}" for at in range(N)],
            "embedding": [vector_of(text).tolist() for text in texts],
        }
    )
    path = tmp_path / "reviews.parquet"
    rows.to_parquet(path)
    return path


def run(*words: object) -> str:
    result = CliRunner().invoke(app, [str(word) for word in words], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def found(*words: object) -> Any:
    return json.loads(run(*words, "--json"))


def test_search(models: list[str], frame: Path) -> None:
    answer = found("search", frame, "soup number 7", "-k", 3)
    assert answer["hits"][0]["row"] == 8
    assert answer["hits"][0]["similarity"] == pytest.approx(1, abs=1e-6)
    assert answer["hits"][0]["values"] == {"Text": "soup number 7", "Score": 3, "Id": "p7"}
    assert (len(answer["hits"]), answer["method"], answer["searched"]) == (3, "exact", N)
    assert models == ["text-embedding-ada-002"]
    shown = run("search", frame, "soup number 7", "-k", 1)
    assert "1.000  row 8" in shown
    assert "Text: soup number 7" in shown


def test_search_where_and_by_words(models: list[str], frame: Path, tmp_path: Path) -> None:
    answer = found("search", frame, "beans", "--where", "Score >= 4", "-k", 50)
    assert {hit["values"]["Score"] for hit in answer["hits"]} == {4, 5}
    fused = found("search", frame, "beans", "--hybrid", "-k", 10)
    assert sum("beans" in hit["values"]["Text"] for hit in fused["hits"]) >= 8
    ids = found("search", frame, "p7", "--hybrid", "--words", "Id", "-k", 50)
    assert [hit["row"] for hit in ids["hits"] if hit["word_rank"]] == [8]
    page = tmp_path / "found.html"
    run("search", frame, "beans <b>", "--report", page, "--model", "a-model")
    assert "beans &lt;b&gt;" in page.read_text(encoding="utf-8")
    assert models[-1] == "a-model"


@pytest.mark.usefixtures("models")
def test_empty_cells_are_not_shown_and_texts_that_look_empty_are(frame: Path, tmp_path: Path) -> None:
    rows = pd.read_parquet(frame).assign(Said="None", Time=pd.NaT, Left=pd.array([None] * N, dtype="Int64"))
    rows.to_parquet(frame)
    shown = run("search", frame, "soup number 7", "-k", 1, "--report", tmp_path / "found.html")
    assert "Said: None" in shown
    assert "Time" not in shown
    assert "Left" not in shown
    page = (tmp_path / "found.html").read_text(encoding="utf-8").split("<script")[0]
    assert "NaT" not in page
    assert "&lt;NA&gt;" not in page


@pytest.mark.usefixtures("models")
def test_a_large_frame_is_searched_by_an_index_that_is_kept(frame: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    exact = found("search", frame, "beans", "--where", "Score >= 2")
    monkeypatch.setattr(command, "EXACT_BELOW", 10)
    first = CliRunner().invoke(app, ["search", str(frame), "beans", "--where", "Score >= 2", "--json"])
    assert "Making an index of 40 rows" in first.stderr
    again = CliRunner().invoke(app, ["search", str(frame), "beans", "--where", "Score >= 2", "--json"])
    assert again.stderr == ""
    assert json.loads(first.stdout) == json.loads(again.stdout)
    by_index = json.loads(again.stdout)
    assert [hit["row"] for hit in by_index["hits"]] == [hit["row"] for hit in exact["hits"]]
    assert (by_index["method"], by_index["searched"]) == ("index", exact["searched"])
    assert found("search", frame, "beans", "--exact")["method"] == "exact"


@pytest.mark.usefixtures("models")
@pytest.mark.parametrize("odd", ["zeros", "name"])
def test_a_large_frame_that_fits_no_index_is_compared_row_by_row(
    frame: Path, monkeypatch: pytest.MonkeyPatch, odd: str
) -> None:
    rows = pd.read_parquet(frame)
    if odd == "zeros":
        rows.at[5, "embedding"] = np.zeros(WIDTH)
    else:
        rows['say "x"'] = 1
    rows.to_parquet(frame)
    monkeypatch.setattr(command, "EXACT_BELOW", 10)
    answer = found("search", frame, "soup number 7", "-k", N)
    assert answer["method"] == "exact"
    assert (answer["hits"][0]["row"], len(answer["hits"])) == (8, N)


@pytest.mark.usefixtures("models")
def test_an_index_is_of_one_model_and_of_the_file_as_it_is(
    frame: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    read = command.QuerySource.load

    def by_model(source: command.QuerySource, **more: Any) -> Any:
        """As if each model embedded the texts in its own way."""
        made = read(replace(source, text=None), **more)
        return replace(made, model=source.model, vectors=made.vectors * (-1 if source.model == "other" else 1))

    monkeypatch.setattr(command, "EXACT_BELOW", 10)
    monkeypatch.setattr(command.QuerySource, "load", by_model)
    words = ("search", frame, "soup number 7", "--text", "Text", "--model")
    first, other = (CliRunner().invoke(app, [*map(str, words), name, "--json"]) for name in ("one", "other"))
    assert json.loads(first.stdout)["hits"][0]["similarity"] == pytest.approx(1, abs=1e-4)
    assert json.loads(other.stdout)["hits"][0]["row"] != 8
    assert len(list((tmp_path / "home" / "searched").glob("*/index.json"))) == 2
    pd.read_parquet(frame)[::-1].to_parquet(frame)
    assert found(*words, "one")["hits"][0]["row"] == N - 7
    assert len(list((tmp_path / "home" / "searched").glob("*/index.json"))) == 2


def test_an_index_from_beginning_to_end(models: list[str], frame: Path) -> None:
    made = found("index", "create", "food", frame, "--id", "Id", "--keep-text", "Text", "--model", "small")
    assert made == {"index": "food", "added": N, "replaced": 0, "vectors": N}
    assert found("index", "add", "food", frame, "--id", "Id", "--attributes", "Score")["replaced"] == N
    assert found("index", "add", "food", frame)["added"] == N
    assert found("index", "list") == [{"name": "food", "dimensions": WIDTH, "model": "small", "vectors": 2 * N}]
    hits = found("index", "search", "food", "soup number 7", "-k", 2)["hits"]
    assert {hit["id"] for hit in hits} == {"p7", "reviews.parquet:8"}
    assert next(hit for hit in hits if hit["id"] == "p7")["attributes"] == {"Score": 3}
    assert models[-1] == "small"
    scores = found("index", "search", "food", "x", "--where", "Score in (1, 2)", "-k", 99)["hits"]
    assert {hit["attributes"]["Score"] for hit in scores} == {1, 2}
    unmet = run("index", "search", "food", "x", "--where", "Stars == 5")
    assert "holds for no entry" in unmet
    assert "Score" in unmet
    assert "Removed 1 of 2; 79 are left" in run("index", "remove", "food", "p7", "p999")
    assert "reviews.parquet:8" in run("index", "search", "food", "soup number 7", "-k", 1)
    assert "food" in run("index", "list")
    assert "is gone" in run("index", "drop", "food")
    assert "There is no index yet" in run("index", "list")


@pytest.mark.usefixtures("models")
def test_an_index_elsewhere(frame: Path, tmp_path: Path) -> None:
    run("index", "create", "food", frame, "--at", tmp_path / "elsewhere")
    assert (tmp_path / "elsewhere" / "food" / "index.json").exists()
    assert found("index", "list") == []


BAD = [
    (["search", "{frame}", " "], "The question is empty"),
    (["search", "{frame}", "x", "--words", "Text"], "--words says whose words"),
    (["search", "{frame}", "x", "--where", "Stars > 3"], "There is no column 'Stars'"),
    (["search", "{frame}", "x", "--where", "Score >"], "should have a number"),
    (["search", "{frame}", "x", "--column", "nope"], "no column 'nope'"),
    (["search", "{frame}", "x", "--hybrid", "--words", "Nope"], "Nope"),
    (["index", "create", "a b", "{frame}"], "cannot be the name of an index"),
    (["index", "create", "food", "{frame}", "--id", "Score"], "The id '1' comes twice"),
    (["index", "create", "food", "{frame}", "--id", "Nope"], "There is no column 'Nope'"),
    (["index", "create", "food", "{frame}", "--attributes", "Nope"], "There is no column 'Nope'"),
    (["index", "search", "nope", "x"], "There is no index 'nope'. There are: none"),
    (["index", "add", "nope", "{frame}"], "There is no index 'nope'"),
    (["index", "drop", "nope"], "There is no index 'nope'"),
    (["index", "search", "nope", " "], "The question is empty"),
    (["index", "list", "--at", "mysql://me:secret@x/y"], "cannot be kept at 'mysql://***@x/y'"),
]


@pytest.mark.usefixtures("models")
@pytest.mark.parametrize(("words", "message"), BAD)
def test_what_cannot_be(frame: Path, words: list[str], message: str) -> None:
    filled = [word.format(frame=frame) for word in words]
    with pytest.raises(LuthierError) as refused:
        CliRunner().invoke(app, filled, catch_exceptions=False)
    assert message in refused.value.message
    assert found("index", "list") == []  # an index that could not be filled is not left behind


@pytest.mark.parametrize(("name", "message"), [("food", "'food' already"), ("a b", "cannot be the name")])
def test_a_name_that_cannot_be_is_refused_before_anything_is_embedded(
    models: list[str], frame: Path, name: str, message: str
) -> None:
    run("index", "create", "food", frame)
    with pytest.raises(LuthierError, match=message):
        CliRunner().invoke(app, ["index", "create", name, str(frame), "--text", "Text"], catch_exceptions=False)
    assert models == []


def test_rows_of_another_model_are_refused_before_they_are_embedded(models: list[str], frame: Path) -> None:
    run("index", "create", "food", frame, "--model", "one")
    words = ["index", "add", "food", str(frame), "--text", "Text", "--model", "two"]
    with pytest.raises(LuthierError, match="are of 'two', those of the index 'food' of 'one'"):
        CliRunner().invoke(app, words, catch_exceptions=False)
    assert models == []


@pytest.mark.usefixtures("models")
def test_embeddings_of_another_model_or_width_are_not_mixed(frame: Path, tmp_path: Path) -> None:
    run("index", "create", "food", frame, "--model", "one")
    with pytest.raises(LuthierError, match="are of 'two', those of the index 'food' of 'one'"):
        CliRunner().invoke(app, ["index", "add", "food", str(frame), "--model", "two"], catch_exceptions=False)
    other = pd.DataFrame({"embedding": [[1.0, 0.0]]})
    other.to_parquet(tmp_path / "other.parquet")
    with pytest.raises(LuthierError, match="takes vectors of 6 numbers"):
        CliRunner().invoke(app, ["index", "add", "food", str(tmp_path / "other.parquet")], catch_exceptions=False)
    with pytest.raises(LuthierError, match="has 6 numbers, but those searched have 2"):
        CliRunner().invoke(app, ["search", str(tmp_path / "other.parquet"), "x"], catch_exceptions=False)


@pytest.mark.usefixtures("models")
def test_a_row_without_an_id_is_named(tmp_path: Path) -> None:
    file = tmp_path / "rows.csv"
    file.write_text('name,embedding\na,"[1,0]"\n,"[0,1]"\n', encoding="utf-8")
    with pytest.raises(LuthierError, match="Record 2 has no id"):
        CliRunner().invoke(app, ["index", "create", "x", str(file), "--id", "name"], catch_exceptions=False)
