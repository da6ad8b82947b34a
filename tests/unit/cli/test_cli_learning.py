"""`luthier regress`, `classify`, `predict`, `zero-shot` and `profiles`, with an encoder that knows a few words."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner, Result

from luthier.cli import frames
from luthier.cli.main import app
from luthier.errors import DataError, LuthierError
from luthier.types import Floats

_WORDS = ("bad", "good", "dog", "tea")


class Words:
    """An embedder that counts words."""

    at_once = 100

    def __call__(self, texts: Sequence[str]) -> Floats:
        rows = [[*(text.lower().count(word) for word in _WORDS), 1.0, len(text) / 1000] for text in texts]
        return np.array(rows, dtype=np.float32)

    def check(self, texts: Sequence[str], rows: Sequence[int]) -> None:
        assert len(texts) == len(rows)

    def __enter__(self) -> "Words":
        return self

    def __exit__(self, *_: object) -> None: ...


embed = Words()


@pytest.fixture(autouse=True)
def own_encoder(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Counted words instead of embeddings by weights; the names of the models asked for."""
    asked: list[str] = []

    def embedder(model: str = "", *_: object, **__: object) -> Words:
        asked.append(model)
        return embed

    monkeypatch.setattr(frames, "embedder", embedder)
    return asked


@pytest.fixture
def reviews(tmp_path: Path) -> Path:
    """Sixty reviews with their embeddings."""
    rng = np.random.default_rng(0)
    stars = rng.choice([1, 5], 60)
    texts = [
        f"It was {'good' if star == 5 else 'bad'} for my {('dog', 'tea')[row % 2]}." for row, star in enumerate(stars)
    ]
    rows = pd.DataFrame(
        {
            "Score": stars,
            "Text": texts,
            "UserId": [f"u{row % 5}" for row in range(60)],
            "ProductId": [f"p{row % 7}" for row in range(60)],
            "Weight": rng.normal(size=60),
            "embedding": list(embed(texts)),
        }
    )
    rows.to_parquet(tmp_path / "r.parquet")
    return tmp_path / "r.parquet"


def run(*words: object) -> Result:
    result = CliRunner().invoke(app, [str(word) for word in words], catch_exceptions=True)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def answer(*words: object) -> Any:
    return json.loads(run(*words, "--json").stdout)


def test_classify_and_predict(reviews: Path, tmp_path: Path) -> None:
    kept = tmp_path / "stars.safetensors"
    shown = run("classify", reviews, "--target", "Score", "--method", "linear", "--save", kept)
    assert "accuracy 1.000" in shown.stdout
    assert "always the commonest class: 0." in shown.stdout
    told = answer("predict", kept, reviews)
    assert len(told["rows"]) == 60
    assert {row["predicted_Score"] for row in told["rows"]} == {"1", "5"}
    assert all(row["p_1"] + row["p_5"] == pytest.approx(1) for row in told["rows"])
    run("predict", kept, reviews, "-o", tmp_path / "out.csv")
    written = pd.read_csv(tmp_path / "out.csv")
    assert (written.predicted_Score == written.Score).mean() == 1
    assert written.Text.tolist() == pd.read_parquet(reviews).Text.tolist()


def test_texts_are_embedded_as_the_predictors_were(reviews: Path, tmp_path: Path, own_encoder: list[str]) -> None:
    plain = tmp_path / "plain.csv"
    pd.read_parquet(reviews).drop(columns="embedding").to_csv(plain, index=False)
    kept = tmp_path / "stars.safetensors"
    run(
        "classify",
        plain,
        "--target",
        "Score",
        "--method",
        "linear",
        "--text",
        "Said: {Text}",
        "-m",
        "a-model",
        "--save",
        kept,
    )
    assert own_encoder == ["a-model"]
    told = answer("predict", kept, plain)
    assert own_encoder == ["a-model", "a-model"]
    truth = pd.read_csv(plain).Score.astype(str).tolist()
    assert [row["predicted_Score"] for row in told["rows"]] == truth
    with pytest.raises(DataError, match="learned from embeddings by 'a-model', and these are by 'other'"):
        run("predict", kept, plain, "--text", "Text", "-m", "other")


def test_regress_and_predict(reviews: Path, tmp_path: Path) -> None:
    told = answer("regress", reviews, "--target", "Score", "--method", "linear", "--save", tmp_path / "n.safetensors")
    assert told["mae"] < 0.1 < told["dummy"]["mae"]
    assert told["test_rows"] == len(told["predicted"]) == 12
    shown = run("predict", tmp_path / "n.safetensors", reviews).stdout
    assert "predicted_Score" in shown
    assert "and 50 more" in shown
    assert "MAE" in run("regress", reviews, "--target", "Score", "--method", "linear", "--metric", "mse").stdout


