"""Search in a frame."""

import json
from datetime import date
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest

from luthier.domain.filters import parse_where
from luthier.errors import DataError
from luthier.toolkit.frame import Frame
from luthier.toolkit.search import best, bm25, cosines, found_by_index, fuse, plain_values, rows_where, search

TEXTS = [
    "Good quality dog food",
    "Not as advertised, small peanuts",
    "Delicious beans, the best beans",
    "Cough medicine",
    "Great taffy at a great price",
    "Green beans in a can",
]
VECTORS = np.random.default_rng(2).normal(size=(6, 4)).astype(np.float32)


def frame(n: int = len(TEXTS), width: int = 4, seed: int = 0) -> Frame:
    rng = np.random.default_rng(seed)
    rows = pd.DataFrame({"Text": (TEXTS * n)[:n], "Score": [at % 5 + 1 for at in range(n)]})
    return Frame(rows, rng.normal(size=(n, width)).astype(np.float32), "text-embedding-3-small")


def test_the_order_is_that_of_the_cosines() -> None:
    made = frame(500)
    asked = np.random.default_rng(1).normal(size=4).astype(np.float32)
    result = search(made, "beans", asked, k=7)
    exact = [float(np.dot(v, asked) / np.linalg.norm(v) / np.linalg.norm(asked)) for v in made.vectors.astype(float)]
    assert [hit.row for hit in result.hits] == list(np.argsort(-np.array(exact))[:7])
    assert [hit.similarity for hit in result.hits] == pytest.approx(sorted(exact, reverse=True)[:7], abs=1e-6)
    assert [hit.rank for hit in result.hits] == list(range(1, 8))
    assert result.hits[0].values == made.rows.iloc[result.hits[0].row].to_dict()
    assert result.hits[0].word_rank is None
    assert (result.n_rows, result.n_searched, len(result.similarities)) == (500, 500, 500)


def test_only_where_the_condition_holds() -> None:
    made = frame(50)
    result = search(made, "beans", made.vectors[0], k=50, where=parse_where("Score >= 4"))
    assert {hit.values["Score"] for hit in result.hits} == {4, 5}
    assert (len(result.hits), result.n_searched) == (20, 20)


def test_words_and_meaning_are_fused_by_rank() -> None:
    made = frame()
    asked = made.vectors[3]
    result = search(made, "beans", asked, k=6, texts=TEXTS)
    by_meaning = [int(at) for at in np.argsort(-cosines(made.vectors, asked))]
    by_words = [2, 5]  # twice in six words; once in five
    expected = {row: 1 / (61 + rank) for rank, row in enumerate(by_meaning)}
    for rank, row in enumerate(by_words):
        expected[row] += 1 / (61 + rank)
    assert {hit.row: hit.score for hit in result.hits} == pytest.approx(expected)
    assert [hit.score for hit in result.hits] == sorted(expected.values(), reverse=True)
    assert {hit.row: hit.word_rank for hit in result.hits} == {0: None, 1: None, 2: 1, 3: None, 4: None, 5: 2}


def test_bm25_as_its_formula_says() -> None:
    texts = ["apple pear", "apple apple plum", "kiwi", ""]
    lengths = np.array([2, 3, 1, 0])
    counts = np.array([1, 2, 0, 0])
    idf = np.log(1 + (4 - 2 + 0.5) / (2 + 0.5))
    expected = idf * counts / (counts + 1.5 * (1 - 0.75 + 0.75 * lengths / lengths.mean()))
    assert bm25(texts, "apple") == pytest.approx(expected, abs=1e-6)
    assert bm25(texts, "the xyz").tolist() == [0, 0, 0, 0]
    assert bm25(["", ""], "apple").tolist() == [0, 0]


@pytest.mark.parametrize(
    ("texts", "query", "first"),
    [
        (["vitamin D", "vitamin C in pills"], "vitamin C", 1),
        (["shoes of size 8", "shoes that are of size 9"], "size 9", 1),
        (["狗粮很好", "这个咖啡很好喝"], "咖啡", 1),
        (["犬の餌はよい", "コーヒーがおいしい"], "コーヒー", 1),
        (["кофе вкусный", "корм для собак"], "Кофе", 0),
    ],
)
def test_words_of_one_letter_and_words_that_nothing_parts_are_found(texts: list[str], query: str, first: int) -> None:
    scores = bm25(texts, query)
    assert scores.argmax() == first
    assert scores[first] > scores[1 - first]


