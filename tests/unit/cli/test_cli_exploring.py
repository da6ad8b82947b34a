"""The commands that explore embeddings, on a small file: what they print, draw and refuse."""

import json
from contextlib import contextmanager
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from luthier.cli import completer as completer_module
from luthier.cli import match as match_command
from luthier.cli.anomalies import OutlierScore
from luthier.cli.cluster import ClusterMethod
from luthier.cli.map import MapMethod
from luthier.errors import LuthierError, NotFoundError
from luthier.reports.exploring import shorten
from luthier.toolkit import cluster, outliers
from luthier.toolkit import map as map_
from luthier.toolkit.frame import read_frame


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """24 rows in two groups, the last a copy of the first."""
    random = np.random.default_rng(0)
    truth = np.tile([0, 1], 12)
    vectors = np.eye(2, 8)[truth] + random.normal(0, 0.1, (24, 8))
    vectors[23] = vectors[0]
    rows = pd.DataFrame(
        {
            "Score": np.tile([1, 5, 5], 8),
            "Text": [f"coffee <i>{at}</i>" if kind == 0 else f"dog food {at}" for at, kind in enumerate(truth)],
            "Word": ["a", "b"] * 11 + ["x", None],
            "embedding": [json.dumps(vector.tolist()) for vector in vectors],
        }
    )
    path = tmp_path_factory.mktemp("frames") / "t.csv"
    rows.to_csv(path, index=False)
    return path


def answer(result):
    assert result.exception is None, result.exception
    return json.loads(result.stdout)


def test_map(luthier, table, tmp_path):
    files = (str(tmp_path / "m.html"), str(tmp_path / "m.png"))
    found = answer(luthier("map", str(table), "--color", "Score", "--json", "--report", files[0], "--png", files[1]))
    assert (found["method"], found["dims"], len(found["points"])) == ("tsne", 2, 24)
    page = (tmp_path / "m.html").read_text(encoding="utf-8")
    assert "darkgreen" in page
    assert "<i>" not in page.split("plotly.js v")[0]
    assert 'type="search"' in page
    assert (tmp_path / "m.png").read_bytes().startswith(b"\x89PNG")
    told = luthier("map", str(table), "--method", "pca", "--dims", "3").stdout
    assert "24 rows in 3 dimensions by PCA" in told
    assert "--report map.html" in told


def test_cluster(luthier, table, tmp_path):
    files = (str(tmp_path / "c.html"), str(tmp_path / "c.png"))
    found = answer(
        luthier("cluster", str(table), "-k", "2", "--mean", "Score", "--json", "--report", files[0], "--png", files[1])
    )
    assert sorted(item["size"] for item in found["clusters"]) == [11, 13]
    terms = {item["size"]: item["terms"] for item in found["clusters"]}
    assert terms[13] == ["coffee"]
    assert terms[11][0] in ("dog food", "dog", "food")
    labels = np.array(found["labels"])
    scores = np.tile([1, 5, 5], 8)
    assert found["clusters"][0]["mean"] == {"Score": pytest.approx(scores[labels == 0].mean(), abs=1e-5)}
    assert "Nearest to each centre" in (tmp_path / "c.html").read_text(encoding="utf-8")
    assert (tmp_path / "c.png").read_bytes().startswith(b"\x89PNG")
    assert "Silhouette" in luthier("cluster", str(table), "--auto", "--samples", "1").stdout


def test_clusters_are_named_by_a_model(luthier, table, monkeypatch):
    asked = []

    @contextmanager
    def fake(model, url):
        asked.append((model, url))
        yield lambda prompt: f" About {'coffee' if 'coffee' in prompt else 'dogs'}\n"

    monkeypatch.setattr(completer_module, "completer", fake)
    found = answer(luthier("cluster", str(table), "-k", "2", "--name-with", "ada", "--json"))
    assert [item["theme"] for item in found["clusters"]] == ["About coffee", "About dogs"]
    assert asked == [("ada", None)]
    assert "About dogs" in luthier("cluster", str(table), "-k", "2", "--name-with", "ada").stdout