@pytest.mark.parametrize("options", [(), ("--text", "Text")])
def test_zero_shot(reviews: Path, tmp_path: Path, options: tuple[str, ...]) -> None:
    words = ("zero-shot", reviews, "--labels", "bad, good", "--truth", "Score", "--map", "1=bad", "--map", "5=good")
    told = answer(*words, *options, "--phrasing", "it was {}", "-o", tmp_path / "z.parquet")
    assert told["judged"]["accuracy"] == 1
    assert told["counts"]["bad"] + told["counts"]["good"] == 60
    assert pd.read_parquet(tmp_path / "z.parquet").label.tolist() == told["predicted"]
    assert "Accuracy 1.000, AUC 1.000 on 60 rows" in run(*words, *options).stdout


def test_zero_shot_is_blind_to_the_truth(reviews: Path, tmp_path: Path) -> None:
    words = ("zero-shot", "--labels", "bad,good", "--truth", "Score", "--map", "1=bad", "--map", "5=good")
    rows = pd.read_parquet(reviews)
    rows["Score"] = np.random.default_rng(3).permutation(rows.Score)
    rows.to_parquet(tmp_path / "permuted.parquet")
    ours, permuted = answer(*words, reviews), answer(*words, tmp_path / "permuted.parquet")
    measured, chance = ours.pop("judged"), permuted.pop("judged")
    assert json.dumps(ours) == json.dumps(permuted)
    assert measured["accuracy"] == 1
    assert chance["accuracy"] < 0.8


def test_profiles(reviews: Path, tmp_path: Path) -> None:
    told = answer("profiles", reviews, "-o", tmp_path / "means.parquet")
    assert (told["users"], told["items"], told["pairs"]) == (5, 7, 12)
    means = pd.read_parquet(tmp_path / "means.parquet")
    assert means.groupby("column").rows.sum().to_dict() == {"UserId": 60, "ProductId": 60}
    assert "5 of 'UserId' and 7 of 'ProductId'" in run("profiles", reviews).stdout


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("classify", "--target", "Stars"), "no column 'Stars'"),
        (("regress", "--target", "Text"), "'Text', which must hold a number"),
        (("classify", "--target", "Weight"), "too few rows for each class"),
        (("classify", "--target", "Score", "--method", "svm"), "no method 'svm'"),
        (("classify", "--target", "Score", "--test-size", "2"), "between 0 and 1"),
        (("zero-shot", "--labels", "bad"), "at least two labels"),
        (("zero-shot", "--labels", "bad,good", "--truth", "Stars"), "no column 'Stars'"),
        (("zero-shot", "--labels", "bad,good", "--truth", "Score"), "Row 1 truly is"),
        (("zero-shot", "--labels", "bad,good", "--describe", "good"), "NAME=TEXT"),
        (("zero-shot", "--labels", "bad,good", "--text", "Body"), "Body"),
        (("zero-shot", "--labels", "bad,good", "-o", "x.txt"), "neither .csv nor .parquet"),
        (("profiles", "--user", "Who"), "no column 'Who'"),
        (("profiles", "-o", "x.csv"), "does not end in .parquet"),
    ],
)
def test_bad_input_is_told_in_a_sentence(reviews: Path, words: tuple[str, ...], says: str) -> None:
    with pytest.raises(LuthierError, match=says):
        run(words[0], reviews, *words[1:])


