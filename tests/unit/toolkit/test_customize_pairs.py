"""Pairs: how they are read, split and made, and how a threshold over them is found."""

from itertools import combinations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from luthier.toolkit.customize_made import clusters_of, make_negatives, pairs_of_classes
from luthier.toolkit.customize_pairs import Pairs, folds_of, groups_of, pairs_of_rows, split_pairs
from luthier.toolkit.customize_scores import accuracy_at, best_accuracy, best_threshold, cosines, log_loss


def chain(n: int) -> Pairs:
    """Pairs of 2n distinct texts."""
    return Pairs(np.arange(n), np.arange(n) + n, np.ones(n, dtype=np.int64))


def as_set(pairs: Pairs) -> set[tuple[int, int]]:
    return {(min(a, b), max(a, b)) for a, b in zip(pairs.first.tolist(), pairs.second.tolist(), strict=True)}


def test_words_for_labels() -> None:
    words = ["entailment", "neutral", "contradiction"]
    rows = pd.DataFrame({"text_1": list("abc"), "text_2": list("bcd"), "label": words})
    texts, pairs = pairs_of_rows(rows, positive="entailment")
    assert (texts, pairs.labels.tolist()) == (["a", "b"], [1])
    _, pairs = pairs_of_rows(rows, positive="entailment", negative="contradiction")
    assert pairs.labels.tolist() == [1, -1]


@pytest.mark.parametrize("labels", [[1, -1], [1.0, 0.0], ["+1", "-1"], [True, False], ["1", "0"]])
def test_spellings_of_labels(labels: list[object]) -> None:
    rows = pd.DataFrame({"text_1": ["a", "b"], "text_2": ["c", "d"], "label": labels})
    assert pairs_of_rows(rows)[1].labels.tolist() == [1, -1]


def test_every_row_is_a_pair_of_distinct_texts_places() -> None:
    rows = pd.DataFrame({"text_1": ["a", "a", "b"], "text_2": ["b", "b", "b"]})
    texts, pairs = pairs_of_rows(rows, label=None)
    assert texts == ["a", "b"]
    assert list(zip(pairs.first, pairs.second, strict=True)) == [(0, 1), (0, 1), (1, 1)]


def test_the_split_is_the_documents() -> None:
    from sklearn.model_selection import train_test_split

    split = split_pairs(chain(40), 0.5, 123)
    rows = pd.DataFrame({"at": range(40), "label": 1})
    train, test = train_test_split(rows, test_size=0.5, stratify=rows["label"], random_state=123)
    assert split.train.first.tolist() == train["at"].tolist()
    assert split.test.first.tolist() == test["at"].tolist()


def test_training_rows_that_share_a_text_with_the_test_are_left_out() -> None:
    pairs = chain(60) + Pairs(np.arange(60), np.arange(60) + 120, np.ones(60, dtype=np.int64))
    split = split_pairs(pairs, 0.3, 0)
    assert not set(split.train.texts) & set(split.test.texts)
    assert split.n_dropped > 0
    assert len(split.train) + split.n_dropped + len(split.test) == 120
    assert split_pairs(pairs, 0.3, 0, drop_shared=False).n_dropped == 0


@settings(max_examples=60, deadline=None)
@given(n=st.integers(1, 12), per_positive=st.integers(0, 30), seed=st.integers(0, 1000))
def test_negatives_are_new_pairs_of_the_same_texts(n: int, per_positive: int, seed: int) -> None:
    pairs = chain(n)
    made = make_negatives(pairs, per_positive, seed)
    possible = set(combinations(range(2 * n), 2)) - as_set(pairs)
    assert len(as_set(made)) == len(made) == min(n * per_positive, len(possible))
    assert as_set(made) <= possible
    assert (made.labels == -1).all()


def test_negatives_are_no_known_pairs_of_other_parts() -> None:
    """Of four texts that make two pairs, all others but one are known to be alike from elsewhere."""
    pairs = chain(2)
    known = Pairs.of([(3, 0), (1, 2), (2, 3), (0, 77)], 1)
    assert as_set(make_negatives(pairs, 5, 0, known)) == {(0, 1)}
    free = Pairs.of([(0, 77)], 1)
    assert make_negatives(pairs, 1, 0, free).first.tolist() == make_negatives(pairs, 1, 0).first.tolist()


def test_negatives_of_many_texts_are_drawn_alike() -> None:
    made = make_negatives(chain(50_000), 1, 0)
    assert len(made) == 50_000
    middle = np.concatenate([made.first, made.second]).mean()
    assert middle == pytest.approx(50_000, rel=0.02)


def test_pairs_of_classes() -> None:
    classes = np.repeat(np.arange(4), 10)
    pairs = pairs_of_classes(np.arange(40) + 100, classes, 3, 2, 0)
    same = classes[pairs.first - 100] == classes[pairs.second - 100]
    assert (same == (pairs.labels > 0)).all()
    assert pairs.n_positive == 4 * 30
    assert len(pairs) == 3 * pairs.n_positive
    assert len(as_set(pairs)) == len(pairs)