def test_a_server_completes(server):
    server.completion = {"choices": [{"text": " yes"}]}
    with completer_module.completer("ada", "http://somewhere:1/v1") as complete:
        assert complete("hello") == " yes"
    assert server.bodies == [{"model": "ada", "max_tokens": 64, "temperature": 0, "prompt": "hello"}]


def test_outliers_and_diversity(luthier, table, tmp_path):
    page, png = str(tmp_path / "o.html"), str(tmp_path / "o.png")
    found = answer(luthier("outliers", str(table), "--share", "0.1", "--json", "--report", page, "--png", png))
    assert len(found["outliers"]) == 2
    assert all(1 <= item["row"] <= 24 for item in found["outliers"])
    assert "outliers (threshold" in luthier("outliers", str(table), "--score", "lof").stdout
    found = answer(luthier("diversity", str(table), "--by", "Score", "--json", "--report", page, "--png", png))
    assert {group["name"] for group in found["groups"]} == {"1", "5"}
    assert "Mean similarity" in luthier("diversity", str(table)).stdout
    assert (tmp_path / "o.png").read_bytes().startswith(b"\x89PNG")


def test_dedupe_writes_the_rows_that_stay(luthier, table, tmp_path):
    out = tmp_path / "kept.parquet"
    found = answer(luthier("dedupe", str(table), "--threshold", "0.9999", "-o", str(out), "--json"))
    assert found["groups"] == [{"keep": 1, "drop": [24], "least_similarity": 1.0}]
    kept, whole = read_frame(out), read_frame(table)
    assert kept.rows["Text"].tolist() == whole.rows["Text"].tolist()[:23]
    assert (kept.vectors == whole.vectors[:23]).all()
    page = str(tmp_path / "d.html")
    told = luthier("dedupe", str(table), "--threshold", "0.9999", "-o", str(out), "--report", page).stdout
    assert f"Written  {out}" in told.replace("\n", "")
    assert "23 of 24 rows stay, 1 repeat" in told
    assert "<td>drop</td>" in (tmp_path / "d.html").read_text(encoding="utf-8")


def test_recommend_counts_rows_from_1(luthier, table, tmp_path):
    page = str(tmp_path / "r.html")
    found = answer(luthier("recommend", str(table), "--like", "1", "-k", "2", "--json", "--report", page))
    assert found["recommendations"][0]["row"] == 24
    assert found["recommendations"][0]["score"] == pytest.approx(1)
    told = luthier("recommend", str(table), "--like", "1", "--dislike", "2", "--show", "{Score}: {Text}").stdout
    assert "Liked        1  1: coffee <i>0</i>" in told
    assert "Disliked     2  5: dog food 1" in told


def test_breaks_of_html_are_space_where_texts_are_shown():
    assert shorten("good<br />tea<BR>and <i>more</i>") == "good tea and <i>more</i>"


@pytest.fixture
def words(monkeypatch):
    """Embeds a few words."""
    known = {"plant": [1, 0], "bird": [0, 1], "fern": [0.9, 0.1], "gull": [0.2, 2]}

    @contextmanager
    def fake(_model, _url):
        yield lambda texts: np.array([known[text] for text in texts], dtype=np.float32)

    monkeypatch.setattr(match_command, "embedder", fake)


@pytest.mark.usefixtures("words")
def test_match_at_once_and_from_a_pipe(luthier, tmp_path):
    page = str(tmp_path / "m.html")
    found = answer(luthier("match", "plant", "bird", "-i", "fern", "-i", "gull", "--json", "--report", page))
    assert [item["scores"][0]["category"] for item in found["matches"]] == ["plant", "bird"]
    drawn = (tmp_path / "m.html").read_text(encoding="utf-8")
    assert "gull" in drawn
    assert "%{z:.3f}" in drawn.split('"texttemplate":"')[1][:10]
    told = luthier("match", "plant", "bird", input="fern\n\ngull\n").stdout
    assert told.index("fern") < told.index("plant") < told.index("gull")
    assert "0.994" in told


