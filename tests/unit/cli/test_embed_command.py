"""`luthier embed` and `luthier tokens FILE --text …` with a tiny encoder in this process."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from luthier.catalogue.pull import PullProgress, Stage
from luthier.cli.frames import embedder, load_frame
from luthier.config import Settings
from luthier.embedding.projection import CustomModel, CustomModels, custom_name
from luthier.errors import LuthierError
from luthier.modeling.bases import BaseStore, LocalBase
from luthier.services.embedder import Embedder
from luthier.testing import make_byte_vocabulary
from luthier.toolkit.frame import read_frame

TEMPLATE = "{Summary}: {Text}"


@pytest.fixture(autouse=True)
def home(settings: Settings, tiny_encoder: Path, tiny_base: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home where `tiny` is an encoder of 32 dimensions that reads 32 bytes, `writer` no encoder, a token a byte."""
    settings.home.mkdir(parents=True)
    aliases = f"[aliases]\ntiny = '{tiny_encoder.as_posix()}'\nwriter = '{tiny_base.as_posix()}'\n"
    settings.aliases_path.write_text(aliases, encoding="utf-8")
    make_byte_vocabulary(settings.models_dir)
    monkeypatch.setenv("LUTHIER_HOME", str(settings.home))
    return settings.home


@pytest.fixture
def reviews(tmp_path: Path) -> Path:
    rows = [(at, f"s{at}", "t" * at if at else "") for at in range(12)]
    lines = [json.dumps({"Time": time, "Summary": summary, "Text": text}) for time, summary, text in rows]
    (tmp_path / "r.jsonl").write_text("\n".join(lines), encoding="utf-8")
    return tmp_path / "r.jsonl"


def test_a_table_gets_an_embedding_for_each_row(luthier: Callable[..., Any], reviews: Path, tmp_path: Path) -> None:
    out = tmp_path / "o.parquet"
    done = luthier("embed", str(reviews), "--text", TEMPLATE, "-o", str(out), "-m", "tiny")
    assert done.exit_code == 0, done.exception
    assert "12 rows with 32 numbers each" in done.stdout
    frame = read_frame(out)
    assert (frame.model, frame.text) == ("tiny", TEMPLATE)
    assert np.linalg.norm(frame.vectors, axis=1) == pytest.approx(np.ones(12), abs=1e-6)
    same = load_frame(reviews, text=TEMPLATE, model="tiny")
    assert np.array_equal(same.vectors, frame.vectors)  # out of the cache
    assert list(same.rows.columns) == list(frame.rows.columns)
    with embedder("tiny") as embed:
        assert np.array_equal(embed([f"s{at}: {'t' * at}" for at in range(12)]), frame.vectors)


def test_rows_are_chosen(luthier: Callable[..., Any], reviews: Path, tmp_path: Path) -> None:
    words = ["embed", str(reviews), "--text", "Text", "-o", str(tmp_path / "o.csv"), "-m", "tiny", "--json"]
    done = luthier(*words, "--max-tokens", "9", "--newest", "3", "--drop-empty", "--column", "v")
    told = json.loads(done.stdout)
    assert told["dropped"] == {"empty": 1, "long": 2, "old": 6}
    assert (told["n_rows"], told["n_embedded"], told["dimensions"]) == (12, 3, 32)
    assert read_frame(tmp_path / "o.csv", "v").rows["Time"].tolist() == [7, 8, 9]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--text", "Text"], r"Row 1 is empty: leave such rows out \(--drop-empty\)"),
        (["--text", "Title"], "There is no column 'Title'. The columns are Time, Summary, Text"),
        (
            ["--text", "Text{Text}{Text}{Text}{Text}", "--overlong", "refuse"],
            "Row 8 has 34 tokens, .* reads 32 at once",
        ),
        (["--text", "Summary", "-m", "writer"], "completes texts and makes no embeddings"),
        (["--text", "Summary", "--limit", "3"], "--limit and --api-key are for a server"),
        (["--text", "Summary", "--url", "nonsense"], "'nonsense' is no URL of a server"),
        (["--text", "Summary", "--newest", "1", "--by", "Date"], "There is no column 'Date'"),
    ],
)
def test_what_does_not_fit(
    luthier: Callable[..., Any], reviews: Path, tmp_path: Path, words: list[str], said: str
) -> None:
    done = luthier("embed", str(reviews), "-o", str(tmp_path / "o.csv"), "-m", "tiny", *words)
    assert isinstance(done.exception, LuthierError)
    with pytest.raises(LuthierError, match=said):
        raise done.exception
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(("o.", ".o."))] == []


