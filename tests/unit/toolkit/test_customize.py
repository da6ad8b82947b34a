"""Customizing embeddings: what a matrix learns, what it must not see, and what is refused."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from luthier.errors import DataError
from luthier.toolkit.customize import Customization, fit, plan_classes, plan_clusters, plan_pairs
from luthier.toolkit.customize_pairs import Pairs, pairs_of_rows, split_pairs, split_texts
from luthier.toolkit.customize_search import Progress, Search
from luthier.types import Floats

N = 120
WIDTH = 16
FAST = Search(
    batch_sizes=(32,), learning_rates=(1e-3,), dropouts=(0.1,), whitenings=(0.3, 3.0), max_epochs=3, n_folds=3
)
ONLY_WHITENING = replace(FAST, max_epochs=0)


def noisy(rng: np.random.Generator, centres: Floats) -> Floats:
    """Points around centres, much noise in the first half of the numbers and little in the second."""
    noise = np.r_[np.full(WIDTH // 2, 2.0), np.full(WIDTH // 2, 0.2)]
    return (centres + rng.normal(size=centres.shape) * noise).astype(np.float32)


@pytest.fixture
def vectors() -> Floats:
    """The two texts of pair i at i and N + i."""
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(N, WIDTH)).astype(np.float32)
    return np.vstack([noisy(rng, centres), noisy(rng, centres)])


@pytest.fixture
def pairs() -> Pairs:
    return Pairs(np.arange(N), np.arange(N) + N, np.ones(N, dtype=np.int64))


def test_a_matrix_tells_pairs_apart_that_the_embeddings_do_not(vectors: Floats, pairs: Pairs) -> None:
    made = fit(plan_pairs(pairs, FAST), vectors)
    assert made.after.chosen.value > made.before.chosen.value + 0.1
    assert made.matrix.shape == (WIDTH, WIDTH)
    assert made.matrix.dtype == np.float32
    assert (made.n_train, len(made.labels), made.n_dropped) == (N // 2, N, 0)
    runs = made.learned.runs
    assert [run.recipe.whitening for run in runs[:3]] == [0.0, 0.3, 3.0]
    assert runs[made.learned.chosen].loss == min(run.loss for run in runs)


def test_the_same_seed_gives_the_same_matrix(vectors: Floats, pairs: Pairs) -> None:
    one, other = (fit(plan_pairs(pairs, FAST), vectors) for _ in range(2))
    assert one.matrix.tobytes() == other.matrix.tobytes()
    changed = fit(plan_pairs(pairs, replace(FAST, seed=5)), vectors)
    assert one.matrix.tobytes() != changed.matrix.tobytes()


def test_no_test_row_is_looked_at(vectors: Floats, pairs: Pairs) -> None:
    """Other test labels, and other embeddings of the test's texts, leave the matrix byte for byte the same."""
    labelled = pairs + Pairs(np.arange(N), np.roll(np.arange(N), 1) + N, np.full(N, -1, dtype=np.int64))
    made = fit(plan_pairs(labelled, FAST, drop_shared=False), vectors)
    numbered = replace(labelled, first=np.arange(2 * N))
    test_rows = split_pairs(numbered, 0.5, FAST.seed, drop_shared=False).test.first
    labels = labelled.labels.copy()
    labels[test_rows] = np.random.default_rng(1).permutation(labels[test_rows])
    shuffled = fit(plan_pairs(replace(labelled, labels=labels), FAST, drop_shared=False), vectors)
    assert shuffled.matrix.tobytes() == made.matrix.tobytes()
    assert made.after.chosen.value > 0.8
    assert abs(shuffled.after.chosen.value - 0.5) < 3 * shuffled.after.chosen.standard_error

    strange = vectors.copy()
    apart = split_pairs(pairs, 0.5, FAST.seed)
    strange[apart.test.texts] = np.random.default_rng(2).normal(size=(len(apart.test.texts), WIDTH))
    assert (
        fit(plan_pairs(pairs, FAST), strange).matrix.tobytes() == fit(plan_pairs(pairs, FAST), vectors).matrix.tobytes()
    )


def test_no_class_of_a_test_text_is_looked_at() -> None:
    rng = np.random.default_rng(3)
    classes = np.repeat(np.arange(8), 20)
    texts = noisy(rng, rng.normal(size=(8, WIDTH)).astype(np.float32)[classes])
    test = split_texts(len(classes), 0.5, FAST.seed)[1]
    shuffled = classes.copy()
    shuffled[test] = rng.permutation(shuffled[test])
    made, other = (fit(plan_classes(some, FAST), texts) for some in (classes, shuffled))
    assert other.matrix.tobytes() == made.matrix.tobytes()
    assert abs(other.after.chosen.value - 0.5) < 3 * other.after.chosen.standard_error < made.after.chosen.value - 0.5


