"""What does not fit a file is said before the weights that embed it are looked for: pulling them takes minutes."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from luthier.cli import frames
from luthier.errors import DataError, InvalidRequestError
from luthier.modeling import bases

EMBEDS = ["--text", "Text"]
COMMANDS = [
    ["map", "FILE", *EMBEDS],
    ["cluster", "FILE", *EMBEDS],
    ["regress", "FILE", "--target", "Score", *EMBEDS],
    ["classify", "FILE", "--target", "Score", *EMBEDS],
    ["zero-shot", "FILE", "--labels", "a,b", *EMBEDS],
    ["profiles", "FILE", *EMBEDS],
    ["customize", "FILE"],
    ["customize", "FILE", "--name", "mine"],
    ["customize", "FILE", "--class", "Score", "--name", "mine", *EMBEDS],
    ["recommend", "FILE", "--like", "1", *EMBEDS],
    ["outliers", "FILE", *EMBEDS],
    ["diversity", "FILE", *EMBEDS],
    ["dedupe", "FILE", *EMBEDS],
    ["search", "FILE", "beans", *EMBEDS],
    ["index", "create", "i", "FILE", *EMBEDS],
    ["embed", "FILE", "-o", "OUT.csv", *EMBEDS],
    ["tokens", "FILE", *EMBEDS],
]
LACKING = [
    (["map", "FILE", *EMBEDS, "--color", "Nope"], "no column 'Nope'"),
    (["map", "FILE", *EMBEDS, "--show", "{Nope}"], "asks for the column 'Nope'"),
    (["cluster", "FILE", *EMBEDS, "--mean", "Nope"], "no column 'Nope'"),
    (["regress", "FILE", *EMBEDS, "--target", "Nope"], "no column 'Nope'"),
    (["classify", "FILE", *EMBEDS, "--target", "Nope"], "no column 'Nope'"),
    (["zero-shot", "FILE", *EMBEDS, "--labels", "a,b", "--truth", "Nope"], "no column 'Nope'"),
    (["zero-shot", "FILE", "--labels", "a,b", "--text", "Nope"], "no column 'Nope'"),
    (["profiles", "FILE", *EMBEDS, "--user", "Nope"], "no column 'Nope'"),
    (["customize", "FILE", "--text-1", "Nope", "--name", "mine"], "no column 'Nope'"),
    (["customize", "FILE", *EMBEDS, "--class", "Nope"], "no column 'Nope'"),
    (["recommend", "FILE", *EMBEDS, "--like", "1", "--show", "{Nope}"], "asks for the column 'Nope'"),
    (["outliers", "FILE", *EMBEDS, "--show", "{Nope}"], "asks for the column 'Nope'"),
    (["diversity", "FILE", *EMBEDS, "--by", "Nope"], "no column 'Nope'"),
    (["dedupe", "FILE", *EMBEDS, "--show", "{Nope}"], "asks for the column 'Nope'"),
    (["search", "FILE", "beans", *EMBEDS, "--where", "Nope > 3"], "no column 'Nope'"),
    (["search", "FILE", "beans", *EMBEDS, "--hybrid", "--words", "{Nope}"], "asks for the column 'Nope'"),
    (["index", "create", "i", "FILE", *EMBEDS, "--id", "Nope"], "no column 'Nope'"),
    (["index", "create", "i", "FILE", *EMBEDS, "--attributes", "Nope"], "no column 'Nope'"),
    (["embed", "FILE", "-o", "OUT.csv", "--text", "Nope"], "no column 'Nope'"),
    (["embed", "FILE", "-o", "OUT.csv", *EMBEDS, "--newest", "1", "--by", "Nope"], "no column 'Nope'"),
    (["embed", "FILE", "-o", "OUT.csv", *EMBEDS, "--column", "Text"], "has a column 'Text' already"),
    (["embed", "FILE", "-o", "nowhere/OUT.csv", *EMBEDS], "no folder"),
    (["tokens", "FILE", "--text", "Nope"], "no column 'Nope'"),
]

CELLS = [  # what is in the file does not do
    (["regress", "FILE", *EMBEDS, "--target", "Text"], "Row 1 has 't0' in column 'Text'"),
    (["regress", "FILE", *EMBEDS, "--target", "Same"], "the same 'Same' (7)"),
    (["regress", "FILE", *EMBEDS, "--target", "Score", "--method", "magic"], "no method 'magic'"),
    (["regress", "FILE", *EMBEDS, "--target", "Score", "--test-size", "2"], "share of test rows is 2"),
    (["classify", "FILE", *EMBEDS, "--target", "Same"], "All 20 rows have the same 'Same' (7)"),
    (["classify", "FILE", *EMBEDS, "--target", "Text"], "'Text' has 20 different values"),
    (["classify", "FILE", *EMBEDS, "--target", "Hole"], "'Hole' is empty in row 2"),
    (["classify", "FILE", *EMBEDS, "--target", "Score", "--method", "magic"], "no method 'magic'"),
    (["profiles", "FILE", *EMBEDS, "--target", "Text"], "Row 1 has 't0' in column 'Text'"),
    (["profiles", "FILE", *EMBEDS, "--user", "Hole"], "'Hole' is empty in row 2"),
    (["cluster", "FILE", *EMBEDS, "--mean", "Text"], "Row 1 has 't0' in column 'Text'"),
    (["customize", "FILE", *EMBEDS, "--class", "Hole"], "Row 2 of rows.csv has no class"),
    (["customize", "FILE", *EMBEDS, "--class", "Text"], "come up in several rows"),
    (["customize", "FILE", *EMBEDS, "--clusters", "6"], "6 clusters of 10 training texts"),
    (["customize", "FILE", "--limit", "15"], "15 positive pairs: at least 20"),
    (["cluster", "FILE", *EMBEDS, "-k", "21"], "21 clusters cannot be made of 20 rows"),
    (["cluster", "FILE", *EMBEDS, "--method", "hdbscan", "--min-size", "21"], "at least 21 rows does not fit 20"),
    (["zero-shot", "FILE", *EMBEDS, "--labels", "a,b", "--truth", "Score"], "Row 1 truly is '0'"),
    (["zero-shot", "FILE", *EMBEDS, "--labels", "a,b", "--truth", "Score", "--map", "9=a"], "No row has a true label"),
    (["zero-shot", "FILE", *EMBEDS, "--labels", "a,b,c", "--threshold", "0.1"], "A threshold is for two labels"),
    (["map", "FILE", *EMBEDS, "--perplexity", "9"], "9 does not fit 20 rows: give 1 to 6"),
    (["map", "FILE", *EMBEDS, "--method", "pca", "--neighbors", "9"], "is UMAP's"),
    (["outliers", "FILE", *EMBEDS, "--neighbors", "20"], "give 1 to 19"),
    (["outliers", "FILE", *EMBEDS, "--share", "1"], "between 0 and 1"),
    (["diversity", "FILE", *EMBEDS, "--by", "Text"], "Each group has one row only"),
    (["dedupe", "FILE", *EMBEDS, "--threshold", "2"], "at most 1; 2 is not"),
    (["recommend", "FILE", *EMBEDS, "--like", "21"], "There is no row 21 to like"),
    (["index", "create", "i", "FILE", *EMBEDS, "--id", "Score"], "The id '0' comes twice"),
]


@pytest.fixture
def refused(
    luthier: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[list[str], Path], str]:
    """Runs a command on a file where any look for weights fails the test; what the refusal says."""

    def weights(*_: object, **__: object) -> None:
        raise AssertionError("weights were looked for")

    monkeypatch.setenv("LUTHIER_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(frames, "embedder", weights)
    monkeypatch.setattr(bases.BaseStore, "ensure", weights)
    monkeypatch.setattr(bases.BaseStore, "vocabulary", weights)

    def run(words: list[str], file: Path) -> str:
        done = luthier(*[str(file) if word == "FILE" else word for word in words])
        assert isinstance(done.exception, DataError | InvalidRequestError), (done.exception, done.output)
        return done.exception.message

    return run


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_a_file_that_cannot_be_read(
    refused: Callable[[list[str], Path], str], tmp_path: Path, words: list[str]
) -> None:
    (tmp_path / "empty.csv").write_text("Text,Score,UserId,ProductId,text_1,text_2\n", encoding="utf-8")
    (tmp_path / "broken.parquet").write_bytes(b"PAR1 and no more")
    (tmp_path / "folder.csv").mkdir()
    assert "is no file" in refused(words, tmp_path / "missing.csv")
    assert "is no file" in refused(words, tmp_path / "folder.csv")
    assert "no kind of table" in refused(words, tmp_path / "table.xlsx")
    assert "cannot be read" in refused(words, tmp_path / "broken.parquet")
    assert "has no rows" in refused(words, tmp_path / "empty.csv")


@pytest.mark.parametrize(("words", "said"), [*LACKING, *CELLS])
def test_what_does_not_fit_the_rows(
    refused: Callable[[list[str], Path], str], tmp_path: Path, words: list[str], said: str
) -> None:
    lines = [f"t{at},{at % 5},u{at % 3},p{at % 2},a{at},b{at},7,{'' if at == 1 else at % 2}" for at in range(20)]
    head = "Text,Score,UserId,ProductId,text_1,text_2,Same,Hole"
    (tmp_path / "rows.csv").write_text("\n".join([head, *lines]), encoding="utf-8")
    assert said in refused(words, tmp_path / "rows.csv")