def test_no_cache_leaves_nothing_behind(luthier: Callable[..., Any], reviews: Path, tmp_path: Path, home: Path) -> None:
    words = ["embed", str(reviews), "--text", "Summary", "-o", str(tmp_path / "o.csv"), "-m", "tiny"]
    assert luthier(*words, "--no-cache").exit_code == 0
    assert not (home / "luthier.db").exists()
    assert luthier(*words).exit_code == 0
    assert (home / "luthier.db").exists()


def test_tokens_of_a_table(luthier: Callable[..., Any], reviews: Path, tmp_path: Path) -> None:
    (tmp_path / "prices.toml").write_text("[per_1k_tokens]\ntiny = 0.5\n", encoding="utf-8")
    words = ["tokens", str(reviews), "--text", "Text", "-m", "tiny", "--prices", str(tmp_path / "prices.toml")]
    told = json.loads(luthier(*words, "--limit", "9", "--json").stdout)
    assert (told["rows"], told["total"], told["longest"], told["median"]) == (12, 66, 11, 5.5)
    assert told["over_limit"] == [{"row": 11, "tokens": 10}, {"row": 12, "tokens": 11}]
    assert (told["tokenizer"], told["cost"], told["currency"]) == ("cl100k_base", pytest.approx(0.033), "USD")
    own = json.loads(luthier(*words, "--own", "--json").stdout)
    assert (own["total"], own["limit"], own["cost"]) == (66 + 2 * 12, 32, None)  # two special tokens around each
    writer = json.loads(luthier("tokens", str(reviews), "--text", "Text", "-m", "writer", "--json").stdout)
    assert (writer["total"], writer["limit"]) == (66, None)
    shown = luthier(*words).stdout
    assert "0 of more than 8,191" in shown
    assert "0.033000 USD" in shown


def test_a_customized_model_counts_as_its_base(luthier: Callable[..., Any], reviews: Path, settings: Settings) -> None:
    card = CustomModel(
        id=custom_name("tiny", "mine"),
        base="tiny",
        key="key",
        revision="revision",
        width=32,
        dimensions=3,
        threshold=0.4,
        created_at=0,
        figures={},
    )
    CustomModels(settings).save(card, np.ones((32, 3), np.float32))
    told = json.loads(luthier("tokens", str(reviews), "--text", "Text", "-m", "tiny:custom-mine", "--json").stdout)
    assert (told["model"], told["total"], told["limit"]) == ("tiny:custom-mine", 66, 8191)


def test_tokens_of_a_table_take_no_options_of_a_text(luthier: Callable[..., Any], reviews: Path) -> None:
    for words, said in (
        (["--text", "Text", "--bias", "1"], "leave out --bias"),
        (["--text", "Text", "--url", "http://127.0.0.1:1"], "leave out --bias and the server"),
        (["--own"], "name its texts with --text"),
        (["--text", "Nope"], "no column 'Nope'"),
    ):
        done = luthier("tokens", str(reviews), "-m", "tiny", *words)
        assert isinstance(done.exception, LuthierError)
        assert said in done.exception.message


def test_stopping_says_how_to_go_on(
    luthier: Callable[..., Any], reviews: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Embedder, "_make", interrupt)
    done = luthier("embed", str(reviews), "--text", "Summary", "-o", str(tmp_path / "o.csv"), "-m", "tiny")
    assert done.exit_code == 130
    assert "The same command goes on from here." in done.stderr


def test_a_pull_on_the_way_is_told_once_a_stage(
    luthier: Callable[..., Any], reviews: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = BaseStore.ensure

    def ensure(self: BaseStore, name: str, progress: Callable[[PullProgress], None]) -> LocalBase:
        for stage in (Stage.DOWNLOAD, Stage.DOWNLOAD, Stage.VERIFY):
            progress(PullProgress(stage, "some weights"))
        return real(self, name)

    monkeypatch.setattr(BaseStore, "ensure", ensure)
    done = luthier("embed", str(reviews), "--text", "Summary", "-o", str(tmp_path / "o.csv"), "-m", "tiny")
    assert done.exit_code == 0
    assert done.stderr.splitlines() == ["Downloading some weights …", "Checking some weights …"]


def test_the_table_itself_is_not_written_over(luthier: Callable[..., Any], reviews: Path) -> None:
    before = reviews.read_bytes()
    done = luthier("embed", str(reviews), "--text", TEMPLATE, "-m", "tiny", "-o", str(reviews))
    assert isinstance(done.exception, LuthierError)
    assert "is the table itself" in done.exception.message
    assert reviews.read_bytes() == before