def test_the_letter_after_an_apostrophe_is_no_word() -> None:
    assert bm25(["it's", "a thing"], "what's s").tolist() == [0, 0]
    assert bm25(["l'eau", "le pain"], "eau").argmax() == 0


def test_places_of_the_best() -> None:
    scores = np.array([1, 3, 3, 2, 3], np.float32)
    assert best(scores, 2).tolist() == [1, 2]
    assert best(scores, 10).tolist() == [1, 2, 4, 3, 0]
    assert cosines(np.zeros((2, 3), np.float32), np.ones(3, np.float32)).tolist() == [0, 0]


def test_fusing() -> None:
    assert fuse({1: 1, 2: 2}, {2: 1}) == pytest.approx({1: 1 / 61, 2: 1 / 62 + 1 / 61})


def test_as_plain_values() -> None:
    made = frame()
    made.rows["When"] = pd.to_datetime(["2026-11-22"] * 6)
    made.rows["Empty"] = np.nan
    plain = search(made, "beans", made.vectors[0], k=1).as_dict()
    assert plain["hits"][0]["values"] == {"Text": TEXTS[0], "Score": 1, "When": "2026-11-22 00:00:00", "Empty": None}
    assert plain["hits"][0]["similarity"] == pytest.approx(1, abs=1e-6)
    assert search(made, "x", made.vectors[0], where=parse_where("When >= '2026-11'")).n_searched == 6
    found = found_by_index(made, "beans", [(2, 0.5), (0, 0.25)], 6)
    assert found.as_dict()["method"] == "index"
    assert [(hit.row, hit.rank, hit.similarity) for hit in found.hits] == [(2, 1, 0.5), (0, 2, 0.25)]


def test_whole_numbers_stay_whole_beside_others() -> None:
    ids = [2**53 + 1 + at for at in range(6)]
    made = Frame(pd.DataFrame({"Id": ids, "Score": [0.5] * 6, "Left": pd.array([1, None] * 3, dtype="Int64")}), VECTORS)
    hits = search(made, "beans", VECTORS[1], k=6).as_dict()["hits"]
    assert {hit["row"]: hit["values"]["Id"] for hit in hits} == dict(enumerate(ids, 1))
    assert hits[0]["values"] == {"Id": ids[1], "Score": 0.5, "Left": None}


def test_days_and_decimals_are_compared_as_they_are_written() -> None:
    days = [date(2026, 1, 1 + at) if at else None for at in range(6)]
    made = Frame(pd.DataFrame({"Day": days, "Price": [Decimal(at) / 2 for at in range(6)]}), VECTORS)
    assert rows_where(made.rows, parse_where("Day >= '2026-01-03'")).tolist() == [2, 3, 4, 5]
    assert rows_where(made.rows, parse_where("Day == '2026-01-02'")).tolist() == [1]
    assert rows_where(made.rows, parse_where("Price == 1.5")).tolist() == [3]


def test_lists_are_whole_in_plain_values() -> None:
    made = plain_values({"tags": np.array(["a", "é"]), "other": np.arange(2000), "none": pd.NaT, "deep": [np.ones(2)]})
    assert made["tags"] == '["a", "é"]'
    assert json.loads(made["other"]) == list(range(2000))
    assert made["none"] is None
    assert made["deep"] == "[[1.0, 1.0]]"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"k": 0}, "at least 1 hit"),
        (
            {"vector": np.ones(3, np.float32)},
            "has 3 numbers, but those searched have 4, made by 'text-embedding-3-small'",
        ),
        ({"vector": np.zeros(4, np.float32)}, "no direction"),
        ({"vector": np.full(4, np.nan, np.float32)}, "no direction"),
        ({"where": parse_where("Stars > 3")}, "a column 'Stars', and there is none. The columns are Text, Score"),
        ({"where": parse_where("Score > 5")}, "holds for none of the 6 rows. Score has 1, 2, 3, …"),
        ({"where": parse_where("Score == '5'")}, "Texts stand in quotes"),
    ],
)
def test_what_cannot_be_searched(change: dict[str, object], message: str) -> None:
    made = frame()
    options: dict[str, object] = {"vector": made.vectors[0]} | change
    with pytest.raises(DataError, match=message):
        search(made, "beans", **options)  # type: ignore[arg-type]


def test_one_row() -> None:
    made = frame(1)
    assert [hit.row for hit in search(made, "beans", made.vectors[0], k=5, texts=TEXTS[:1]).hits] == [0]