def test_negatives_of_uneven_classes_are_all_there_are() -> None:
    """All 3 x 3,000 pairs across are wanted: drawing at random until each came up would take ages."""
    classes = np.array([0] * 3 + [1] * 3000)
    pairs = pairs_of_classes(np.arange(3003), classes, 3, 1, 0)
    made = pairs.take(pairs.labels < 0)
    assert len(as_set(made)) == len(made) == 9000 < pairs.n_positive
    assert (classes[made.first] != classes[made.second]).all()


@settings(max_examples=60, deadline=None)
@given(sizes=st.lists(st.integers(2, 6), min_size=2, max_size=4), negatives=st.integers(1, 9), seed=st.integers(0, 99))
def test_pairs_across_classes_are_distinct(sizes: list[int], negatives: int, seed: int) -> None:
    classes = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(sizes)), sizes))
    pairs = pairs_of_classes(np.arange(len(classes)), classes, 1, negatives, seed, least=1)
    made = pairs.take(pairs.labels < 0)
    across = sum(a * b for a, b in combinations(sizes, 2))
    assert len(as_set(made)) == len(made) == min(pairs.n_positive * negatives, across)
    assert (classes[made.first] != classes[made.second]).all()


def test_clusters_are_of_the_training_texts() -> None:
    train = np.array([[0, 0], [0, 1], [9, 9], [9, 8]], dtype=np.float32)
    own, others = clusters_of(train, np.array([[8, 9], [1, 0]], dtype=np.float32), 2, 0)
    assert own[0] == own[1] != own[2] == own[3]
    assert others.tolist() == [own[2], own[0]]


def test_groups_go_over_others() -> None:
    pairs = Pairs(np.array([0, 1, 3]), np.array([1, 2, 4]), np.array([1, 1, -1]))
    groups = groups_of(pairs, 5)
    assert groups[0] == groups[1] == groups[2]
    assert len(set(groups[[0, 3, 4]])) == 3


def test_each_row_is_held_out_once_and_its_texts_are_not_learnt_from() -> None:
    pairs = chain(30)
    held_out = []
    for learn, choose in folds_of(pairs, 5, 0):
        assert not set(learn.texts) & set(choose.texts)
        held_out += choose.first.tolist()
    assert sorted(held_out) == list(range(30))


def slow_best(similarities: np.ndarray, labels: np.ndarray) -> float:
    """The best accuracy over every threshold between similarities, one after another."""
    ordered = np.sort(similarities)
    edges = [-2.0, *((ordered[:-1] + ordered[1:]) / 2), 2.0]
    return max(float(((similarities > edge) == (labels > 0)).mean()) for edge in edges)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(-20, 20).map(lambda hundredths: hundredths / 20), st.sampled_from([1, -1])),
        min_size=1,
        max_size=30,
    )
)
def test_the_sweep_is_exact(rows: list[tuple[float, int]]) -> None:
    similarities, labels = np.array([row[0] for row in rows]), np.array([row[1] for row in rows])
    found = best_accuracy(similarities, labels)
    assert found.value == pytest.approx(slow_best(similarities, labels))
    assert accuracy_at(similarities, labels, found.threshold).value == found.value


def test_weights_move_the_threshold() -> None:
    similarities, labels = np.array([0.1, 0.4, 0.5, 0.9]), np.array([-1, 1, -1, 1])
    positives_count = best_threshold(similarities, labels, np.array([1.0, 9.0, 1.0, 9.0]))
    negatives_count = best_threshold(similarities, labels, np.array([9.0, 1.0, 9.0, 1.0]))
    assert 0.1 < positives_count < 0.4
    assert 0.5 < negatives_count < 0.9


def test_standard_error_is_the_binomials() -> None:
    accuracy = accuracy_at(np.array([0.9, 0.8, 0.1, 0.7]), np.array([1, 1, -1, -1]), 0.5)
    assert (accuracy.value, accuracy.n) == (0.75, 4)
    assert accuracy.margin == pytest.approx(1.96 * np.sqrt(0.75 * 0.25 / 4))
    assert str(accuracy) == "75.0% ± 42.4%"


def test_log_loss_is_that_of_logistic_regression() -> None:
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import log_loss as reference

    rng = np.random.default_rng(0)
    labels = rng.choice([1, -1], 200)
    similarities = 0.1 * labels + rng.normal(0, 0.2, 200)
    weights = rng.uniform(0.5, 2, 200)
    model = LogisticRegression(C=1e8).fit(similarities[:, None], labels, sample_weight=weights)
    expected = reference(labels, model.predict_proba(similarities[:, None]), sample_weight=weights)
    assert log_loss(similarities, labels, weights) == pytest.approx(expected, abs=1e-4)


def test_log_loss_of_classes_that_do_not_overlap() -> None:
    assert log_loss(np.array([0.1, 0.2, 0.8, 0.9]), np.array([-1, -1, 1, 1]), np.ones(4)) < 0.05


def test_cosines() -> None:
    vectors = np.array([[2, 0], [3, 3], [0, 0]], dtype=np.float32)
    pairs = Pairs(np.array([0, 0, 1]), np.array([1, 2, 1]), np.ones(3, dtype=np.int64))
    assert cosines(vectors, pairs) == pytest.approx([np.sqrt(0.5), 0, 1])
    many = Pairs(*(np.tile(side, 10_000) for side in (pairs.first, pairs.second, pairs.labels)))  # several slices
    assert cosines(vectors, many).tolist() == np.tile(cosines(vectors, pairs), 10_000).tolist()