def test_negatives_that_all_lie_on_one_side_are_too_few(vectors: Floats, pairs: Pairs) -> None:
    one = pairs + Pairs(np.array([0]), np.array([N + 1]), np.array([-1]))
    with pytest.raises(DataError, match=r"None of the 1 negative pairs is a (training|test) row"):
        plan_pairs(one, FAST)
    assert len(fit(plan_pairs(one, ONLY_WHITENING, negatives=1), vectors).labels) > N / 2


def test_given_negatives_are_learnt_from(vectors: Floats, pairs: Pairs) -> None:
    labelled = pairs + Pairs(np.arange(N), np.roll(np.arange(N), 1) + N, np.full(N, -1, dtype=np.int64))
    made = fit(plan_pairs(labelled, FAST, drop_shared=False), vectors)
    assert len(made.labels) == N  # half of 2N rows, none made
    assert made.after.chosen.value > made.before.chosen.value


def test_negatives_count_as_they_are_met(pairs: Pairs) -> None:
    """Given ones as given, made ones as many times as asked for, however many are made to choose by."""
    labelled = pairs + Pairs(np.arange(40), np.roll(np.arange(40), 1) + N, np.full(40, -1, dtype=np.int64))
    for fold in plan_pairs(labelled, FAST, negatives=2, drop_shared=False).material.folds:
        rows = fold.choose
        positive = rows.pairs.labels > 0
        n_given = int((rows.weights == 1).sum()) - rows.pairs.n_positive
        assert n_given > 0
        assert (rows.weights[positive] == 1).all()
        assert rows.weights[~positive].sum() == pytest.approx(n_given + 2 * rows.pairs.n_positive)
    made = plan_pairs(pairs, FAST, negatives=3).material.folds[0].choose
    negative = made.pairs.labels < 0
    assert made.weights[negative].sum() == pytest.approx(3 * made.pairs.n_positive)


