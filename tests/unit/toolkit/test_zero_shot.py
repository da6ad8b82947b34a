"""Zero-shot classification with an encoder that knows two words."""

import time
from collections.abc import Sequence

import numpy as np
import pytest

from luthier.errors import DataError, InvalidRequestError
from luthier.toolkit.sentences import cut, sentences
from luthier.toolkit.threshold import fit_mixture
from luthier.toolkit.zero_shot import PHRASINGS, Pieces, judge, phrase, zero_shot
from luthier.types import Floats

_WORDS = ("bad", "good", "dog", "tea")


def embed(texts: Sequence[str]) -> Floats:
    """Counts of four words, a constant, and a little of the text's length, so that no two texts are quite alike."""
    rows = [[*(text.lower().count(word) for word in _WORDS), 1.0, len(text) / 1000] for text in texts]
    return np.array(rows, dtype=np.float32)


def noisy(share_good: float, rows: int = 400, seed: int = 0) -> tuple[Pieces, list[str]]:
    """Vectors that lean to `bad` or `good`, and which."""
    rng = np.random.default_rng(seed)
    truth = np.where(rng.uniform(size=rows) < share_good, "good", "bad")
    vectors = rng.normal(0, 0.12, (rows, 6)).astype(np.float32)
    vectors[:, 4] += 1
    vectors[:, 0] += np.where(truth == "bad", 0.6, 0.35)  # the whole set leans to `bad`: zero is no threshold for it
    vectors[:, 1] += np.where(truth == "bad", 0.0, 0.3)
    return Pieces.whole(vectors), truth.tolist()


def test_the_threshold_comes_from_the_scores() -> None:
    pieces, truth = noisy(0.85)
    found = zero_shot(pieces, ["bad", "good"], embed, phrasings=["{}"])
    assert found.rule == "mixture"
    right = judge(found, truth).accuracy
    at_zero = judge(zero_shot(pieces, ["bad", "good"], embed, phrasings=["{}"], threshold=0.0), truth).accuracy
    assert right > 0.9
    assert at_zero < right - 0.1


def test_no_true_label_is_looked_at() -> None:
    pieces, truth = noisy(0.5)
    found = zero_shot(pieces, ["bad", "good"], embed)
    before = found.scores.tobytes(), found.predicted, found.threshold
    judged = judge(found, truth)
    permuted = np.random.default_rng(1).permutation(truth).tolist()
    again = zero_shot(pieces, ["bad", "good"], embed)
    chance = judge(again, permuted)
    assert (again.scores.tobytes(), again.predicted, again.threshold) == before
    assert judged.accuracy > 0.9
    assert chance.accuracy == pytest.approx(0.5, abs=0.1)
    assert chance.auc == pytest.approx(0.5, abs=0.1)


def test_sentences_speak_for_themselves() -> None:
    texts = ["The dog dog dog tea tea. It is bad, bad, bad.", "The dog dog dog tea tea. It is good, good, good."]
    pieces = Pieces.of_sentences(texts, embed)
    assert pieces.owner.tolist() == [0, 0, 1, 1]
    found = zero_shot(pieces, ["bad", "good"], embed, phrasings=["{}"])
    assert found.predicted == ("bad", "good")
    assert found.rule == "nearest"  # two rows have no distribution


def test_scores_are_mean_cosines() -> None:
    pieces = Pieces(embed(["good", "tea", "bad"]), np.array([0, 0, 1]), 2)
    found = zero_shot(pieces, ["bad", "good"], embed, described={"bad": ["bad", "bad bad"], "good": ["good"]})
    unit = pieces.vectors / np.linalg.norm(pieces.vectors, axis=1, keepdims=True)
    said = embed(["bad", "bad bad", "good"])
    said /= np.linalg.norm(said, axis=1, keepdims=True)
    cosines = unit @ said.T
    assert found.scores[0] == pytest.approx([cosines[:2, :2].mean(), cosines[:2, 2].mean()], abs=1e-6)
    assert found.scores[1] == pytest.approx([cosines[2, :2].mean(), cosines[2, 2]], abs=1e-6)


def test_more_labels_than_two() -> None:
    found = zero_shot(Pieces.whole(embed(["a dog", "tea", "bad", "dog dog"])), ["dog", "tea", "bad"], embed)
    assert found.predicted == ("dog", "tea", "bad", "dog")
    assert found.threshold is None
    judged = judge(found, ["dog", "tea", None, "bad"])
    assert (judged.rows, judged.accuracy, judged.auc) == (3, pytest.approx(2 / 3), None)
    assert [curve.name for curve in judged.curves] == ["dog", "tea", "bad", "micro-average"]