def test_predict_refuses_what_does_not_fit(reviews: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no file"):
        run("predict", tmp_path / "none.safetensors", reviews)
    with pytest.raises(DataError, match="no predictor"):
        run("predict", reviews, reviews)
    kept = tmp_path / "k.safetensors"
    run("classify", reviews, "--target", "Score", "--method", "linear", "--save", kept)
    with pytest.raises(DataError, match="no folder"):
        run("predict", kept, reviews, "-o", tmp_path / "none" / "x.csv")
    pd.DataFrame({"embedding": [[0.0, 1.0]]}).to_parquet(tmp_path / "narrow.parquet")
    with pytest.raises(DataError, match="2 dimensions"):
        run("predict", kept, tmp_path / "narrow.parquet")
    pd.DataFrame({"Text": ["x"]}).to_csv(tmp_path / "bare.csv", index=False)
    with pytest.raises(DataError, match="no column of embeddings"):
        run("predict", kept, tmp_path / "bare.csv")


def test_predict_does_not_pass_over_what_is_wrong_with_a_files_embeddings(reviews: Path, tmp_path: Path) -> None:
    kept, broken = tmp_path / "k.safetensors", tmp_path / "broken.parquet"
    source = tmp_path / "texts.csv"
    pd.read_parquet(reviews).drop(columns="embedding").to_csv(source, index=False)
    learn = ("--text", "{Text}", "-m", "words", "--target", "Score", "--method", "linear")
    run("classify", source, *learn, "--save", kept)
    rows = pd.read_parquet(reviews)
    assert "60 rows with" in run("predict", kept, source, "-o", tmp_path / "o.csv").stdout
    rows["embedding"] = [[np.nan, *vector[1:]] if at == 7 else vector for at, vector in enumerate(rows["embedding"])]
    rows.to_parquet(broken)
    with pytest.raises(DataError, match=r"Row 8 .* no finite number"):
        run("predict", kept, broken)
    rows.drop(columns="Text").to_parquet(broken)
    with pytest.raises(DataError, match=r"Row 8 .* no finite number"):
        run("predict", kept, broken)
    with pytest.raises(DataError, match="is a folder"):
        run("predict", tmp_path, reviews)


def test_the_truths_names_want_a_truth(reviews: Path) -> None:
    with pytest.raises(LuthierError, match="--truth"):
        run("zero-shot", reviews, "--labels", "bad,good", "--map", "1=bad")


@pytest.mark.parametrize(
    "words",
    [
        ("classify", "--target", "Score", "--save", "keep.csv"),
        ("regress", "--target", "Score", "--report", "keep.csv"),
        ("map", "--png", "keep.csv"),
    ],
)
def test_an_output_of_another_kind_is_refused(reviews: Path, tmp_path: Path, words: tuple[str, ...]) -> None:
    keep = tmp_path / "keep.csv"
    keep.write_text("precious")
    with pytest.raises(DataError, match="does not end in"):
        run(words[0], reviews, *words[1:-1], keep)
    assert keep.read_text() == "precious"


def test_reports(reviews: Path, tmp_path: Path) -> None:
    pytest.importorskip("luthier.reports.page")
    page = tmp_path / "page.html"
    for words in (
        ("classify", "--target", "Score", "--method", "linear"),
        ("regress", "--target", "Score", "--method", "linear"),
        ("regress", "--target", "Weight", "--method", "neighbours"),
        ("zero-shot", "--labels", "bad,good", "--truth", "Score", "--map", "1=bad", "--map", "5=good"),
        ("zero-shot", "--labels", "bad,good,tea"),
        ("profiles",),
    ):
        run(words[0], reviews, *words[1:], "--report", page)
        html = page.read_text()
        assert html.lower().startswith("<!doctype html>")
        assert 'src="http' not in html
        page.unlink()


@pytest.mark.parametrize(
    "words",
    [
        ("zero-shot", "FILE", "--labels", "bad,good", "-o", "FILE"),
        ("profiles", "FILE", "-o", "FILE"),
        ("predict", "KEPT", "FILE", "-o", "FILE"),
        ("classify", "FILE", "--target", "Score", "--save", "FILE"),
        ("regress", "FILE", "--target", "Score", "--report", "FILE"),
    ],
)
def test_the_file_that_is_read_is_not_written_over(reviews: Path, tmp_path: Path, words: tuple[str, ...]) -> None:
    kept, before = tmp_path / "k.safetensors", reviews.read_bytes()
    run("classify", reviews, "--target", "Score", "--method", "linear", "--save", kept)
    with pytest.raises(DataError, match=r"is the file that is read|does not end in"):
        run(*({"FILE": reviews, "KEPT": kept}.get(word, word) for word in words))
    assert reviews.read_bytes() == before


def test_columns_that_are_there_stay(reviews: Path, tmp_path: Path) -> None:
    rows = pd.read_parquet(reviews).assign(label="mine", probability=7, other=[np.arange(2000.0)] * 60)
    rows.to_parquet(reviews)
    kept, out = tmp_path / "k.safetensors", tmp_path / "out.csv"
    run("classify", reviews, "--column", "embedding", "--target", "Score", "--method", "linear", "--save", kept)
    shown = run("predict", kept, reviews, "--column", "embedding", "-o", out).stdout
    assert "60 rows with predicted_Score, probability_2, p_1, p_5" in shown
    written = pd.read_csv(out)
    assert set(written.probability) == {7}
    assert written.probability_2.between(0.5, 1).all()
    assert json.loads(written.other[0]) == list(range(2000))  # whole, and as JSON
    run("zero-shot", reviews, "--column", "embedding", "--labels", "bad,good", "-o", out)
    written = pd.read_csv(out)
    assert set(written.label) == {"mine"}
    assert set(written.label_2) == {"bad", "good"}


@pytest.mark.parametrize("command", ["classify", "regress", "profiles"])
def test_rows_count_from_1_in_json(reviews: Path, command: str) -> None:
    options = () if command == "profiles" else ("--method", "linear")
    told = answer(command, reviews, "--target", "Score", *options)
    stars = pd.read_parquet(reviews).Score
    assert [stars[row - 1] for row in told["rows"]] == [float(one) for one in told["actual"]]