def test_the_first_numbers_say_most(vectors: Floats, pairs: Pairs) -> None:
    changed = vectors @ fit(plan_pairs(pairs, ONLY_WHITENING), vectors).matrix
    spread = np.square(changed).mean(axis=0)
    assert spread[: WIDTH // 2].sum() > 0.55 * spread.sum()
    assert (np.diff(spread) < 0.1 * spread[0]).all()


@pytest.mark.parametrize("width", [5, WIDTH, 24])
def test_widths(vectors: Floats, pairs: Pairs, width: int) -> None:
    search = replace(FAST, widths=(width,), whitenings=(3.0,), learning_rates=(3e-2,), max_epochs=15)
    made = fit(plan_pairs(pairs, search), vectors)
    run = made.learned.runs[-1]
    assert run.recipe.width == width
    assert run.loss < made.learned.runs[0].loss
    chosen = made.learned.runs[made.learned.chosen].recipe.width
    assert made.matrix.shape == (WIDTH, chosen)


def test_classes_and_clusters() -> None:
    rng = np.random.default_rng(3)
    classes = np.repeat(np.arange(8), 20)
    texts = noisy(rng, rng.normal(size=(8, WIDTH)).astype(np.float32)[classes])
    made = fit(plan_classes(classes, FAST), texts)
    assert made.after.chosen.value > made.before.chosen.value
    assert made.n_train == 80
    assert len(fit(plan_clusters(texts, 4, ONLY_WHITENING), texts).labels) > 0


def test_a_run_is_a_table_as_the_document_has_it(vectors: Floats, pairs: Pairs) -> None:
    run = fit(plan_pairs(pairs, FAST), vectors).learned.runs[-1]
    table = run.table(7, FAST.max_epochs)
    wanted = {"epoch", "type", "loss", "accuracy", "run_id", "modified_embedding_length", "batch_size", "max_epochs"}
    assert wanted | {"learning_rate", "dropout_fraction"} <= set(table.columns)
    assert set(table["type"]) == {"train", "validation"}
    assert table["epoch"].max() == FAST.max_epochs
    assert set(table["run_id"]) == {7}


def test_an_interrupt_keeps_the_best_so_far(vectors: Floats, pairs: Pairs) -> None:
    def interrupt(progress: Progress) -> None:
        if progress.done == 4:
            raise KeyboardInterrupt

    made = fit(plan_pairs(pairs, replace(FAST, max_epochs=50)), vectors, interrupt)
    assert made.learned.interrupted
    assert len(made.learned.runs) == 4
    assert made.after.chosen.value > made.before.chosen.value


def test_progress_comes_to_its_end(vectors: Floats, pairs: Pairs) -> None:
    told: list[Progress] = []
    fit(plan_pairs(pairs, FAST), vectors, told.append)
    assert told[-1].done == told[-1].total == 3 + FAST.max_epochs
    assert told[-1].seconds_left == pytest.approx(0)
    assert "loss" in told[-1].message


def test_as_dict_is_json(vectors: Floats, pairs: Pairs) -> None:
    import json

    told = json.loads(json.dumps(fit(plan_pairs(pairs, ONLY_WHITENING), vectors).as_dict()))
    a, n = told["after"]["accuracy"], told["after"]["n"]
    assert told["after"]["margin_95"] == pytest.approx(1.96 * (a * (1 - a) / n) ** 0.5)
    assert told["dimensions"] == {"from": WIDTH, "to": WIDTH}


ROWS = pd.DataFrame({"a": [f"one {at}" for at in range(60)], "b": [f"two {at}" for at in range(60)], "y": [1, -1] * 30})


def customized(rows: pd.DataFrame, search: Search = ONLY_WHITENING, **options: object) -> Customization:
    texts, pairs = pairs_of_rows(rows, "a", "b", "y")
    made = np.random.default_rng(0).normal(size=(len(texts), 4)).astype(np.float32)
    return fit(plan_pairs(pairs, search, **options), made)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: customized(ROWS.rename(columns={"y": "label"})), "no column 'y'"),
        (lambda: customized(ROWS[:0]), "No pair is left"),
        (lambda: customized(ROWS[:1]), "1 positive pairs: at least 20"),
        (lambda: customized(ROWS.assign(y=2)), "Row 1 of the column 'y' says '2'"),
        (lambda: customized(ROWS.assign(y=None)), "neither 1"),
        (lambda: customized(ROWS.assign(y=1), negatives=0), "All pairs are positive"),
        (lambda: customized(ROWS.assign(y=-1)), "0 positive pairs"),
        (lambda: customized(ROWS.assign(a=None)), "Row 1 has no text in the column 'a'"),
        (lambda: customized(ROWS.assign(a="x", b="x")), "are the same text"),
        (lambda: customized(ROWS.assign(a="x", y=1)), "--keep-shared"),
        (lambda: customized(ROWS, test_fraction=1.5), "between 0 and 1"),
        (lambda: customized(ROWS, Search(batch_sizes=(1,))), "batch size of 1 cannot be"),
        (lambda: customized(ROWS, Search(dropouts=(1.0,))), "dropout of 1.0 cannot be"),
        (lambda: customized(ROWS, Search(widths=())), "at least one width"),
        (lambda: customized(ROWS, Search(n_folds=1)), "number of folds of 1"),
        (lambda: customized(ROWS, Search(n_folds=90)), "90 folds cannot be made of"),
        (lambda: customized(ROWS, Search(seed=-1)), "seed of -1 cannot be"),
        (lambda: customized(ROWS, test_fraction=0.999), "takes all"),
        (lambda: plan_classes(np.arange(40) % 2, Search(n_folds=21)), "21 folds cannot be made of 20"),
        (lambda: plan_classes(np.arange(40) % 2, test_fraction=0.99), "takes all 40 rows"),
        (lambda: plan_classes(np.zeros(40, dtype=np.int64)), "of one class"),
        (lambda: plan_classes((np.arange(400) == 7).astype(np.int64)), "All 200 training texts are of one class"),
        (lambda: plan_classes((np.arange(400) % 100 == 7).astype(np.int64)), "texts of a fold are of one class"),
        (lambda: plan_classes(np.arange(40)), "come up in several rows"),
        (lambda: customized(ROWS.assign(b=7)), "Row 1 has 7, which is no text, in the column 'b'"),
        (
            lambda: fit(plan_classes(np.arange(40) % 2, ONLY_WHITENING), np.full((40, 3), np.nan, dtype=np.float32)),
            "The embedding of row 1 has something in it that is no finite number",
        ),
        (
            lambda: fit(plan_classes(np.arange(40) % 2, ONLY_WHITENING), np.zeros((40, 3), dtype=np.float32)),
            "All embeddings are zeros",
        ),
        (
            lambda: fit(plan_classes(np.arange(40) % 2, ONLY_WHITENING), np.eye(39, dtype=np.float32)),
            "at least 40 rows; there are 39",
        ),
        (lambda: plan_clusters(np.eye(40, dtype=np.float32), 1), "1 clusters of 20"),
        (lambda: plan_clusters(np.eye(40, dtype=np.float32), 30), "ask for 2 to 10"),
        (lambda: plan_clusters(np.eye(4, dtype=np.float32), 2), "There are 4 texts"),
        (lambda: plan_clusters(np.eye(40, dtype=np.float32), 2, negatives=0), "At least one negative"),
    ],
)
def test_what_cannot_be_is_refused_in_words(call: Callable[[], object], words: str) -> None:
    with pytest.raises(DataError, match=words.replace("(", r"\(")):
        call()