def test_what_stands_for_a_label() -> None:
    assert phrase(["a", "b"])[0] == tuple(text.replace("{}", "a") for text in PHRASINGS)
    assert phrase(["a", "b"], ["a {}!"], {"b": ["bee"]}) == (("a a!",), ("bee", "a b!"))
    assert phrase(["a", "b"], [], {"a": ["x"], "b": ["y"]}) == (("x",), ("y",))


def test_the_mixture_finds_two_heaps_and_their_sizes() -> None:
    rng = np.random.default_rng(0)
    scores = np.concatenate([rng.normal(0, 1, 200), rng.normal(4, 1, 1800)])
    found = fit_mixture(scores)
    assert found is not None
    assert (found.low, found.high, found.deviation) == pytest.approx((0, 4, 1), abs=0.2)
    assert found.share == pytest.approx(0.9, abs=0.02)
    assert found.threshold == pytest.approx(2 - np.log(9) / 4, abs=0.15)  # nearer to the small heap


def test_one_heap_is_not_parted_by_a_mixture() -> None:
    vectors = np.random.default_rng(0).normal(0, 0.12, (300, 6)).astype(np.float32)
    vectors[:, 4] += 1
    pieces = Pieces.whole(vectors)
    found = zero_shot(pieces, ["bad", "good"], embed, phrasings=["{}"])
    assert found.mixture is not None
    assert found.mixture.separation < 2
    assert found.rule == "nearest"
    assert fit_mixture(np.zeros(100)) is None
    assert fit_mixture(np.arange(5.0)) is None


def test_a_few_outliers_are_no_group() -> None:
    rng = np.random.default_rng(0)
    found = fit_mixture(np.concatenate([rng.normal(0, 1, 990), rng.normal(9, 1, 10)]))
    assert found is not None
    assert found.separation > 4
    assert not found.has_two_groups


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("Good beans. Would buy again!", ["Good beans. Would buy again!"]),
        ("These beans are good. I would buy them again!", ["These beans are good.", "I would buy them again!"]),
        ("Title: Stale beans; Content: They tasted flat", ["Title: Stale beans;", "Content: They tasted flat"]),
        (
            "First line of it<br />Second line of it\nThird line of it",
            ["First line of it", "Second line of it", "Third line of it"],
        ),
        ("This is version 2.5 of it. Yes.", ["This is version 2.5 of it. Yes."]),
        ("", [""]),
    ],
)
def test_sentences(text: str, pieces: list[str]) -> None:
    assert sentences(text) == pieces


def test_cutting_keeps_the_owner() -> None:
    pieces, owner = cut(["These beans are good. I would buy them again!", "", "One."])
    assert owner == [0, 0, 1, 2]
    assert len(pieces) == 4


@pytest.mark.parametrize(
    ("labels", "options", "says"),
    [
        (["bad"], {}, "at least two labels"),
        (["bad", " "], {}, "at least two labels"),
        (["bad", "bad"], {}, "stands twice"),
        (["bad", "good"], {"phrasings": ["no place"]}, "has no {}"),
        (["bad", "good"], {"described": {"ugly": ["x"]}}, "none of bad, good"),
        (["bad", "good", "tea"], {"threshold": 0.1}, "for two labels"),
    ],
)
def test_requests_that_make_no_sense(labels: list[str], options: dict[str, object], says: str) -> None:
    with pytest.raises(InvalidRequestError, match=says):
        zero_shot(Pieces.whole(embed(["x", "y"])), labels, embed, **options)  # type: ignore[arg-type]


def test_data_that_does_not_fit() -> None:
    with pytest.raises(DataError, match="3 dimensions"):
        zero_shot(Pieces.whole(np.ones((2, 3), np.float32)), ["bad", "good"], embed)
    with pytest.raises(DataError, match="no rows"):
        zero_shot(Pieces.whole(np.ones((0, 6), np.float32)), ["bad", "good"], embed)
    found = zero_shot(Pieces.whole(embed(["bad", "good"])), ["bad", "good"], embed)
    with pytest.raises(DataError, match="Row 2 truly is '3'"):
        judge(found, ["bad", "3"])
    with pytest.raises(DataError, match="No row has a true label"):
        judge(found, [None, None])


@pytest.mark.parametrize("run", [" ", "<br ", "<br" + " " * 9, "\n", "\n ", "<br>", ". ", "\t\r\n"])
def test_no_run_of_spaces_or_breaks_takes_long(run: str) -> None:
    began = time.perf_counter()
    assert sentences("It is good for us" + run * 100_000 + "It was bad for me.")[0].startswith("It is good for us")
    assert time.perf_counter() - began < 2


def test_breaks_end_sentences_however_they_are_written() -> None:
    text = "It is good for us<br /><br>It was bad for me \n\n It may be either\r\nNobody knows it."
    assert sentences(text) == ["It is good for us", "It was bad for me", "It may be either", "Nobody knows it."]