def test_match_asks_a_person_until_an_empty_line(monkeypatch):
    lines = iter(["gull", ""])
    monkeypatch.setattr("builtins.input", lambda _prompt: next(lines))
    monkeypatch.setattr("sys.stdin", SimpleNamespace(isatty=lambda: True))
    assert list(match_command._typed()) == ["gull"]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("map FILE --color Colour", "There is no column 'Colour'. The columns are Score, Text, Word"),
        ("map FILE --perplexity 99", "does not fit 24 rows"),
        ("map FILE --report nowhere/m.html", "There is no folder nowhere"),
        ("map FILE --png .", "is a folder"),
        ("map FILE --show {Nope}", "Nope"),
        ("map missing.csv", "missing.csv"),
        ("cluster FILE -k 0", "at least 1, not 0"),
        ("cluster FILE -k 25", "25 clusters cannot be made of 24 rows"),
        ("cluster FILE -k 24", "only 23 of the 24 embeddings are different"),
        ("cluster FILE -k 2 --mean Word", "Row 1 has 'a' in column 'Word'"),
        ("cluster FILE -k 2 --auto", "give one of the two"),
        ("cluster FILE -k 2 --method hdbscan", "leave out -k"),
        ("cluster FILE --min-size 3", "for --method hdbscan"),
        ("outliers FILE --share 2", "between 0 and 1"),
        ("diversity FILE --by Text", "one row only"),
        ("dedupe FILE --threshold 2", "cosine above 0"),
        ("dedupe FILE -o FILE", "is the file that is read"),
        ("dedupe FILE -o out.docx", "no kind of table"),
        ("recommend FILE --like 25", "no row 25 to like: the rows are 1 to 24"),
        ("recommend FILE --like 1 --dislike 1", "liked and disliked"),
        ("match plant", "two categories"),
        ("match plant plant", "twice"),
    ],
)
@pytest.mark.usefixtures("words")
def test_bad_input_is_told_in_words(luthier, table, line, words):
    result = luthier(*(str(table) if word == "FILE" else word for word in line.split()))
    assert isinstance(result.exception, LuthierError), result.exception
    assert words in result.exception.message


@pytest.mark.parametrize("line", ["cluster FILE -k 2", "outliers FILE"])
def test_what_cannot_be_drawn_is_said_before_anything_is_printed(luthier, tmp_path, line):
    rows = [json.dumps([at, 1, at * at]) for at in range(3)]
    pd.DataFrame({"Text": list("abc"), "embedding": rows}).to_csv(tmp_path / "three.csv", index=False)
    words = [str(tmp_path / "three.csv") if word == "FILE" else word for word in line.split()]
    result = luthier(*words, "--report", str(tmp_path / "page.html"))
    assert "needs at least 4 rows; there are 3" in result.exception.message
    assert result.stdout == ""
    assert luthier(*words).exit_code == 0


def test_a_seed_that_no_library_takes_is_refused_by_name(luthier, table):
    result = luthier("cluster", str(table), "-k", "2", "--seed", str(2**32))
    assert result.exit_code == 2
    assert "--seed" in result.stderr


@pytest.mark.parametrize(
    ("command", "toolkit"),
    [(MapMethod, map_.Method), (ClusterMethod, cluster.Method), (OutlierScore, outliers.Score)],
)
def test_the_commands_offer_what_the_toolkit_has(command, toolkit):
    assert [item.value for item in command] == [item.value for item in toolkit]


def test_this_process_completes(settings, tiny_base, monkeypatch):
    aliases = settings.home / "aliases.toml"
    aliases.parent.mkdir(parents=True, exist_ok=True)
    aliases.write_text(f'[aliases]\nada = "{tiny_base.as_posix()}"\n', encoding="utf-8")
    monkeypatch.setenv("LUTHIER_HOME", str(settings.home))
    with completer_module.completer("ada", max_tokens=5) as complete:
        first, second = complete("hello"), complete("hello")
    assert first == second
    assert first
    with completer_module.completer("nobody") as complete, pytest.raises(NotFoundError):
        complete("hello")
